"""A hundred clients whose calls all ask something, on a server of the handshake era."""

import anyio
import psutil

from tests.e2e.serving import serving_modern
from tests.support.daemon import Daemon
from tests.support.mcp import until
from tests.support.modern import ALL, Json, modern_client, retry, tool

CLIENTS = 100
ANSWERS: list[Json | None] = [
    {"action": "accept", "content": {"name": "Ada"}},
    {"action": "decline"},
    None,  # never comes back
]
GROWTH_BYTES = 24 * 1024 * 1024


async def _round(daemon: Daemon) -> None:
    async with modern_client(daemon.url) as client:
        done: list[Json] = []

        async def one(nth: int) -> None:
            message = tool(1, "ask-elicit", capabilities=ALL, message=f"who is {nth}?")
            with anyio.fail_after(60):
                asked = await client.result(message)
            ((question, request),) = asked["inputRequests"].items()
            assert request["params"]["message"] == f"who is {nth}?"
            answer = ANSWERS[nth % len(ANSWERS)]
            if answer is not None:
                result = await client.result(retry(message, 2, asked, {question: answer}))
                (answers,) = result["structuredContent"]["rounds"]
                assert list(answers.values()) == [answer]
                done.append(result)

        async with anyio.create_task_group() as tasks:
            for nth in range(CLIENTS):
                tasks.start_soon(one, nth)
        assert len(done) == sum(ANSWERS[nth % len(ANSWERS)] is not None for nth in range(CLIENTS))

        async def is_over() -> bool:
            report: Json = (await client.http.get(daemon.base_url + "/health")).json()["modern"]
            return (report["calls_in_flight"], report["continuations"], report["leases"]) == (0, 0, 0)

        await until(is_over, "every turn is over", seconds=60)


async def test_every_turn_comes_back_whether_it_was_answered_declined_or_abandoned() -> None:
    """A client that never retries costs a bounded one, and memory does not grow with them."""
    flags = ("--lease-wait", "0.2s", "--continuation-timeout", "20s", "--idle-timeout", "10m")
    with serving_modern(*flags, modes=("legacy-only",)) as daemon:
        await _round(daemon)
        before = psutil.Process(daemon.pid).memory_info().rss
        await _round(daemon)
        assert psutil.Process(daemon.pid).memory_info().rss - before < GROWTH_BYTES
        assert "Traceback" not in daemon.log

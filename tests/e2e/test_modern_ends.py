"""What SIGTERM leaves to clients of 2026-07-28, and what a client that goes away leaves behind."""

import signal
from typing import Any

import anyio

from tests.e2e.serving import serving_modern
from tests.support.mcp import children_of, until, until_gone
from tests.support.modern import ALL, Json, ModernClient, modern, modern_client, retry, tool

ACCEPT: Json = {"name": {"action": "accept", "content": {}}}


async def until_draining(client: ModernClient) -> None:
    async def is_draining() -> bool:
        shown = (await client.http.get(client.url.replace("/mcp", "/health"))).json()
        return bool(shown["status"] == "draining")

    await until(is_draining, "the daemon drains")


async def until_held(client: ModernClient, count: int) -> None:
    async def is_held() -> bool:
        shown = (await client.http.get(client.url.replace("/mcp", "/health"))).json()
        return bool(shown["modern"]["calls_in_flight"] == count)

    await until(is_held, f"{count} calls at the child")


async def test_what_is_open_may_finish_and_nothing_new_begins() -> None:
    """Design part 3: answers that calls in flight need go on."""
    with serving_modern("--drain-timeout", "15s") as daemon:
        async with modern_client(daemon.url) as client:
            message = tool("q", "ask-elicit", capabilities=ALL)
            asked = await client.result(message)
            answers: list[Json] = []

            async def call() -> None:
                answers.append(await client.call(1, "sleep", seconds=1.5))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                await until_held(client, 1)
                daemon.signal(signal.SIGTERM)
                await until_draining(client)
                refused = await client.post(tool("new", "echo"))
                probe = await client.post(modern("d", "server/discover"))
                done = await client.result(retry(message, 2, asked, ACCEPT))

        assert (refused.status_code, refused.json()["error"]["code"], refused.json()["id"]) == (503, -32603, "new")
        assert refused.headers["retry-after"]
        assert probe.status_code == 503
        assert done["structuredContent"] == {"rounds": [ACCEPT]}
        assert answers == [{"slept": True}]
        assert daemon.wait() == 0


async def test_what_does_not_finish_is_told_and_counted() -> None:
    with serving_modern("--drain-timeout", "1.5s") as daemon:
        async with modern_client(daemon.url) as client:
            told: list[Any] = []

            async def hold() -> None:
                response = await client.post(tool("h", "hold"))
                told.append((response.status_code, response.json()["error"]["code"], response.json()["id"]))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hold)
                await until_held(client, 1)
                pids = children_of(daemon.pid)
                daemon.signal(signal.SIGTERM)

        assert told == [(500, -32603, "h")]
        assert daemon.wait() == 1
        await until_gone(*pids)


async def test_a_question_nobody_answers_holds_up_the_end_only_for_its_time() -> None:
    with serving_modern("--drain-timeout", "1.5s") as daemon:
        async with modern_client(daemon.url) as client:
            asked = await client.result(tool(1, "ask-elicit", capabilities=ALL))
            assert asked["resultType"] == "input_required"
            daemon.signal(signal.SIGTERM)

        assert daemon.wait() == 0


async def test_a_client_that_leaves_before_its_server_has_started_is_forgotten() -> None:
    """It is not called, and the next one has the process that was started for it."""
    with serving_modern(modes=("late-discover=1.0",)) as daemon:
        async with modern_client(daemon.url) as client:
            for _ in range(3):
                with anyio.move_on_after(0.2) as left:
                    await client.post(tool(1, "echo", key="left"))
                assert left.cancelled_caught
            lines = (await client.call(1, "seen"))["lines"]

            assert not any("left" in line for line in lines)
            assert len(children_of(daemon.pid)) == 1

"""A request is executed at most once, whatever its client, its child and the connection do meanwhile.

The child counts: it writes a line for every run of a tool, with the key of the call and the round of questions.
"""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.serving import serving_modern
from tests.support.daemon import Daemon
from tests.support.mcp import until
from tests.support.modern import ALL, ModernClient, modern_client, retry, tool

ACCEPT = {"action": "accept", "content": {"name": "Ada"}}

STEPS = ("echo", "cut", "ask", "ask and cut the retry", "ask twice at once", "ask and forge", "leave", "kill")


class Bench:
    """A daemon, and how often its child says that a call was run."""

    def __init__(self, daemon: Daemon, counts: Path) -> None:
        self.daemon = daemon
        self._counts = counts
        self._keys = 0
        self.answered: set[tuple[str, int]] = set()

    def new_key(self) -> str:
        self._keys += 1
        return f"k{self._keys}"

    def runs(self) -> Counter[tuple[str, int]]:
        """How often each key was run in each round."""
        lines = self._counts.read_text().splitlines() if self._counts.exists() else []
        fields = [line.split("\t") for line in lines]
        return Counter((key, int(rounds)) for _, key, rounds in fields if key)


@pytest.fixture(scope="module", params=["dual", "legacy-only"])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    counts = tmp_path_factory.mktemp("counts") / "runs"
    flags = ("--lease-wait", "0.1s", "--continuation-timeout", "3s")
    with serving_modern(*flags, modes=(request.param, f"counts-file={counts}")) as daemon:
        yield Bench(daemon, counts)


@given(steps=st.lists(st.sampled_from(STEPS), min_size=3, max_size=8), data=st.data())
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_each_request_is_run_at_most_once(bench: Bench, steps: list[str], data: st.DataObject) -> None:
    delays = data.draw(st.lists(st.sampled_from((0.0, 0.005, 0.02, 0.06)), min_size=len(steps), max_size=len(steps)))

    anyio.run(_play, bench, steps, delays, backend_options={"use_uvloop": False})

    runs = bench.runs()
    assert [key for key, count in runs.items() if count > 1] == []
    assert [key for key in bench.answered if runs[key] != 1] == []


def test_nothing_is_left_of_it(bench: Bench) -> None:
    assert len(bench.answered) > 10  # or nothing was tested
    anyio.run(_settled, bench)


async def _settled(bench: Bench) -> None:
    async with modern_client(bench.daemon.url) as client:

        async def is_so() -> bool:
            report: dict[str, int] = (await client.http.get(bench.daemon.base_url + "/health")).json()["modern"]
            return {**report, "children": 0} == dict.fromkeys(report, 0)

        await until(is_so, "all tables are empty", seconds=20)


async def _play(bench: Bench, steps: list[str], delays: list[float]) -> None:
    async with modern_client(bench.daemon.url) as client, anyio.create_task_group() as tasks:
        for step, delay in zip(steps, delays, strict=True):
            tasks.start_soon(_step, bench, client, step, delay)


async def _step(bench: Bench, client: ModernClient, step: str, delay: float) -> None:
    key = bench.new_key()
    try:
        if step == "echo":
            await _finish(bench, client, tool(1, "echo", key=key), (key, 0))
        elif step == "cut":
            with anyio.move_on_after(delay):
                await _finish(bench, client, tool(1, "sleep", key=key, seconds=0.03), (key, 0))
        elif step == "kill":
            os.kill((await client.call(1, "pid"))["pid"], signal.SIGKILL)
        else:
            await _ask(bench, client, step, key, delay)
    except (AssertionError, KeyError, ProcessLookupError, httpx.HTTPError):
        return  # a child was killed under it: it failed, and nobody ran it again


async def _ask(bench: Bench, client: ModernClient, step: str, key: str, delay: float) -> None:
    message = tool(1, "ask-elicit", capabilities=ALL, message="who?", key=key)
    asked = await client.result(message)
    (question,) = asked["inputRequests"]
    again = retry(message, 2, asked, {question: ACCEPT})
    if step == "ask":
        await _finish(bench, client, again, (key, 1))
    elif step == "ask and cut the retry":
        with anyio.move_on_after(delay):
            await client.post(again)
        await _refused(client, again)
    elif step == "ask twice at once":
        answers: list[dict[str, Any]] = []

        async def post() -> None:
            answers.append((await client.post(again)).json())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(post)
            tasks.start_soon(post)
        assert sum("result" in answer for answer in answers) <= 1, answers
    elif step == "ask and forge":
        await _refused(
            client, retry(message, 3, {**asked, "requestState": asked["requestState"] + "x"}, {question: ACCEPT})
        )
        await _finish(bench, client, again, (key, 1))


async def _finish(bench: Bench, client: ModernClient, message: dict[str, Any], run: tuple[str, int]) -> None:
    await client.result(message)
    bench.answered.add(run)


async def _refused(client: ModernClient, message: dict[str, Any]) -> None:
    response = await client.post(message)
    if "result" in response.json():
        return  # the connection was cut before anything was sent
    assert response.json()["error"]["code"] in (-32602, -32603)

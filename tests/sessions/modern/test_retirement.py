"""When is a child that many share replaced, and what becomes of those who use it?"""

from pathlib import Path

import anyio
import pytest

from proxy.sessions.modern import retirement
from tests.sessions.modern.servings import answer_of, serving
from tests.support.mcp import until
from tests.support.parsed import a_call, a_request

pytestmark = pytest.mark.processes


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirement, "RETIRED_IDLE_SECONDS", 0.1)


async def test_an_old_child_finishes_its_calls_and_the_next_one_serves(tmp_path: Path) -> None:
    async with serving(tmp_path, child_max_age_seconds=0.3) as served:
        held = await served.begin(a_call(1, "hold", key="k"))
        assert held.child is not None
        child = held.child

        async def is_retired() -> bool:
            return child.is_retired

        await until(is_retired, "it is retired")
        pid = (await served.tool(a_call(2, "pid")))["pid"]

        assert pid == served.started[-1] != served.started[0]
        assert not child.has_ended
        held.abandon()
        with anyio.fail_after(20):
            await child.ended.wait()
        assert child.end_reason == "retired"
        assert served.counts.snapshot()["retired.old_child"] >= 1


async def test_a_child_is_retired_with_the_call_that_is_its_last(tmp_path: Path) -> None:
    async with serving(tmp_path, child_max_calls=2) as served:
        pids = [(await served.tool(a_call(number, "pid")))["pid"] for number in range(5)]

        assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
        assert served.counts.snapshot()["retired.worn_child"] == 2
        await served.until_only(1)


async def test_who_listens_to_a_child_that_is_retired_is_told_to_listen_again(tmp_path: Path) -> None:
    params = {"notifications": {"toolsListChanged": True}}
    async with serving(tmp_path, child_max_calls=1) as served:
        listen = await served.begin(a_request(1, "subscriptions/listen", params))
        await served.tool(a_call(2, "pid"))

        answer = await answer_of(listen)

        assert "result" in answer
        await served.until_only(0)


async def test_without_limits_nobody_counts(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for number in range(5):
            await served.tool(a_call(number, "pid"))

        assert len(served.started) == 1

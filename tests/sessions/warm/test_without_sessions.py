"""Children that are ready for clients without sessions, and for those of a server that speaks only 2026-07-28."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from proxy.sessions.modern.serving import ModernServing
from proxy.sessions.places import Places
from proxy.sessions.warm import proof
from proxy.sessions.warm.pool import WarmPool
from tests.sessions.modern.servings import STRANGER, Served, serving
from tests.sessions.warm.pools import kill, until
from tests.support.parsed import a_call

pytestmark = pytest.mark.processes

Json = dict[str, Any]


class Warm(NamedTuple):
    served: Served
    pool: WarmPool

    async def until_ready(self, count: int) -> None:
        await until(lambda: self.pool.report()["ready"] == count, f"{count} are ready")

    async def call(self, tool: str = "pid", **kwargs: Any) -> Json:
        """One call of a client that shares with nobody."""
        return await self.served.tool(a_call(1, tool, **kwargs), STRANGER)


@asynccontextmanager
async def warm(tmp_path: Path, *modes: str, size: int = 2, **kwargs: Any) -> AsyncIterator[Warm]:
    pools: list[WarmPool] = []

    def make(places: Places, **more: Any) -> ModernServing:
        pools.append(WarmPool(size=size, places=places, counts=more["counts"]))
        return ModernServing(places=places, warm=pools[0], **more)

    async with serving(tmp_path, *modes, make=make, **kwargs) as served, pools[0].run():
        yield Warm(served, pools[0])


@pytest.mark.parametrize(("modes", "spoken"), [(("dual",), True), (("modern-only",), True), (("legacy-only",), False)])
async def test_from_the_second_call_on_they_are_ready(tmp_path: Path, modes: tuple[str, ...], spoken: bool) -> None:
    """The first shows that they are wanted, and what the server speaks."""
    async with warm(tmp_path, *modes) as it:
        first = (await it.call())["pid"]
        await it.until_ready(2)
        ahead = [pid for pid in it.served.started if pid != first]

        second = (await it.call())["pid"]

        assert it.served.era.speaks_modern is spoken
        assert second == ahead[0]
        assert it.pool.report()["hits"] == 1
        await it.until_ready(2)
        assert it.served.serving.report()["children"] == 0


async def test_none_is_kept_before_one_was_wanted(tmp_path: Path) -> None:
    async with warm(tmp_path) as it:
        it.served.places.wake()

        assert it.pool.report()["being_proved"] == 0
        assert it.served.started == []


async def test_where_the_operator_says_what_a_server_speaks_they_are_ready_at_once(tmp_path: Path) -> None:
    async with warm(tmp_path, "modern-only", era="modern") as it:
        await it.until_ready(2)

        assert (await it.call())["pid"] in it.served.started[:2]


async def test_a_child_is_asked_once_what_it_speaks(tmp_path: Path) -> None:
    async with warm(tmp_path, "modern-only", era="modern", size=1) as it:
        await it.until_ready(1)

        lines = (await it.call("seen"))["lines"]

        assert sum("server/discover" in line for line in lines) == 1


async def test_one_of_an_older_server_shakes_hands_with_what_its_client_can_do(tmp_path: Path) -> None:
    async with warm(tmp_path, "legacy-only", era="legacy", size=1) as it:
        await it.call()
        await it.until_ready(1)

        lines = (await it.call("seen", capabilities={"roots": {}}))["lines"]

        assert '"ping"' in lines[0]
        assert '"initialize"' in lines[1] and '"roots"' in lines[1]
        assert it.served.counts.snapshot()["pool.hit"] == 1


async def test_one_that_has_not_answered_yet_is_used_when_none_is_ready(tmp_path: Path) -> None:
    async with warm(tmp_path, "modern-only", "late-discover=1", size=1) as it:
        await it.call()
        await it.until_ready(1)
        await it.call()
        await until(lambda: len(it.served.started) == 3, "the next is started")

        assert (await it.call())["pid"] == it.served.started[2]
        assert it.served.counts.snapshot()["pool.hit_before_proof"] == 1


async def test_a_group_gets_one_when_its_own_has_died(tmp_path: Path) -> None:
    async with warm(tmp_path, "modern-only", size=1) as it:
        first = (await it.served.tool(a_call(1, "pid")))["pid"]
        await it.until_ready(1)
        ahead = it.served.started[-1]

        kill(first)
        await until(lambda: it.served.serving.report()["children"] == 0, "its death is known")

        assert (await it.served.tool(a_call(1, "pid")))["pid"] == ahead


async def test_an_older_server_that_does_not_bear_a_ping_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "UNPROVED_SECONDS", 0.1)
    async with warm(tmp_path, "legacy-exits", era="legacy", size=1) as it:
        await it.call()
        await it.until_ready(1)

        await it.call()

        assert not it.pool.report()["asks_for_proof"]
        assert it.pool.report()["hits"] == 1


async def test_one_that_was_asked_the_wrong_question_is_not_used(tmp_path: Path) -> None:
    """What is known of a server may turn out wrong; a process that has been pinged may have settled its era."""
    async with warm(tmp_path, "dual", era="auto", size=1) as it:
        await it.call()
        await it.until_ready(1)
        ahead = it.served.started[-1]

        it.served.era.learned_modern(False, "test")
        used = (await it.call())["pid"]

        assert used != ahead
        assert it.served.verdict == (False, True)  # the other would have refused a handshake
        await until(lambda: ahead not in it.served.alive, "it was ended")

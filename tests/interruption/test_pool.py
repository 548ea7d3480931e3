"""Whoever starts a child before anybody asks holds a place, a process and an entry: interrupted there, nothing is left.

Each child that is nobody's has a task of its own, which is struck wherever it waits; and a host leaves, or is torn off,
a bridge whose pool is in any phase of being filled.
"""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest

from proxy import Bridge, Settings
from proxy.child import procfs
from proxy.sessions import backoff
from proxy.sessions.warm.pool import WarmPool
from tests.e2e.serving import CHILD, MODERN_PROGRAM
from tests.interruption.test_hosts import ask
from tests.interruption.test_sessions import OF_THE_POOL, until
from tests.support.children import open_files
from tests.support.interrupt import AGAIN, WAYS, Interrupted, Place, Walk, awaits_in, told, walk
from tests.support.mcp import hello

HOLDS = {
    "pool.py WarmPool._own: self._start_and_prove": "an entry, a place, a process",
    "pool.py WarmPool._own: entry.child.ended.wait": "an entry, a place, a process",
    "pool.py WarmPool._start_and_prove: kind.start": "an entry, a place, a process that is starting",
    "pool.py WarmPool._start_and_prove: self._proof.given_by": "an entry, a place, a process",
    "proof.py Proof.given_by: self._wait": "an entry, a place, a process",
    "proof.py Proof._wait: kind.prove": "an entry, a place, a process",
    "sessions.py SessionsAhead.prove: child.prove_child": "the same",
    "sessions.py SessionsAhead.start: self._start": "the same",
}
OF_THE_BRIDGE = {
    "pool.py WarmPool.run: anyio.create_task_group": "everything",
    "pool.py WarmPool._refill_for_ever: self._places.changed": "nothing",
    "proof.py Proof._wait: anyio.create_task_group": "as `kind.prove`",
    "proof.py Proof._wait.watch: child.ended.wait": "in a task of the proof",
}

MODERN_ONLY = (sys.executable, "-I", "-S", MODERN_PROGRAM, "modern-only")
FAMILIES = {"legacy": CHILD, "modern": MODERN_ONLY}


def settings(family: str) -> Settings:
    return Settings(
        argv=FAMILIES[family],
        child_era="modern" if family == "modern" else "auto",
        pool_size=2,
        max_children=3,
        stdin_grace_seconds=0.1,
        term_grace_seconds=0.1,
        drain_timeout_seconds=1,
    )


class Before:
    """What there was before a bridge was run."""

    def __init__(self) -> None:
        self.files = open_files()
        self.children = procfs.children(os.getpid())
        self.tasks = asyncio.all_tasks()

    def remains(self, bridge: Bridge) -> list[Any]:
        pool, places = bridge.server.warm, bridge.server.places
        return [
            *(procfs.children(os.getpid()) - self.children),
            *(asyncio.all_tasks() - self.tasks),
            *(f"{extra} descriptors" for extra in [open_files() - self.files] if extra > 0),
            *(f"{each} taken" for each in [places.taken, places.wanted, len(pool), len(places.spares)] if each),
            *bridge.places.tenants,
            *(f"slot {slot}" for slot in places.slots._taken),
        ]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is struck is a failure, after which a server is left alone for a while."""
    monkeypatch.setattr(backoff, "LAST_SECONDS", 0.01)


@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("family", sorted(FAMILIES))
async def test_a_child_that_is_nobodys_leaves_nothing_wherever_its_task_is_struck(
    family: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the pool fills all the same."""
    await anyio.to_thread.run_sync(open_files)  # what the event loop opens once, it has opened now
    bridge, seen, before = Bridge(settings(family)), Walk(), Before()
    own, owners = WarmPool._own, list[Interrupted[None]]()

    async def own_and_fail(self: WarmPool, entry: Any) -> None:
        scope = anyio.CancelScope()
        first = not owners
        owners.append(
            Interrupted(
                own(self, entry),
                at=place if first else (),
                nth=nth if first else 0,
                strike=partial(WAYS[way], scope) if first else None,
            )
        )
        with scope:
            try:
                await owners[-1]
            except asyncio.CancelledError:
                if not (first and way == "task"):  # a task group takes no notice of one that was cancelled alone
                    raise

    monkeypatch.setattr(WarmPool, "_own", own_and_fail)
    for place, nth in seen:
        owners.clear()
        with told(way, place, nth), anyio.fail_after(20):
            async with bridge.run():
                await until(lambda: bridge.server.warm.report()["ready"] == 2, "it is full")
                assert (await ask(bridge, "POST", hello())).status == 200
            assert before.remains(bridge) == []
        seen.note(owners[0])

    known = {f"sessions/warm/{key}" for key in {**HOLDS, **OF_THE_BRIDGE}}
    assert awaits_in("sessions/warm") == known
    if family == "legacy":
        assert ({f"sessions/warm/{key}" for key in HOLDS} | OF_THE_POOL.keys()) - seen.keys == set()


@asynccontextmanager
async def used(bridge: Bridge) -> AsyncIterator[None]:
    """A bridge one of whose clients has just come, so that its pool is being filled again."""
    async with bridge.run():
        pool = bridge.server.warm
        await until(lambda: pool.report()["ready"] == 2, "it is full")
        assert (await ask(bridge, "POST", hello())).status == 200
        await until(lambda: len(pool) == 2, "another is started")
        yield


async def leave(bridge: Bridge) -> None:
    async with used(bridge):
        pass


async def leave_early(bridge: Bridge) -> None:
    async with bridge.run():
        await until(lambda: len(bridge.server.warm) > 0, "one is being started")


async def drain(bridge: Bridge) -> None:
    async with used(bridge):
        await bridge.drain()
        assert bridge.places.taken == len(bridge.server.warm) == 0


@pytest.mark.parametrize("way", ["scope", "task", AGAIN])
async def test_nothing_is_left_wherever_the_host_is_interrupted(way: str) -> None:
    """And the bridge can be run again."""
    await anyio.to_thread.run_sync(open_files)
    bridge, before = Bridge(settings("legacy")), Before()

    async def nothing_is_left() -> None:
        await until(lambda: not before.remains(bridge), "nothing is left")

    for host in (leave, leave_early, drain) if way == "scope" else (leave,):
        await walk(partial(host, bridge), way, expected=[AssertionError], after_each=nothing_is_left)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # asyncio cancels tasks that have not begun
def test_nothing_is_left_wherever_the_event_loop_is_torn_down() -> None:
    bridge, seen = Bridge(settings("legacy")), Walk()
    before, files = procfs.children(os.getpid()), open_files()

    async def main(place: Place, nth: int) -> Interrupted[None]:
        is_struck = asyncio.Event()
        run = Interrupted(leave(bridge), at=place, nth=nth, strike=lambda: is_struck.set())

        async def host() -> None:
            await run

        tasks = [asyncio.get_running_loop().create_task(each) for each in (host(), is_struck.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        return run

    for place, nth in seen:
        with told("teardown", place, nth):
            seen.note(asyncio.run(main(place, nth)))
            gc.collect()
            assert procfs.children(os.getpid()) == before
            assert open_files() == files
            assert (bridge.places.taken, len(bridge.server.warm)) == (0, 0)

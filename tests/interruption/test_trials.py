"""A trial holds a place and a process that nobody knows: interrupted wherever it waits, nothing is left."""

import asyncio
import os

import anyio
import anyio.to_thread
import pytest

from proxy import Bridge
from proxy.child import procfs
from tests.interruption.test_pool import settings
from tests.interruption.test_sessions import until
from tests.support.children import open_files
from tests.support.interrupt import FAULTS, walk

HOLDS = {
    "sessions/trials.py Trials._fails: self._places.changed": "nothing",
    "sessions/trials.py Trials._fails: self._open_ahead": "a place, and a process that is starting",
    "sessions/trials.py Trials._fails: answer_of_child": "a session that is nobody's",
    "sessions/handshakes.py answer_of_child: stream.wait": "a session that nobody knows",
}
OF_THE_BRIDGE = {
    "sessions/trials.py Trials.run: self._fails": "nothing: in a task of its own",
    "sessions/trials.py Trials.run: wanted.wait": "nothing",
}
NEVER_WAITS = {
    "sessions/handshakes.py answer_of_child: session.intake.begin": "a child of its own: it always has a place",
}


@pytest.mark.parametrize("way", ["scope", "task", *sorted(FAULTS)])
async def test_a_trial_leaves_nothing_wherever_it_is_interrupted(way: str) -> None:
    await anyio.to_thread.run_sync(open_files)  # what the event loop opens once, it has opened now
    bridge = Bridge(settings("legacy").model_copy(update={"pool_size": 0, "max_children": 1}))
    async with bridge.run():
        places, trials, manager = bridge.places, bridge.server._trials, bridge.server.manager
        files = open_files()

        async def a_trial() -> None:
            places.take()  # somebody else's, for a moment
            asyncio.get_running_loop().call_later(0.02, places.give_back)
            await trials._fails()

        def is_left() -> bool:
            owned = places.taken or places._waiters or manager.roster.ahead or manager.roster.owned
            return bool(owned or procfs.children(os.getpid())) or open_files() > files

        async def nothing_is_left() -> None:
            await until(lambda: not is_left(), "nothing is left")

        done = await walk(a_trial, way, after_each=nothing_is_left)

        assert HOLDS.keys() - done.keys == set()

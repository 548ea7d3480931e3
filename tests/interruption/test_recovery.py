"""A session that lives again leaves nothing, wherever that is interrupted.

As in `test_sessions`, with a bridge that remembers sessions. The request of a client only waits for a task that does
the work; that is struck, too.
"""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest

from proxy import Bridge
from proxy.sessions.recovery import Recovery
from tests.interruption.test_sessions import SETTINGS, Scene, until
from tests.support.children import open_files
from tests.support.interrupt import FAULTS, WAYS, Interrupted, Walk, told, walk
from tests.support.mcp import call

HOLDS = {
    "edge/endpoint.py LegacyEndpoint._session_of: self._manager.find_again": "nothing: there is a task for it",
    "sessions/manager.py SessionManager.find_again: self.recovery.recover": "nothing: there is a task for it",
    "sessions/recovery.py Recovery.recover: asyncio.shield": "nothing: there is a task for it",
}
OF_THE_TASK = {
    "sessions/recovery.py Recovery._begin_again: self._open_session": "a place, and a process that is starting",
    "sessions/recovery.py Recovery._begin_again: answer_of_child": "a session that nobody knows",
    "sessions/handshakes.py answer_of_child: stream.wait": "a session that nobody knows",
}
NOTHING = {
    "sessions/recovery.py Recovery._run: self._begin_again",
}
"""The task itself, which ends with everything."""


class Remembering(Scene):
    """A bridge that remembers sessions."""

    @property
    def recovery(self) -> Recovery:
        recovery = self.bridge.server.manager.recovery
        assert recovery is not None
        return recovery

    async def dead(self) -> None:
        """The session has ended, and is remembered."""
        self.sid = await self.open()
        assert self.session is not None and self.session.pid is not None
        self.session.use()
        os.kill(self.session.pid, signal.SIGKILL)
        await until(lambda: self.session is None and self.bridge.places.taken == 1, "the session has ended")

    async def gone(self) -> None:
        """Nothing is left, whether it lives again or not."""
        await until(lambda: not self.recovery._going, "nothing is being recovered")
        self.recovery.forget(self.sid)
        await self.ended()


@asynccontextmanager
async def scene() -> AsyncIterator[Remembering]:
    await anyio.to_thread.run_sync(open_files)  # what the event loop opens once, it has opened now
    bridge = Bridge(SETTINGS.model_copy(update={"recover_sessions": True, "max_failed_starts": 1000}))
    async with bridge.run():
        stage = Remembering(bridge)
        stage.neighbour = await stage.open()
        yield stage


@pytest.mark.parametrize("way", ["scope", "task", "os-error"])
async def test_a_request_in_an_ended_session_leaves_nothing_wherever_it_is_interrupted(way: str) -> None:
    async with scene() as stage:
        done = await walk(stage.call, way, before_each=stage.dead, after_each=stage.gone)

    assert HOLDS.keys() - done.keys == set()


@pytest.mark.parametrize("way", sorted(FAULTS))
async def test_a_recovery_that_fails_leaves_nothing(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task is in a group with those of all sessions: its exception must not get there."""
    seen = Walk()
    async with scene() as stage:
        begin = stage.recovery._begin_again
        begun: list[Interrupted[Any]] = []

        async def begin_and_fail(key: bytes, session_id: str) -> Any:
            strike = partial(WAYS[way], anyio.CancelScope())
            begun.append(Interrupted(begin(key, session_id), at=place, nth=nth, strike=strike))
            return await begun[-1]

        monkeypatch.setattr(stage.recovery, "_begin_again", begin_and_fail)
        for place, nth in seen:
            with told(way, place, nth), anyio.fail_after(20):
                await stage.dead()
                await stage.ask("POST", call(1, "echo"))
                await stage.gone()
            seen.note(begun[-1])

    assert OF_THE_TASK.keys() - seen.keys == set()

"""A session on a shared child leaves nothing, wherever a request for it, or the owner of the child, is struck.

As `test_sessions.py`, on a real bridge with real children.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest

from proxy import Bridge, Settings
from proxy.errors import SessionEnded
from proxy.sessions.shared.child import SharedProcess
from proxy.sessions.shared.children import SharedChildren
from tests.e2e.serving import CHILD
from tests.interruption.test_sessions import until
from tests.support.asgi import Response
from tests.support.interrupt import FAULTS, WAYS, Interrupted, Walk, told, walk
from tests.support.mcp import ACCEPT, Body, call, encode, hello

HOLDS = {
    "sessions/manager.py SessionManager.open: self._shared_child_ready": "its count among the sessions",
    "sessions/manager.py SessionManager._shared_child_ready: self.admission.to_shared_child": "nothing yet",
    "sessions/manager.py SessionManager._shared_child_ready: shared.ready": "its count among the sessions",
    "sessions/admission.py Admission.to_shared_child: self._places.changed": "its entry among those that wait",
    "sessions/shared/children.py SharedChildren.ready: process.settled.wait": "nothing: the start has its own task",
    "sessions/shared/turns.py Seat.acquire: waiter": "its entry among those that wait for their turn",
}
OF_THE_CHILD = {
    "sessions/shared/owner.py Owner.own: process.ended.wait": "its place in the queue of starts",
    "sessions/shared/owner.py Owner.own: self._take_place": "nothing yet",
    "sessions/shared/owner.py Owner.own: self._live": "its place, and a process",
    "sessions/shared/owner.py Owner._take_place: places.changed": "its wish for a place",
    "sessions/shared/owner.py Owner._live: open_child": "its place, and a process",
    "sessions/shared/owner.py Owner._live: process.settled.wait": "its place, and a process",
    "sessions/shared/owner.py Owner._live: process.ended.wait": "its place, and a process",
}
OF_THE_SESSION = {
    "sessions/shared/children.py SharedChildren.join: self.ready": "the session",
    "sessions/shared/children.py SharedChildren.ready: self.modern.shared": "the session",
    "sessions/shared/session.py PortKeeper.start: lifetime.__aenter__": "the session",
    "sessions/shared/session.py PortKeeper.end: lifetime.__aexit__": "the session, and its port",
    "sessions/shared/session.py open_sharing_session: keeper.start": "the session",
    "sessions/shared/session.py open_sharing_session: keeper.end": "the session, and its port",
}
"""A fault there is a fault in its owner, as in `test_sessions.py`; its ways out are the same `with` blocks."""
OF_THE_BRIDGE = {
    "sessions/shared/children.py SharedChildren.run: anyio.create_task_group": "everything",
    "sessions/shared/children.py SharedChildren.run: self.all_gone": "everything",
    "sessions/shared/children.py SharedChildren.drain: self.all_gone": "everything",
    "sessions/shared/children.py SharedChildren.all_gone: self._owner.all_gone": "everything",
    "sessions/shared/owner.py Owner.all_gone: self._places.changed": "everything",
}
NOTHING = {
    "sessions/shared/children.py SharedChildren._check_for_ever: self._wakes.wait",
    "sessions/shared/children.py SharedChildren._check_for_ever: anyio.sleep",
}
NEVER_FAILS = {
    "sessions/intake.py Intake._wait_for_place: self._places.acquire",
}
"""A future of its own: such a wait can be cancelled, but makes no exception."""


class Scene:
    """A bridge whose sessions share a child."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.tasks = len(asyncio.all_tasks())
        self.sid = ""

    @property
    def sharing(self) -> SharedChildren:
        return self.bridge.server.sharing

    async def ask(self, method: str, body: Body = b"", sid: str = "") -> Response:
        named = {"mcp-session-id": sid} if sid else {}
        response = Response(method, {"accept": ACCEPT, "content-type": "application/json", **named}, encode(body))
        await response.serve(self.bridge.asgi)
        return response

    async def initialize(self) -> None:
        response = await self.ask("POST", hello())
        self.sid = response.headers.get("mcp-session-id", "") if response.is_complete else ""

    async def call(self) -> None:
        await self.ask("POST", call(1, "echo"), self.sid)

    # ---- what is so before

    async def no_child(self) -> None:
        if self.sharing._line.current is not None:
            self.sharing._line.current.end("for the test", SessionEnded())
        await until(lambda: self.sharing._owner.running == 0, "no child is left")

    async def full(self) -> None:
        """There is no room for a session; soon one will make room."""
        response = await self.ask("POST", hello())
        assert response.status == 200, response.body
        self.sid = response.headers["mcp-session-id"]
        session = self.bridge.server.manager.roster.published[self.sid]
        session.use()
        asyncio.get_running_loop().call_later(0.05, self.bridge.server.manager.roster.end, session, "for the test")

    async def busy(self) -> None:
        """Another session has all places for calls, and will give one back."""
        await self.initialize()
        for seat in (self.sharing.turns.seat(), self.sharing.turns.seat()):  # the second takes what the first may not
            while seat.value:
                seat.acquire_nowait()
                asyncio.get_running_loop().call_later(0.05, seat.release)

    async def nothing_left(self) -> None:
        for session in list(self.bridge.server.manager.roster.published.values()):
            self.bridge.server.manager.roster.end(session, "for the test")
        await until(lambda: not self._remains(), "nothing is left")

    def _remains(self) -> list[str]:
        manager, sharing = self.bridge.server.manager, self.sharing
        process = sharing._line.current
        found = {
            "sessions being started": manager.roster.starting + len(manager.roster.unpublished),
            "sessions": manager.roster.owned,
            "ports": process.hub.port_count if process is not None else 0,
            "calls": len(process.hub.calls._calls) if process is not None else 0,
            "places": self.bridge.places.taken - sharing._owner.running,
            "children": sharing._owner.running - (process is not None),
            "waiters": len(self.bridge.places._waiters) + len(sharing.turns._waiting),
            "taken turns": 8 - sharing.turns._free,
            "tasks": len(asyncio.all_tasks()) - self.tasks - sharing._owner.running,
        }
        return [f"{count} {what}" for what, count in found.items() if count]


SETTINGS = Settings(
    argv=CHILD,
    isolation="shared",
    allowed_host=("*",),
    max_sessions=1,
    max_calls_per_child=8,
    stdin_grace_seconds=0.1,
    term_grace_seconds=0.1,
)

SCENARIOS: list[tuple[Callable[[Scene], Any] | None, Callable[[Scene], Any]]] = [
    (Scene.no_child, Scene.initialize),
    (None, Scene.initialize),
    (Scene.full, Scene.initialize),
    (Scene.busy, Scene.call),
]


@pytest.mark.parametrize("way", ["scope", "task", "os-error"])
async def test_a_session_that_shares_leaves_nothing_wherever_a_request_is_interrupted(way: str) -> None:
    seen: set[str] = set()
    skip = NEVER_FAILS if way in FAULTS else ()
    bridge = Bridge(SETTINGS, is_daemon=True)
    async with bridge.run():
        scene = Scene(bridge)
        for before, scenario in SCENARIOS:
            done = await walk(
                partial(scenario, scene),
                way,
                skip=skip,
                before_each=partial(before, scene) if before is not None else None,
                after_each=scene.nothing_left,
            )
            seen |= done.keys

    turn = {"sessions/shared/turns.py Seat.acquire: waiter"} if way in FAULTS else set()
    assert HOLDS.keys() - seen == turn


async def test_a_shared_child_leaves_nothing_wherever_its_owner_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Walk()
    bridge = Bridge(SETTINGS.model_copy(update={"max_children": 1}), is_daemon=True)
    async with bridge.run():
        scene = Scene(bridge)
        own, backoff = scene.sharing._owner.own, scene.sharing._judge._backoff
        owners: list[Interrupted[None]] = []

        async def own_and_fail(process: SharedProcess, _: float) -> None:
            strike = partial(WAYS["os-error"], anyio.CancelScope())
            owners.append(Interrupted(own(process, 0.01), at=place, nth=nth, strike=strike))
            await owners[-1]

        monkeypatch.setattr(scene.sharing._owner, "own", own_and_fail)
        for place, nth in seen:
            with told("os-error", place, nth), anyio.fail_after(20):
                bridge.places.take()  # somebody else's, for a moment
                asyncio.get_running_loop().call_later(0.03, bridge.places.give_back)
                await scene.initialize()
                await scene.no_child()
                await scene.nothing_left()
            backoff.succeeded()
            bridge.server.manager.starts.note(failed=False)
            seen.note(owners[-1])
            assert bridge.places.taken == 0

    assert OF_THE_CHILD.keys() - seen.keys == set()

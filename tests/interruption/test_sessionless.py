"""A request without a session leaves nothing, wherever it is interrupted.

Each is handed to a real bridge with real children and struck at each place where it waits: cancelled as by a server
with anyio, as by one with asyncio, and made to fail. What answers for all may be left, and nobody else.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from proxy import Bridge, Settings
from tests.e2e.serving import CHILD
from tests.interruption.test_sessions import until
from tests.support.asgi import Response
from tests.support.interrupt import FAULTS, walk
from tests.support.mcp import ACCEPT, Body, call, encode, hello, request

HOLDS = {
    "sessions/sessionless.py Sessionless.begin: self._catalogue_child": "nothing: the start has a task of its own",
    "sessions/sessionless.py Sessionless.begin: self._open": "a place, and a process that is starting",
    "sessions/sessionless.py Sessionless.begin: _send": "a child",
    "sessions/sessionless.py _send: session.intake.begin": "a child",
    "sessions/sessionless.py Sessionless.initialize: self._catalogue_child": "nothing: the start has a task of its own",
    "sessions/sessionless.py Sessionless._catalogue_child: asyncio.shield": "nothing: the start has a task of its own",
    "sessions/sessionless.py Sessionless._open: self._manager.open": "a place, and a process that is starting",
    "sessions/sessionless.py Sessionless._open: answer_of_child": "a child that nobody knows",
    "edge/sessionless.py SessionlessEndpoint._call: self._unless_gone": "the request, watched, and a process",
    "edge/sessionless.py SessionlessEndpoint._call: self._respond": "a child, and the stream",
    "edge/lone_responses.py LoneResponses._hold: stream.wait": "the request, watched, a child, and the stream",
    "edge/lone_responses.py LoneResponses.answers: send_stream": "a child, and the stream",
}
OF_THE_SERVER = {
    "sessions/sessionless.py Sessionless.run: anyio.create_task_group": "everything",
    "sessions/sessionless.py Sessionless._start_catalogue: self._open": "the child that answers for all",
}
NEVER_FAILS = {
    "edge/lone_responses.py LoneResponses.answers: send_stream",
    "sessions/intake.py Intake._wait_for_place: self._places.acquire",
}
"""A task group and a semaphore: such a wait can be cancelled, but makes no exception of its own."""
ONLY_BY_THOSE = {
    "edge/lone_responses.py LoneResponses.answers: send_stream",
    "sessions/sessionless.py Sessionless.begin: _send",
    "sessions/sessionless.py _send: session.intake.begin",
}


class Scene:
    """A bridge that gives each call a child."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.tasks = len(asyncio.all_tasks())

    def request(self, body: Body) -> Response:
        return Response("POST", {"accept": ACCEPT, "content-type": "application/json"}, encode(body))

    async def ask(self, body: Body) -> None:
        await self.request(body).serve(self.bridge.asgi)

    async def ask_and_leave(self) -> None:
        response = self.request(call(1, "hold"))
        asyncio.get_running_loop().call_later(0.3, response.leave)
        await response.serve(self.bridge.asgi)

    async def nothing_yet(self) -> None:
        """No child has said anything."""
        serving = self.bridge.server.sessionless
        assert serving is not None
        if serving._catalogue is not None:
            self.bridge.server.manager.roster.end(serving._catalogue, "for the test")
        serving._said = serving._catalogue = None

    async def full(self) -> None:
        """Whoever answers for all has as many calls as it may."""
        await self.ask(request(1, "tools/list"))
        serving = self.bridge.server.sessionless
        assert serving is not None and serving._catalogue is not None
        session = serving._catalogue
        session.intake._places.acquire_nowait()
        asyncio.get_running_loop().call_later(0.05, session.intake._places.release)

    async def nothing_left(self) -> None:
        await until(lambda: not self._remains(), "nothing is left")

    def _remains(self) -> list[str]:
        manager, serving = self.bridge.server.manager, self.bridge.server.sessionless
        assert serving is not None
        living = [serving._catalogue] if serving._catalogue and not serving._catalogue.has_ended else []
        sessions = manager.roster.published.values()
        found = {
            "sessions": len(manager.roster.published) - len(living),
            "sessions being started": manager.roster.starting + len(manager.roster.unpublished),
            "places": self.bridge.places.taken - len(living),
            "waiters": len(self.bridge.places._waiters),
            "calls being begun": serving._beginning + (serving._starting is not None),
            "kept children": len(serving._kept),
            "tasks": len(asyncio.all_tasks()) - self.tasks - len(living),
            "held requests": len(self.bridge._presence._held),
            "connections": sum(each._connections for each in sessions),
            "calls": sum(len(each.exchange._calls) + len(each.exchange._queued) for each in sessions),
        }
        return [f"{count} {what}" for what, count in found.items() if count]


SCENARIOS: list[tuple[Callable[[Scene], Any] | None, Callable[[Scene], Any]]] = [
    (None, lambda scene: scene.ask(call(1, "echo"))),
    (None, lambda scene: scene.ask(call(1, "progress", token=1, count=2))),
    (None, lambda scene: scene.ask([call(1, "echo"), call(2, "echo")])),
    (None, Scene.ask_and_leave),
    (Scene.nothing_yet, lambda scene: scene.ask(hello())),
    (Scene.nothing_yet, lambda scene: scene.ask(request(1, "tools/list"))),
    (Scene.full, lambda scene: scene.ask(request(1, "tools/list"))),
]


@pytest.mark.parametrize("way", ["scope", "task", "os-error"])
async def test_a_request_without_a_session_leaves_nothing_wherever_it_is_interrupted(way: str) -> None:
    seen: set[str] = set()
    skip = NEVER_FAILS if way in FAULTS else ()
    settings = Settings(argv=CHILD, isolation="request", stdin_grace_seconds=0.1, max_calls_per_child=1)
    bridge = Bridge(settings)
    async with bridge.run():
        stage = Scene(bridge)
        for before, scenario in SCENARIOS:
            done = await walk(
                partial(scenario, stage),
                way,
                skip=skip,
                before_each=partial(before, stage) if before is not None else None,
                after_each=stage.nothing_left,
            )
            seen |= done.keys

    assert HOLDS.keys() - seen == (ONLY_BY_THOSE if way in FAULTS else set())

"""Whatever waits and holds a place, a session, a stream or a call: interrupted there, it leaves nothing.

`HOLDS` lists every await of the sessions with what is held meanwhile, and those of the edge that hold a part of a
session. Requests are handed to a real bridge with real children and struck at each place where they wait, while another
session looks on: cancelled as by a server with anyio, as by one with asyncio, and made to fail.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.abc import TaskStatus

from proxy import Bridge, Settings
from proxy.child import procfs
from proxy.sessions.session import Session
from tests.e2e.serving import CHILD, MODERN_PROGRAM
from tests.support.asgi import Response
from tests.support.children import open_files
from tests.support.interrupt import FAULTS, WAYS, Interrupted, Walk, told, walk
from tests.support.mcp import ACCEPT, Body, call, encode, hello, notification

HOLDS = {
    "sessions/manager.py SessionManager.open: self.admission.to_place": "its turn",
    "sessions/manager.py SessionManager.open: self._begin": "a place, and a process that is starting",
    "sessions/manager.py SessionManager._begin: start_owner": "a place, and a process that is starting",
    "sessions/owners.py start_owner: future": "a place, and a process that is starting",
    "sessions/admission.py Admission.to_place: self._places.changed": "its turn",
    "sessions/places.py Places.changed: self.house.changed": "its turn",
    "sessions/house.py House.changed: future": "its turn",
    "sessions/intake.py Intake.begin: self._wait_for_place": "its id among those that wait",
    "sessions/intake.py Intake._wait_for_place: self._places.acquire": "its id among those that wait",
    "sessions/intake.py Intake._wait_for_place: self._path.ready_for": "its id, and a place among the calls",
    "sessions/path.py ChildPath.ready_for: self._ready.wait": "its id, and a place among the calls",
    "sessions/intake.py Intake._wait_for_place: self._stdin_taken": "its id, and a place among the calls",
    "sessions/intake.py Intake._stdin_taken: link.sent": "its id, and a place among the calls",
    "sessions/intake.py Intake.wait_to_tell: self._stdin_taken": "its size among those that wait",
    "sessions/stream.py Stream.wait: waiter": "the stream",
    "edge/endpoint.py LegacyEndpoint._begin: session.intake.begin": "the request, watched",
    "edge/session_responses.py SessionResponses.hold: stream.wait": "the request, watched, and the stream",
    "edge/endpoint.py LegacyEndpoint._initialize: self._presence.unless_gone": "a place, a process that is starting",
    "edge/endpoint.py LegacyEndpoint._initialize: self._responses.hold": "a session that nobody knows",
    "edge/endpoint.py LegacyEndpoint._initialize: self._send_initialize_result": "a session unknown to its client",
    "edge/endpoint.py LegacyEndpoint._pass_on: self._responses.respond": "the stream, and the connection",
    "edge/endpoint.py LegacyEndpoint._pass_on: self._tell": "the connection",
    "edge/endpoint.py LegacyEndpoint._pass_on_batch: self._begin": "the stream of the calls before",
    "edge/endpoint.py LegacyEndpoint._pass_on_batch: self._responses.respond": "the stream",
    "edge/session_responses.py SessionResponses.stream: send_stream": "the stream",
    "edge/endpoint.py LegacyEndpoint.get: self._responses.stream": "the stream, and the connection",
    "edge/sse.py send_stream: response": "the stream",
}
OF_THE_OWNER = {
    "sessions/session_owner.py SessionOwner.own: self._opened": "the session, its child, its place",
    "sessions/session_owner.py SessionOwner.own: keeper.keep": "the session, its child, its place",
    "sessions/keeper.py open_session: keeper.start": "the session, its place, a process that is starting",
    "sessions/keeper.py open_session: keeper.end": "the session, its child, its place",
    "sessions/keeper.py ChildKeeper.start: lifetime.__aenter__": "the session, its place, a process that is starting",
    "sessions/keeper.py ChildKeeper.end: lifetime.__aexit__": "the session, its child, its place",
    "sessions/keeper.py Keeper.keep: session.child_wanted.wait": "the session, its child, its place",
}
WHEN_ITS_CHILD_IS_REPLACED = {
    "sessions/keeper.py Keeper.keep: self.end": "the session, its place, a dead child",
    "sessions/keeper.py Keeper.keep: session.ended.wait": "the session, its place",
    "sessions/keeper.py Keeper.keep: self.start": "the session, its place, a process that is starting",
}
OF_THE_BRIDGE = {
    "sessions/manager.py SessionManager.run: anyio.create_task_group": "everything",
    "sessions/manager.py SessionManager.run: self.roster.all_gone": "everything",
    "sessions/roster.py Roster.all_gone: self._places.changed": "everything",
    "sessions/manager.py SessionManager.drain: self._places.changed": "everything",
    "sessions/manager.py SessionManager.drain: roster.all_gone": "everything",
}
OF_THE_POOL = {
    "sessions/manager.py SessionManager.open_ahead: self._begin": "a place, and a process that is starting",
    "sessions/path.py ChildPath.prove: self._answered.wait": "a session that is nobody's",
    "sessions/session.py Session.prove_child: self.path.prove": "a session that is nobody's",
}
"""See `test_pool.py`."""
AROUND = {"sessions/owners.py start_owner.run: own"}
"""Around `SessionOwner.own`, which is struck itself."""
NOTHING = {
    "sessions/manager.py SessionManager.open: self.admission.to_proved",
    "sessions/admission.py Admission.to_proved: self._places.changed",
    "sessions/expiry.py check_for_ever: roster.somebody",
    "sessions/expiry.py check_for_ever: anyio.sleep",
    "sessions/roster.py Roster.somebody: self._grown.wait",
}
"""A claim, see `tests/sessions/warm`; and a timer: what it would do next, it does in the next round."""
NEVER_FAILS = {
    "sessions/intake.py Intake._wait_for_place: self._places.acquire",
    "edge/session_responses.py SessionResponses.stream: send_stream",
    "edge/endpoint.py LegacyEndpoint.get: self._responses.stream",
    "edge/sse.py send_stream: response",
}
"""A semaphore and a task group: such a wait can be cancelled, but makes no exception of its own."""

MODERN_ONLY = (sys.executable, "-I", "-S", MODERN_PROGRAM, "modern-only")
"""Its sessions live on when it dies: another takes its place."""
SETTINGS = Settings(
    argv=CHILD,
    max_sessions=3,
    max_children=3,
    max_calls_per_child=1,
    place_timeout_seconds=0.02,
    stdin_grace_seconds=0.1,
    stdin_stall_timeout_seconds=0.05,
    slow_reader_timeout_seconds=0.05,
    stream_backlog_bytes=64 * 1024,
    drain_timeout_seconds=6,
)
FILES_OF_A_CHILD = 4


class Scene:
    """A bridge, a session that is interrupted and a neighbour that is not."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.files = open_files()  # without any child
        self.tasks = len(asyncio.all_tasks())
        self.sid = ""
        self.neighbour = ""
        self.told: set[str] = set()  # the sessions that their clients know of
        self.held: asyncio.Task[object] | None = None

    # ---- clients

    async def ask(self, method: str, body: Body = b"", sid: str | None = None, last_event_id: str = "") -> Response:
        """One request, answered."""
        response = self.request(method, body, sid, last_event_id)
        await response.serve(self.bridge.asgi)
        if "mcp-session-id" in response.headers and response.is_complete:
            self.told.add(response.headers["mcp-session-id"])
        return response

    def request(self, method: str, body: Body = b"", sid: str | None = None, last_event_id: str = "") -> Response:
        """One request, in three parts if it is large."""
        named = {"mcp-session-id": self.sid if sid is None else sid, "last-event-id": last_event_id}
        usual = {"accept": ACCEPT, "content-type": "application/json"}
        whole = encode(body)
        size = max(10_000, len(whole) // 3 + 1)
        parts = [whole[start : start + size] for start in range(0, len(whole), size)]
        return Response(method, {**usual, **{k: v for k, v in named.items() if v}}, *(parts or [b""]))

    async def open(self, version: str = "2025-11-25") -> str:
        """A new session; its id."""
        response = await self.ask("POST", hello(version=version), "")
        assert response.status == 200, response.body
        return response.headers["mcp-session-id"]

    @property
    def session(self) -> Session | None:
        return self.bridge.server.manager.roster.published.get(self.sid)

    # ---- what is done, and struck

    async def initialize(self) -> None:
        await self.ask("POST", hello(), "")

    async def call(self) -> None:
        await self.ask("POST", call(1, "echo", token="t", text="hello"))

    async def call_that_becomes_a_stream(self) -> None:
        await self.ask("POST", call(1, "progress", token="t", count=3))

    async def call_with_a_large_body(self) -> None:
        await self.ask("POST", call(1, "echo", text="x" * 600_000))

    async def call_whose_client_leaves(self) -> None:
        response = self.request("POST", call(1, "sleep", seconds=0.1))
        asyncio.get_running_loop().call_later(0.06, response.leave)
        await response.serve(self.bridge.asgi)

    async def call_whose_client_does_not_read(self) -> None:
        await self._read_little(call(1, "blob", size=20_000))

    async def stream_whose_client_does_not_read(self) -> None:
        await self._read_little(call(1, "progress", token="t", count=400))

    async def _read_little(self, body: Body) -> None:
        response = self.request("POST", body)
        response.room_bytes = 16 * 1024  # there is room for so much on the way to the client
        await response.serve(self.bridge.asgi)

    async def stream_whose_server_fails(self) -> None:
        response = self.request("POST", call(1, "progress", token="t", count=3))
        response.fails = True
        await response.serve(self.bridge.asgi)

    async def notify(self) -> None:
        await self.ask("POST", notification("notifications/roots/list_changed"))

    async def batch(self) -> None:
        await self.ask("POST", [call(1, "echo"), notification("notifications/roots/list_changed"), call(2, "echo")])

    async def batch_of_one(self) -> None:
        await self.ask("POST", [call(1, "echo")])

    async def listen(self) -> None:
        response = self.request("GET")
        response.leaves_after_parts = 1
        await response.serve(self.bridge.asgi)

    async def resume(self) -> None:
        await self.ask("GET", last_event_id=self.event_id)

    async def delete(self) -> None:
        await self.ask("DELETE")

    # ---- what is so before

    async def ready(self) -> None:
        """The session is there, whatever has become of the last."""
        if self.session is None:
            self.sid = await self.open()

    async def ready_for_batches(self) -> None:
        if self.session is None:
            self.sid = await self.open("2025-03-26")

    async def ready_to_resume(self) -> None:
        await self.ready()
        response = await self.ask("POST", call(0, "progress", token="t", count=1))
        self.event_id = response.body.partition(b"id: ")[2].partition(b"-")[0].decode() + "-0"
        assert response.headers["content-type"].startswith("text/event-stream")

    async def full(self) -> None:
        """There is no room for a session."""
        while self.bridge.server.manager.admission.has_room:
            self.sid = await self.open()
            assert self.session is not None
            self.session.use()

    async def busy(self) -> None:
        """The child has as many calls as it may."""
        await self.ready()
        self.held = asyncio.get_running_loop().create_task(self.ask("POST", call("held", "hold")))
        await until(lambda: self.session is not None and not self.session.intake.has_place, "a call is held")

    async def childless(self) -> None:
        """The child has died, and another will come."""
        await self.ready()
        assert self.session is not None and self.session.pid is not None
        os.kill(self.session.pid, signal.SIGKILL)
        await until(lambda: self.session is None or not self.session.path.is_ready, "the child is gone")

    async def stuck(self) -> None:
        """The child reads nothing, and much waits for it."""
        await self.ready_for_batches()
        assert (await self.ask("POST", call("stop", "stop-reading"))).status == 200
        assert self.session is not None
        self.session.exchange.link.send(b"x" * 1_000_000)

    # ---- what must be so afterwards

    async def still_there(self) -> None:
        """Nothing is left, the neighbour has not noticed, and the next request is served."""
        if self.held is not None:
            await self.ask("POST", notification("notifications/cancelled", {"requestId": "held"}))
            await self.held
            self.held = None
        await self._until_nothing_remains()
        for sid in (self.neighbour, self.sid if self.session is not None else self.neighbour):
            answer = await self.ask("POST", call(7, "echo", text="hello"), sid)
            assert answer.status == 200 and answer.json["result"], answer.body

    async def ended(self) -> None:
        """The same, and without the session."""
        manager = self.bridge.server.manager
        await until(lambda: not manager.roster.published.keys() - self.told, "every session has a client")
        for sid in [sid for sid in manager.roster.published if sid != self.neighbour]:
            assert (await self.ask("DELETE", sid=sid)).status == 200
        await until(lambda: self.bridge.places.taken == 1, "only the neighbour is left")
        await self.still_there()

    async def _until_nothing_remains(self) -> None:
        try:
            await until(lambda: not self._remains(), "nothing is left")
        except AssertionError as exc:
            exc.add_note(str(self._remains()))
            raise

    def _remains(self) -> list[str]:
        manager, places = self.bridge.server.manager, self.bridge.places
        sessions = manager.roster.published.values()
        found = {
            "sessions that nobody knows": len(manager.roster.published.keys() - self.told),
            "sessions being started": manager.roster.starting + len(manager.roster.unpublished),
            "children of the manager": manager.roster.child_count - len(sessions),
            "places": places._taken - len(sessions),
            "live children": len(places._live) - len(sessions),
            "waiters": len(places._waiters),
            "processes": len(procfs.children(os.getpid())) - len(sessions),
            "descriptors": open_files() - self.files - FILES_OF_A_CHILD * len(sessions),
            "tasks": len(asyncio.all_tasks()) - self.tasks - len(sessions),
            "held requests": len(self.bridge._presence._held),
            "uploads": len(self.bridge._uploads._uploads) + self.bridge._uploads.size_bytes,
            "connections": sum(each._connections for each in sessions),
            "places among the calls": sum(1 - each.intake._places.value for each in sessions),
            "calls": sum(len(each.exchange._calls) + len(each.exchange._child_ids) for each in sessions),
            "tokens": sum(len(each.exchange._by_token) for each in sessions),
            "bytes that wait to be sent": sum(each.intake._waiting_bytes for each in sessions),
            "queued calls": sum(len(each.exchange._queued) for each in sessions),
            "streams of a GET": sum(len(each.exchange.streams._listens) for each in sessions),
        }
        return [f"{count} {what}" for what, count in found.items() if count]


async def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait for what has no event of its own, and is nearly there."""
    try:
        with anyio.fail_after(10):
            while not is_so():  # noqa: ASYNC110 (that is what this is for)
                await anyio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"it never came to this: {what}") from None


@asynccontextmanager
async def scene(argv: tuple[str, ...] = CHILD) -> AsyncIterator[Scene]:
    """A running bridge with a neighbour."""
    await anyio.to_thread.run_sync(open_files)  # what the event loop opens once, it has opened now
    bridge = Bridge(SETTINGS.model_copy(update={"argv": argv}))
    async with bridge.run():
        scene = Scene(bridge)
        scene.neighbour = await scene.open()
        yield scene


SCENARIOS: list[tuple[Callable[[Scene], Any], Callable[[Scene], Any], Callable[[Scene], Any]]] = [
    (Scene.ready, Scene.initialize, Scene.ended),
    (Scene.full, Scene.initialize, Scene.still_there),
    (Scene.ready, Scene.call, Scene.still_there),
    (Scene.ready, Scene.call_that_becomes_a_stream, Scene.still_there),
    (Scene.ready, Scene.call_with_a_large_body, Scene.still_there),
    (Scene.ready, Scene.call_whose_client_leaves, Scene.still_there),
    (Scene.ready, Scene.call_whose_client_does_not_read, Scene.still_there),
    (Scene.ready, Scene.stream_whose_client_does_not_read, Scene.still_there),
    (Scene.ready, Scene.stream_whose_server_fails, Scene.still_there),
    (Scene.ready, Scene.notify, Scene.still_there),
    (Scene.ready, Scene.listen, Scene.still_there),
    (Scene.ready_to_resume, Scene.resume, Scene.still_there),
    (Scene.busy, Scene.call, Scene.still_there),
    (Scene.stuck, Scene.call, Scene.ended),
    (Scene.stuck, Scene.notify, Scene.ended),
    (Scene.stuck, Scene.batch, Scene.ended),
    (Scene.ready_for_batches, Scene.batch, Scene.still_there),
    (Scene.ready_for_batches, Scene.batch_of_one, Scene.still_there),
    (Scene.ready, Scene.delete, Scene.still_there),
]


WITH_ANOTHER_CHILD: list[tuple[Callable[[Scene], Any], Callable[[Scene], Any], Callable[[Scene], Any]]] = [
    (Scene.childless, Scene.call, Scene.ended),
]


@pytest.mark.parametrize("way", ["scope", "task", "os-error"])
async def test_a_request_leaves_nothing_wherever_it_is_interrupted(way: str) -> None:
    seen = await interrupted(way, CHILD, SCENARIOS) | await interrupted(way, MODERN_ONLY, WITH_ANOTHER_CHILD)

    assert HOLDS.keys() - seen == (NEVER_FAILS if way in FAULTS else set())


async def interrupted(way: str, argv: tuple[str, ...], scenarios: list[tuple[Any, Any, Any]]) -> set[str]:
    """Walk these scenarios; returns every await that was on the way to where it has struck."""
    seen: set[str] = set()
    async with scene(argv) as stage:
        for before, scenario, after in scenarios:
            done = await walk(
                partial(scenario, stage),
                way,
                skip=NEVER_FAILS if way in FAULTS else (),
                before_each=partial(before, stage),
                after_each=partial(after, stage),
            )
            if before is Scene.full or before is Scene.ready_to_resume:
                await stage.ended()
            seen |= done.keys
    return seen


@pytest.mark.parametrize("way", sorted(FAULTS))
@pytest.mark.parametrize(("argv", "holds"), [(CHILD, OF_THE_OWNER), (MODERN_ONLY, WHEN_ITS_CHILD_IS_REPLACED)])
async def test_a_session_leaves_nothing_wherever_its_owner_fails(
    argv: tuple[str, ...], holds: dict[str, str], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task that owns it is in a group with those of all others: its exception must not get there."""
    seen = Walk()
    async with scene(argv) as stage:
        own = stage.bridge.server.manager._owner.own

        async def live() -> None:
            sid = (await stage.ask("POST", hello(), "")).headers.get("mcp-session-id")
            if sid is None:
                return
            await stage.ask("POST", call(1, "echo"), sid)
            session = stage.bridge.server.manager.roster.published.get(sid)
            if argv == MODERN_ONLY and session is not None and session.pid is not None:
                os.kill(session.pid, signal.SIGKILL)
                await until(lambda: session.has_ended or not session.path.is_ready, "the child is gone")
                await until(lambda: session.has_ended or session.path.is_ready, "another is there")
            await stage.ask("DELETE", sid=sid)

        owners: list[Interrupted[None]] = []

        async def own_and_fail(*, task_status: TaskStatus[Session], **how: bool) -> None:
            strike = partial(WAYS[way], anyio.CancelScope())
            owners.append(Interrupted(own(task_status=task_status, **how), at=place, nth=nth, strike=strike))
            await owners[-1]

        monkeypatch.setattr(stage.bridge.server.manager._owner, "own", own_and_fail)
        for place, nth in seen:
            with told(way, place, nth), anyio.fail_after(20):
                await live()
                await stage.ended()
            seen.note(owners[-1])

    assert holds.keys() - seen.keys == set()

"""A client of 2026-07-28 may leave wherever its request waits: nothing of it is left.

Each scenario is one request, run again and again and cancelled at each place where it waits, as when its client has
left. Afterwards no place, turn, question, call or process is taken that was
free before, and a state that was not used is good for another retry.
"""

import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from proxy.errors import SessionEnded, TooManyCalls
from proxy.protocol.envelope import ModernRequest
from proxy.sessions.era import ServerEra
from proxy.sessions.modern.call import Principal
from proxy.sessions.modern.child import SharedChild
from tests.sessions.modern.servings import ANN, STRANGER, Served, answer_of, serving
from tests.support.interrupt import awaits_in, walk
from tests.support.mcp import until
from tests.support.modern import PREFIX
from tests.support.parsed import a_call, a_request

HOLDS = {
    "child.py SharedChild.take_place: self._places.acquire": "a place on the child, perhaps",
    "child.py SharedChild.take_place: link.sent": "a place on the child",
    "handshake.py shake_hands: settled.wait": "a process that is being told who it serves",
    "opening.py Discovery.finding: self._question.answer": "a process that was asked what it speaks",
    "opening.py Question.answer: self._settled.wait": "a question of the bridge",
    "opening.py ask: question.answer": "a question of the bridge",
    "pool.py Pool._back_off: anyio.sleep": "nothing",
    "opener.py Opener.open: discovery.finding": "a process",
    "opener.py Opener.open: self._race": "two processes",
    "opener.py Opener.open: self._shake": "one or two processes",
    "opener.py Opener.open: self._spawn": "a place for a process",
    "opener.py Opener._race: self._shakes_hands": "two processes",
    "opener.py Opener._race: self._spawn": "a process, and a place for another",
    "opener.py Opener._shake: Discovery(child).finding": "a process",
    "opener.py Opener._shake: self._shakes_hands": "a process",
    "opener.py Opener._shake: self._spawn": "a place for a process",
    "opener.py Opener._shakes_hands: shake_hands": "a process",
    "processes.py Processes._begin: start_owner": "a place for a process",
    "processes.py Processes.get: places.changed": "a place in the queue for a process",
    "pool.py Pool._spawn: self._processes.get": "a place for a process",
    "processes.py Processes.get: self._begin": "a place for a process",
    "pool.py Pool._start: self._back_off": "nothing",
    "pool.py Pool._start: self._opener.open": "all processes of one start",
    "joint_starts.py JointStarts.start: asyncio.shield": "nothing: the start has a task of its own",
    "pool.py Pool.own: self._start": "all processes of one start",
    "pool.py Pool.shared: self._changed.wait": "nothing",
    "pool.py Pool.shared: self._joint.start": "nothing",
    "rules.py _learn: ask": "a child, or a turn on it, and a question of the bridge",
    "rules.py _learn_once: _learn": "a child, or a turn on it, and the question of all others",
    "rules.py _learn_once: child.rules_lock": "a child, or a turn on it",
    "rules.py check_call: _learn_once": "a child, or a turn on it",
    "serving.py ModernServing._begin_call: check_call": "a child, or a turn on it",
    "serving.py ModernServing._begin_call: self._send": "a child, or a turn on it",
    "serving.py ModernServing._begin_call: self.pool.own": "nothing yet",
    "serving.py ModernServing._begin_call: self.pool.shared": "nothing yet",
    "serving.py ModernServing._begin_retry: check_call": "the state that is being used up",
    "serving.py ModernServing._begin_retry: self._send": "the state that is being used up",
    "serving.py ModernServing._begin_task: self._send": "nothing",
    "serving.py ModernServing._listen: self.pool.shared": "nothing",
    "serving.py ModernServing._send: child.take_place": "nothing yet",
    "serving.py ModernServing.begin: self._begin_call": "as there",
    "serving.py ModernServing.begin: self._begin_retry": "as there",
    "serving.py ModernServing.begin: self._begin_task": "as there",
    "serving.py ModernServing.begin: self._listen": "as there",
}
OF_THE_SERVER = {
    "ahead.py SharedAhead.prove: Discovery(child).finding": "of the pool of those that are ready: see test_pool.py",
    "ahead.py SharedAhead.prove: answered.wait": "of the same",
    "ahead.py SharedAhead.start: self._start": "of the same",
    "processes.py Processes.begin_ahead: self._begin": "of the same",
    "handshake.py shake_hands: anyio.create_task_group": "its end; struck, but seen only as a wait of its caller",
    "opener.py Opener._race: anyio.create_task_group": "its end; struck, but seen only as a wait of its caller",
    "as_modern.py AsModern.sent: self._port.link.sent": "as `take_place` above it",
    "current_link.py CurrentLink.sent: self._link.sent": "of a session",
    "handshake.py shake_hands.watch: child.ended.wait": "in a task of the handshake",
    "pool.py Pool._check_for_ever: anyio.sleep": "in a task of the pool",
    "pool.py Pool._check_for_ever: self._processes.any_alive": "in a task of the pool",
    "processes.py Processes.any_alive: self._wakes.wait": "in a task of the pool",
    "pool.py Pool.all_gone: self._processes.all_gone": "the end of all",
    "pool.py Pool.run: self._processes.run": "the end of all",
    "opener.py Opener._listen_for_late_answer: discovery.finding": "in a task of the pool",
    "processes.py Processes._own: child.ended.wait": "in a task of the pool",
    "processes.py Processes._own: open_child": "in a task of the pool; see test_children.py",
    "opener.py Opener._race.wait_for_silent: discovery.finding": "in a task of the start",
    "joint_starts.py JointStarts._run: self._start": "in a task of the pool; as `own` does it",
    "processes.py Processes.all_gone: self._places.changed": "the end of all",
    "processes.py Processes.run: anyio.create_task_group": "the end of all",
    "processes.py Processes.run: self.all_gone": "the end of all",
    "serving.py ModernServing.drain: self._places.changed": "the end of all",
    "serving.py ModernServing.drain: self.pool.all_gone": "the end of all",
    "serving.py ModernServing.run: self.pool.run": "the end of all",
}
"""Awaits that no request comes by, or not by this name."""

BOB = Principal("bob", "bob")
ASKED: dict[str, Any] = {"elicitation": {}}
TASKS: dict[str, Any] = {"extensions": {f"{PREFIX}tasks": {}}}

Scenario = Callable[[], Coroutine[Any, Any, object]]


class Scene:
    """A server, what is taken of it throughout, and what must be as it was after each run."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.kept: set[SharedChild] = set()
        self.held_calls = 0

    async def ask(self, request: ModernRequest, principal: Principal = ANN) -> None:
        """One request from its beginning to its answer, as the edge serves it."""
        call = self.served.new_call(request, principal)
        try:
            if not self.served.serving.begin_at_once(call, {}):
                await self.served.serving.begin(call, {})
            if call.request.method != "subscriptions/listen":
                await answer_of(call)
        finally:
            call.abandon()

    async def be_refused(self, request: ModernRequest, principal: Principal = ANN) -> None:
        """One for which there is no room."""
        with pytest.raises(TooManyCalls):
            await self.ask(request, principal)

    async def give_up(self, request: ModernRequest) -> None:
        """One whose client does not wait."""
        with anyio.move_on_after(0.02):
            await self.ask(request)

    async def ask_anew(self, knowing: bool | None = None) -> None:
        """The same of a server of which nothing is known, or something that may be wrong. For a process of its own."""
        vars(self.served.era).update(vars(ServerEra("auto")))
        if knowing is not None:
            self.served.era.learned_modern(knowing, "test")
        self.served.pool._backoff.succeeded()
        await self.ask(a_call(1, "echo", a=1), STRANGER)

    async def ask_after_a_failure(self) -> None:
        """The same with a wait before the start."""
        self.served.pool._backoff.succeeded()
        self.served.pool._backoff.failed()
        await self.ask(a_call(), STRANGER)

    async def go_on(self) -> None:
        """Answer a question of the child; there is no place for that."""
        asking = await self.served.begin(a_call(1, "ask-elicit", capabilities=ASKED, a=1))
        try:
            asked = (await answer_of(asking))["result"]
        finally:
            asking.abandon()
        (key,) = asked["inputRequests"]
        params = {"name": "ask-elicit", "arguments": {"a": 1}, "requestState": asked["requestState"]}
        params["inputResponses"] = {key: {"action": "decline"}}
        held = await self.served.begin(a_call(1, "hold"))
        held.child.rules = None
        try:
            await self.be_refused(a_request(2, "tools/call", params, capabilities=ASKED))
        finally:
            held.abandon()
            assert len(self.served.serving.continuations) == 1, "the state is used up, and nothing was sent"

    def keep(self, *children: SharedChild) -> None:
        """These, and the calls that are open now, are there throughout."""
        self.kept = set(children)
        self.free = {child: child._places.value for child in children}
        self.held_calls = self.served.serving.calls_in_flight

    async def check(self) -> None:
        """Raises if anything is left."""
        self.served.serving.continuations.expire(float("inf"))
        await until(self._is_at_rest, "nothing is left")

    async def _is_at_rest(self) -> bool:
        served, pool = self.served, self.served.pool
        for child in pool.children - self.kept:
            if child.is_ready and not child.is_busy:
                child.end("not needed", SessionEnded())
        return (
            pool.children == self.kept
            and served.places.taken == len(self.kept)
            and served.serving.calls_in_flight == self.held_calls
            and all(child._places.value == free for child, free in self.free.items())
            and served.serving.report()["listens"] == len(served.serving.continuations) == 0
            and not pool._joint._going_on
            and not served.places.house._waiters
        )


@asynccontextmanager
async def empty(tmp_path: Path, modes: str = "dual", **limits: Any) -> AsyncIterator[Scene]:
    """A server that has not been started."""
    async with serving(tmp_path, modes, **limits) as served:
        scene = Scene(served)
        scene.keep()
        yield scene


@asynccontextmanager
async def one_place(tmp_path: Path) -> AsyncIterator[Scene]:
    """A child with a place for one call, which is free."""
    async with serving(tmp_path, max_calls_per_child=1, place_timeout_seconds=0.02) as served:
        scene = Scene(served)
        scene.keep(await served.pool.shared("everybody", a_call()))
        yield scene


@asynccontextmanager
async def no_place(tmp_path: Path) -> AsyncIterator[Scene]:
    """The same, and a call holds it. There is a task."""
    async with one_place(tmp_path) as scene:
        await scene.served.answer(a_call(1, "task", capabilities=TASKS))
        held = await scene.served.begin(a_call(1, "hold"))
        scene.keep(held.child)
        yield scene
        held.abandon()


@asynccontextmanager
async def no_reader(tmp_path: Path) -> AsyncIterator[Scene]:
    """A child that does not read its stdin."""
    async with serving(tmp_path, stream_backlog_bytes=1024, stdin_stall_timeout_seconds=60.0) as served:
        scene = Scene(served)
        child = await served.pool.shared("everybody", a_call())
        assert child.pid is not None
        os.kill(child.pid, signal.SIGSTOP)
        held = await served.begin(a_call(1, "hold", text="x" * 1_000_000))
        scene.keep(child)
        yield scene
        os.kill(child.pid, signal.SIGCONT)
        held.abandon()


@asynccontextmanager
async def no_listing(tmp_path: Path) -> AsyncIterator[Scene]:
    """A child that somebody else is asking for its tools."""
    async with serving(tmp_path) as served:
        scene = Scene(served)
        child = await served.pool.shared("everybody", a_call())
        scene.keep(child)
        async with child.rules_lock:
            yield scene


@asynccontextmanager
async def no_turn(tmp_path: Path) -> AsyncIterator[Scene]:
    """A child that gives turns, and a call that has the turn."""
    async with serving(tmp_path, "legacy-only", lease_wait_seconds=0.02) as served:
        scene = Scene(served)
        held = await served.begin(a_call(1, "hold", capabilities=ASKED))
        scene.keep(held.child)
        yield scene
        held.abandon()


@asynccontextmanager
async def no_room(tmp_path: Path) -> AsyncIterator[Scene]:
    """There may be one process, and it is busy."""
    async with serving(tmp_path, max_children=1, place_timeout_seconds=0.02) as served:
        scene = Scene(served)
        held = await served.begin(a_call(1, "hold"), BOB)
        scene.keep(held.child)
        yield scene
        held.abandon()


LISTEN = a_request(1, "subscriptions/listen", {"notifications": {"toolsListChanged": True}})

SCENES: dict[str, tuple[Callable[[Path], AbstractAsyncContextManager[Scene]], Callable[[Scene], Scenario]]] = {
    "a server of both eras": (empty, lambda scene: scene.ask_anew),
    "one that shakes hands": (partial(empty, modes="legacy-only"), lambda scene: scene.ask_anew),
    "one that exits when asked": (partial(empty, modes="legacy-exits"), lambda scene: scene.ask_anew),
    "one that is silent": (
        partial(empty, modes="legacy-silent", probe_timeout_seconds=0.02, start_timeout_seconds=0.5),
        lambda scene: scene.ask_anew,
    ),
    "one that is misjudged": (
        partial(empty, modes="modern-only"),
        lambda scene: partial(scene.ask_anew, knowing=False),
    ),
    "a start after a failure": (empty, lambda scene: scene.ask_after_a_failure),
    "a shared start": (empty, lambda scene: partial(scene.ask, a_call(1, "echo", a=1))),
    "a listen": (empty, lambda scene: partial(scene.ask, LISTEN)),
    "a retry": (one_place, lambda scene: scene.go_on),
    "a call without a place": (no_place, lambda scene: partial(scene.be_refused, a_call())),
    "a task without a place": (no_place, lambda scene: partial(scene.be_refused, task_of(scene))),
    "a call to a child that does not read": (no_reader, lambda scene: partial(scene.give_up, a_call())),
    "a call while the tools are listed": (
        no_listing,
        lambda scene: partial(scene.give_up, a_call(1, "echo", a=1)),
    ),
    "a call without a turn": (no_turn, lambda scene: partial(scene.ask, a_call(1, capabilities=ASKED))),
    "a call without room": (no_room, lambda scene: partial(scene.be_refused, a_call(), STRANGER)),
}


def task_of(scene: Scene) -> ModernRequest:
    (_, task_id) = next(iter(scene.served.serving.tasks._tasks))
    return a_request(1, "tasks/get", {"taskId": task_id}, capabilities=TASKS)


async def walk_through(tmp_path: Path, way: str, *names: str) -> set[str]:
    """Strike everywhere in these scenes; the awaits that were on the way."""
    seen: set[str] = set()
    for name in names:
        setting, scenario = SCENES[name]
        folder = tmp_path / name
        folder.mkdir()
        async with setting(folder) as scene:
            done = await walk(scenario(scene), way, after_each=scene.check)
        assert done.struck, name
        seen |= done.keys
    return seen


async def test_a_request_leaves_nothing_wherever_its_client_leaves(tmp_path: Path) -> None:
    seen = await walk_through(tmp_path, "scope", *SCENES)

    assert awaits_in("sessions/modern") == {f"sessions/modern/{key}" for key in {**HOLDS, **OF_THE_SERVER}}
    assert {f"sessions/modern/{key}" for key in HOLDS} - seen == set()


async def test_nor_where_its_task_is_cancelled_by_a_host(tmp_path: Path) -> None:
    await walk_through(
        tmp_path, "task", "a server of both eras", "one that is silent", "a retry", "a call without a turn"
    )

"""What a request without a session holds is free again when what it waits for fails.

Requests are handed to a real bridge, whose children shake hands, and struck at each place where they wait, as are the
tasks that own a child and that start one for others. `test_modern.py` has clients that leave, and lists every await.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest

from proxy import Bridge, Settings
from proxy.child import procfs
from proxy.errors import SessionEnded
from proxy.sessions.modern.pool import Pool
from tests.e2e.serving import CHILD
from tests.interruption.test_sessions import FILES_OF_A_CHILD, until
from tests.support.asgi import Response
from tests.support.children import open_files
from tests.support.interrupt import FAULTS, WAYS, Interrupted, Walk, told, walk
from tests.support.mcp import encode
from tests.support.modern import ALL, headers_of, modern, tool

OF_THE_OWNER = {
    "sessions/modern/processes.py Processes._own: open_child": "the child, and its place",
    "sessions/modern/processes.py Processes._own: child.ended.wait": "the child, and its place",
}
OF_A_START = {"sessions/modern/joint_starts.py JointStarts._run: self._start": "the clients that wait for it"}
NEVER_FAILS = {
    "sessions/modern/child.py SharedChild.take_place: self._places.acquire",
    "edge/lone_responses.py LoneResponses.answers: send_stream",
}
"""A semaphore and a task group: such a wait can be cancelled, but makes no exception of its own."""

SETTINGS: dict[str, Any] = {
    "argv": CHILD,
    "max_children": 2,
    "max_calls_per_child": 1,
    "place_timeout_seconds": 0.02,
    "lease_wait_seconds": 0.02,
    "stdin_grace_seconds": 0.1,
    "stdin_stall_timeout_seconds": 0.05,
    "slow_reader_timeout_seconds": 0.05,
    "stream_backlog_bytes": 64 * 1024,
}


class Scene:
    """A bridge and its clients, who all share a child, or none."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.pool: Pool = bridge.server.modern.pool
        self.files = open_files()
        self.tasks = len(asyncio.all_tasks())
        self.held: list[tuple[Response, asyncio.Task[None]]] = []

    def request(self, message: dict[str, Any]) -> Response:
        body = encode(message)
        return Response("POST", headers_of(message), body)

    async def ask(self, message: dict[str, Any]) -> Response:
        response = self.request(message)
        await response.serve(self.bridge.asgi)
        return response

    # ---- what is done, and struck

    async def call(self) -> None:
        await self.ask(tool(1, "echo", text="hello"))

    async def call_whose_client_does_not_read(self) -> None:
        response = self.request(tool(1, "progress", meta={"progressToken": "t"}, count=400))
        response.room_bytes = 16 * 1024
        await response.serve(self.bridge.asgi)

    async def stream_whose_server_fails(self) -> None:
        response = self.request(tool(1, "progress", meta={"progressToken": "t"}, count=3))
        response.fails = True
        await response.serve(self.bridge.asgi)

    async def call_whose_client_leaves(self) -> None:
        response = self.request(tool(1, "hold"))
        asyncio.get_running_loop().call_later(0.06, response.leave)
        await response.serve(self.bridge.asgi)

    async def call_that_may_ask(self) -> None:
        await self.ask(tool(1, "echo", capabilities=ALL, text="hello"))

    async def listen(self) -> None:
        response = self.request(modern(1, "subscriptions/listen", {"notifications": {"toolsListChanged": True}}))
        response.leaves_after_parts = 1
        await response.serve(self.bridge.asgi)

    # ---- what is so before

    async def cold(self) -> None:
        """No child lives, and which era they speak is not known."""
        self.pool._era._modern = self.pool._era._legacy = None

    async def warm(self) -> None:
        """A child is ready."""
        response = await self.ask(tool(0, "echo"))
        assert response.status == 200, response.body

    async def taken(self) -> None:
        """It is another's turn."""
        assert (await self.ask(tool(0, "echo", capabilities=ALL))).status == 200
        await self._hold(tool("held", "hold", capabilities=ALL))

    async def crowded(self) -> None:
        """There is no room for a child."""
        for number in range(2):
            await self._hold(tool(f"held {number}", "hold"))

    async def _hold(self, message: dict[str, Any]) -> None:
        held = self.request(message)
        self.held.append((held, asyncio.get_running_loop().create_task(held.serve(self.bridge.asgi))))
        await until(lambda: self.bridge.server.modern.calls_in_flight == len(self.held), "a call is held")

    async def stuck(self) -> None:
        """It reads nothing, and much waits for it."""
        await self.warm()
        assert (await self.ask(tool("stop", "stop-reading"))).status == 200
        (child,) = self.pool.children
        child.mux.link.send(b'{"jsonrpc":"2.0","method":"x","params":{"x":"' + b"x" * 1_000_000 + b'"}}')

    # ---- what must be so afterwards

    async def still_there(self) -> None:
        """Nothing is left, and the next request is served."""
        await self._until_nothing_remains()
        await self.warm()

    async def ended(self) -> None:
        """The same, and without any child."""
        while self.held:
            response, task = self.held.pop()
            response.leave()
            await task
        await self._until_nothing_remains()
        for child in list(self.pool.children):
            child.end("test", SessionEnded())
        await until(lambda: self.bridge.places.taken == 0, "no child is left")
        await self._until_nothing_remains()

    async def _until_nothing_remains(self) -> None:
        try:
            await until(lambda: not self._remains(), "nothing is left")
        except AssertionError as exc:
            exc.add_note(str(self._remains()))
            raise

    def _remains(self) -> list[str]:
        pool, places = self.pool, self.bridge.places
        children = pool.children
        found = {
            "starts": len(pool._joint._going_on),
            "owners": pool._processes._running - len(children),
            "children not ready": sum(not child.is_ready for child in children),
            "children of nobody": sum(child.group is None for child in children),
            "places": places.taken - len(children),
            "live children": len(places._live) - len(children),
            "waiters": len(places._waiters),
            "processes": len(procfs.children(os.getpid())) - len(children),
            "descriptors": open_files() - self.files - FILES_OF_A_CHILD * len(children),
            "tasks": len(asyncio.all_tasks()) - self.tasks - len(children),
            "held requests": len(self.bridge._presence._held),
            "turns": sum(child._is_leased for child in children),
            "places among the calls": sum(1 - child._places.value for child in children),
            "calls": sum(len(child.mux._calls) for child in children),
            "listens": sum(child.mux.listen_count for child in children),
            "holds": sum(child.holds for child in children),
        }
        return [f"{count} {what}" for what, count in found.items() if count]


@asynccontextmanager
async def scene(isolation: str = "shared") -> AsyncIterator[Scene]:
    await anyio.to_thread.run_sync(open_files)  # what the event loop opens once, it has opened now
    bridge = Bridge(Settings(**SETTINGS, modern_isolation=isolation))
    async with bridge.run():
        yield Scene(bridge)


SHARED: list[tuple[Callable[[Scene], Any], Callable[[Scene], Any], Callable[[Scene], Any]]] = [
    (Scene.cold, Scene.call, Scene.ended),
    (Scene.warm, Scene.call_whose_client_does_not_read, Scene.still_there),
    (Scene.warm, Scene.stream_whose_server_fails, Scene.still_there),
    (Scene.warm, Scene.call_whose_client_leaves, Scene.still_there),
    (Scene.warm, Scene.listen, Scene.ended),
    (Scene.stuck, Scene.call, Scene.ended),
    (Scene.taken, Scene.call_that_may_ask, Scene.ended),
]
ALONE: list[tuple[Callable[[Scene], Any], Callable[[Scene], Any], Callable[[Scene], Any]]] = [
    (Scene.cold, Scene.call, Scene.ended),
    (Scene.crowded, Scene.call, Scene.ended),
]


async def test_a_request_leaves_nothing_wherever_what_it_waits_for_fails() -> None:
    places = 0
    for isolation, scenarios in (("shared", SHARED), ("request", ALONE)):
        async with scene(isolation) as stage:
            for before, scenario, after in scenarios:
                done = await walk(
                    partial(scenario, stage),
                    "os-error",
                    skip=NEVER_FAILS,
                    before_each=partial(before, stage),
                    after_each=partial(after, stage),
                )
                places += len(done.struck)

    assert places > 15


@pytest.mark.parametrize("way", sorted(FAULTS))
@pytest.mark.parametrize(
    ("owner", "method", "holds"), [("_processes", "_own", OF_THE_OWNER), ("_joint", "_run", OF_A_START)]
)
async def test_a_child_leaves_nothing_wherever_its_owner_or_its_start_fails(
    owner: str, method: str, holds: dict[str, str], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in a group with those of all others: their exceptions must not get there."""
    seen = Walk()
    async with scene() as stage:
        runs: list[Interrupted[None]] = []
        owning = getattr(stage.pool, owner)
        original = getattr(owning, method)

        async def run_and_fail(*args: Any, **kwargs: Any) -> None:
            strike = partial(WAYS[way], anyio.CancelScope())
            first = not runs
            runs.append(Interrupted(original(*args, **kwargs), at=place, nth=nth if first else 0, strike=strike))
            await runs[-1]

        monkeypatch.setattr(owning, method, run_and_fail)
        for place, nth in seen:
            runs.clear()
            with told(way, place, nth), anyio.fail_after(20):
                await stage.call()
                await stage.ended()
                stage.pool._backoff.succeeded()
            seen.note(runs[0])

    assert holds.keys() - seen.keys == set()

"""Clients that come, give up and go, children that die and get too old, servers that are replaced: at random, with real
processes. What must be so is looked at after every step, and all the time in between.
"""

import asyncio
import os
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import anyio
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.child.procfs import children
from proxy.errors import ProxyError
from proxy.sessions import backoff
from proxy.sessions.places import Places
from proxy.sessions.session import Session
from tests.sessions.warm.pools import PATIENCE_SECONDS, Pooled, child, kill, pooled, until
from tests.sessions.warm.pools import initialize as shake_hands
from tests.support.children import open_files

pytestmark = pytest.mark.processes

MAX_CHILDREN = 4
MAX_SESSIONS = 3
SIZES = {"a": 2, "b": 3}
PLACE_SECONDS = 0.3
START_SECONDS = 5.0
ROUNDS_MAX_SECONDS = PLACE_SECONDS + START_SECONDS + PATIENCE_SECONDS

SERVERS = st.sampled_from(sorted(SIZES))
NTH = st.integers(0, 99)
"""One of those that there are just then: what is drawn must not depend on how quickly a process starts."""

T = TypeVar("T")


def one_of(those: Sequence[T], nth: int) -> list[T]:
    return [those[nth % len(those)]] if those else []


class Client:
    """Somebody who wants a session, for so long; then it has one, or was told why not."""

    def __init__(self, server: Pooled) -> None:
        self.server = server
        self.session: Session | None = None
        self.pid = 0
        self.is_waiting = True
        self.scope = anyio.CancelScope()

    async def come(self) -> None:
        """As the edge serves an `initialize`."""
        manager = self.server.manager
        session: Session | None = None
        try:
            with self.scope:
                session = await manager.open()
                self.pid = await shake_hands(session)
                manager.publish(session, "2025-11-25")
                self.session = session
        except (ProxyError, AssertionError):  # refused, or its child has died meanwhile
            pass
        finally:
            self.is_waiting = False
            if session is not None and self.session is None:
                manager.roster.end(session, "not initialized")

    @property
    def is_served(self) -> bool:
        return self.session is not None and not self.session.has_ended


class Stage:
    """Two servers with pools that share the places, and their clients."""

    def __init__(self) -> None:
        self.before = children(os.getpid())
        self.places = Places(max_children=MAX_CHILDREN)
        self.servers: dict[str, Pooled] = {}
        self.clients: list[Client] = []
        self.used: list[int] = []  # every child that has served
        self.most = 0
        self.is_over = anyio.Event()
        self.is_up = anyio.Event()
        self.retired: dict[str, anyio.Event] = {}

    async def run(self) -> None:
        """Its whole life, in one task."""
        async with anyio.create_task_group() as tasks:
            self.tasks = tasks
            for name in SIZES:
                await tasks.start(self._serve, name)
            tasks.start_soon(self._watch)
            self.is_up.set()
            await self.is_over.wait()
            for retired in self.retired.values():
                retired.set()
            await until(lambda: self.places.taken == 0, "every child is gone")
            tasks.cancel_scope.cancel()

    async def _serve(self, name: str, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        retired = self.retired[name] = anyio.Event()
        server = pooled(
            child(),
            size=SIZES[name],
            places=self.places,
            max_age_seconds=1.0,
            max_sessions=MAX_SESSIONS,
            place_timeout_seconds=PLACE_SECONDS,
            start_timeout_seconds=START_SECONDS,
        )
        async with server as self.servers[name]:
            task_status.started()
            await retired.wait()

    async def reload(self, name: str) -> None:
        """A new server takes the place of one whose settings have changed; the old one drains."""
        old, retired = self.servers[name], self.retired[name]
        await self.tasks.start(self._serve, name)

        async def drain() -> None:
            old.pool.close("shutdown")
            await old.manager.drain(0.1)
            retired.set()

        self.tasks.start_soon(drain)

    async def _watch(self) -> None:
        while True:
            self.most = max(self.most, len(self.processes))
            await anyio.sleep(0.002)

    @property
    def processes(self) -> set[int]:
        """The kernel's word, those included that are dead and not reaped."""
        return children(os.getpid()) - self.before

    def come(self, name: str) -> None:
        client = Client(self.servers[name])
        self.clients.append(client)
        self.tasks.start_soon(client.come)

    @property
    def waiting(self) -> list[Client]:
        return [client for client in self.clients if client.is_waiting]

    @property
    def served(self) -> list[Client]:
        return [client for client in self.clients if client.is_served]


class PoolMachine(RuleBasedStateMachine):
    """One event loop, which runs while a rule does, and a little after it."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()

    def do(self, step: Coroutine[Any, Any, None], seconds: float = 0.0) -> None:
        async def and_a_little_more() -> None:
            await step
            await asyncio.sleep(seconds)

        self.runner.run(and_a_little_more())

    @initialize()
    def begin(self) -> None:
        async def begin() -> None:
            await anyio.to_thread.run_sync(open_files)  # what the event loop opens once, it has opened now
            self.files = open_files()
            self.tasks_before = len(asyncio.all_tasks())
            self.stage = Stage()
            self.life = asyncio.get_running_loop().create_task(self.stage.run())
            await self.stage.is_up.wait()

        self.do(begin())

    # ---- what happens

    @rule(server=SERVERS, count=st.integers(1, 4))
    def clients_come(self, server: str, count: int) -> None:
        async def come() -> None:
            for _ in range(count):
                self.stage.come(server)

        self.do(come())

    @rule(nth=NTH)
    def one_gives_up(self, nth: int) -> None:
        async def give_up() -> None:
            for client in one_of(self.stage.waiting, nth):
                client.scope.cancel()

        self.do(give_up())

    @rule(nth=NTH)
    def one_leaves(self, nth: int) -> None:
        async def leave() -> None:
            for client in one_of(self.stage.served, nth):
                assert client.session is not None
                client.server.manager.roster.end(client.session, "deleted by its client")

        self.do(leave())

    @rule(nth=NTH)
    def a_child_dies(self, nth: int) -> None:
        async def die() -> None:
            for pid in one_of(sorted(self.stage.processes), nth):
                kill(pid)

        self.do(die())

    @rule(server=SERVERS)
    def a_server_is_replaced(self, server: str) -> None:
        self.do(self.stage.reload(server))

    @rule(seconds=st.sampled_from([0.0, 0.002, 0.02, 0.1, 0.4]))
    def time_passes(self, seconds: float) -> None:
        self.do(anyio.sleep(seconds))

    @rule()
    def it_becomes_quiet(self) -> None:
        """Whoever waits gets a child, a refusal, or its time is over: then the pools have what there is room for."""

        async def quiet() -> None:
            with anyio.fail_after(ROUNDS_MAX_SECONDS):
                await until(lambda: not self.stage.waiting, "nobody waits any more")
            await until(self._is_full, "the pools are full, as far as there are places")

        self.do(quiet())

    # ---- what must be so

    def _is_full(self) -> bool:
        missing = sum(server.pool.size - server.ready for server in self.stage.servers.values())
        return missing == 0 or not self.stage.places.free

    @invariant()
    def there_are_never_too_many_processes(self) -> None:
        assert len(self.stage.processes) <= MAX_CHILDREN
        assert self.stage.most <= MAX_CHILDREN
        assert len(self.stage.processes) <= self.stage.places.taken <= MAX_CHILDREN

    @invariant()
    def nobody_shares_a_child(self) -> None:
        pids = [client.pid for client in self.stage.clients if client.pid]
        assert len(set(pids)) == len(pids)

    @invariant()
    def nothing_is_more_than_it_may_be(self) -> None:
        for server in self.stage.servers.values():
            assert len(server.pool) <= server.pool.size
            assert server.manager.roster.session_count <= MAX_SESSIONS

    def teardown(self) -> None:
        async def end() -> None:
            self.stage.is_over.set()
            with anyio.fail_after(ROUNDS_MAX_SECONDS):
                await self.life
            assert self.stage.processes == set()
            assert self.stage.places.taken == self.stage.places.wanted == len(self.stage.places.house._waiters) == 0
            assert self.stage.waiting == []
            assert len(asyncio.all_tasks()) == self.tasks_before
            assert open_files() <= self.files

        try:
            if hasattr(self, "life"):
                self.do(end())
        finally:
            self.runner.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed children are failures, after which a server is left alone for a while."""
    monkeypatch.setattr(backoff, "LAST_SECONDS", 0.2)


TestPool = PoolMachine.TestCase
TestPool.settings = settings(
    max_examples=10,
    stateful_step_count=20,
    phases=[Phase.generate],  # what it depends on is not all drawn: a smaller example may well be none
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
TestPool = pytest.mark.usefixtures("impatient")(TestPool)

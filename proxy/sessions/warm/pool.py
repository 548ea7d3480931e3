"""Who has a child ready before a client comes?

The children of a server that are nobody's yet. Those who need one ask here first. It never waits for anything that a
client waits for: an empty pool is a cold start, no more.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import Any

import anyio

from proxy.errors import ProxyError
from proxy.observe import Counts
from proxy.sessions.backoff import Backoff
from proxy.sessions.places import Places
from proxy.sessions.warm.demand import Demand
from proxy.sessions.warm.entry import Entry
from proxy.sessions.warm.kind import Kind
from proxy.sessions.warm.plan import (
    Plan,
    Room,
    Waiting,
    choose,
    choose_for_eviction,
    plan_refill,
    shares,
    worth_waiting_for,
)
from proxy.sessions.warm.proof import Proof

logger = logging.getLogger(__name__)

AGE_SPREAD = 0.1
"""Children that were started together don't get too old together."""


class WarmPool:
    """The children of one server that were started ahead.

    Args:
        size: How many there may be, of all kinds; 0 keeps none.
        max_age_seconds: One that is older is thrown away.
        start_timeout_seconds: How long a child may take for its proof.
        places: Room for processes, which others share.
        counts: How often there was one, and how often not.
        name: The server's, for the log.
    """

    def __init__(
        self,
        *,
        size: int = 0,
        max_age_seconds: float | None = None,
        start_timeout_seconds: float = 60.0,
        places: Places,
        counts: Counts,
        name: str = "",
    ) -> None:
        self.size = size
        self._name = name
        self.has_served = False
        """Whether a child has proved itself, or served a client."""
        self._max_age_seconds = max_age_seconds if max_age_seconds is not None else float("inf")
        self._places = places
        self._counts = counts
        self._kinds: dict[str, Kind[Any]] = {}
        self._entries: list[Entry] = []
        self._numbers = count(1)
        self._demand = Demand(size)
        self._proof = Proof(timeout_seconds=start_timeout_seconds, name=name)
        self._hits = self._misses = 0
        self._is_open = False
        self._tasks: anyio.abc.TaskGroup | None = None
        self._backoff = Backoff(lambda: 0.0)

    def add(self, kind: Kind[Any]) -> None:
        """Keep children of this kind, too. Before `run`."""
        self._kinds[kind.name] = kind
        if kind.is_wanted_at_once:
            self._demand.wanted.append(kind.name)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Keep children ready while the block is open. On the way out all are told to end; their owners wait for it."""
        if not self.size:
            yield
            return
        self._backoff = Backoff(asyncio.get_running_loop().time)
        async with anyio.create_task_group() as tasks:
            self._tasks, self._is_open, self.has_served = tasks, True, False
            self._places.spares.append(self)
            tasks.start_soon(self._refill_for_ever)
            try:
                yield
            finally:
                self.close("stopped")
                self._tasks = None
                self._places.spares.remove(self)
                tasks.cancel_scope.cancel()

    # ---- what is there

    @property
    def is_cold(self) -> bool:
        """Whether some should be ready by now, and none has been yet."""
        return bool(self.size) and not self.has_served and bool(self._demand.wanted)

    def __len__(self) -> int:
        return len(self._entries)

    def report(self) -> dict[str, Any]:
        """What `/health` shows."""
        ready = sum(entry.is_ready for entry in self._entries)
        return {
            "size": self.size,
            "ready": ready,
            "being_proved": len(self._entries) - ready,
            "asks_for_proof": self._proof.is_asked_for,
            "hits": self._hits,
            "misses": self._misses,
        }

    # ---- for those who need one

    @contextmanager
    def claim(self, kind: str) -> Iterator[Callable[[], bool]]:
        """One client who would wait for a child that is still proving itself; if he goes, it is there for the next.

        Gives a function that says whether there is one for him, as for those who came before him.
        """
        try:
            with self._demand.claim(kind) as count_before_him:
                yield lambda: count_before_him() < worth_waiting_for(self._seen(), kind, known=self._known)
        finally:
            self._places.wake()

    def take(
        self, kind: str, *, is_last_chance: bool = False, only_ready: bool = False, has_waited: bool = False
    ) -> Any:
        """A child of this kind for a client that has come; None if there is none that is better than a new one.

        It is the caller's from here on, its place included.

        Args:
            kind: Which.
            is_last_chance: Whether no new one can be started.
            only_ready: Whether one that is still proving itself won't do.
            has_waited: Whether the client has waited for the proof.
        """
        seen = [child for child in self._seen() if child.is_ready or not only_ready]
        number = choose(seen, kind, known=self._known, is_last_chance=is_last_chance)
        entry = next((entry for entry in self._entries if entry.number == number), None)
        if entry is None:
            return None
        self._entries.remove(entry)
        entry.scope.cancel()
        self._demand.wanted.append(kind)
        self._hits += 1
        self._counts.add("pool.hit" if entry.is_ready and not has_waited else "pool.hit_before_proof")
        if entry.is_ready:
            self._backoff.succeeded()
        self._places.wake()
        return entry.child

    def missed(self, kind: str) -> None:
        """Nothing fit, and a child is started for a client."""
        if kind in self._kinds and self.size:
            self._demand.wanted.append(kind)
            self._misses += 1
            self._counts.add("pool.miss")

    def served(self) -> None:
        """A child has answered a client: its server works."""
        if self.size:
            self.has_served = self._proof.has_served_client = True
            self._backoff.succeeded()

    def make_room(self) -> bool:
        """End one child, for somebody needs its place; returns whether there was one."""
        number = choose_for_eviction(self._seen())
        if number is None:
            return False
        self._counts.add("pool.evicted")
        self._drop(number, "evicted: its place is needed")
        return True

    def close(self, reason: str) -> None:
        """Keep none any more."""
        self._is_open = False
        for entry in list(self._entries):
            self._drop(entry.number, reason)

    # ---- keeping it full

    async def _refill_for_ever(self) -> None:
        pause = 0.0
        while self._is_open:
            try:
                plan = self._plan()
                for number in plan.end:
                    self._drop(number, "too old, or another kind is wanted")
                for kind in plan.start:
                    self._begin(kind)
                pause = plan.look_again_seconds
            except Exception:  # in this task group it would end everything
                logger.exception("pool not refilled")
                pause = 1.0
            await self._places.changed(pause)

    @property
    def _known(self) -> dict[str, float]:
        return self._proof.known_seconds(self._kinds)

    def _seen(self) -> list[Waiting]:
        now = asyncio.get_running_loop().time()
        return [entry.seen_at(now) for entry in self._entries]

    def _plan(self) -> Plan:
        now = asyncio.get_running_loop().time()
        places = self._places
        room = Room(
            places=0 if places.wanted else places.free,
            slots=places.slots.free(now),
            clients=self._demand.clients_waiting(self._kinds.values(), now),
            wait_seconds=self._backoff.wait_seconds,
        )
        demand = [name for name in self._demand.wanted if self._kinds[name].can_start]
        return plan_refill(self._seen(), size=self.size, wanted=shares(self.size, demand), known=self._known, room=room)

    def _begin(self, kind: str) -> None:
        assert self._tasks is not None  # this runs in it
        self._demand.is_being_met()
        now = asyncio.get_running_loop().time()
        age = self._max_age_seconds * (1.0 - AGE_SPREAD * random.random())
        entry = Entry(next(self._numbers), self._kinds[kind], now, now + age)
        self._entries.append(entry)
        self._places.slots.take(entry, now)
        self._tasks.start_soon(self._own, entry)

    def _drop(self, number: int, reason: str) -> None:
        """Nobody will get this one."""
        entry = next(entry for entry in self._entries if entry.number == number)
        self._entries.remove(entry)
        entry.scope.cancel()
        entry.end_child(reason)

    async def _own(self, entry: Entry) -> None:
        """One entry, until it is somebody's, dropped, or its child is gone."""
        try:
            with entry.scope:
                await self._start_and_prove(entry)
                if entry.is_ready and entry.child is not None:
                    await entry.child.ended.wait()
        except Exception as exc:
            if not isinstance(exc, ProxyError):
                logger.exception("child not started ahead")
        finally:
            self._places.slots.give_back(entry)
            if entry in self._entries:  # neither taken nor dropped
                self._entries.remove(entry)
                self._backoff.failed(asyncio.get_running_loop().time() - entry.started_at)
                self._log_loss(entry)
                entry.end_child("not proved")
            self._places.wake()

    def _log_loss(self, entry: Entry) -> None:
        """Why it was lost is in the log already."""
        what = (
            "child of the pool is gone; another is started"
            if entry.is_ready
            else "child of the pool did not become ready; clients start their own meanwhile"
        )
        wait = round(self._backoff.wait_seconds, 3)
        more = {"server": self._name, "in_a_row": self._backoff.failures, "next_in_seconds": wait}
        logger.log(logging.INFO if entry.is_ready else logging.WARNING, what, extra=more)

    async def _start_and_prove(self, entry: Entry) -> None:
        if entry not in self._entries:
            return
        if not self._places.has_room:  # since the plan was made
            self._entries.remove(entry)
            return
        kind = entry.kind
        child = entry.child = await kind.start()
        if entry not in self._entries:  # it was dropped in the moment in which its child was there
            entry.end_child("dropped")
            return
        if await self._proof.given_by(kind, child, since=entry.started_at):
            entry.is_ready = self.has_served = True
            kind.judged(child, is_good=True)
            self._places.slots.give_back(entry)
            self._places.wake()

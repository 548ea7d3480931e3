"""Which processes serve clients without sessions, and whose task is each of them?

For one, another is started or taken that was started ahead; it lives until it is ended, and its place is given back.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

from proxy.child.process import Child, open_child
from proxy.child.spec import ChildSpec
from proxy.errors import ChildStartFailed, Draining, SessionEnded, Stopped, TooManyCalls
from proxy.observe import Counts
from proxy.sessions.modern.child import SharedChild
from proxy.sessions.modern.limits import ModernLimits
from proxy.sessions.owners import start_owner
from proxy.sessions.places import Places

logger = logging.getLogger(__name__)

EVICTABLE_AFTER_SECONDS = 5.0
"""An idle process makes room for somebody else's once it has been idle for so long."""


class Processes:
    """All processes of one server that serve clients without sessions, or are about to.

    Args:
        spec: How to start one.
        limits: Bounds of each.
        counts: What an operator may see.
        places: Room for them, which others share.
        on_ended: Told of each that serves nothing new, before its clients are.
        on_changed: Called when somebody who waits for one may be next.
    """

    def __init__(
        self,
        *,
        spec: ChildSpec,
        limits: ModernLimits,
        counts: Counts,
        places: Places,
        on_ended: Callable[[SharedChild], None],
        on_changed: Callable[[], None],
    ) -> None:
        self._spec = spec
        self._limits = limits
        self._counts = counts
        self._places = places
        self._on_ended = on_ended
        self._on_changed = on_changed
        self._tasks: TaskGroup | None = None
        self._running = 0  # tasks that own a process
        self._wakes = anyio.Event()
        self.alive: set[SharedChild] = set()
        """Those that have begun and serve, or will."""
        self.is_ending = False
        """Whether no new ones begin."""
        self.cut = 0
        """What an end could not end in peace."""

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Own every process. On the way out all end, each with its ladder, shielded and bounded."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            self.is_ending = False
            self.cut = 0
            self._places.evictors.append(self._evict)
            try:
                yield
            finally:
                self._tasks = None
                self._places.evictors.remove(self._evict)
                self.end_all("stopped")
                with anyio.CancelScope(shield=True):
                    await self.all_gone()
                tasks.cancel_scope.cancel()

    @property
    def is_running(self) -> bool:
        """Whether processes have an owner."""
        return self._tasks is not None

    @property
    def can_start(self) -> bool:
        """Whether new ones begin."""
        return self._tasks is not None and not self.is_ending

    def start_soon(self, go_on: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        """Run something for as long as processes have an owner, who has been found here."""
        assert self._tasks is not None  # the caller has looked
        self._tasks.start_soon(go_on, *args)

    async def any_alive(self) -> None:
        """Wait until there is a process."""
        if not self.alive:
            self._wakes = anyio.Event()
            await self._wakes.wait()

    # ---- beginning

    async def get(
        self,
        group: str | None,
        started: list[SharedChild],
        *,
        take: Callable[[], SharedChild | None] = lambda: None,
        on_missed: Callable[[], None] = lambda: None,
    ) -> SharedChild:
        """A process that has said nothing yet, or one that was started ahead. Waits for a place.

        Args:
            group: Whose it will be.
            started: It is added to these.
            take: Finds one that was started ahead.
            on_missed: Called if it has found none, and one is started.

        Raises:
            Draining: If no new ones begin.
            TooManyCalls: If no place became free within `place_timeout_seconds`.
            ChildStartFailed, OutOfResources: If it can't be started.
        """
        taken: SharedChild | None = None
        places = self._places
        with places.wish() as wish, anyio.move_on_after(self._limits.place_timeout_seconds) as waited:
            while not self.is_ending:
                taken = take()
                if taken is not None or places.has_room:
                    break
                if not wish.make_room():
                    places.make_room()
                await places.changed(1.0)
        if taken is not None:
            started.append(taken)
            return taken
        if not self.can_start:
            raise Draining
        if waited.cancelled_caught:
            self._counts.add("refused.too_many_children")
            raise TooManyCalls("Too many processes; try again later")
        on_missed()
        return await self._begin(group, started)

    async def begin_ahead(self) -> SharedChild:
        """Start one that is nobody's yet, on a place that there is. Whoever gets it ends it, or has it taken.

        Raises as `get`, but for want of a place.
        """
        if not self.can_start:
            raise Draining
        return await self._begin(None, [], is_ahead=True)

    async def _begin(self, group: str | None, started: list[SharedChild], *, is_ahead: bool = False) -> SharedChild:
        assert self._tasks is not None  # the caller has looked
        self._places.take()
        self._running += 1
        child = SharedChild(group, limits=self._limits, counts=self._counts)
        child.is_ahead = is_ahead
        child.on_freed = self._on_changed
        child.on_ended = partial(self._ended, child)
        started.append(child)
        # From here on `_own` gives the place back, whatever happens to the caller.
        await start_owner(self._tasks, partial(self._own, child), undo=self._never_begun)
        if self.is_ending:  # its start took longer than the drain
            raise Draining
        return child

    def _never_begun(self) -> None:
        self._running -= 1
        self._places.give_back()

    async def _own(self, child: SharedChild, *, task_status: TaskStatus[None]) -> None:
        """Own one process from spawn to reaped child."""
        process: Child | None = None
        try:
            async with open_child(
                self._spec,
                on_lines=child.received,
                on_gone=child.gone,
                finder=self._places.finder,
                watch=self._places.watch,
                turns=self._places.turns,
            ) as process:
                self._places.started(process)
                child.attach(process)
                self.alive.add(child)
                self._wakes.set()
                task_status.started()
                if self.is_ending:
                    child.end("shutdown", Draining())
                await child.ended.wait()
            self.cut += process.was_killed and self.is_ending
        except Exception:
            if process is None:
                raise  # to the caller of `_begin`
            logger.exception("shared child ended badly", extra={"child": child.tag, "pid": child.pid})
        finally:
            child.end("not started", ChildStartFailed())
            self.alive.discard(child)  # if it had ended before it was one of them
            if process is not None:
                self._places.ended(process)
            self._running -= 1
            self._places.give_back()
            self._on_changed()

    # ---- ending

    def _ended(self, child: SharedChild) -> None:
        self.alive.discard(child)
        self._on_ended(child)

    def _evict(self) -> bool:
        """End the process that has been idle for the longest."""
        now = asyncio.get_running_loop().time()
        idle = [
            child
            for child in self.alive
            if child.is_ready and not child.is_busy and now - child.idle_since > EVICTABLE_AFTER_SECONDS
        ]
        if not idle or self._running > len(self.alive):  # or one is ending already
            return False
        self._counts.add("evicted.idle_child")
        min(idle, key=lambda child: child.idle_since).end("evicted: idle", SessionEnded())
        return True

    def end_all(self, reason: str) -> None:
        """End every process; a call that one may have carried out is not to be tried again by itself."""
        self.is_ending = True
        for child in list(self.alive):
            calls = child.mux.calls_in_flight
            if calls:
                logger.warning("open calls cut off", extra={"child": child.tag, "calls": calls, "reason": reason})
            self.cut += calls
            try:
                child.end(reason, Stopped() if child.is_ready else Draining())
            except Exception:  # of one child: the others must end all the same
                logger.exception("shared child ended badly", extra={"child": child.tag, "pid": child.pid})
        self._on_changed()

    async def all_gone(self) -> None:
        """Wait until no process is left."""
        while self._running:
            await self._places.changed(1.0)

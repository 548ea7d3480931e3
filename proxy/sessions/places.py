"""Is there room for one more process?"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import anyio

from proxy.child.memory import MemoryWatch
from proxy.child.process import Child
from proxy.child.strays import StrayFinder
from proxy.child.turns import Turns
from proxy.child.watch import NoWatch, ProcessWatch
from proxy.observe import Counts
from proxy.sessions.warm.slots import Slots

logger = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 1.0
"""One who waits has one process end for him; when that was in vain, because somebody was quicker, another."""


class Spares(Protocol):
    """Processes that are nobody's yet."""

    def make_room(self) -> bool:
        """End one of them; returns whether there was one."""

    def __len__(self) -> int:
        """How many there are."""


class Places:
    """The child processes of a bridge, those included that are being ended, and those who wait for room for one.

    Args:
        max_children: Processes at once.
        counts: What an operator may see.
    """

    def __init__(self, *, max_children: int, counts: Counts | None = None) -> None:
        self._max_children = max_children
        self._taken = 0
        self._live: set[Child] = set()
        self._waiters: list[asyncio.Future[None]] = []
        self.finder = StrayFinder()
        """Finds what has left the groups of those that end; shared, so that one look serves all."""
        self.watch: ProcessWatch = NoWatch()
        """Who else is told of every process; set before the first."""
        self.turns = Turns()
        """Keeps those that flood from holding up the others."""
        self.memory = MemoryWatch(counts or Counts())
        """Ends those that take too much; somebody has to run it."""
        self.evictors: list[Callable[[], bool]] = []
        """Each ends one process that could go, and says whether there was one."""
        self.spares: list[Spares] = []
        """What goes before any of these."""
        self.slots = Slots()
        """For processes that are started before somebody needs them."""
        self._wanted = 0  # by those who have asked for room and still wait

    @property
    def taken(self) -> int:
        """Processes, those being started or ended included."""
        return self._taken

    @property
    def free(self) -> int:
        """How many more could start at once."""
        return max(0, self._max_children - self._taken)

    @property
    def has_room(self) -> bool:
        """Whether one more could start at once."""
        return self._taken < self._max_children

    @property
    def has_spare(self) -> bool:
        """Whether there is a process that is nobody's yet."""
        return any(len(spares) for spares in self.spares)

    @property
    def wanted(self) -> int:
        """How many wait for a place."""
        return self._wanted

    def make_room(self) -> None:
        """Ask those who have children to end one that nobody needs just now."""
        for evict in self.evictors:
            if evict():
                return

    @contextmanager
    def wish(self) -> Iterator[Callable[[], bool]]:
        """One who may have to wait for a place.

        Gives a function that has a process end that is nobody's yet, again only after `ASK_AGAIN_SECONDS`. It says
        whether one ends for this wish. Who has called it is one of those who want a place, until the block ends.
        """
        asked_at: float | None = None
        is_granted = False
        clock = asyncio.get_running_loop().time

        def make_room() -> bool:
            nonlocal asked_at, is_granted
            if asked_at is None:
                self._wanted += 1
            if asked_at is None or clock() - asked_at >= ASK_AGAIN_SECONDS:
                asked_at = clock()
                is_granted = any(spares.make_room() for spares in self.spares)
            return is_granted

        try:
            yield make_room
        finally:
            if asked_at is not None:
                self._wanted -= 1
                self.wake()

    def take(self) -> None:
        """Take a place, which there is. Whoever takes it gives it back."""
        self._taken += 1

    def give_back(self) -> None:
        """The process is gone, or never was."""
        self._taken -= 1
        self.wake()

    def started(self, child: Child) -> None:
        """A process lives on one of the places."""
        self._live.add(child)
        self.memory.started(child)

    def ended(self, child: Child) -> None:
        """It is gone; its place is given back apart from this."""
        self._live.discard(child)
        self.memory.ended(child)

    def pids(self) -> set[int]:
        """The process ids of the children, as far as they are known."""
        return {child.pid for child in self._live}

    def kill_all(self) -> None:
        """SIGKILL every child and its group at once: whoever asks does not want to wait for the ladder."""
        for child in self._live:
            try:
                child.kill()
            except Exception:  # of one child: the others must go all the same
                logger.exception("child not killed", extra={"pid": child.pid})

    def wake(self) -> None:
        """Something has changed for those who wait."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self, seconds: float) -> None:
        """Wait until something has changed, at most so long."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        try:
            with anyio.move_on_after(seconds):
                await future
        finally:
            self._waiters.remove(future)

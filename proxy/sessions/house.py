"""Which processes does a bridge have, and which of its servers may start the next one?"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
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

KEPT_PART = 8
"""One part of so many of all places is kept for servers that have fewer than their even share of it."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one server has.

    Attributes:
        taken: Processes.
        limit: How many it may have.
        wanted: How many of its clients wait for a place, and could have one by its limit.
    """

    taken: int
    limit: int
    wanted: int = 0


def sure_places(total: int, servers: int) -> int:
    """How many places each server is sure to get: at least one where there are two for each."""
    share = total // (KEPT_PART * servers)
    return share or int(total >= 2 * servers)


def free_places(own: Holding, others: Sequence[Holding], *, total: int, taken: int) -> int:
    """How many more processes a server may start. What others are sure to get is left for them."""
    sure = sure_places(total, 1 + len(others)) if others else 0
    kept = sum(max(0, min(sure, other.limit) - other.taken) for other in others)
    return max(0, min(own.limit - own.taken, total - taken - kept))


def has_turn(own: Holding, others: Sequence[Holding]) -> bool:
    """Whether no other server has a better claim to the next place: one that waits, and has fewer processes."""
    return not any(other.wanted and other.taken < own.taken for other in others)


class Tenant(Protocol):
    """One server's part of the house."""

    @property
    def holding(self) -> Holding:
        """What it has."""

    def end_spare(self) -> bool:
        """End one of its processes that is nobody's yet; returns whether there was one."""

    def end_idle(self) -> bool:
        """End one of its processes that nobody needs just now; returns whether there was one."""

    @property
    def spare_count(self) -> int:
        """How many of its processes are nobody's yet."""


class House:
    """The child processes of a bridge, those included that are being ended, and those who wait for room for one.

    Args:
        max_children: Processes at once.
        counts: What an operator may see.
    """

    def __init__(self, *, max_children: int, counts: Counts | None = None) -> None:
        self.max_children = max_children
        self.tenants: list[Tenant] = []
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
        self.slots = Slots()
        """For processes that are started before somebody needs them."""

    @property
    def taken(self) -> int:
        """Processes, those being started or ended included."""
        return self._taken

    def take(self) -> None:
        """Take a place, which there is. Whoever takes it gives it back."""
        self._taken += 1

    def give_back(self) -> None:
        """The process is gone, or never was."""
        self._taken -= 1
        self.wake()

    # ---- who may have the next one

    def others(self, tenant: Tenant) -> list[Holding]:
        """What the other servers have."""
        return [each.holding for each in self.tenants if each is not tenant]

    def free(self, tenant: Tenant) -> int:
        """How many more processes this server may start."""
        return free_places(tenant.holding, self.others(tenant), total=self.max_children, taken=self._taken)

    def has_room(self, tenant: Tenant) -> bool:
        """Whether this server may start a process now."""
        return self.free(tenant) > 0 and has_turn(tenant.holding, self.others(tenant))

    def has_spare(self, tenant: Tenant) -> bool:
        """Whether there is a process that is nobody's yet and could end for this server."""
        return any(each.spare_count for each in self._that_can_give(tenant))

    def end_spare(self, tenant: Tenant) -> bool:
        """End a process that is nobody's yet, for this server; returns whether there was one."""
        return any(each.end_spare() for each in self._that_can_give(tenant))

    def end_idle(self, tenant: Tenant) -> bool:
        """End a process that nobody needs just now, for this server; returns whether there was one."""
        return any(each.end_idle() for each in self._that_can_give(tenant))

    def _that_can_give(self, tenant: Tenant) -> list[Tenant]:
        """Who has a place that would be of use to this server: itself first, then those with the most."""
        own = tenant.holding
        if own.taken >= own.limit:
            return [tenant]
        sure = sure_places(self.max_children, max(1, len(self.tenants)))
        others = [each for each in self.tenants if each is not tenant and each.holding.taken > sure]
        return [tenant, *sorted(others, key=lambda each: each.holding.taken, reverse=True)]

    # ---- the processes

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

    # ---- those who wait

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

"""Which processes does a bridge have, and which of its servers may start the next one?"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
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


@dataclass(frozen=True, slots=True)
class Claims:
    """What all servers have, in sum: with a thousand of them nobody can look at each for each of them.

    Attributes:
        sure: How many places each is sure to get.
        kept: How many places are left for those that have not what they are sure of.
        wanted: How many clients wait for a place.
        fewest: How many processes that server has, of those whose clients wait, that has the fewest.
    """

    sure: int
    kept: int
    wanted: int
    fewest: int | None


def claims_of(holdings: Sequence[Holding], *, total: int) -> Claims:
    """What these servers have, which are all."""
    sure = sure_places(total, len(holdings)) if len(holdings) > 1 else 0
    return Claims(
        sure,
        sum(kept_places(each, sure) for each in holdings),
        sum(each.wanted for each in holdings),
        min((each.taken for each in holdings if each.wanted), default=None),
    )


def kept_places(holding: Holding, sure: int) -> int:
    """How many places are left for this server."""
    return max(0, min(sure, holding.limit) - holding.taken)


def free_places(own: Holding, claims: Claims, *, total: int, taken: int) -> int:
    """How many more processes a server may start. What others are sure to get is left for them."""
    kept = claims.kept - kept_places(own, claims.sure)
    return max(0, min(own.limit - own.taken, total - taken - kept))


def has_turn(own: Holding, claims: Claims) -> bool:
    """Whether no other server has a better claim to the next place: one that waits, and has fewer processes."""
    return claims.fewest is None or claims.fewest >= own.taken


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
        self._claims: Claims | None = None  # until something changes
        self._givers: list[Tenant] = []
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
        self.changed_holding()

    def give_back(self) -> None:
        """The process is gone, or never was."""
        self._taken -= 1
        self.changed_holding()
        self.wake()

    # ---- who may have the next one

    def changed_holding(self) -> None:
        """A server has something else than before. Whoever changes that says so."""
        self._claims = None

    @property
    def claims(self) -> Claims:
        """What all servers have."""
        if self._claims is None:
            held = [(each.holding, each) for each in self.tenants]
            self._claims = claims = claims_of([holding for holding, _ in held], total=self.max_children)
            sure = sure_places(self.max_children, max(1, len(held)))
            rich = [each for each in held if each[0].taken > sure]
            self._givers = [tenant for _, tenant in sorted(rich, key=lambda each: each[0].taken, reverse=True)]
            return claims
        return self._claims

    def free(self, tenant: Tenant) -> int:
        """How many more processes this server may start."""
        return free_places(tenant.holding, self.claims, total=self.max_children, taken=self._taken)

    def has_room(self, tenant: Tenant) -> bool:
        """Whether this server may start a process now."""
        return self.free(tenant) > 0 and has_turn(tenant.holding, self.claims)

    def has_spare(self, tenant: Tenant) -> bool:
        """Whether there is a process that is nobody's yet and could end for this server."""
        return any(each.spare_count for each in self._that_can_give(tenant))

    def end_spare(self, tenant: Tenant) -> bool:
        """End a process that is nobody's yet, for this server; returns whether there was one."""
        return any(each.end_spare() for each in self._that_can_give(tenant))

    def end_idle(self, tenant: Tenant) -> bool:
        """End a process that nobody needs just now, for this server; returns whether there was one."""
        return any(each.end_idle() for each in self._that_can_give(tenant))

    def _that_can_give(self, tenant: Tenant) -> Iterator[Tenant]:
        """Who has a place that would be of use to this server: itself first, then those with the most."""
        own, _ = tenant.holding, self.claims
        yield tenant
        if own.taken < own.limit:
            yield from (each for each in self._givers if each is not tenant)

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

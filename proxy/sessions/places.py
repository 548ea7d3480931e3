"""Is there room for one more process of this server?"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from proxy.child.process import Child
from proxy.child.strays import StrayFinder
from proxy.child.turns import Turns
from proxy.child.watch import ProcessWatch
from proxy.sessions.house import Holding, House
from proxy.sessions.warm.slots import Slots

TALLIED = ("started", "respawned", "exited", "crashed", "over_memory", "killed")
"""What is counted of a server's processes: how many began, how many of them in the place of one that was gone; and how
they ended: by themselves with code 0 or another, at their limit, or because they did not go when they were told to."""

ASK_AGAIN_SECONDS = 1.0
"""One who waits has one process end for him; when that was in vain, because somebody was quicker, another."""


class Spares(Protocol):
    """Processes that are nobody's yet."""

    def make_room(self) -> bool:
        """End one of them; returns whether there was one."""

    def __len__(self) -> int:
        """How many there are."""


def how_ended(child: Child) -> str | None:
    """Which of `TALLIED` the end of a process is; None if it went when it was told to."""
    if child.fault is not None:
        return "over_memory"
    if child.exited_alone:
        return "crashed" if child.returncode else "exited"
    return "killed" if child.was_killed else None


class Wish:
    """One who may have to wait for a place."""

    def __init__(self, places: "Places") -> None:
        self._places = places
        self._asked_at: float | None = None
        self._is_granted = False
        self.is_open = False

    def make_room(self) -> bool:
        """Have a process end that is nobody's yet, again only after `ASK_AGAIN_SECONDS`; one of those who want a place.

        Returns whether one ends for this wish.
        """
        now = asyncio.get_running_loop().time()
        self._open(True)
        if self._asked_at is None or now - self._asked_at >= ASK_AGAIN_SECONDS:
            self._asked_at = now
            self._is_granted = self._places.house.end_spare(self._places)
        return self._is_granted

    def rest(self) -> None:
        """A place would be of no use just now: whoever else waits may have it."""
        if self.is_open:
            self._open(False)
            self._places.wake()

    def _open(self, is_open: bool) -> None:
        if self.is_open is not is_open:
            self.is_open = is_open
            self._places.house.changed_holding()


class Places:
    """The places of one server in the house of a bridge.

    Args:
        max_children: Processes at once.
        house: Where they are; one of their own if not given.
    """

    def __init__(self, *, max_children: int, house: House | None = None) -> None:
        self._max_children = max_children
        self._is_closed = False
        self.house = house or House(max_children=max_children)
        if house is None:
            self.house.tenants.append(self)
        self._taken = 0
        self._tally = dict.fromkeys(TALLIED, 0)
        self._wishes: list[Wish] = []
        self.evictors: list[Callable[[], bool]] = []
        """Each ends one process that could go, and says whether there was one."""
        self.spares: list[Spares] = []
        """What goes before any of these."""

    @contextmanager
    def open(self) -> Iterator[None]:
        """Be one of those for whom places are kept, while the block is open."""
        self._is_closed = False
        self.house.tenants.append(self)
        self.house.changed_holding()
        try:
            yield
        finally:
            self.house.tenants.remove(self)
            self.house.changed_holding()
            self.house.wake()

    def close(self) -> None:
        """Begin nothing new: no place need be kept."""
        self._is_closed = True
        self.house.changed_holding()
        self.house.wake()

    # ---- how many there are

    @property
    def taken(self) -> int:
        """Processes of this server, those being started or ended included."""
        return self._taken

    @property
    def max_children(self) -> int:
        """How many there may be."""
        return self._max_children

    @property
    def free(self) -> int:
        """How many more could start at once, if nobody else waits."""
        return self.house.free(self)

    @property
    def has_room(self) -> bool:
        """Whether one more could start at once."""
        return self.house.has_room(self)

    @property
    def has_spare(self) -> bool:
        """Whether there is a process that is nobody's yet, and could make room."""
        return self.house.has_spare(self)

    @property
    def wanted(self) -> int:
        """How many wait for a place that a process of this server would take."""
        return self._wanted + self.house.claims.wanted - self.holding.wanted

    @property
    def _wanted(self) -> int:
        return sum(wish.is_open for wish in self._wishes)

    @property
    def holding(self) -> Holding:
        """What this server has."""
        limit = 0 if self._is_closed else self._max_children
        return Holding(self._taken, limit, self._wanted if self._taken < limit else 0)

    def take(self) -> None:
        """Take a place, which there is. Whoever takes it gives it back."""
        self._taken += 1
        self.house.take()

    def give_back(self) -> None:
        """The process is gone, or never was."""
        self._taken -= 1
        self.house.give_back()

    # ---- making room

    @contextmanager
    def wish(self) -> Iterator[Wish]:
        """One who may have to wait for a place, until the block ends."""
        wish = Wish(self)
        self._wishes.append(wish)
        try:
            yield wish
        finally:
            self._wishes.remove(wish)
            wish.rest()

    def make_room(self) -> None:
        """Ask those who have children to end one that nobody needs just now."""
        self.house.end_idle(self)

    @property
    def spare_count(self) -> int:
        """How many processes of this server are nobody's yet."""
        return sum(len(spares) for spares in self.spares)

    def end_spare(self) -> bool:
        """End one of them; returns whether there was one."""
        return any(spares.make_room() for spares in self.spares)

    def end_idle(self) -> bool:
        """End one that nobody needs just now; returns whether there was one."""
        return any(evict() for evict in self.evictors)

    # ---- of the house

    @property
    def finder(self) -> StrayFinder:
        """Finds what has left the groups of those that end."""
        return self.house.finder

    @property
    def watch(self) -> ProcessWatch:
        """Who else is told of every process."""
        return self.house.watch

    @property
    def turns(self) -> Turns:
        """Keeps those that flood from holding up the others."""
        return self.house.turns

    @property
    def slots(self) -> Slots:
        """For processes that are started before somebody needs them."""
        return self.house.slots

    def started(self, child: Child, *, in_place_of_another: bool = False) -> None:
        """A process lives on one of the places."""
        self._tally["started"] += 1
        self._tally["respawned"] += in_place_of_another
        self.house.started(child)

    def ended(self, child: Child) -> None:
        """It is gone; its place is given back apart from this."""
        how = how_ended(child)
        if how is not None:
            self._tally[how] += 1
        self.house.ended(child)

    def report(self) -> dict[str, int]:
        """What `/health` shows."""
        return {"now": self._taken, "limit": self._max_children, **self._tally}

    def wake(self) -> None:
        """Something has changed for those who wait."""
        self.house.wake()

    async def changed(self, seconds: float) -> None:
        """Wait until something has changed, at most so long."""
        await self.house.changed(seconds)

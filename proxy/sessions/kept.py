"""Which children that have served a call wait for another one?

For servers that keep no state, if their operator says so: else each call finds a process that nobody has used.
"""

import asyncio
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from proxy.errors import ProxyError, SessionEnded
from proxy.sessions.places import Places


class Reusable(Protocol):
    """A child that serves one call at a time, with what belongs to it.

    Attributes:
        calls: That it has served.
        created_at: When it was started, on the loop's clock.
    """

    calls: int
    created_at: float

    @property
    def has_ended(self) -> bool:
        """Whether it serves nobody any more."""

    def end(self, reason: str, error: ProxyError) -> None:
        """Nobody will get it. Does not wait for the process."""


class Kept:
    """The children of one server that wait for another call.

    Args:
        places: Where they are counted.
        max_children: How many may wait at once; 0 keeps none.
        max_calls: One that has served so many is not kept.
        max_age_seconds: Nor one that is older.
    """

    def __init__(
        self,
        places: Places,
        *,
        max_children: int = 0,
        max_calls: int | None = None,
        max_age_seconds: float | None = None,
    ) -> None:
        self._places = places
        self._max_children = max_children
        self._max_calls = max_calls
        self._max_age_seconds = max_age_seconds
        self._waiting: list[tuple[Hashable, Reusable]] = []  # the last to come last

    @property
    def is_wanted(self) -> bool:
        """Whether any child may wait."""
        return self._max_children > 0

    @contextmanager
    def run(self) -> Iterator[None]:
        """Keep children while the block is open; those that are left end with their owners."""
        self._places.spares.append(self)
        try:
            yield
        finally:
            self._places.spares.remove(self)
            self._waiting.clear()

    def keep(self, key: Hashable, child: Reusable) -> bool:
        """Let it wait for a call of this kind; returns whether it does. If not, the caller ends it."""
        if not self._max_children or child.has_ended or self._is_worn(child):
            return False
        self._forget_ended()
        self._waiting.append((key, child))
        if len(self._waiting) > self._max_children:
            self._end_oldest("enough others wait")
        self._places.wake()  # whoever waits for room can have the place of one that waits
        return True

    def take(self, key: Hashable) -> Any:
        """One that can serve a call of this kind, which is the caller's from here on; None if there is none.

        The one that has waited for the shortest time: the others may then end of idleness.
        """
        self._forget_ended()
        for index in reversed(range(len(self._waiting))):
            if self._waiting[index][0] == key:
                return self._waiting.pop(index)[1]
        return None

    def __contains__(self, child: object) -> bool:
        return any(each is child for _, each in self._waiting)

    def __len__(self) -> int:
        self._forget_ended()
        return len(self._waiting)

    def make_room(self) -> bool:
        """End one, for somebody has a use for its place; returns whether there was one."""
        if not len(self):
            return False
        self._end_oldest("its place is needed")
        return True

    def _is_worn(self, child: Reusable) -> bool:
        age = asyncio.get_running_loop().time() - child.created_at
        return (self._max_calls is not None and child.calls >= self._max_calls) or (
            self._max_age_seconds is not None and age > self._max_age_seconds
        )

    def _forget_ended(self) -> None:
        self._waiting = [(key, each) for key, each in self._waiting if not each.has_ended]

    def _end_oldest(self, reason: str) -> None:
        _, oldest = self._waiting.pop(0)
        oldest.end(reason, SessionEnded())

"""How many children may be started ahead at one time, by all servers together?"""

import os

SLOT_SECONDS = 5.0
"""A start that takes longer does not compute, it waits for a network: another one may begin beside it."""


class Slots:
    """One for each processor: more would only start more slowly, and keep the processors from those who wait.

    Args:
        count: How many there are.
    """

    def __init__(self, count: int | None = None) -> None:
        self._count = count or os.cpu_count() or 1
        self._taken: dict[object, float] = {}

    def free(self, now: float) -> int:
        """How many more starts may begin."""
        return max(0, self._count - sum(now - since < SLOT_SECONDS for since in self._taken.values()))

    def take(self, whose: object, now: float) -> None:
        """A start begins. Whoever takes a slot gives it back."""
        self._taken[whose] = now

    def give_back(self, whose: object) -> None:
        """The start is over."""
        self._taken.pop(whose, None)

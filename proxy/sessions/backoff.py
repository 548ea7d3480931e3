"""How long is it until a server that keeps dying may be started again?"""

import random
from collections.abc import Callable

FIRST_SECONDS = 0.1
LAST_SECONDS = 30.0
GOOD_LIFE_SECONDS = 60.0
"""A child that lived so long has proved that its server works: what came before is forgotten."""


class Backoff:
    """Counts failures that follow each other, and spaces out the starts after them.

    The wait doubles with each failure, and half of it is random, so that several do not come back at once.

    Args:
        clock: In seconds.
        jitter: Gives a number from 0 to 1.
    """

    def __init__(self, clock: Callable[[], float], *, jitter: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._not_before = 0.0

    @property
    def failures(self) -> int:
        """How many have followed each other."""
        return self._failures

    @property
    def wait_seconds(self) -> float:
        """How long the next start has to wait; 0 if it need not."""
        return max(0.0, self._not_before - self._clock()) if self._failures else 0.0

    def failed(self, lived_seconds: float = 0.0) -> None:
        """A start failed, or a child died that lived for so long."""
        self._failures = 1 if lived_seconds >= GOOD_LIFE_SECONDS else self._failures + 1
        wait = min(LAST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._failures - 1, 16))
        self._not_before = self._clock() + wait * (0.5 + self._jitter() / 2)

    def succeeded(self) -> None:
        """A child has lived long enough, or has ended as it should."""
        self._failures = 0

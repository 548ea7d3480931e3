"""How long is it until a server that keeps dying may be started again?"""

import random
from collections.abc import Callable

FIRST_SECONDS = 0.1
LAST_SECONDS = 30.0
GOOD_LIFE_SECONDS = 60.0
"""A child that lived so long has proved that its server works, as has one that did not fail for so long: what came
before is forgotten."""


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
        self._failed_at = 0.0
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
        now = self._clock()
        is_first = max(lived_seconds, now - self._failed_at) >= GOOD_LIFE_SECONDS
        self._failures = 1 if is_first else self._failures + 1
        wait = min(LAST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._failures - 1, 16))
        self._failed_at, self._not_before = now, now + wait * (0.5 + self._jitter() / 2)

    def succeeded(self) -> None:
        """A child has lived long enough, or has ended as it should."""
        self._failures = 0

"""Which kinds of children do clients want, and how many of them wait for one now?"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from proxy.sessions.warm.kind import Kind

HELD_UP_SECONDS = 10.0
"""For so long clients who wait for a start keep the pool from one. As long as many of them have patience."""


class Demand:
    """What clients want of one pool.

    Args:
        size: Of the pool; the last clients of twice as many count.
    """

    def __init__(self, size: int) -> None:
        self.wanted: deque[str] = deque(maxlen=max(16, 2 * size))
        """What the last of them have wanted."""
        self._claims: dict[str, list[object]] = {}
        self._held_up_at: float | None = None  # since when clients have kept the pool from a start

    @contextmanager
    def claim(self, kind: str) -> Iterator[Callable[[], int]]:
        """One client who waits for a child to prove itself. Gives a function that says how many came before him."""
        claim, claims = object(), self._claims.setdefault(kind, [])
        claims.append(claim)
        try:
            yield lambda: claims.index(claim)
        finally:
            claims.remove(claim)

    def clients_waiting(self, kinds: Iterable[Kind[Any]], now: float) -> int:
        """How many clients wait for a start. Not for ever: those that give up and come again would never get one."""
        clients = sum(kind.clients_waiting(now) for kind in kinds) + sum(map(len, self._claims.values()))
        if not clients:
            self._held_up_at = None
        elif self._held_up_at is None:
            self._held_up_at = now
        elif now - self._held_up_at >= HELD_UP_SECONDS:
            return 0
        return clients

    def is_being_met(self) -> None:
        """The pool starts one."""
        self._held_up_at = None

"""What does the pool have to know of a child, and of those who start it?"""

from typing import Protocol, TypeVar

import anyio

from proxy.errors import ProxyError


class Ahead(Protocol):
    """A child that was started before anybody asked for it, with what belongs to it."""

    ended: anyio.Event

    def end(self, reason: str, error: ProxyError) -> None:
        """Nobody will get it. Does not wait for the process."""


A = TypeVar("A", bound=Ahead)


class Kind(Protocol[A]):
    """Those who need children of one kind, and can start them.

    Attributes:
        name: Names it in plans.
        is_wanted_at_once: Whether some should be there before the first was asked for.
    """

    name: str
    is_wanted_at_once: bool

    @property
    def can_start(self) -> bool:
        """Whether it is known how to start one that will do."""

    @property
    def is_proof_optional(self) -> bool:
        """Whether one that has not proved itself will do, for a server that does not bear it."""

    def clients_waiting(self, now: float) -> int:
        """How many wait for a child that is being started for them alone."""

    async def start(self) -> A:
        """Start one, on a place that there is; it is the caller's, who ends it or gives it to a client.

        Raises:
            ProxyError: If it can't be started.
        """

    async def prove(self, child: A) -> bool:
        """Ask it something that it can be asked before its client is known, and wait for the answer, for ever.

        Returns whether it will do.
        """

    def judged(self, child: A, *, is_good: bool) -> None:
        """It is ready for a client, or has not proved itself in time."""

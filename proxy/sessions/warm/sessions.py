"""How are sessions begun before a client asks for one?"""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from proxy.sessions.session import Session
from proxy.sessions.starts import Starts
from proxy.sessions.warm.kind import Kind

WAITS_AT_MOST_SECONDS = 30.0
"""A start that takes longer waits for a network, or hangs, and would not be slower for a refill beside it."""


class SessionsAhead(Kind[Session]):
    """Sessions whose child is started and not initialized.

    Args:
        start: Starts one on a place that there is.
        starting: When the sessions were begun that clients wait for.
        starts: Told how starts went.
        is_wanted_at_once: Whether clients are expected to need one.
    """

    name = "session"
    can_start = True
    is_proof_optional = True

    def __init__(
        self,
        *,
        start: Callable[[], Coroutine[Any, Any, Session]],
        starting: Callable[[], Iterable[float]],
        starts: Starts,
        is_wanted_at_once: bool = True,
    ) -> None:
        self.is_wanted_at_once = is_wanted_at_once
        self._start = start
        self._starting = starting
        self._starts = starts

    def clients_waiting(self, now: float) -> int:
        """How many wait for a child that is being started for them alone."""
        return sum(now - since < WAITS_AT_MOST_SECONDS for since in self._starting())

    async def start(self) -> Session:
        """Begin a session for nobody yet. Raises as `SessionManager.open`."""
        return await self._start()

    async def prove(self, child: Session) -> bool:
        """Wait until its child has given a sign of life."""
        return await child.prove_child()

    def judged(self, child: Session, *, is_good: bool) -> None:
        """Its child is ready, or has not answered in time."""
        if is_good:
            self._starts.note(failed=False)
        else:
            child.start_timed_out()  # its owner notes that

"""How do the starts of a server's children go, and may one more be tried now?"""

import logging
import math
from collections.abc import Callable
from typing import Any, Literal

from proxy.errors import CircuitOpen
from proxy.observe import Counts
from proxy.sessions.backoff import Backoff

logger = logging.getLogger(__name__)

FAILED_START_SECONDS = 30.0
"""For how long a start that failed makes us unready. Ours: long enough to be seen, short enough to recover alone."""


class Start:
    """One start that goes on. Whoever began it closes it when it is over, however it went."""

    def __init__(self, on_closed: Callable[["Start"], None]) -> None:
        self._on_closed = on_closed

    def close(self) -> None:
        """It is over, or was given up."""
        self._on_closed(self)


class Starts:
    """What is known of the starts of a server's children, and the circuit that this opens.

    Closed: every start is tried. Open, after `max_failed` in a row: none, for a time that grows. Then half-open: one
    is, and what becomes of it decides. While a child of the server serves somebody the circuit stays closed: that
    others fail may be for what their clients say.

    Args:
        clock: In seconds.
        max_failed: Starts in a row that may fail.
        counts: What an operator may see.
        name: The server's, for the log.
    """

    def __init__(
        self, clock: Callable[[], float], *, max_failed: int = 5, counts: Counts | None = None, name: str = ""
    ) -> None:
        self._clock = clock
        self._max_failed = max_failed
        self._counts = counts or Counts()
        self._name = name
        self._failed_at: float | None = None
        self._has_succeeded = False
        self._backoff = Backoff(clock)
        self._probe: Start | None = None  # the one that is let through while half-open
        self.serves: list[Callable[[], bool]] = []
        """Each says whether a child of the server serves somebody."""

    def begin(self) -> Start:
        """A child is about to be started.

        Raises:
            CircuitOpen: If it would most likely fail, as those before it have.
        """
        start = Start(self._closed)
        if self.circuit == "closed":
            return start
        if self.circuit == "open" or self._probe is not None:
            self._counts.add("refused.circuit_open")
            raise CircuitOpen(retry_after_seconds=max(1, math.ceil(self._backoff.wait_seconds)))
        self._probe = start
        return start

    def note(self, *, failed: bool) -> None:
        """A child was started, or could not be."""
        was_open = self.circuit != "closed"
        self._has_succeeded = self._has_succeeded or not failed
        self._failed_at = self._clock() if failed else None
        self._probe = None
        if not failed:
            self._backoff.succeeded()
            if was_open:
                logger.info("circuit closed: the server has started", extra={"server": self._name})
            return
        self._backoff.failed()
        if self.circuit == "open":
            logger.warning(
                "circuit open: the server fails to start",
                extra={
                    "server": self._name,
                    "in_a_row": self._backoff.failures,
                    "next_in_seconds": round(self._backoff.wait_seconds, 3),
                },
            )

    def note_full(self) -> None:
        """There was no room for a process: that says nothing about the server."""
        self._failed_at = self._clock()

    def note_failed_ahead(self) -> None:
        """A child could not be made ready before anybody asked for one.

        Whoever asks may try all the same: it may have failed because nobody has asked.
        """
        self._failed_at = self._clock()

    @property
    def circuit(self) -> Literal["closed", "open", "half-open"]:
        """Whether a start is tried."""
        if self._backoff.failures < self._max_failed or any(serves() for serves in self.serves):
            return "closed"
        return "open" if self._backoff.wait_seconds else "half-open"

    @property
    def last_failed(self) -> bool | None:
        """Whether the last start failed; None before the first, and some time after one that failed.

        A readiness probe keeps clients away while this is true, and nobody else would try again.
        """
        if self._failed_at is None:
            return False if self._has_succeeded else None
        return True if self._clock() - self._failed_at < FAILED_START_SECONDS else None

    def report(self) -> dict[str, Any]:
        """What `/health` shows."""
        return {
            "circuit": self.circuit,
            "failed_in_a_row": self._backoff.failures,
            "next_in_seconds": round(self._backoff.wait_seconds, 1) if self.circuit == "open" else 0,
        }

    def _closed(self, start: Start) -> None:
        if self._probe is start:
            self._probe = None

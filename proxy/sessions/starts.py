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

TRUSTED_SECONDS = 5.0
"""For so long after a trial that succeeded nothing that a client can make fail makes us unready: else one could keep us
so."""

TRIAL_PAUSE_SECONDS = 1.0
"""Between two starts of our own: clients that make their children exit can't keep a processor busy with ours."""


class Starts:
    """What is known of the starts of a server's children, and the circuit that this opens.

    A start that fails on what a client has said may be that client's fault. So it counts, and a start of our own, a
    trial, decides whether the server is broken. Closed: every start is tried. Open, after `max_failed` in a row of a
    server that is broken: only trials are, after a time that grows; the first that succeeds closes it. While a child of
    the server serves somebody the circuit stays closed.

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
        self._is_broken = False  # the last one failed that no client can have made fail
        self._is_doubted = False  # one has failed since that may be a client's fault
        self._tried_at: float | None = None
        self._proved_at: float | None = None  # when a trial has last succeeded
        self._backoff = Backoff(clock)
        self.serves: list[Callable[[], bool]] = []
        """Each says whether a child of the server serves somebody."""
        self.on_failed: Callable[[], None] = lambda: None
        """Called when a trial may have become due."""

    def check(self) -> None:
        """A child is about to be started for somebody.

        Raises:
            CircuitOpen: If it would most likely fail, as those before it have.
        """
        if self.circuit != "closed":
            self._counts.add("refused.circuit_open")
            raise CircuitOpen(retry_after_seconds=max(1, math.ceil(self._backoff.wait_seconds)))

    def note(self, *, failed: bool, may_be_clients: bool = False) -> None:
        """A child was started, or could not be.

        Args:
            failed: Whether it could not.
            may_be_clients: Whether that may be for what a client has said.
        """
        if not failed:
            self._succeeded()
            return
        was_open = self._is_open
        self._backoff.failed()
        if may_be_clients:
            self._is_doubted = True
            if not self._is_trusted:
                self._failed_at = self._clock()
        else:
            self._is_broken = True
            self._failed_at = self._clock()
        self._log_open(was_open)
        self.on_failed()

    def tried(self, *, failed: bool | None) -> None:
        """A trial is over; None if there was no room for it."""
        self._tried_at = self._clock()
        if failed is None:
            return
        self._counts.add("trial.failed" if failed else "trial.succeeded")
        self._is_doubted = False
        if not failed:
            self._proved_at = self._clock()
            self._succeeded()
            return
        was_open = self._is_open
        self._is_broken = True
        self._failed_at = self._clock()
        if was_open:  # else it was the client's start that counts
            self._backoff.failed()
        self._log_open(was_open)

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
        """Whether a start is tried; half-open while that depends on a trial."""
        if not self._is_open or any(serves() for serves in self.serves):
            return "closed"
        return "open" if self._backoff.wait_seconds else "half-open"

    @property
    def trial_in_seconds(self) -> float | None:
        """When a trial is due; None if none is needed."""
        if not self._is_doubted and not self._is_open:
            return None
        pause = 0.0 if self._tried_at is None else self._tried_at + TRIAL_PAUSE_SECONDS - self._clock()
        return max(0.0, pause, 0.0 if self._is_doubted else self._backoff.wait_seconds)

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

    @property
    def _is_open(self) -> bool:
        return self._is_broken and self._backoff.failures >= self._max_failed

    @property
    def _is_trusted(self) -> bool:
        return self._proved_at is not None and self._clock() - self._proved_at < TRUSTED_SECONDS

    def _succeeded(self) -> None:
        was_open = self._is_open
        self._has_succeeded = True
        self._failed_at = None
        self._is_broken = False
        self._backoff.succeeded()
        if was_open:
            logger.info("circuit closed: the server has started", extra={"server": self._name})

    def _log_open(self, was_open: bool) -> None:
        if self._is_open and (self._backoff.wait_seconds or not was_open):
            logger.warning(
                "circuit open: the server fails to start",
                extra={
                    "server": self._name,
                    "in_a_row": self._backoff.failures,
                    "next_in_seconds": round(self._backoff.wait_seconds, 3),
                },
            )

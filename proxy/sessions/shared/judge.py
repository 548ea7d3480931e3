"""What does the end of a process that sessions share say of its server, and how long does the next one wait for it?"""

import asyncio
import logging

from proxy.errors import CapacityReached, OutOfResources
from proxy.sessions.backoff import GOOD_LIFE_SECONDS, Backoff
from proxy.sessions.exits import Exits
from proxy.sessions.hints import missing_package_hint
from proxy.sessions.shared.child import SharedProcess
from proxy.sessions.starts import Starts

logger = logging.getLogger(__name__)


class Judge:
    """Judges the processes of one server that sessions share.

    Args:
        starts: Told of starts that failed.
        exits: What follows when a process exits by itself.
    """

    def __init__(self, *, starts: Starts, exits: Exits) -> None:
        self._starts = starts
        self._exits = exits
        self._backoff = Backoff(asyncio.get_running_loop().time)
        self.has_lost_one = False
        """Whether the last one that was ready is gone although nobody has ended it."""

    @property
    def wait_seconds(self) -> float:
        """How long the next start has to wait; 0 if it need not."""
        return self._backoff.wait_seconds

    def ended(self, process: SharedProcess) -> None:
        """It served, or was to serve next."""
        if process.end_reason == "child exited" and process.fault is None and not process.is_ahead:
            self._exits.exited(process.returncode, pid=process.pid)
        if process.error is None:
            self.has_lost_one = process.end_reason == "child exited"
        lived = asyncio.get_running_loop().time() - process.created_at
        if isinstance(process.error, CapacityReached):  # which says nothing about the server
            if isinstance(process.error, OutOfResources):
                self._starts.note_full()
            if process.is_ahead:  # nobody waits: not at once again
                self._backoff.failed()
        elif process.error is not None:
            self._starts.note(failed=True)
            self.never_ready(process)
        elif process.end_reason == "child exited":
            self._backoff.failed(lived)
        elif lived > GOOD_LIFE_SECONDS:
            self._backoff.succeeded()

    def never_ready(self, process: SharedProcess) -> None:
        """It has not come to serve."""
        self._backoff.failed()
        tail = process.stderr_tail
        logger.warning("shared child was never ready", extra={"pid": process.pid, "stderr": tail or "nothing"})
        hint = missing_package_hint(tail)
        if hint:
            logger.error("%s", hint)

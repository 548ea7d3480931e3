"""When does another process take the place of the one that sessions share, and how do they come to it?"""

import logging
from collections.abc import Callable

from proxy.errors import SessionEnded
from proxy.observe import Counts
from proxy.sessions.limits import SessionLimits
from proxy.sessions.shared.child import SharedProcess

logger = logging.getLogger(__name__)


class Succession:
    """The process that serves who comes, the one that will, and the one that did: three at most, two for long.

    Attributes:
        current: Serves who comes; None if nobody has needed one.
        successor: Is being started to take its place.
        last: Had its place, and has sessions that are not at rest.
        was_there: Whether one has been ready.

    Args:
        limits: When a process is too old.
        counts: What an operator may see.
        begin: Starts one that nobody waits for; None if that is not worth while now.
        is_kept_ready: Whether there is to be one although nobody needs it.
    """

    def __init__(
        self,
        *,
        limits: SessionLimits,
        counts: Counts,
        begin: Callable[[], SharedProcess | None],
        is_kept_ready: bool,
    ) -> None:
        self.current: SharedProcess | None = None
        self.successor: SharedProcess | None = None
        self.last: SharedProcess | None = None
        self.was_there = False
        self._limits = limits
        self._counts = counts
        self._begin = begin
        self._is_kept_ready = is_kept_ready

    @property
    def all(self) -> list[SharedProcess]:
        """Those that there are."""
        return [each for each in (self.current, self.successor, self.last) if each is not None]

    def remove(self, process: SharedProcess) -> None:
        """It has ended. Whoever comes has not to wait for a third one if the next is being started."""
        if self.current is process:
            self.current, self.successor = self.successor, None
        elif self.successor is process:
            self.successor = None
        self.last = self.last if self.last is not process else None

    def renew(self, now: float) -> None:
        """Let another process take the place of one that is old, or of none if one is to be ready.

        Sessions go on with it as soon as they have nothing open with the last one. Called a few times a second.
        """
        current, successor = self.current, self.successor
        self.was_there |= current is not None and current.is_good
        if successor is not None and successor.is_good:
            self.successor, self.current, self.last = None, successor, current
            successor.is_ahead = False
        elif successor is not None and successor.settled.is_set():
            successor.end("refused the handshake", SessionEnded())
        elif current is None and self._is_kept_ready:
            self.current = self._begin()
        elif current is not None and successor is None and self.last is None:
            self._replace_if_worn(current, now)
        if self.last is not None:
            if self.current is not None and self.current.is_good:
                move_sessions(self.last, self.current)
            if not self.last.is_used:
                self.last.end("retired", SessionEnded())

    def _replace_if_worn(self, current: SharedProcess, now: float) -> None:
        worn = current.is_good and why_worn(current, self._limits, now)
        self.successor = self._begin() if worn else None
        if worn and self.successor is not None:
            self._counts.add(worn)
            logger.info("shared child is replaced", extra={"child": current.tag, "pid": current.pid, "why": worn})


def why_worn(process: SharedProcess, limits: SessionLimits, now: float) -> str | None:
    """As what it is counted that another one is to take its place; None if it may go on."""
    if limits.child_max_age_seconds is not None and now - process.created_at > limits.child_max_age_seconds:
        return "retired.old_child"
    if limits.child_max_calls is not None and process.hub.calls.given >= limits.child_max_calls:
        return "retired.worn_child"
    return None


def move_sessions(old: SharedProcess, new: SharedProcess) -> None:
    """Have the sessions go on with `new` that have nothing open with `old`.

    None does if `new` has shaken hands in another revision: their clients have been promised the one of `old`.
    """
    if old.hub.version != new.hub.version:
        return
    for port in old.hub.ports:
        if old.hub.may_go(port):
            new.take_over(port, old)

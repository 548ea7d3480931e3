"""When has a child that serves clients without sessions served for long enough?"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from proxy.errors import SessionEnded
from proxy.observe import Counts
from proxy.sessions.era import ServerEra
from proxy.sessions.kept import Kept
from proxy.sessions.modern.child import SharedChild
from proxy.sessions.modern.limits import ModernLimits
from proxy.sessions.modern.ready import Ready

logger = logging.getLogger(__name__)

RETIRED_IDLE_SECONDS = 1.0
"""So long a retired child has had nothing to do when it ends: somebody may have been given it a moment ago."""
SPARE_IDLE_SECONDS = 60.0
"""A child that was started only because another was taken ends after this. Ours: longer than a burst."""


class Retirement:
    """Ends children of one server that are idle, and lets those that are old or worn finish what they have.

    Args:
        limits: How long, and how often, each may serve.
        counts: What an operator may see.
        ready: Those that clients share.
        kept: Those that wait for another call.
        era: What is known of the server.
        on_changed: Called when somebody who waits for a child may be next.
    """

    def __init__(
        self,
        *,
        limits: ModernLimits,
        counts: Counts,
        ready: Ready,
        kept: Kept,
        era: ServerEra,
        on_changed: Callable[[], None],
    ) -> None:
        self._limits = limits
        self._counts = counts
        self._ready = ready
        self._kept = kept
        self._era = era
        self._on_changed = on_changed

    def begins(self, child: SharedChild) -> None:
        """A child that clients share begins to serve."""
        if self._limits.child_max_calls is not None:
            child.on_called = partial(self._retire_if_worn, child)

    def look_at(self, child: SharedChild, now: float) -> None:
        """End it if nobody will miss it, retire it if it is due. Called a few times a second."""
        if not child.is_ready:
            return
        if child.group is None:
            if child in self._kept:
                self._end_if_idle(child, now, self._limits.idle_timeout_seconds)
            return
        self._retire_if_worn(child)
        if child.is_busy and not (child.is_retired and child.has_sessions_at_rest):
            return
        if child.is_retired:
            self._end_if_idle(child, now, RETIRED_IDLE_SECONDS, "retired")
            return
        limit = self._limits.idle_timeout_seconds
        is_outdated = child.translator is not None and self._era.speaks_modern is True
        if is_outdated or not self._ready.is_first(child):
            limit = min(SPARE_IDLE_SECONDS, limit or SPARE_IDLE_SECONDS)
        self._end_if_idle(child, now, limit)

    def _end_if_idle(self, child: SharedChild, now: float, limit: float | None, reason: str = "idle") -> None:
        if limit is not None and now - child.idle_since > limit:
            child.end(reason, SessionEnded())

    def _retire_if_worn(self, child: SharedChild) -> None:
        """A child that is old, or has had many calls, finishes what it has; the next call finds another one."""
        limits, age = self._limits, asyncio.get_running_loop().time() - child.created_at
        is_old = limits.child_max_age_seconds is not None and age > limits.child_max_age_seconds
        is_worn = limits.child_max_calls is not None and child.calls >= limits.child_max_calls
        if child.is_retired or child.has_ended or not (is_old or is_worn):
            return
        child.is_retired = True
        self._counts.add("retired.old_child" if is_old else "retired.worn_child")
        logger.info("shared child retired", extra={"child": child.tag, "pid": child.pid, "calls": child.calls})
        self._ready.withdraw(child)
        child.mux.complete_listens()  # their clients listen again, to the next one
        child.idle_since = max(child.idle_since, child.created_at + age)
        self._on_changed()

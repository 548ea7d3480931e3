"""What does the pool hold of one child?"""

import logging
from dataclasses import dataclass, field
from typing import Any

import anyio

from proxy.errors import SessionEnded
from proxy.sessions.warm.kind import Ahead, Kind
from proxy.sessions.warm.plan import Waiting

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Entry:
    """A child that is nobody's yet, or is being started."""

    number: int
    kind: Kind[Any]
    started_at: float
    old_at: float
    child: Ahead | None = None
    is_ready: bool = False
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Around what its task does until it is somebody's."""

    def seen_at(self, now: float) -> Waiting:
        """What a plan is made of."""
        return Waiting(
            self.number,
            self.kind.name,
            now - self.started_at,
            self.old_at - now,
            is_there=self.child is not None and not self.child.ended.is_set(),
            is_ready=self.is_ready,
        )

    def end_child(self, reason: str) -> None:
        """Nobody will get it, if it is there at all."""
        if self.child is None:
            return
        try:
            self.child.end(reason, SessionEnded())
        except Exception:  # of one: whoever asked has others to end
            logger.exception("child not ended")

"""Whom can it concern, what a shared child says without a name on it?

Logs and questions name no call. They are somebody's for certain only while nobody else has anything open.
"""

from collections import Counter

from proxy.sessions.shared.port import Port, SharedCall

LINGER_SECONDS = 10.0
"""A cancelled call may still be talked of for so long, or until it is answered. Ours: most servers drop it at once."""
MAX_LINGERING = 1024
"""Cancelled calls that are remembered. Ours: over it the oldest are taken for silent."""


class Attribution:
    """Which sessions have something open at one child, what they have cancelled a moment ago included."""

    def __init__(self) -> None:
        self._busy: Counter[Port] = Counter()
        self._lingering: dict[int, tuple[Port, float]] = {}  # by the child's id; oldest first

    @property
    def only(self) -> Port | None:
        """The one session that has anything open; None if there are several, or none."""
        return next(iter(self._busy)) if len(self._busy) == 1 else None

    @property
    def is_quiet(self) -> bool:
        """Whether nobody has anything open."""
        return not self._busy

    @property
    def only_call_of(self) -> Port | None:
        """The session that has the only call, if there is but one, and none was cancelled a moment ago."""
        port = self.only if not self._lingering else None
        return port if port is not None and self._busy[port] == 1 else None

    def began(self, call: SharedCall) -> None:
        """A call is with the child."""
        self._busy[call.port] += 1

    def answered(self, call: SharedCall) -> None:
        """The child has done with it."""
        self._less(call.port)

    def cancelled(self, call: SharedCall, now: float) -> None:
        """Nobody waits for it any more, but the child may still be at work on it."""
        self._lingering[call.child_id] = (call.port, now + LINGER_SECONDS)
        if len(self._lingering) > MAX_LINGERING:
            self.answered_late(next(iter(self._lingering)))

    def answered_late(self, child_id: int) -> bool:
        """The child has done with a call that was cancelled. False if it was none."""
        found = self._lingering.pop(child_id, None)
        if found is not None:
            self._less(found[0])
        return found is not None

    def check(self, now: float) -> None:
        """Forget what was cancelled long enough ago."""
        for child_id, (_, until) in list(self._lingering.items()):
            if until > now:
                return
            self.answered_late(child_id)

    def _less(self, port: Port) -> None:
        self._busy[port] -= 1
        if self._busy[port] <= 0:
            del self._busy[port]

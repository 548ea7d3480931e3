"""Whom can it concern, what a shared child says without a name on it?

Logs and questions name no call. They are somebody's for certain only while nobody else has anything open.
"""

from collections import Counter

from proxy.sessions.shared.port import Port, SharedCall

LINGER_SECONDS = 10.0
"""A cancelled call may still be logged of for so long, or until it is answered. Ours: most servers drop it at once."""
MAX_LINGERING = 1024
"""Cancelled calls without an answer that are remembered. Ours: over it nothing is certain for as long as they count."""

Asker = Port | None
"""Whose it is; None for what is no session's that is there: our own requests for all, calls of sessions that ended."""


class Attribution:
    """Which sessions have something open at one child, what they have cancelled included."""

    def __init__(self) -> None:
        self._busy: Counter[Asker] = Counter()
        self._lingering: dict[int, tuple[Asker, float]] = {}  # by the child's id; oldest first
        self._silent: dict[int, Asker] = {}  # cancelled longer ago, and never answered
        self._own: dict[int, Asker] = {}
        self._blind_until = 0.0
        self._has_forgotten = False

    @property
    def only(self) -> Port | None:
        """The one session that has anything open; None if there are several, or none."""
        return next(iter(self._busy)) if len(self._busy) == 1 and not self._blind_until else None

    @property
    def is_quiet(self) -> bool:
        """Whether nobody has anything open."""
        return not self._busy and not self._blind_until

    @property
    def only_call_of(self) -> Port | None:
        """The session that has the only call, if there is but one, and none was cancelled that could still ask.

        A call that never was answered may ask at any time: only its own session is asked anything after it.
        """
        port = self.only if not self._lingering and not self._own and not self._has_forgotten else None
        if port is None or self._busy[port] != 1 or any(owner is not port for owner in self._silent.values()):
            return None
        return port

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
            child_id = next(iter(self._lingering))
            _, self._blind_until = self._lingering[child_id]
            self._fall_silent(child_id)

    def answered_late(self, child_id: int) -> bool:
        """The child has done with a call that was cancelled. False if it was none."""
        if child_id in self._silent:
            del self._silent[child_id]
            return True
        found = self._lingering.pop(child_id, None)
        if found is not None:
            self._less(found[0])
        return found is not None

    def asked(self, own_id: int, port: Asker) -> None:
        """The child is asked something by us, on behalf of this session, or of several."""
        self._own[own_id] = port
        self._busy[port] += 1

    def has_told(self, own_id: int) -> None:
        """The child has answered us."""
        self._less(self._own.pop(own_id))

    def leave(self, port: Port) -> None:
        """A session has ended, its calls are cancelled. What is open of it is nobody's, and not kept for it."""
        for table in (self._silent, self._own):
            table.update((child_id, None) for child_id, owner in table.items() if owner is port)
        for child_id, (owner, until) in self._lingering.items():
            if owner is port:
                self._lingering[child_id] = (None, until)
        if port in self._busy:
            self._busy[None] += self._busy.pop(port)

    def check(self, now: float) -> None:
        """Take for silent what was cancelled long enough ago."""
        if self._blind_until <= now:
            self._blind_until = 0.0
        for child_id, (_, until) in list(self._lingering.items()):
            if until > now:
                return
            self._fall_silent(child_id)

    def _fall_silent(self, child_id: int) -> None:
        owner, _ = self._lingering[child_id]
        self.answered_late(child_id)
        self._silent[child_id] = owner
        if len(self._silent) > MAX_LINGERING:
            del self._silent[next(iter(self._silent))]
            self._has_forgotten = True

    def _less(self, port: Asker) -> None:
        self._busy[port] -= 1
        if self._busy[port] <= 0:
            del self._busy[port]

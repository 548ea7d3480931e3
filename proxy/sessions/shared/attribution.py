"""Whom can it concern, what a shared child says without a name on it?

Logs and questions name no call. They are somebody's for certain only while nobody else has anything open: calls, those
that were cancelled and not answered, and tasks that are being worked on.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from proxy.protocol.ids import Id
from proxy.sessions.shared.port import Port, SharedCall

MAX_LINGERING = 1024
"""What nobody waits for any more and that is remembered. Ours: over it nothing is certain for as long as it counts."""

Asker = Port | None
"""Whose it is; None for what is no session's that is there: our own requests for all, calls of sessions that ended."""


class Attribution:
    """Which sessions have something open at one child, what they have given up included.

    Args:
        linger_seconds: What was given up may still be logged of for so long, or until it is answered.
        clock: The loop's clock.
    """

    def __init__(self, *, linger_seconds: float, clock: Callable[[], float]) -> None:
        self._linger_seconds = linger_seconds
        self._clock = clock
        self._busy: Counter[Asker] = Counter()
        self._tasks: dict[str, Asker] = {}  # that the child works on, by their ids
        self._lingering: dict[Id, tuple[Asker, float]] = {}  # calls and tasks, by the child's id; oldest first
        self._silent: dict[Id, Asker] = {}  # given up longer ago, and never answered
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
    def unanswered(self) -> int:
        """Calls and tasks that were given up and may still ask something."""
        return len(self._lingering) + len(self._silent)

    @property
    def only_call_of(self) -> Port | None:
        """The session that has the only call, if there is but one, and nothing was given up that could still ask.

        What was never answered may ask at any time: only its own session is asked anything after it.
        """
        port = self.only if not self._lingering and not self._own and not self._has_forgotten else None
        if port is None or any(owner is not port for owner in self._silent.values()):
            return None
        tasks = sum(owner is port for owner in self._tasks.values())
        return port if self._busy[port] - tasks <= 1 else None

    def has_open(self, port: Port) -> bool:
        """Whether the child is at work for this session, or was asked something on its behalf."""
        return port in self._busy

    # ---- calls

    def began(self, call: SharedCall) -> None:
        """A call is with the child."""
        self._busy[call.port] += 1

    def answered(self, call: SharedCall) -> None:
        """The child has done with it."""
        self._less(call.port)

    def cancelled(self, call: SharedCall) -> None:
        """Nobody waits for it any more, but the child may still be at work on it."""
        self._let_go(call.child_id, call.port)

    def answered_late(self, child_id: int) -> None:
        """The child has done with a call that was cancelled; nothing if it was none."""
        self._has_done_with(child_id)

    # ---- tasks

    def works_on(self, task_id: str, port: Port) -> None:
        """The child works on a task, though the call that has begun it is answered."""
        if task_id not in self._tasks:
            self._tasks[task_id] = port
            self._busy[port] += 1

    def has_done(self, task_id: str) -> None:
        """The child says that it has done with a task."""
        if task_id in self._tasks:
            self._less(self._tasks.pop(task_id))
        else:
            self._has_done_with(task_id)

    def given_up(self, task_id: str) -> None:
        """Nobody waits for a task any more, but the child may still be at work on it.

        Spec: 2025-11-25 basic/utilities/tasks: it stays cancelled "even if execution continues".
        """
        if task_id in self._tasks:
            self._let_go(task_id, self._tasks.pop(task_id))

    # ---- what is asked from here

    def asked(self, own_id: int, port: Asker) -> None:
        """The child is asked something by us, on behalf of this session, or of several."""
        self._own[own_id] = port
        self._busy[port] += 1

    def has_told(self, own_id: int) -> None:
        """The child has answered us."""
        self._less(self._own.pop(own_id))

    # ---- and its end

    def leave(self, port: Port) -> None:
        """A session has ended, its calls are cancelled. What is open of it is nobody's, and not kept for it."""
        _disown(self._silent, port)
        _disown(self._own, port)
        _disown(self._tasks, port)
        for each, (owner, until) in self._lingering.items():
            if owner is port:
                self._lingering[each] = (None, until)
        if port in self._busy:
            self._busy[None] += self._busy.pop(port)

    def check(self, now: float) -> None:
        """Take for silent what was given up long enough ago."""
        if self._blind_until <= now:
            self._blind_until = 0.0
        for each, (_, until) in list(self._lingering.items()):
            if until > now:
                return
            self._fall_silent(each)

    def _let_go(self, each: Id, owner: Asker) -> None:
        self._lingering[each] = (owner, self._clock() + self._linger_seconds)
        if len(self._lingering) > MAX_LINGERING:
            oldest = next(iter(self._lingering))
            _, self._blind_until = self._lingering[oldest]
            self._fall_silent(oldest)

    def _has_done_with(self, each: Id) -> None:
        self._silent.pop(each, None)
        found = self._lingering.pop(each, None)
        if found is not None:
            self._less(found[0])

    def _fall_silent(self, each: Id) -> None:
        owner, _ = self._lingering[each]
        self._has_done_with(each)
        self._silent[each] = owner
        if len(self._silent) > MAX_LINGERING:
            del self._silent[next(iter(self._silent))]
            self._has_forgotten = True

    def _less(self, port: Asker) -> None:
        self._busy[port] -= 1
        if self._busy[port] <= 0:
            del self._busy[port]


def _disown(table: dict[Any, Asker], port: Port) -> None:
    table.update((each, None) for each, owner in table.items() if owner is port)

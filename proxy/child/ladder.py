"""What do we try to end a child, in which order, and for how long?

Spec: 2025-11-25 basic/lifecycle, Shutdown, stdio: close its stdin, wait, SIGTERM, wait, SIGKILL.
"""

import signal
from dataclasses import dataclass

KILL_WAIT_SECONDS = 5.0
"""After SIGKILL the kernel needs milliseconds; a process it can't end in this time hangs in the kernel."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to try: a signal to the process group, or none, which stands for closing stdin."""

    name: str
    signal: signal.Signals | None
    wait_seconds: float


def ladder(*, stdin_grace_seconds: float, term_grace_seconds: float) -> tuple[Step, ...]:
    """The steps, gentlest first."""
    return (
        Step("stdin closed", None, stdin_grace_seconds),
        Step("SIGTERM", signal.SIGTERM, term_grace_seconds),
        Step("SIGKILL", signal.SIGKILL, KILL_WAIT_SECONDS),
    )

"""Which daemons are soaked? Each has its own share of the clients."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tests.soak.scenarios import ALONE, ON_ONE_CHILD, SESSIONLESS, SESSIONS, SHARED, Scenario

PROGRAMS = Path(__file__).parents[1] / "programs"
CHILD = (sys.executable, "-I", "-S", str(PROGRAMS / "child.py"))
MODERN_CHILD = (sys.executable, "-I", "-S", str(PROGRAMS / "modern.py"))

CHILD_GRACES = ("--stdin-grace", "0.3s", "--term-grace", "0.3s")
LIMITS = (
    *("--max-sessions", "40", "--max-children", "50", "--max-calls-per-child", "8", "--max-get-streams", "2"),
    *("--max-body", "2MiB", "--max-line", "1MiB", "--stream-backlog", "256KiB"),
)
TIMES = (
    *("--idle-timeout", "8s", "--unused-timeout", "6s", "--place-timeout", "3s", "--start-timeout", "5s"),
    *("--call-timeout", "8s", "--stdin-stall-timeout", "3s", "--server-request-timeout", "2s"),
    *("--slow-reader-timeout", "2s", "--dead-peer-timeout", "17s", "--ping-interval", "1s", "--replay-age", "5s"),
    *("--commit-after", "0.2s"),
)
"""Short: what takes half an hour in a real life happens some hundred times."""

MODERN_TIMES = ("--modern-commit-after", "0.2s", "--continuation-timeout", "5s", "--lease-wait", "0.5s")


@dataclass(frozen=True)
class Mode:
    """One kind of daemon.

    Attributes:
        name: In the report.
        flags: Beside those that all have.
        child: What it serves.
        scenarios: What its clients play.
    """

    name: str
    flags: tuple[str, ...] = ()
    child: tuple[str, ...] = CHILD
    scenarios: tuple[Scenario, ...] = SESSIONS


MODES: tuple[Mode, ...] = (
    Mode("session"),
    Mode("session, streams cut short", ("--close-stream-after", "0.4s", "--reconnect-delay", "0.1s")),
    Mode("session, from a warm pool", ("--pool-size", "3", "--pool-max-age", "5s")),
    Mode("one child for all sessions", ("--isolation", "shared"), scenarios=ON_ONE_CHILD),
    Mode(
        "one child for all sessions, which is replaced and kept ready",
        ("--isolation", "shared", "--pool-size", "1", "--child-max-age", "10s", "--child-max-calls", "300"),
        scenarios=ON_ONE_CHILD,
    ),
    Mode("a child a call", ("--isolation", "request"), scenarios=SESSIONLESS),
    Mode(
        "a child a call, used again and from a warm pool",
        ("--isolation", "request", "--reuse-children", "--max-reused-children", "3", "--pool-size", "2"),
        scenarios=SESSIONLESS,
    ),
    Mode("2026-07-28, one child", ("--modern-isolation", "shared", *MODERN_TIMES), MODERN_CHILD, SHARED),
    Mode("2026-07-28, a child a request", ("--modern-isolation", "request", *MODERN_TIMES), MODERN_CHILD, ALONE),
)


def flags_of(mode: Mode) -> tuple[str, ...]:
    """All flags of its daemon."""
    return (*CHILD_GRACES, *LIMITS, *TIMES, *mode.flags)

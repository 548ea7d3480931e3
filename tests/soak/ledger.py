"""What was done, what came of it, and what was wrong?"""

import traceback
from collections import Counter
from dataclasses import dataclass, field

MAX_FAULTS = 50
"""Described; those beyond are only counted."""
MAX_LATENCIES = 200_000
"""Of each kind; enough for quantiles."""


@dataclass
class Ledger:
    """The books of one run.

    Attributes:
        done: Scenarios that were played to their end, by name.
        longest: The longest of them, in seconds.
        warnings: What the daemon warned of in its log.
        outcomes: What clients got, by scenario and outcome: `result`, `failed`, `full` ...
        latencies: Seconds from a request to its answer, by kind.
        faults: What was wrong, for people.
        fault_count: How much was wrong in all.
    """

    done: Counter[str] = field(default_factory=Counter)
    longest: dict[str, float] = field(default_factory=dict)
    warnings: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    fault_count: int = 0

    def took(self, kind: str, seconds: float) -> None:
        """An answer came after this."""
        taken = self.latencies.setdefault(kind, [])
        if len(taken) < MAX_LATENCIES:
            taken.append(seconds)

    def wrong(self, where: str, what: str | BaseException) -> None:
        """Something must not be so."""
        self.fault_count += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(f"{where}: {what if isinstance(what, str) else _described(what)}")


def quantiles(values: list[float]) -> tuple[float, float, float]:
    """The median, the 99th percentile and the largest."""
    ordered = sorted(values)
    return tuple(ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99, 1.0))  # type: ignore[return-value]


def _described(exc: BaseException) -> str:
    """The exception, and the last places in this program that it came through."""
    if isinstance(exc, BaseExceptionGroup):
        return " | ".join(_described(each) for each in exc.exceptions)
    places = [
        f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(exc.__traceback__) if "soak" in frame.filename
    ]
    return f"{type(exc).__name__}: {str(exc)[:500]} (at {' > '.join(places[-4:])})"

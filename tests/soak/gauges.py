"""Does the daemon grow?

Its memory and descriptors are read once a second for the curve, and compared between two moments at which nothing is
going on: after the warm-up and at the end, each time when no session and no child is left. Under load they say little.
"""

import time
from dataclasses import dataclass, field

import psutil

SETTLED_SECONDS = 1.0
"""How long the daemon is watched while it has nothing to do."""


@dataclass(frozen=True)
class Sample:
    """The daemon at one moment."""

    at_seconds: float
    rss_bytes: int
    descriptors: int
    sessions: int
    children: int


@dataclass(frozen=True)
class AtRest:
    """The daemon while nothing goes on.

    Attributes:
        cpu_share: Of one CPU, used without anything to do.
    """

    rss_bytes: int
    descriptors: int
    threads: int
    cpu_share: float


@dataclass
class Gauges:
    """What one daemon uses over time."""

    process: psutil.Process
    began: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)
    rests: list[AtRest] = field(default_factory=list)

    def sample(self, sessions: int, children: int) -> None:
        """Read them now."""
        with self.process.oneshot():
            rss, descriptors = self.process.memory_info().rss, self.process.num_fds()
        self.samples.append(Sample(time.monotonic() - self.began, rss, descriptors, sessions, children))

    def rest(self, cpu_seconds: float, watched_seconds: float) -> None:
        """Nothing has been going on for `watched_seconds`, in which the daemon used `cpu_seconds`."""
        with self.process.oneshot():
            rss, descriptors, threads = (
                self.process.memory_info().rss,
                self.process.num_fds(),
                self.process.num_threads(),
            )
        self.rests.append(AtRest(rss, descriptors, threads, cpu_seconds / watched_seconds))

    def cpu_seconds(self) -> float:
        """What it has used so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def verdict(self, *, max_growth_bytes: int) -> list[str]:
        """What grew that must not have."""
        first, last = self.rests[0], self.rests[-1]
        faults = []
        if last.rss_bytes - first.rss_bytes > max_growth_bytes:
            grown = (last.rss_bytes - first.rss_bytes) / 1e6
            faults.append(f"memory grew by {grown:.1f} MB between two rests")
        if last.descriptors > first.descriptors:
            faults.append(f"descriptors grew from {first.descriptors} to {last.descriptors}")
        faults += [
            f"{rest.cpu_share:.0%} of a CPU used with nothing to do"
            for rest in self.rests
            if rest.cpu_share > MAX_CPU_SHARE
        ]
        return faults


MAX_CPU_SHARE = 0.2
"""At rest. A descriptor that is ready for ever and that nobody takes care of would use all of it."""

"""How much memory do children and all that they have started take, and which of them is over its limit?

RLIMIT_AS would end programs that only reserve addresses, as Node does at its start. So what is in RAM is looked at, a
few times a second, by one task for all children.
"""

import logging
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from proxy.child.process import Child
from proxy.child.procfs import Stat, children, environment, proportional_bytes, read_usage, still_alive
from proxy.errors import ChildOverMemory
from proxy.observe import Counts

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
"""How often. What allocates a gigabyte a second is a quarter of one over its limit when it is ended."""
_REST = 20
"""A look is followed by a pause of so many times its own length at least: a twentieth of one CPU is enough."""
MAX_PAUSE_SECONDS = 2.0
"""But never of more: ten thousand idle processes make a look slow, and must not give a child time to take it all."""


@dataclass
class Family:
    """A child and all that it has started, as far as it was seen.

    Attributes:
        pid: Of the child.
        marker: In the environment of all of them, unless they have cleared it.
        limit_bytes: What they may take together.
        members: Those that lived at the last look.
        used_bytes: What they took then; of shared pages a share each, if it was near the limit.
        is_headless: Whether the child was seen to be gone: its id may be another process's from then on.
    """

    pid: int
    marker: bytes
    limit_bytes: int
    members: set[Stat] = field(default_factory=set)
    used_bytes: int = 0
    is_headless: bool = False

    @property
    def is_over(self) -> bool:
        """Whether they took more than they may."""
        return self.used_bytes > self.limit_bytes


class Looker:
    """Looks at families. For use in one thread at a time."""

    def __init__(self) -> None:
        self._strangers: set[tuple[int, int]] = set()  # adopted, and of none of the families

    def look(self, families: Iterable[Family]) -> float:
        """See who belongs to each and what they take. Returns how long this has kept a CPU busy, in seconds.

        Raises:
            OSError: If there is no descriptor left to look with.
        """
        began = time.thread_time()  # on the wall a busy machine would make it look long
        by_marker = {family.marker: family for family in families}
        orphans = children(os.getpid()) - {family.pid for family in by_marker.values()}
        for pid in orphans:
            self._adopt(pid, by_marker)
        self._strangers = {(pid, started) for pid, started in self._strangers if pid in orphans}
        for family in by_marker.values():
            _look_at(family)
        return time.thread_time() - began

    def _adopt(self, pid: int, by_marker: dict[bytes, Family]) -> None:
        """Find the family of what has lost its parent and is now ours to look after. Looked for once."""
        usage = read_usage(pid)
        if usage is None or (pid, usage[0].started) in self._strangers:
            return
        if any(usage[0] == member for family in by_marker.values() for member in family.members):
            return
        for marker in environment(pid) & by_marker.keys():
            by_marker[marker].members.add(usage[0])
            return
        self._strangers.add((pid, usage[0].started))


def _look_at(family: Family) -> None:
    known = {member.pid: member.started for member in family.members}
    todo = [*known] if family.is_headless else [family.pid, *known]
    seen: dict[int, tuple[Stat, int]] = {}
    while todo:
        pid = todo.pop()
        usage = read_usage(pid) if pid not in seen else None
        if usage is None or not usage[0].is_alive or known.get(pid, usage[0].started) != usage[0].started:
            continue  # gone, or another one that was given its id
        seen[pid] = usage
        todo += children(pid)
    family.is_headless = family.pid not in seen
    family.members = {stat for stat, _ in seen.values()}
    family.used_bytes = sum(resident for _, resident in seen.values())
    if family.is_over:  # forked processes share most of their pages, which were counted for each
        family.used_bytes = sum(
            resident if (share := proportional_bytes(pid)) is None else share for pid, (_, resident) in seen.items()
        )


class MemoryWatch:
    """Ends each child that takes more memory than it may, with all that it has started.

    Args:
        counts: What an operator may see.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._families: dict[Child, Family] = {}
        self._looker = Looker()
        self._wanted = anyio.Event()

    def started(self, child: Child) -> None:
        """A child lives; watched if it has a limit."""
        if child.max_memory_bytes is not None:
            self._families[child] = Family(child.pid, child.marker, child.max_memory_bytes)
            self._wanted.set()

    def ended(self, child: Child) -> None:
        """It is gone."""
        self._families.pop(child, None)

    async def run(self) -> None:
        """Watch for ever. Costs nothing while no child has a limit."""
        limiter = anyio.CapacityLimiter(1)  # of its own: a host may hold all the threads that are shared
        while True:
            if not self._families:
                self._wanted = anyio.Event()
                await self._wanted.wait()
            busy_seconds = 0.0
            families = dict(self._families)
            try:
                busy_seconds = await anyio.to_thread.run_sync(
                    self._looker.look, list(families.values()), limiter=limiter
                )
                members: list[Stat] = []
                for child, family in families.items():
                    if family.is_over and child in self._families:
                        self._end(child, family)
                        members += family.members
                if members:
                    await anyio.to_thread.run_sync(_kill, members, limiter=limiter)
            except (OSError, RuntimeError) as exc:  # out of descriptors or threads; next time
                logger.warning("memory of children not looked at", extra={"error": type(exc).__name__})
            except Exception:  # it would end the daemon
                logger.exception("memory of children not looked at")
            await anyio.sleep(_pause_seconds(busy_seconds))

    def _end(self, child: Child, family: Family) -> None:
        """At once: while it is asked to go it would go on taking."""
        del self._families[child]
        self._counts.add("ended.child_memory")
        logger.warning(
            "child ended: it took more memory than it may",
            extra={
                "pid": child.pid,
                "bytes": family.used_bytes,
                "limit": family.limit_bytes,
                "processes": len(family.members),
            },
        )
        child.fault = ChildOverMemory()
        child.kill()


def _pause_seconds(busy_seconds: float) -> float:
    """How long to leave them alone after a look that took so much of a CPU."""
    return min(MAX_PAUSE_SECONDS, max(LOOK_SECONDS, _REST * busy_seconds))


def _kill(members: Iterable[Stat]) -> None:
    """End what is left of a family. Takes as long as a look at it: for a thread."""
    for pid in still_alive(members):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)

"""What may one child and all that it starts use, and by which means is that held here?"""

import logging
import math
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

logger = logging.getLogger(__name__)

MIB = 1 << 20
NOT_HELD = "not held here: needs Linux"

_turns = count()
"""Whose CPUs are next: children that start one after the other get different ones."""


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """Bounds of one child; None for none."""

    memory_bytes: int | None = None
    """In RAM, for it and all that it has started together. Somebody watches that: see `MemoryWatch`."""
    open_files: int | None = None
    """Descriptors of each of its processes."""
    cpus: float | None = None
    """CPUs that it and all that it starts share; a part of one counts as one."""

    def impose(self, pid: int) -> None:
        """Set what the kernel holds, for a process that was just started and all that it will start.

        From outside, in the moment after the exec: what runs between fork and exec is not safe in a program with
        threads. What can't be set is logged, and the process goes on.
        """
        if self.open_files is not None and sys.platform == "linux":
            files = _files(self.open_files)
            _try("open files", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, files)))
        if self.cpus is not None and sys.platform == "linux":
            cpus = _cpus(self.cpus, next(_turns))
            _try("CPUs", lambda: os.sched_setaffinity(pid, cpus))

    def report(self) -> dict[str, str]:
        """What is held, and by which means; or that it can't be. For an operator."""
        is_linux = sys.platform == "linux"
        shown: dict[str, str] = {}
        if self.memory_bytes is not None:
            shown["memory"] = f"{self.memory_bytes / MIB:g} MiB in RAM, watched" if is_linux else NOT_HELD
        if self.open_files is not None:
            shown["open_files"] = _shown_files(self.open_files) if is_linux else NOT_HELD
        if self.cpus is not None:
            shown["cpu"] = _shown_cpus(self.cpus) if is_linux else NOT_HELD
        return shown


def _files(wanted: int) -> int:
    """A process can't be given more than we may have ourselves."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _shown_files(wanted: int) -> str:
    files = _files(wanted)
    return f"RLIMIT_NOFILE of {files}" + (", the hard limit here" if files < wanted else "")


def _cpus(share: float, turn: int) -> set[int]:
    """So many of the CPUs that we have, other ones with each turn."""
    ours = sorted(os.sched_getaffinity(0))
    number = min(len(ours), math.ceil(share))
    return {ours[(turn * number + index) % len(ours)] for index in range(number)}


def _shown_cpus(share: float) -> str:
    number, ours = len(_cpus(share, 0)), len(os.sched_getaffinity(0))
    whole = "" if share == number else f"; {share:g} can't be held exactly"
    return f"affinity to {number} of {ours} CPUs{whole}"


def _try(what: str, impose: Callable[[], object]) -> None:
    try:
        impose()
    except ProcessLookupError:
        return  # it has ended already
    except (OSError, ValueError) as exc:
        logger.warning("limit of a child not set", extra={"limit": what, "error": type(exc).__name__})

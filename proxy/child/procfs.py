"""Which processes are alive? Reads `/proc`; knows nothing where there is none.

What looks at processes raises OSError if there is no descriptor left to look with: that is not the answer "none".
"""

import errno
import os
from collections.abc import Collection, Iterable
from typing import NamedTuple

PROC = "/proc"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Stat(NamedTuple):
    """What `/proc/PID/stat` says of a process. Spec: proc_pid_stat(5)."""

    pid: int
    state: str
    parent: int
    group: int
    started: int
    """In clock ticks since boot; with the id it names one process for ever."""

    @property
    def is_alive(self) -> bool:
        """Whether it still runs: a zombie only waits for its parent to take notice."""
        return self.state not in "ZXx"


def parse_stat(text: str) -> Stat:
    """Parse the line; the name of the program, in parentheses, may hold anything."""
    pid, _, rest = text.partition(" (")
    fields = rest.rpartition(")")[2].split()
    return Stat(int(pid), fields[0], int(fields[1]), int(fields[2]), int(fields[19]))


def parse_resident_bytes(text: str) -> int:
    """How much memory the same line says that the process has in RAM, shared pages included."""
    return int(text.rpartition(")")[2].split()[21]) * PAGE_BYTES


def is_out_of_descriptors(exc: Exception) -> bool:
    """Whether it failed for want of a descriptor, of ours or of the machine's; there may be one a moment later."""
    return isinstance(exc, OSError) and exc.errno in (errno.EMFILE, errno.ENFILE)


def living_groups(groups: Collection[int]) -> dict[int, bool]:
    """Which of these process groups have a living member; empty where that can't be known.

    Looks at every process: some thirty microseconds for each. For use in a thread.
    """
    names = _processes()
    if not names:
        return {}
    living = {stat.group for name in names if (stat := _read(name)) is not None and stat.is_alive}
    return {group: group in living for group in groups}


def families(pids: Collection[int]) -> dict[int, set[Stat]]:
    """The descendants of each of these processes. For use in a thread: there may be thousands."""
    return {pid: descendants(pid) for pid in pids}


def descendants(pid: int) -> set[Stat]:
    """The children of a process, theirs, and so on, as of now; empty where that can't be known."""
    found: dict[int, Stat] = {}
    todo = [pid]
    while todo:
        for child in children(todo.pop()) - found.keys():
            stat = _read(str(child))
            if stat is not None:
                found[child] = stat
                todo.append(child)
    return set(found.values())


def still_alive(processes: Iterable[Stat]) -> set[int]:
    """Those that run on: the same processes, not others that were given their ids."""
    return {
        old.pid
        for old in processes
        if (now := _read(str(old.pid))) is not None and now.is_alive and now.started == old.started
    }


def children(pid: int) -> set[int]:
    """The direct children of a process, whichever of its threads started them."""
    found: set[int] = set()
    try:
        for thread in os.listdir(f"{PROC}/{pid}/task"):
            with open(f"{PROC}/{pid}/task/{thread}/children", encoding="ascii") as file:
                found.update(map(int, file.read().split()))
    except (OSError, ValueError) as exc:
        if is_out_of_descriptors(exc):
            raise
    return found


def carriers(markers: Collection[bytes]) -> dict[bytes, set[int]]:
    """The living processes whose environment has one of these `NAME=VALUE` entries, by the entry.

    Looks at every process that we may look at: some ten microseconds for each. For use in a thread.
    """
    found: dict[bytes, set[int]] = {}
    for name in _processes():
        try:
            with open(f"{PROC}/{name}/environ", "rb") as file:
                environ = file.read()
        except OSError as exc:
            if is_out_of_descriptors(exc):
                raise
            continue  # not ours to look at, or it ended meanwhile
        if not any(marker in environ for marker in markers):
            continue
        stat = _read(name)
        if stat is None or not stat.is_alive:
            continue
        for marker in set(markers).intersection(environ.split(b"\0")):
            found.setdefault(marker, set()).add(stat.pid)
    return found


def read_usage(pid: int) -> tuple[Stat, int] | None:
    """A process, and its memory in RAM, shared pages included; None if it is gone."""
    text = _text(str(pid))
    try:
        return (parse_stat(text), parse_resident_bytes(text)) if text is not None else None
    except (ValueError, IndexError):
        return None


def proportional_bytes(pid: int) -> int | None:
    """Its memory in RAM, of shared pages its share; None if that can't be known. Takes milliseconds for a large one."""
    try:
        with open(f"{PROC}/{pid}/smaps_rollup", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError) as exc:
        if is_out_of_descriptors(exc):
            raise
    return None


def environment(pid: int) -> set[bytes]:
    """The `NAME=VALUE` entries that a process was started with; none if it may not be looked at."""
    try:
        with open(f"{PROC}/{pid}/environ", "rb") as file:
            return set(file.read().split(b"\0"))
    except OSError as exc:
        if is_out_of_descriptors(exc):
            raise
        return set()


def is_zombie(pid: int) -> bool:
    """Whether a process is dead and waits for its parent to take notice."""
    stat = _read(str(pid))
    return stat is not None and not stat.is_alive


def _processes() -> list[str]:
    try:
        return [name for name in os.listdir(PROC) if name.isdigit()]
    except OSError as exc:
        if is_out_of_descriptors(exc):
            raise
        return []


def _read(name: str) -> Stat | None:
    text = _text(name)
    try:
        return parse_stat(text) if text is not None else None
    except ValueError:
        return None


def _text(name: str) -> str | None:
    try:
        with open(f"{PROC}/{name}/stat", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as exc:
        if is_out_of_descriptors(exc):
            raise
        return None  # it ended meanwhile

"""Which processes are alive? Reads `/proc`; knows nothing where there is none."""

import os
from typing import NamedTuple

PROC = "/proc"


class Stat(NamedTuple):
    """What `/proc/PID/stat` says of a process. Spec: proc_pid_stat(5)."""

    pid: int
    state: str
    parent: int
    group: int

    @property
    def is_alive(self) -> bool:
        """Whether it still runs: a zombie only waits for its parent to take notice."""
        return self.state not in "ZXx"


def parse_stat(text: str) -> Stat:
    """Parse the line; the name of the program, in parentheses, may hold anything."""
    pid, _, rest = text.partition(" (")
    state, parent, group, *_ = rest.rpartition(")")[2].split()
    return Stat(int(pid), state, int(parent), int(group))


def group_lives(group: int) -> bool | None:
    """Whether a process group has a living member; None if that can't be known here."""
    try:
        names = os.listdir(PROC)
    except OSError:
        return None
    return any(
        stat.group == group and stat.is_alive for name in names if name.isdigit() and (stat := _read(name)) is not None
    )


def _read(name: str) -> Stat | None:
    try:
        with open(f"{PROC}/{name}/stat", encoding="utf-8", errors="replace") as file:
            return parse_stat(file.read())
    except (OSError, ValueError):
        return None  # it ended meanwhile

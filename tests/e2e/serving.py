"""The daemon in front of the child that does everything."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.daemon import Daemon, running_daemon

PROGRAM = str(Path(__file__).parents[1] / "programs" / "child.py")
MODERN_PROGRAM = str(Path(__file__).parents[1] / "programs" / "modern.py")
CHILD = (sys.executable, "-I", "-S", PROGRAM)


@contextmanager
def serving(
    *flags: str, modes: tuple[str, ...] = (), env: Mapping[str, str] | None = None, descriptors: int | None = None
) -> Iterator[Daemon]:
    """A daemon whose children have no time to lose and whose answers have.

    Both graces are short, and no answer is made a stream because the machine is busy, unless `flags` say otherwise.
    """
    graces = [] if "--stdin-grace" in flags else ["--stdin-grace", "0.3s", "--term-grace", "0.3s"]
    commit = [] if "--commit-after" in flags else ["--commit-after", "60s"]
    with running_daemon(*graces, *commit, *flags, "--", *CHILD, *modes, env=env, descriptors=descriptors) as daemon:
        yield daemon


@contextmanager
def serving_modern(*flags: str, modes: tuple[str, ...] = ()) -> Iterator[Daemon]:
    """The daemon in front of the child that speaks both eras."""
    graces = [] if "--stdin-grace" in flags else ["--stdin-grace", "0.3s", "--term-grace", "0.3s"]
    with running_daemon(*graces, *flags, "--", sys.executable, "-I", "-S", MODERN_PROGRAM, *modes) as daemon:
        yield daemon

"""Small programs as children, for tests of what a process does."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from proxy.child.link import Line
from proxy.child.process import Child, open_child
from proxy.child.spec import ChildSpec

ECHO = "import sys\nfor line in sys.stdin.buffer:\n    sys.stdout.buffer.write(line)\n    sys.stdout.buffer.flush()\n"


def spec(source: str, **kwargs: Any) -> ChildSpec:
    """A child that runs this Python source; starts in milliseconds."""
    return ChildSpec(argv=(sys.executable, "-I", "-S", "-c", source), env=dict(os.environ), **kwargs)


class Heard:
    """What a child has said, and how it went."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.gone: list[int | None] = []
        self._changed = anyio.Event()

    def on_lines(self, lines: list[Line]) -> None:
        self.lines += lines
        self._wake()

    def on_gone(self, returncode: int | None) -> None:
        self.gone.append(returncode)
        self._wake()

    async def until(self, *, lines: int = 0, gone: int = 0) -> None:
        """Wait until so many lines were heard and so many ends noticed."""
        with anyio.fail_after(10):
            while len(self.lines) < lines or len(self.gone) < gone:
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


@asynccontextmanager
async def running_child(source: str, **kwargs: Any) -> AsyncIterator[tuple[Child, Heard]]:
    """A child, and what it says."""
    heard = Heard()
    async with open_child(spec(source, **kwargs), on_lines=heard.on_lines, on_gone=heard.on_gone) as child:
        yield child, heard


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def open_files() -> int:
    """The descriptors that this process has open."""
    return len(os.listdir("/proc/self/fd"))

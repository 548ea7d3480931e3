"""Who else is told of every process that begins and ends?"""

import ctypes
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from proxy.child.procfs import children, is_zombie

logger = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER = 36
_START_SECONDS = 10.0


class ProcessWatch(Protocol):
    """Is told of process groups, by the process id of their leader."""

    def started(self, pid: int) -> None:
        """One has begun."""

    def ended(self, pid: int) -> None:
        """One is gone, every member of it."""


class NoWatch:
    """Nobody: for a bridge in somebody else's process."""

    def started(self, pid: int) -> None:
        """Nothing to do."""

    def ended(self, pid: int) -> None:
        """Nothing to do."""


class Guardian:
    """The guardian process, as the daemon sees it. See `proxy.child.guardian`."""

    def __init__(self, pid: int, fd: int) -> None:
        self.pid = pid
        self._fd = fd
        self._is_gone = False

    def started(self, pid: int) -> None:
        """End this group if the daemon is killed."""
        self._tell(b"+ %d\n" % pid)

    def ended(self, pid: int) -> None:
        """This group is gone."""
        self._tell(b"- %d\n" % pid)

    def dismiss(self) -> None:
        """It may go, and end nothing."""
        self._tell(b"bye\n")
        os.close(self._fd)

    def _tell(self, line: bytes) -> None:
        if self._is_gone:
            return
        try:
            os.write(self._fd, line)
        except OSError:
            self._is_gone = True
            logger.error("the guardian is gone; children would survive a SIGKILL of the daemon")


@contextmanager
def guarded(marker: str) -> Iterator[Guardian | NoWatch]:
    """Run a guardian for the processes that carry `marker`; it goes with the block.

    If it can't be started, that is logged, and nobody watches. Enter this before `become_subreaper`: the guardian is
    left to PID 1 and shall not come back.
    """
    try:
        guardian = _start_guardian(marker)
    except (OSError, ValueError, subprocess.SubprocessError) as exc:
        logger.warning(
            "there is no guardian; children would survive a SIGKILL of the daemon",
            extra={"error": f"{type(exc).__name__}: {exc}"},
        )
        yield NoWatch()
        return
    try:
        yield guardian
    finally:
        guardian.dismiss()


def _start_guardian(marker: str) -> Guardian:
    """Raises OSError, SubprocessError or, if it says something else than its process id, ValueError."""
    read_fd, write_fd = os.pipe()
    try:
        os.set_blocking(write_fd, False)
        started = subprocess.run(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("guardian.py")), "--detach"],
            stdin=read_fd,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
            timeout=_START_SECONDS,
        )
        guardian = Guardian(int(started.stdout), write_fd)
    except BaseException:
        os.close(write_fd)
        raise
    finally:
        os.close(read_fd)
    guardian._tell(b"m %b\n" % marker.encode())
    return guardian


def become_subreaper() -> bool:
    """Adopt the orphans of our children instead of leaving them to PID 1. False where that can't be had."""
    try:
        result: int = ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (OSError, AttributeError):
        return False
    return result == 0


class OrphanReaper:
    """Takes notice of the death of adopted processes. For a subreaper only: a host's children are the host's.

    Args:
        own: The process ids that somebody here waits for.
    """

    def __init__(self, own: Callable[[], set[int]]) -> None:
        self._own = own
        self._seen: set[int] = set()

    def reap(self) -> int:
        """Reap those that are dead; returns how many. Called now and then.

        One that has just been started and is not yet known to anybody must not be taken for an orphan: a zombie is
        reaped when it is seen a second time.
        """
        try:
            dead = {pid for pid in children(os.getpid()) - self._own() if is_zombie(pid)}
        except OSError:  # no descriptor left to look with; next time
            return 0
        count = 0
        for pid in dead & self._seen:
            with suppress(ChildProcessError):
                count += os.waitpid(pid, os.WNOHANG)[0] == pid
        self._seen = dead
        return count

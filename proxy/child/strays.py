"""Which descendants of a child have left its process group, and how do they end?

A process that calls setsid, as daemons and browsers do, is not reached by a signal to the group. It is known by the
marker in its environment, wherever it went, or by its ancestry as long as that is unbroken.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Collection, Iterable
from contextlib import suppress

import anyio
import anyio.to_thread

from proxy.child.procfs import carriers, is_zombie

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.02
_KILL_WAIT_SECONDS = 2.0


class StrayFinder:
    """Looks for the carriers of markers. However many ask at once, one look at the process table answers all."""

    def __init__(self) -> None:
        self._asked: dict[bytes, list[asyncio.Future[set[int]]]] = {}
        self._is_looking = False

    async def find(self, marker: bytes) -> set[int]:
        """The living processes whose environment has this `NAME=VALUE` entry. Waits for a look that begins later."""
        future: asyncio.Future[set[int]] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(marker, []).append(future)
        while not future.done():
            if self._is_looking:
                await asyncio.wait([future], timeout=_POLL_SECONDS)
                continue
            self._is_looking = True
            asked, self._asked = self._asked, {}
            found: dict[bytes, set[int]] = {}
            try:
                found = await anyio.to_thread.run_sync(carriers, tuple(asked))
            finally:
                self._is_looking = False
                for each, futures in asked.items():
                    for waiting in futures:
                        if not waiting.done():
                            waiting.set_result(found.get(each, set()))
        return future.result()


async def end_strays(pids: Collection[int], *, term_grace_seconds: float) -> int:
    """End these processes: SIGTERM, wait, SIGKILL, wait. Returns how many it had to kill.

    Signals go through pidfds where there are any, so that a process id that is used again is not hit.
    """
    handles = {pid: handle for pid in pids if (handle := _Handle.open(pid)) is not None}
    try:
        _signal(handles.values(), signal.SIGTERM)
        with anyio.move_on_after(term_grace_seconds):
            await _all_dead(handles)
        left = {pid: handle for pid, handle in handles.items() if handle.is_alive()}
        _signal(left.values(), signal.SIGKILL)
        with anyio.move_on_after(_KILL_WAIT_SECONDS):
            await _all_dead(left)
        if handles:
            logger.warning("processes outside the group ended", extra={"pids": sorted(handles), "killed": sorted(left)})
        return len(left)
    finally:
        for handle in handles.values():
            handle.close()


class _Handle:
    """One process, by something that is not used again."""

    def __init__(self, pid: int, fd: int) -> None:
        self.pid = pid
        self._fd = fd

    @classmethod
    def open(cls, pid: int) -> "_Handle | None":
        """None if it is gone."""
        if not hasattr(os, "pidfd_open"):
            return cls(pid, -1)
        try:
            return cls(pid, os.pidfd_open(pid))
        except ProcessLookupError:
            return None
        except OSError:  # no descriptor left, or not allowed here
            return cls(pid, -1)

    def send(self, signum: signal.Signals) -> None:
        """Send it a signal; nothing happens if it is gone."""
        with suppress(ProcessLookupError, PermissionError):
            if self._fd >= 0:
                signal.pidfd_send_signal(self._fd, signum)
            else:
                os.kill(self.pid, signum)

    def is_alive(self) -> bool:
        """Whether it still runs."""
        try:
            if self._fd >= 0:
                signal.pidfd_send_signal(self._fd, 0)
            else:
                os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return not is_zombie(self.pid)

    def close(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            os.close(self._fd)


def _signal(handles: Iterable[_Handle], signum: signal.Signals) -> None:
    for handle in handles:
        handle.send(signum)


async def _all_dead(handles: dict[int, _Handle]) -> None:
    while any(handle.is_alive() for handle in handles.values()):  # noqa: ASYNC110 (a zombie has no event left)
        await anyio.sleep(_POLL_SECONDS)

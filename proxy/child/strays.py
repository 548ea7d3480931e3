"""Which descendants of a child have left its process group, and how do they end?

A process that calls setsid, as daemons and browsers do, is not reached by a signal to the group. It is known by the
marker in its environment, wherever it went, or by its ancestry as long as that is unbroken.
"""

import logging
import os
import signal
from collections.abc import Collection, Iterable
from contextlib import suppress

import anyio

from proxy.child.death import open_pidfd
from proxy.child.looks import SharedLook
from proxy.child.procfs import Stat, carriers, families, is_zombie, living_groups

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.02
_KILL_WAIT_SECONDS = 2.0


class StrayFinder:
    """Looks for what is left of children. However many ask at once, one look at the process table answers all."""

    def __init__(self) -> None:
        self._carriers: SharedLook[bytes, set[int]] = SharedLook(carriers, set)
        self._groups: SharedLook[int, bool] = SharedLook(living_groups, lambda: True)
        self._families: SharedLook[int, set[Stat]] = SharedLook(families, set)

    async def find(self, marker: bytes) -> set[int]:
        """The living processes whose environment has this `NAME=VALUE` entry. Waits for a look, raises as one."""
        return await self._carriers.ask(marker)

    async def group_lives(self, group: int) -> bool:
        """Whether a process group has a living member, or that can't be known. Waits for a look, raises as one."""
        return await self._groups.ask(group)

    async def descendants(self, pid: int) -> set[Stat]:
        """The descendants of a process as of now. Waits for a look, raises as one."""
        return await self._families.ask(pid)


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


def kill_strays(seen: Collection[int], marker: bytes) -> int:
    """SIGKILL these processes and all that carry the marker, at once; returns how many. Blocks for a look."""
    pids = {*seen, *carriers([marker]).get(marker, set())}
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


class _Handle:
    """One process, by something that is not used again where there is such a thing."""

    def __init__(self, pid: int, fd: int) -> None:
        self.pid = pid
        self._fd = fd

    @classmethod
    def open(cls, pid: int) -> "_Handle | None":
        """None if it is gone."""
        try:
            return cls(pid, open_pidfd(pid))
        except ProcessLookupError:
            return None

    def send(self, signum: signal.Signals) -> None:
        """Send it a signal; nothing happens if it is gone."""
        with suppress(ProcessLookupError, PermissionError):
            self._send(signum)

    def is_alive(self) -> bool:
        """Whether it still runs."""
        try:
            self._send(0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return not is_zombie(self.pid)

    def _send(self, signum: int) -> None:
        if self._fd >= 0:
            try:
                signal.pidfd_send_signal(self._fd, signum)
            except ProcessLookupError:
                raise
            except OSError:  # a sandbox that lets us open it and not use it
                self.close()
            else:
                return
        os.kill(self.pid, signum)

    def close(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _signal(handles: Iterable[_Handle], signum: signal.Signals) -> None:
    for handle in handles:
        handle.send(signum)


async def _all_dead(handles: dict[int, _Handle]) -> None:
    while any(handle.is_alive() for handle in handles.values()):  # noqa: ASYNC110 (a zombie has no event left)
        await anyio.sleep(_POLL_SECONDS)

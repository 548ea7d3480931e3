"""How do we learn that a process is dead?"""

import asyncio
import os
from collections.abc import Callable

_POLL_SECONDS = 0.02


class DeathWatch:
    """Calls `on_death` once when a child of ours is dead.

    Learnt from the process itself: its pipes stay open when a grandchild has inherited them. Through a pidfd, or by
    looking every 20 ms where there are none, or none is allowed or left.

    Args:
        pid: The process.
        is_dead: Looks, and reaps it.
        on_death: Called on the event loop. `is_dead` may not have been asked before.
    """

    def __init__(self, pid: int, *, is_dead: Callable[[], bool], on_death: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_dead = is_dead
        self._on_death = on_death
        self._timer: asyncio.TimerHandle | None = None
        self._fd = open_pidfd(pid)
        if self._fd >= 0:
            try:
                self._loop.add_reader(self._fd, self._died)
            except BaseException as exc:
                os.close(self._fd)
                self._fd = -1
                if not isinstance(exc, OSError):  # such as: the kernel watches no more descriptors for us
                    raise
        if self._fd < 0:
            self._poll()

    def close(self) -> None:
        """Watch no longer. Nothing is called after this."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _poll(self) -> None:
        # The first look is later, too: whoever makes a watch is not told while making it.
        self._timer = self._loop.call_later(_POLL_SECONDS, self._look)

    def _look(self) -> None:
        if self._is_dead():
            self._died()
        else:
            self._poll()

    def _died(self) -> None:
        self.close()
        self._on_death()


def open_pidfd(pid: int) -> int:
    """A pidfd of a process that exists; -1 if there are none here, or none is allowed or left.

    Raises:
        ProcessLookupError: If there is no such process.
    """
    if not hasattr(os, "pidfd_open"):  # not Linux
        return -1
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:
        return -1


def has_pidfds() -> bool:
    """Whether deaths are told to us; else they are looked for. Sandboxes may refuse what the system has."""
    fd = open_pidfd(os.getpid())
    if fd >= 0:
        os.close(fd)
    return fd >= 0

"""How does a process come to be, and who owns it when nobody waits for it any more?"""

import errno
import logging
import os
import secrets
import signal
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass

import anyio
import anyio.to_thread

from proxy.child.pipes import widen
from proxy.child.spec import MARKER, ChildSpec
from proxy.errors import ChildStartFailed, OutOfResources

logger = logging.getLogger(__name__)

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
"""Nothing is wrong with the program; there is no room for it now. Spec: pipe(2), fork(2)."""

_REAP_SECONDS = 1.0
"""A process that was sent SIGKILL is dead in milliseconds; one that hangs in the kernel is not waited for."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """A process that has begun, our ends of its pipes, and how to know it again."""

    process: "subprocess.Popen[bytes]"
    stdin: int
    stdout: int
    stderr: int
    marker: bytes
    """Its own entry in the environment."""

    def discard(self) -> None:
        """End it at once, whatever it has done so far. Closes the pipes; blocks until it is dead, a second at most."""
        for fd in (self.stdin, self.stdout, self.stderr):
            os.close(fd)
        self.kill()

    def kill(self) -> None:
        """SIGKILL its group and reap it; for one that nobody has reaped. Blocks until it is dead, a second at most."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.reap()

    def reap(self) -> None:
        """Wait for its end, blocking, a second at most."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_REAP_SECONDS)


async def spawn(spec: ChildSpec) -> Spawned:
    """Start a process in a session and process group of its own; the caller owns it.

    Waits for the exec, in a thread: one from a slow disk must not stop the loop. If the wait is given up, whatever
    the reason, the process is ended: by us if it has begun, else by the thread that begins it.

    Raises:
        OutOfResources: If the machine has no descriptor, process, thread or memory left for it.
        ChildStartFailed: If it can't be started for another reason.
    """
    handover = _Handover(spec)
    try:
        # A limiter of its own: a host may hold all the threads that are shared.
        await anyio.to_thread.run_sync(handover.begin, limiter=anyio.CapacityLimiter(1))
        return handover.take()
    except (OSError, ValueError, RuntimeError) as exc:
        logger.warning("child not started", extra={"error": f"{type(exc).__name__}: {exc}", **spec.named})
        is_full = isinstance(exc, RuntimeError) or getattr(exc, "errno", None) in _EXHAUSTED  # no thread can be started
        raise (OutOfResources if is_full else ChildStartFailed) from exc
    finally:
        handover.give_up()


class _Handover:
    """One process on its way from the thread that starts it to the coroutine that wants it. One of them owns it."""

    def __init__(self, spec: ChildSpec) -> None:
        self._spec = spec
        self._lock = threading.Lock()
        self._spawned: Spawned | None = None
        self._is_wanted = True

    def begin(self) -> None:
        """Start it. In the thread."""
        spawned = _start(self._spec)
        with self._lock:
            if self._is_wanted:
                self._spawned = spawned
                return
        spawned.discard()

    def take(self) -> Spawned:
        """Own it from here on."""
        assert self._spawned is not None  # `begin` has returned
        spawned, self._spawned = self._spawned, None
        return spawned

    def give_up(self) -> None:
        """It is taken, or nobody wants it."""
        with self._lock:
            self._is_wanted = False
            spawned, self._spawned = self._spawned, None
        if spawned is not None:
            spawned.discard()


def _start(spec: ChildSpec) -> Spawned:
    """Start the process; closes every descriptor that is not handed out."""
    opened: list[int] = []
    # The bridge's marker, and after it what tells this child from the others.
    marker = f"{spec.env.get(MARKER, '')}.{secrets.token_hex(8)}"
    try:
        for _ in range(3):
            opened += os.pipe()
        stdin_read, stdin_write, stdout_read, stdout_write, stderr_read, stderr_write = opened
        process = subprocess.Popen(
            spec.argv,
            stdin=stdin_read,
            stdout=stdout_write,
            stderr=stderr_write,
            cwd=spec.cwd,
            env={**spec.env, MARKER: marker},
            start_new_session=True,
        )
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    spec.limits.impose(process.pid)
    for fd in (stdin_read, stdout_write, stderr_write):
        os.close(fd)
    for fd in (stdin_write, stdout_read):
        widen(fd)
    return Spawned(process, stdin_write, stdout_read, stderr_read, f"{MARKER}={marker}".encode())

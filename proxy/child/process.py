"""How does a child start, how do we know that it is dead, and how does it end?"""

import asyncio
import logging
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.to_thread

from proxy.child.ladder import Step, ladder
from proxy.child.link import Line, PipeLink
from proxy.child.pipes import widen
from proxy.child.procfs import descendants, group_lives, still_alive
from proxy.child.spec import MARKER, ChildSpec
from proxy.child.stderr import StderrDrain
from proxy.child.strays import StrayFinder, end_strays
from proxy.child.watch import NoWatch, ProcessWatch
from proxy.errors import ChildStartFailed

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.02  # between looks at a process group, which has no event of its own
_CLOSED_GRACE_SECONDS = 0.5
"""A dying child closes its pipes a moment before its death can be seen; one that lives on has shut us out."""


class Child:
    """One running child. Made by `open_child`, which also ends it.

    Attributes:
        link: Its stdin and stdout, as lines.
        was_killed: Whether it took SIGKILL to end it.
    """

    def __init__(
        self,
        spec: ChildSpec,
        process: "subprocess.Popen[bytes]",
        pipes: "_Pipes",
        *,
        on_lines: Callable[[list[Line]], None],
        on_gone: Callable[[int | None], None],
        finder: StrayFinder,
    ) -> None:
        self.pid = process.pid
        self.was_killed = False
        self._spec = spec
        self._process = process
        self._on_gone = on_gone
        self._finder = finder
        self._marker = pipes.marker
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()
        self._closed_timer: asyncio.TimerHandle | None = None
        self._exited = anyio.Event()
        self._pidfd = -1
        self._stderr = StderrDrain(pipes.stderr, pid=self.pid)
        self.link = PipeLink(
            stdin_fd=pipes.stdin,
            stdout_fd=pipes.stdout,
            max_line_bytes=spec.max_line_bytes,
            on_lines=on_lines,
            on_closed=self._pipe_closed,
        )
        try:
            self._watch()
        except OSError:
            self._stderr.close()
            self.link.close()
            raise

    @property
    def returncode(self) -> int | None:
        """As in `subprocess`; None while it runs."""
        code: int | None = self._process.returncode
        return code

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines it wrote on stderr; for the log, never for a client."""
        return self._stderr.tail

    def kill(self) -> None:
        """SIGKILL it and its group now; `open_child` still reaps it."""
        self.was_killed = True
        self._signal_group(signal.SIGKILL)

    def _watch(self) -> None:
        """Learn of the death from the process itself: pipes stay open when a grandchild has inherited them."""
        if hasattr(os, "pidfd_open"):
            self._pidfd = os.pidfd_open(self.pid)
            self._loop.add_reader(self._pidfd, self._died)
        else:  # not Linux
            self._poll_death()

    def _poll_death(self) -> None:
        if self._process.poll() is not None:
            self._died()
        elif not self._exited.is_set():
            self._loop.call_later(_POLL_SECONDS, self._poll_death)

    def _died(self) -> None:
        if self._exited.is_set():
            return
        self._unwatch()
        try:
            self.link.drain()  # what it wrote before its death is in the pipe, and comes before the news of it
            self._stderr.drain()
        except Exception:
            logger.exception("last output not handled", extra={"pid": self.pid})
        self._process.poll()
        self._exited.set()
        logger.info(
            "child exited",
            extra={
                "pid": self.pid,
                "returncode": self.returncode,
                "lived_seconds": round(self._loop.time() - self._started_at, 3),
            },
        )
        self._on_gone(self.returncode)

    def _unwatch(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if self._closed_timer is not None:
            self._closed_timer.cancel()

    def _pipe_closed(self) -> None:
        if self._closed_timer is None and not self._exited.is_set():
            self._closed_timer = self._loop.call_later(_CLOSED_GRACE_SECONDS, self._shut_out)

    def _shut_out(self) -> None:
        if not self._exited.is_set():
            logger.warning("child closed a pipe and lives on", extra={"pid": self.pid})
            self.link.drain()
            self._on_gone(None)

    async def _end(self) -> None:
        """Climb the ladder until the child and its whole process group are gone. Bounded; never raises."""
        steps = ladder(
            stdin_grace_seconds=self._spec.stdin_grace_seconds,
            term_grace_seconds=self._spec.term_grace_seconds,
        )
        seen = descendants(self.pid)  # while their ancestry is unbroken
        self.link.resume()  # a child blocked on a full stdout could not even see its stdin close
        for step in steps:
            if self._exited.is_set() and not self._group_lives():
                break
            if await self._try(step):
                logger.debug("x child ended", extra={"pid": self.pid, "by": step.name})
                break
        else:
            logger.error("child can't be ended", extra={"pid": self.pid})
        try:
            strays = still_alive(seen) | await self._finder.find(self._marker)
            if strays and await end_strays(strays, term_grace_seconds=self._spec.term_grace_seconds):
                self.was_killed = True
        except Exception:  # out of threads or descriptors, say: the rest of the end must not be left out
            logger.exception("strays not looked for", extra={"pid": self.pid})
        finally:
            self._unwatch()
            self.link.close()
            self._stderr.close()

    async def _try(self, step: Step) -> bool:
        if step.signal is None:
            self.link.close_stdin()
        elif step.signal is signal.SIGKILL:
            logger.warning("child killed", extra={"pid": self.pid})
            self.kill()
        else:
            self._signal_group(step.signal)
        with anyio.move_on_after(step.wait_seconds):
            await self._exited.wait()
            # Its stdin is nothing to the rest of the group: those that are left get the signals at once.
            while self._group_lives() and step.signal is not None:  # noqa: ASYNC110 (a group has no event)
                await anyio.sleep(_POLL_SECONDS)
        return self._exited.is_set() and not self._group_lives()

    def _signal_group(self, signum: int) -> None:
        # On the pid: it is the group's id, too, and stays reserved as long as the group has a member.
        try:
            os.killpg(self.pid, signum)
        except (ProcessLookupError, PermissionError):
            return

    def _group_lives(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        # It has a member; one that is a zombie waits for a parent that may not be in a hurry.
        return group_lives(self.pid) is not False


@asynccontextmanager
async def open_child(
    spec: ChildSpec,
    *,
    on_lines: Callable[[list[Line]], None],
    on_gone: Callable[[int | None], None],
    finder: StrayFinder | None = None,
    watch: ProcessWatch | None = None,
) -> AsyncIterator[Child]:
    """Start a child in a session and process group of its own; end it, with its group, on the way out.

    The end is shielded from cancellation and takes at most the two graces plus `KILL_WAIT_SECONDS`.

    Args:
        spec: What to run.
        on_lines: Gets the lines of its stdout, on the event loop.
        on_gone: Called once with its return code when it is dead, all its lines having been delivered; with None when
            it lives but has closed a pipe.
        finder: Finds what has left the group; shared by all that end at once.
        watch: Who else is told of the process.

    Raises:
        ChildStartFailed: If it can't be started.
    """
    # In a thread: exec of a program on a slow disk must not stop the loop. Not abandoned when cancelled, so that a
    # process that was started always has an owner.
    try:
        process, pipes = await anyio.to_thread.run_sync(partial(_spawn, spec))
    except (OSError, ValueError, RuntimeError) as exc:  # the last: no thread can be started
        logger.warning("child not started", extra={"error": f"{type(exc).__name__}: {exc}"})
        raise ChildStartFailed from exc
    try:
        child = Child(spec, process, pipes, on_lines=on_lines, on_gone=on_gone, finder=finder or StrayFinder())
    except OSError as exc:  # no descriptor left to watch it by
        process.kill()
        process.wait()
        logger.warning("child not watched", extra={"pid": process.pid, "error": f"{type(exc).__name__}: {exc}"})
        raise ChildStartFailed from exc
    watch = watch or NoWatch()
    watch.started(child.pid)
    logger.info("child started", extra={"pid": child.pid})
    try:
        yield child
    finally:
        with anyio.CancelScope(shield=True):
            await child._end()
        watch.ended(child.pid)


@dataclass(frozen=True, slots=True)
class _Pipes:
    """Our ends of a child's pipes, and how to know it again."""

    stdin: int
    stdout: int
    stderr: int
    marker: bytes
    """Its own entry in the environment."""


def _spawn(spec: ChildSpec) -> tuple["subprocess.Popen[bytes]", _Pipes]:
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
    for fd in (stdin_read, stdout_write, stderr_write):
        os.close(fd)
    for fd in (stdin_write, stdout_read):
        widen(fd)
    return process, _Pipes(stdin_write, stdout_read, stderr_read, f"{MARKER}={marker}".encode())

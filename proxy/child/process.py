"""What is a running child, and how does it end?"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio

from proxy.child.death import DeathWatch
from proxy.child.ladder import Step, ladder
from proxy.child.link import Line, PipeLink
from proxy.child.pipes import undone
from proxy.child.procfs import Stat, is_out_of_descriptors, still_alive
from proxy.child.spawn import Spawned, spawn
from proxy.child.spec import ChildSpec
from proxy.child.stderr import StderrDrain
from proxy.child.strays import StrayFinder, end_strays, kill_strays
from proxy.child.turns import Turns
from proxy.child.watch import NoWatch, ProcessWatch
from proxy.errors import OutOfResources, ProxyError

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.02  # between looks at a process group, which has no event of its own
_MOST_POLL_SECONDS = 0.2
_LOOK_AGAIN_SECONDS = 10.0
"""Descriptors that are used up come back when something else ends, which is what happens at such a time."""
_MOST_ROUNDS = 20
"""Of looks for what has left the group, each of which has found something: a program that forks faster wins."""
_CLOSED_GRACE_SECONDS = 0.5
"""A dying child closes its pipes a moment before its death can be seen; one that lives on has shut us out."""


class Child:
    """One running child. Made by `open_child`, which also ends it. Owns the pipes, also when it can't be made.

    Attributes:
        link: Its stdin and stdout, as lines.
        was_killed: Whether it took SIGKILL to end it.
        exited_alone: Whether it had exited before it was told to.
        marker: Its entry in the environment of all that it starts.
        max_memory_bytes: What it may take with all that it starts; None for no limit.
        fault: Why it was ended, if that was for something that it did.
    """

    def __init__(
        self,
        spec: ChildSpec,
        spawned: Spawned,
        *,
        on_lines: Callable[[list[Line]], None],
        on_gone: Callable[[int | None], None],
        finder: StrayFinder,
        turns: Turns | None,
    ) -> None:
        self.pid = spawned.process.pid
        self.was_killed = False
        self.exited_alone = False
        self.marker = spawned.marker
        self.max_memory_bytes = spec.limits.memory_bytes
        self.fault: ProxyError | None = None
        self._who = {"pid": self.pid, **spec.named}
        self._spec = spec
        self._spawned = spawned
        self._on_gone = on_gone
        self._finder = finder
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()
        self._closed_timer: asyncio.TimerHandle | None = None
        self._exited = anyio.Event()
        self._seen: set[Stat] = set()
        self._is_group_gone = False
        with undone(partial(os.close, spawned.stdin), partial(os.close, spawned.stdout)):
            self._stderr = StderrDrain(spawned.stderr, who=self._who)
        with undone(self._stderr.close):
            self.link = PipeLink(
                stdin_fd=spawned.stdin,
                stdout_fd=spawned.stdout,
                max_line_bytes=spec.max_line_bytes,
                on_lines=on_lines,
                on_closed=self._pipe_closed,
                turns=turns,
            )
            with undone(self.link.close):
                self._death = DeathWatch(self.pid, is_dead=self._is_dead, on_death=self._died)

    @property
    def returncode(self) -> int | None:
        """As in `subprocess`; None while it runs."""
        code: int | None = self._spawned.process.returncode
        return code

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines it wrote on stderr; for the log, never for a client."""
        return self._stderr.tail

    def kill(self) -> None:
        """SIGKILL it and its group now; `open_child` still reaps it."""
        self.was_killed = True
        self._signal_group(signal.SIGKILL)

    def _is_dead(self) -> bool:
        return self._spawned.process.poll() is not None

    def _died(self) -> None:
        if self._exited.is_set():
            return
        self._unwatch()
        try:
            self.link.drain()  # what it wrote before its death is in the pipe, and comes before the news of it
            self._stderr.drain()
        except Exception:
            logger.exception("last output not handled", extra={"pid": self.pid})
        self._spawned.process.poll()
        self._exited.set()
        logger.info(
            "child exited",
            extra={
                **self._who,
                "returncode": self.returncode,
                "lived_seconds": round(self._loop.time() - self._started_at, 3),
            },
        )
        self._tell_gone(self.returncode)

    def _tell_gone(self, returncode: int | None) -> None:
        try:
            self._on_gone(returncode)
        except Exception:
            logger.exception("news of a child not taken", extra={"pid": self.pid})

    def _unwatch(self) -> None:
        self._death.close()
        if self._closed_timer is not None:
            self._closed_timer.cancel()

    def _pipe_closed(self) -> None:
        if self._closed_timer is None and not self._exited.is_set():
            self._closed_timer = self._loop.call_later(_CLOSED_GRACE_SECONDS, self._shut_out)

    def _shut_out(self) -> None:
        if not self._exited.is_set():
            logger.warning("child closed a pipe and lives on", extra={"pid": self.pid})
            self.link.drain()
            self._tell_gone(None)

    async def _end(self) -> None:
        """Climb the ladder until the child and all that it has started are gone. Bounded.

        A fault on the way is logged, and everything killed.

        Raises:
            CancelledError: If the event loop is torn down around us, against which nothing shields. Everything has
                been killed.
        """
        self.exited_alone = self._exited.is_set()
        try:
            self._seen = await self._descendants()  # while their ancestry is unbroken
            await self._climb()
            await self._end_strays()
        except Exception:
            logger.exception("child not ended in peace", extra={"pid": self.pid})
            self._end_at_once()
        except BaseException:
            self._end_at_once()
            raise
        finally:
            self._unwatch()
            self.link.close()
            self._stderr.close()

    async def _end_strays(self) -> None:
        """End what has left the group. What multiplies meanwhile is looked for again, and killed without a word."""
        grace_seconds = self._spec.term_grace_seconds
        for _ in range(_MOST_ROUNDS):
            strays = await self._strays()
            if not strays:
                return
            if await end_strays(strays, term_grace_seconds=grace_seconds):
                self.was_killed = True
            grace_seconds = 0.0
        logger.error("processes outside the group can't be ended", extra={"pid": self.pid})

    async def _descendants(self) -> set[Stat]:
        try:
            return await self._finder.descendants(self.pid)
        except (OSError, RuntimeError) as exc:  # out of threads or descriptors: they are still known by the marker
            logger.warning("descendants not looked for", extra={"pid": self.pid, "error": type(exc).__name__})
            return set()

    async def _strays(self) -> set[int]:
        """What has left the group. Waits for a descriptor to look with, for `_LOOK_AGAIN_SECONDS` at most."""
        pause, give_up_at = _POLL_SECONDS, self._loop.time() + _LOOK_AGAIN_SECONDS
        while True:
            try:
                return still_alive(self._seen) | await self._finder.find(self._spawned.marker)
            except OSError as exc:
                if not is_out_of_descriptors(exc) or self._loop.time() > give_up_at:
                    raise
            if pause == _POLL_SECONDS:
                logger.warning("no descriptor to look for strays with; looking again", extra={"pid": self.pid})
            await anyio.sleep(pause)
            pause = min(2 * pause, _MOST_POLL_SECONDS)

    async def _climb(self) -> None:
        steps = ladder(
            stdin_grace_seconds=self._spec.stdin_grace_seconds,
            term_grace_seconds=self._spec.term_grace_seconds,
        )
        self.link.resume()  # a child blocked on a full stdout could not even see its stdin close
        for step in steps:
            if (self._exited.is_set() and not await self._group_lives()) or await self._try(step):
                logger.debug("x child ended", extra={"pid": self.pid, "by": step.name})
                self._is_group_gone = True
                return
        logger.error("child can't be ended", extra={"pid": self.pid})

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
            pause = _POLL_SECONDS
            while step.signal is not None and await self._group_lives():
                await anyio.sleep(pause)
                pause = min(2 * pause, _MOST_POLL_SECONDS)
        return self._exited.is_set() and not await self._group_lives()

    def _end_at_once(self) -> None:
        """SIGKILL everything. Blocks the loop for milliseconds: there may be nobody left to come back to."""
        if not self._is_group_gone:
            self.kill()
            self._spawned.reap()
        try:
            if kill_strays(still_alive(self._seen), self._spawned.marker):
                self.was_killed = True
        except OSError:  # no descriptor left to look with
            logger.exception("strays not looked for", extra={"pid": self.pid})
        if self.returncode is not None:
            self._died()

    def _signal_group(self, signum: int) -> None:
        # On the pid: it is the group's id, too, and stays reserved as long as the group has a member.
        if self._is_group_gone:
            return
        try:
            os.killpg(self.pid, signum)
        except (ProcessLookupError, PermissionError):
            return

    async def _group_lives(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        # It has a member; one that is a zombie waits for a parent that may not be in a hurry.
        try:
            return await self._finder.group_lives(self.pid)
        except (OSError, RuntimeError):  # out of threads or descriptors
            return True


@asynccontextmanager
async def open_child(
    spec: ChildSpec,
    *,
    on_lines: Callable[[list[Line]], None],
    on_gone: Callable[[int | None], None],
    finder: StrayFinder | None = None,
    watch: ProcessWatch | None = None,
    turns: Turns | None = None,
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
        turns: What all children on this loop have in common.

    Raises:
        ChildStartFailed, OutOfResources: If it can't be started. See `spawn`.
    """
    spawned = await spawn(spec)
    try:
        child = Child(spec, spawned, on_lines=on_lines, on_gone=on_gone, finder=finder or StrayFinder(), turns=turns)
    except BaseException as exc:
        spawned.kill()
        if not isinstance(exc, OSError):
            raise
        # The kernel watches no more descriptors for us.
        logger.warning("child not watched", extra={"error": f"{type(exc).__name__}: {exc}"})
        raise OutOfResources from exc
    watch = watch or NoWatch()
    try:
        watch.started(child.pid)
        logger.info("child started", extra=child._who)
        yield child
    finally:
        try:
            with anyio.CancelScope(shield=True):
                await child._end()
        finally:
            watch.ended(child.pid)

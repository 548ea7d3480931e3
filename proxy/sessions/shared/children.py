"""How do sessions come by a child that they share?"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
from anyio.abc import TaskGroup

from proxy.child.link import Line
from proxy.child.spec import ChildSpec
from proxy.errors import ChildRestarting, Draining, ProxyError, SessionEnded
from proxy.observe import Counts
from proxy.sessions.era import ServerEra
from proxy.sessions.exits import Exits
from proxy.sessions.limits import SessionLimits
from proxy.sessions.modern.child import SharedChild
from proxy.sessions.modern.opening import own_request
from proxy.sessions.modern.pool import Pool
from proxy.sessions.places import Places
from proxy.sessions.session import SessionChild
from proxy.sessions.shared.child import SharedProcess
from proxy.sessions.shared.judge import Judge
from proxy.sessions.shared.modern_port import ModernPort
from proxy.sessions.shared.owner import Owner
from proxy.sessions.shared.renewal import Succession
from proxy.sessions.shared.turns import Turns
from proxy.sessions.starts import Starts

logger = logging.getLogger(__name__)

GROUP = "sessions"
"""Of those that share a child of 2026-07-28: clients without sessions have another one, as they want other logs."""
CHECK_SECONDS = 0.1
"""How often time-outs are looked at; each may be late by this."""
EVICTABLE_AFTER_SECONDS = 5.0
"""A child that no session uses makes room for another process after this."""


class SharedChildren:
    """The one child that serves the sessions of a server, and the next one when that is gone.

    It is started when somebody needs it, once for all who wait, and ends when nobody has used it for
    `idle_timeout_seconds`.

    Args:
        spec: How to start it.
        limits: Bounds of a session.
        counts: What an operator may see.
        places: Room for it, which others share.
        era: What is known of the server.
        starts: Told how starts went.
        exits: What follows when it exits by itself.
        may_ask: Whether the server may ask its clients something.
        newest_version: The newest revision that the server is offered; the newest there is if None.
        is_kept_ready: Whether it is started before anybody needs it, and stays although nobody does.
    """

    def __init__(
        self,
        *,
        spec: ChildSpec,
        limits: SessionLimits,
        counts: Counts,
        places: Places,
        era: ServerEra,
        starts: Starts,
        exits: Exits,
        may_ask: bool,
        newest_version: str | None = None,
        is_kept_ready: bool = False,
    ) -> None:
        self.turns = Turns(limits.max_calls_per_child)
        self.modern: Pool | None = None
        """Where a child is had that speaks only 2026-07-28; set before `run`."""
        self._limits = limits if not is_kept_ready else replace(limits, idle_timeout_seconds=None)
        self._counts = counts
        self._places = places
        self._era = era
        self._starts = starts
        self._starts.serves.append(lambda: self.is_there)
        self._exits = exits
        self._may_ask = may_ask
        self._newest_version = newest_version
        self._tasks: TaskGroup | None = None
        self._is_kept_ready = is_kept_ready
        self._owner = Owner(spec=spec, limits=limits, counts=counts, places=places, starts=starts)
        self._line = Succession(limits=limits, counts=counts, begin=self._begin_ahead, is_kept_ready=is_kept_ready)
        self._wakes = anyio.Event()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Own every process. On the way out all end, each with its ladder, shielded and bounded."""
        self._judge = Judge(starts=self._starts, exits=self._exits)
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            self._owner.is_ending = False
            self._owner.cut = 0
            self._places.evictors.append(self._evict)
            tasks.start_soon(self._check_for_ever)
            try:
                yield
            finally:
                self._tasks = None
                self._places.evictors.remove(self._evict)
                self.end_all("stopped")
                with anyio.CancelScope(shield=True):
                    await self.all_gone()
                tasks.cancel_scope.cancel()

    @property
    def is_there(self) -> bool:
        """Whether a session could begin without the start of a process."""
        process = self._line.current
        return process is not None and process.settled.is_set() and not process.ended.is_set()

    @property
    def is_cold(self) -> bool:
        """Whether one should be ready by now, and none has been yet."""
        return self._is_kept_ready and not self._line.was_there and not self.is_there and self._may_speak_legacy

    @property
    def _may_speak_legacy(self) -> bool:
        return self._era.speaks_legacy is not False

    @property
    def respawns(self) -> bool:
        """Whether sessions outlive their child."""
        return self._exits.respawns

    def report(self) -> dict[str, int]:
        """What `/health` shows."""
        hubs = [process.hub for process in self._line.all]
        return {
            "children": self._owner.running,
            "sessions": sum(hub.port_count for hub in hubs),
            "cancelled_unanswered": sum(hub.unanswered for hub in hubs),
        }

    @property
    def cut(self) -> int:
        """What an end could not end in peace."""
        return self._owner.cut

    # ---- getting one

    async def ready(self) -> SharedProcess | SharedChild:
        """The child, ready, of the era that the server speaks to clients with a session.

        Waits for a start, and for room for a process.

        Raises:
            Draining, ChildRestarting, CircuitOpen, TooManySessions, OutOfResources, ChildStartFailed,
                ChildStartTimedOut: If there is none.
        """
        while True:
            if self._era.speaks_legacy is False:
                if self.modern is None:
                    raise ChildRestarting
                child = await self.modern.shared(GROUP, own_request("server/discover"))
                if child.translator is None:
                    return child
                self._era.learned_legacy(True, "answered initialize")  # it was another server, once
            process = self._line.current
            if process is None:
                process = self._line.current = self._begin()
            process.is_ahead = False
            await process.settled.wait()
            if process.error is not None:
                raise type(process.error)(str(process.error))  # one for each who waits
            if not process.ended.is_set():
                return process

    @asynccontextmanager
    async def join(
        self, *, on_lines: Callable[[list[Line]], None], on_gone: Callable[[int | None], None]
    ) -> AsyncIterator[SessionChild]:
        """Use the child while the block is open. Raises as `ready`."""
        process = await self.ready()
        if isinstance(process, SharedChild):
            modern = ModernPort(process, on_lines=on_lines, on_gone=on_gone)
            try:
                yield modern
            finally:
                modern.close()
            return
        port = process.join(on_lines=on_lines, on_gone=on_gone)
        try:
            yield port
        finally:
            port.leave()

    def _begin(self) -> SharedProcess:
        if self._tasks is None or self._owner.is_ending:
            raise Draining
        wait = self._judge.wait_seconds
        if wait > self._limits.place_timeout_seconds:
            self._counts.add("refused.restarting")
            raise ChildRestarting
        self._starts.check()
        process = SharedProcess(
            may_ask=self._may_ask,
            newest_version=self._newest_version,
            limits=self._limits,
            counts=self._counts,
            era=self._era,
            clock=asyncio.get_running_loop().time,
            on_ended=self._ended,
        )
        process.replaces_another = self._judge.has_lost_one and self._line.current is None
        self._owner.running += 1
        self._wakes.set()
        self._tasks.start_soon(self._owner.own, process, wait)
        return process

    def _ended(self, process: SharedProcess) -> None:
        """It serves nothing new: whoever comes now gets another one."""
        is_successor = self._line.successor is process
        self._line.remove(process)
        if not is_successor:
            self._judge.ended(process)
        elif not self._owner.is_ending:  # whoever serves goes on
            self._judge.never_ready(process)

    def _begin_ahead(self) -> SharedProcess | None:
        """Start a process that nobody waits for; None if that is not worth while now."""
        may_begin = self._may_speak_legacy and not self._owner.is_ending and self._tasks is not None
        is_worth_it = not self._judge.wait_seconds and self._starts.circuit == "closed"
        if not may_begin or not is_worth_it or not (self._places.has_room or self._places.has_spare):
            return None
        process = self._begin()
        process.is_ahead = True
        return process

    # ---- ending

    def _evict(self) -> bool:
        """End a child that nobody uses, to make room for another process."""
        process, now = self._line.current, asyncio.get_running_loop().time()
        if process is None or not self.is_there or process.is_used:
            return False
        if now - process.idle_since <= EVICTABLE_AFTER_SECONDS:
            return False
        self._counts.add("evicted.idle_child")
        process.end("evicted: idle", SessionEnded())
        return True

    def end_all(self, reason: str) -> None:
        """End the child; whoever waits for one gets the error of a shutdown."""
        self._owner.is_ending = True
        for process in self._line.all:
            process.end(reason, Draining())
        self._places.wake()

    async def drain(self, reason: str = "shutdown") -> None:
        """Begin nothing new, and wait until no process is left. For when its sessions have ended."""
        self.end_all(reason)
        await self.all_gone()

    async def all_gone(self) -> None:
        """Wait until no process is left."""
        await self._owner.all_gone()

    async def _check_for_ever(self) -> None:
        while True:
            if not self._line.all and not self._is_kept_ready:
                self._wakes = anyio.Event()
                await self._wakes.wait()
            await anyio.sleep(CHECK_SECONDS)
            now = asyncio.get_running_loop().time()
            try:
                self._line.renew(now)
            except Exception:  # whoever serves now goes on
                logger.exception("shared child not replaced")
            for process in self._line.all:
                if not process.settled.is_set():
                    continue
                try:
                    process.check(now)
                except Exception:
                    logger.exception("check failed", extra={"child": process.tag})
                    process.end("bridge fault", ProxyError())

"""Which processes serve clients without sessions?

Clients of one group share a child as far as the era of the server allows; a client that shares with nobody has one for
each call. Children are started when somebody needs them, one start at a time for those who can share it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import msgspec
from msgspec import Raw

from proxy.child.spec import ChildSpec
from proxy.errors import (
    ChildRestarting,
    ChildStartFailed,
    ChildStartTimedOut,
    ProxyError,
    SessionEnded,
    TooManyCalls,
)
from proxy.observe import Counts
from proxy.protocol.envelope import ModernRequest
from proxy.sessions.backoff import GOOD_LIFE_SECONDS, Backoff
from proxy.sessions.era import ServerEra
from proxy.sessions.exits import Exits
from proxy.sessions.kept import Kept
from proxy.sessions.modern.ahead import SharedAhead
from proxy.sessions.modern.child import SharedChild
from proxy.sessions.modern.joint_starts import JointStarts
from proxy.sessions.modern.limits import ModernLimits
from proxy.sessions.modern.opener import Opener
from proxy.sessions.modern.processes import Processes
from proxy.sessions.modern.ready import Ready
from proxy.sessions.modern.retirement import Retirement
from proxy.sessions.places import Places
from proxy.sessions.starts import Starts
from proxy.sessions.warm.pool import WarmPool

logger = logging.getLogger(__name__)

CHECK_SECONDS = 0.1
"""How often time-outs are looked at; each may be late by this."""


class Pool:
    """All children of one server that serve clients without sessions.

    Args:
        spec: How to start a child.
        limits: Bounds of each.
        counts: What an operator may see.
        places: Room for them, which others share.
        era: What is known of the server.
        starts: Told how starts went.
        exits: What follows when a child exits by itself; nothing if not given.
        on_gone: Told of each child that serves no more.
        warm: Where children that were started ahead are kept; none are if it is not given.
        kept: Where children wait that have served a call; none do if it is not given.
    """

    def __init__(
        self,
        *,
        spec: ChildSpec,
        limits: ModernLimits,
        counts: Counts,
        places: Places,
        era: ServerEra,
        starts: Starts,
        on_gone: Callable[[SharedChild], None],
        exits: Exits | None = None,
        warm: WarmPool | None = None,
        kept: Kept | None = None,
    ) -> None:
        self._limits = limits
        self._counts = counts
        self._places = places
        self._era = era
        self._starts = starts
        self._starts.serves.append(lambda: any(child.is_ready for child in self._processes.alive))
        self._on_gone = on_gone
        self._exits = exits or Exits()
        self._opening: dict[object, float] = {}  # since when somebody waits for a start
        self._changed = anyio.Event()
        self._processes = Processes(
            spec=spec, limits=limits, counts=counts, places=places, on_ended=self._ended, on_changed=self._freed
        )
        self._opener = Opener(
            spawn=self._spawn,
            start_soon=self._processes.start_soon,
            limits=limits,
            counts=counts,
            era=era,
            on_late=self._begins,
            is_ending=lambda: self._processes.is_ending,
        )
        self._ready = Ready()
        self._joint = JointStarts(start=self._start, processes=self._processes, ready=self._ready, era=era)
        self._kept = kept if kept is not None else Kept(places)
        self._retirement = Retirement(
            limits=limits, counts=counts, ready=self._ready, kept=self._kept, era=era, on_changed=self._freed
        )
        self._warm = warm if warm is not None else WarmPool(places=places, counts=counts)
        self._ahead = SharedAhead(
            start=self._processes.begin_ahead,
            opening=self._opening.values,
            era=era,
            starts=starts,
            on_no_good=self._no_good,
        )
        self._warm.add(self._ahead)
        self.checks: list[Callable[[float], None]] = []
        """Called a few times a second while a child lives."""

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Own every child. On the way out all end, each with its ladder, shielded and bounded."""
        self._backoff = Backoff(asyncio.get_running_loop().time)
        async with self._processes.run():
            self._processes.start_soon(self._check_for_ever)
            yield

    @property
    def is_running(self) -> bool:
        """Whether children can be started."""
        return self._processes.is_running

    @property
    def children(self) -> set[SharedChild]:
        """Those that serve, or are being started for somebody."""
        return {child for child in self._processes.alive if not child.is_ahead}

    @property
    def cut(self) -> int:
        """What an end could not end in peace."""
        return self._processes.cut

    def end_all(self, reason: str) -> None:
        """End every child; open calls get the error of a shutdown."""
        self._processes.end_all(reason)

    async def all_gone(self) -> None:
        """Wait until no process is left."""
        await self._processes.all_gone()

    # ---- getting one

    async def shared(self, group: str, request: ModernRequest) -> SharedChild:
        """A child that this group's clients share, ready; if the request may have a turn there, it has it.

        Waits for a start, for a turn, and for room for a process.

        Raises:
            Draining, TooManyCalls, OutOfResources, ChildStartFailed, ChildStartTimedOut, ChildRestarting, CircuitOpen:
                If there is none.
        """
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        overflow_at = asked_at + self._limits.lease_wait_seconds
        capabilities = canonical(request.capabilities)
        while True:
            child, is_primary_there = self._ready.choose(group, capabilities, request)
            if child is not None:
                return child
            now = loop.time()
            if not is_primary_there or now >= overflow_at:
                if now - asked_at > self._limits.start_timeout_seconds + self._limits.place_timeout_seconds:
                    raise TooManyCalls
                await self._joint.start(group, capabilities, request, spare=is_primary_there)
            else:
                with anyio.move_on_after(overflow_at - now):
                    await self._changed.wait()

    def primary(self, group: str) -> SharedChild | None:
        """The child of a group that serves any client of it at any time; None if there is none."""
        return self._ready.primary(group)

    async def own(self, request: ModernRequest) -> SharedChild:
        """A child for this request alone. Whoever gets it ends it, or gives it to `keep`.

        Raises as `shared`.
        """
        capabilities = canonical(request.capabilities)
        child: SharedChild | None = self._kept.take(_kept_as(None)) or self._kept.take(_kept_as(capabilities))
        if child is None:
            child = await self._start(None, capabilities, request)
        child.idle_since = asyncio.get_running_loop().time()
        if child.takes_turns:
            child.lease()
        return child

    @property
    def keeps_children(self) -> bool:
        """Whether a child of `own` may serve several calls, one after the other."""
        return self._kept.is_wanted

    def keep(self, child: SharedChild) -> bool:
        """Let a child of `own` that has answered its call wait for another; returns whether it does."""
        is_good = not child.is_busy and not child.mux.failed_calls and not self._processes.is_ending
        return is_good and self._kept.keep(_kept_as(child.capabilities), child)

    # ---- starting one

    async def _start(self, group: str | None, capabilities: bytes, request: ModernRequest) -> SharedChild:
        """Start a process and find out what it speaks, if that is not known."""
        started: list[SharedChild] = []
        self._starts.check()
        self._opening[started_for := object()] = asyncio.get_running_loop().time()
        try:
            await self._back_off()
            child = await self._opener.open(group, capabilities, request, started)
        except BaseException as exc:
            for each in started:
                each.end("not ready", ChildStartFailed())
            if isinstance(exc, ChildStartFailed | ChildStartTimedOut):
                self._backoff.failed()
                self._starts.note(failed=True, may_be_clients=True)
                self._log_failed_start(started)
                if started and started[-1].has_exited:
                    self._exits.exited(started[-1].returncode, pid=started[-1].pid)
            raise
        finally:
            del self._opening[started_for]
        self._starts.note(failed=False)
        self._warm.served()
        self._begins(child)
        return child

    async def _back_off(self) -> None:
        wait = self._backoff.wait_seconds
        if wait > self._limits.place_timeout_seconds:
            self._counts.add("refused.restarting")
            raise ChildRestarting
        if wait:
            await anyio.sleep(wait)

    async def _spawn(self, group: str | None, started: list[SharedChild], *, may_be_warm: bool = False) -> SharedChild:
        """A process that has said nothing yet, or one that was started ahead. Waits, and raises, as `Processes.get`."""
        if not may_be_warm:
            return await self._processes.get(group, started)
        missed = partial(self._warm.missed, self._ahead.name)
        return await self._processes.get(group, started, take=partial(self._take_warm, group), on_missed=missed)

    def _take_warm(self, group: str | None) -> SharedChild | None:
        """A process that was started ahead and is its caller's now; one that fits what is known of the server now."""
        while True:
            child: SharedChild | None = self._warm.take(self._ahead.name, is_last_chance=not self._places.has_room)
            if child is None:
                return None
            child.taken(group)
            if not child.has_ended and self._ahead.fits(child):
                return child
            child.end("the server speaks another era", SessionEnded())

    def _no_good(self, child: SharedChild) -> None:
        self._log_failed_start([child])

    def _log_failed_start(self, started: list[SharedChild]) -> None:
        tail = started[-1].stderr_tail if started else []
        logger.warning("shared child was never ready", extra={"stderr": tail or "nothing"})

    # ---- those that are ready

    def _begins(self, child: SharedChild) -> None:
        """It serves from now on."""
        child.is_ready = True
        logger.info(
            "shared child ready",
            extra={
                "child": child.tag,
                "pid": child.pid,
                "era": "modern" if child.translator is None else "legacy",
                "serves": "a group" if child.group is not None else "one call",
            },
        )
        if child.group is not None and not child.has_ended:
            self._ready.add(child)
            self._retirement.begins(child)
        self._freed()

    def _ended(self, child: SharedChild) -> None:
        """Nobody gets it from now on, not even before its owner wakes up."""
        self._ready.withdraw(child)
        if child.is_ready:
            lived = asyncio.get_running_loop().time() - child.created_at
            if child.has_exited:
                self._exits.exited(
                    child.returncode, pid=child.pid
                )  # one that was only being asked for its era may exit
            if child.returncode is not None and child.end_reason == "child exited" and child.group is not None:
                self._backoff.failed(lived)
            elif lived > GOOD_LIFE_SECONDS:
                self._backoff.succeeded()
        self._on_gone(child)
        self._freed()

    def _freed(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
        self._places.wake()

    async def _check_for_ever(self) -> None:
        while True:
            await self._processes.any_alive()
            await anyio.sleep(CHECK_SECONDS)
            now = asyncio.get_running_loop().time()
            for check in self.checks:
                try:
                    check(now)
                except Exception:  # it would end everything else
                    logger.exception("check failed")
            for child in list(self._processes.alive):
                try:
                    child.check(now)
                    self._retirement.look_at(child, now)
                except Exception:
                    logger.exception("check failed", extra={"child": child.tag})
                    child.end("bridge fault", ProxyError())


def _kept_as(capabilities: bytes | None) -> tuple[str, bytes | None]:
    """What children have in common that can serve each other's calls."""
    return ("2026-07-28", capabilities)


def canonical(capabilities: Raw) -> bytes:
    """The same for clients that can do the same."""
    try:
        return msgspec.json.encode(msgspec.json.decode(bytes(capabilities)), order="deterministic")
    except (msgspec.DecodeError, RecursionError):
        return bytes(capabilities)

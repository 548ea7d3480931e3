"""Which processes serve clients without sessions?

Clients of one group share a child as far as the era of the server allows; a client that shares with nobody has one for
each call. Children are started when somebody needs them, one start at a time for those who can share it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus
from msgspec import Raw

from proxy.child.process import Child, open_child
from proxy.child.spec import ChildSpec
from proxy.errors import (
    ChildRestarting,
    ChildStartFailed,
    ChildStartTimedOut,
    Draining,
    ProxyError,
    SessionEnded,
    TooManyCalls,
)
from proxy.observe import Counts
from proxy.protocol.envelope import RETRIED_METHODS, ModernRequest
from proxy.sessions.backoff import GOOD_LIFE_SECONDS, Backoff
from proxy.sessions.era import ServerEra
from proxy.sessions.exits import Exits
from proxy.sessions.kept import Kept
from proxy.sessions.modern.ahead import SharedAhead
from proxy.sessions.modern.child import SharedChild
from proxy.sessions.modern.limits import ModernLimits
from proxy.sessions.modern.opener import Opener
from proxy.sessions.owners import start_owner
from proxy.sessions.places import Places
from proxy.sessions.starts import Starts
from proxy.sessions.warm.pool import WarmPool

logger = logging.getLogger(__name__)

CHECK_SECONDS = 0.1
"""How often time-outs are looked at; each may be late by this."""
RETIRED_IDLE_SECONDS = 1.0
"""So long a retired child has had nothing to do when it ends: somebody may have been given it a moment ago."""
SPARE_IDLE_SECONDS = 60.0
"""A child that was started only because another was taken ends after this. Ours: longer than a burst."""
EVICTABLE_AFTER_SECONDS = 5.0
"""An idle child makes room for somebody else's once it has been idle for so long."""

Key = tuple[str, bytes | None]
"""Who shares a child: the group, and what its clients can do (None where every request says so itself)."""


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
        self._spec = spec
        self._limits = limits
        self._counts = counts
        self._places = places
        self._era = era
        self._starts = starts
        self._starts.serves.append(lambda: any(child.is_ready for child in self._alive))
        self._on_gone = on_gone
        self._exits = exits or Exits()
        self._tasks: TaskGroup | None = None
        self._alive: set[SharedChild] = set()
        self._shared: dict[Key, list[SharedChild]] = {}  # those that are ready, the first ones first
        self._starting: dict[tuple[str, bytes | None, int], asyncio.Future[None]] = {}
        self._opening: dict[object, float] = {}  # since when somebody waits for a start
        self._running = 0  # tasks that own a process
        self._changed = anyio.Event()
        self._wakes = anyio.Event()
        self._is_ending = False
        self._opener = Opener(
            spawn=self._spawn,
            start_soon=self._start_soon,
            limits=limits,
            counts=counts,
            era=era,
            on_late=self._ready,
            is_ending=lambda: self._is_ending,
        )
        self._kept = kept if kept is not None else Kept(places)
        self._warm = warm if warm is not None else WarmPool(places=places, counts=counts)
        self._ahead = SharedAhead(
            start=self._spawn_ahead, opening=self._opening.values, era=era, starts=starts, on_no_good=self._no_good
        )
        self._warm.add(self._ahead)
        self.cut = 0
        """What an end could not end in peace."""
        self.checks: list[Callable[[float], None]] = []
        """Called a few times a second while a child lives."""

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Own every child. On the way out all end, each with its ladder, shielded and bounded."""
        self._backoff = Backoff(asyncio.get_running_loop().time)
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            self._is_ending = False
            self.cut = 0
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
    def is_running(self) -> bool:
        """Whether children can be started."""
        return self._tasks is not None

    @property
    def children(self) -> set[SharedChild]:
        """Those that serve, or are being started for somebody."""
        return {child for child in self._alive if not child.is_ahead}

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
            child, is_primary_there = self._choose(group, capabilities, request)
            if child is not None:
                return child
            now = loop.time()
            if not is_primary_there or now >= overflow_at:
                if now - asked_at > self._limits.start_timeout_seconds + self._limits.place_timeout_seconds:
                    raise TooManyCalls
                await self._start_shared(group, capabilities, request, spare=is_primary_there)
            else:
                with anyio.move_on_after(overflow_at - now):
                    await self._changed.wait()

    def primary(self, group: str) -> SharedChild | None:
        """The child of a group that serves any client of it at any time; None if there is none."""
        ready = self._shared.get((group, None))
        return ready[0] if ready else None

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
        is_good = not child.is_busy and not child.mux.failed_calls and not self._is_ending
        return is_good and self._kept.keep(_kept_as(child.capabilities), child)

    def _choose(self, group: str, capabilities: bytes, request: ModernRequest) -> tuple[SharedChild | None, bool]:
        """One that is ready and has room, and whether any is ready at all."""
        for key in ((group, None), (group, capabilities)):
            ready = self._shared.get(key)
            if not ready:
                continue
            if not ready[0].takes_turns or request.method not in RETRIED_METHODS:
                return ready[0], True
            for child in ready:
                if child.is_free:
                    child.lease()
                    return child, True
            return None, True
        return None, False

    async def _start_shared(self, group: str, capabilities: bytes, request: ModernRequest, *, spare: bool) -> None:
        """Start one more child for a group, or wait for the start that is going on."""
        if self._tasks is None or self._is_ending:
            raise Draining
        kind = None if self._era.speaks_modern is not False else capabilities
        number = len(self._shared.get((group, kind), ())) if spare else 0
        while spare and (group, kind, number) in self._starting:  # each that waits for a turn starts one for itself
            number += 1
        key = (group, kind, number)
        future = self._starting.get(key)
        if future is None:
            future = self._starting[key] = asyncio.get_running_loop().create_future()
            future.add_done_callback(_looked_at)
            self._tasks.start_soon(self._run_start, key, future, capabilities, request)
        await asyncio.shield(future)

    async def _run_start(
        self,
        key: tuple[str, bytes | None, int],
        future: "asyncio.Future[None]",
        capabilities: bytes,
        request: ModernRequest,
    ) -> None:
        outcome: Exception | None = Draining()
        try:
            await self._start(key[0], capabilities, request)
            outcome = None
        except Exception as exc:
            if not isinstance(exc, ProxyError):
                logger.exception("start failed")
            outcome = exc
        finally:
            del self._starting[key]
            if not future.done():
                if outcome is None:
                    future.set_result(None)
                else:
                    future.set_exception(outcome if isinstance(outcome, ProxyError) else ProxyError())

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
                    self._exits.exited(started[-1].returncode)
            raise
        finally:
            del self._opening[started_for]
        self._starts.note(failed=False)
        self._warm.served()
        self._ready(child)
        return child

    def _start_soon(self, go_on: Callable[[], Coroutine[Any, Any, None]]) -> None:
        assert self._tasks is not None  # a start is going on
        self._tasks.start_soon(go_on)

    async def _back_off(self) -> None:
        wait = self._backoff.wait_seconds
        if wait > self._limits.place_timeout_seconds:
            self._counts.add("refused.restarting")
            raise ChildRestarting
        if wait:
            await anyio.sleep(wait)

    async def _spawn(self, group: str | None, started: list[SharedChild], *, may_be_warm: bool = False) -> SharedChild:
        """A process that has said nothing yet, or one that was started ahead. Waits for a place.

        Raises:
            Draining: If no new ones begin.
            TooManyCalls: If no place became free within `place_timeout_seconds`.
            ChildStartFailed, OutOfResources: If it can't be started.
        """
        warm: SharedChild | None = None
        places = self._places
        with places.wish() as make_room, anyio.move_on_after(self._limits.place_timeout_seconds) as waited:
            while not self._is_ending:
                warm = self._take_warm(group) if may_be_warm else None
                if warm is not None or places.has_room:
                    break
                if not make_room():
                    places.make_room()
                await places.changed(1.0)
        if warm is not None:
            started.append(warm)
            return warm
        if self._tasks is None or self._is_ending:
            raise Draining
        if waited.cancelled_caught:
            self._counts.add("refused.too_many_children")
            raise TooManyCalls("Too many processes; try again later")
        if may_be_warm:
            self._warm.missed(self._ahead.name)
        return await self._begin(group, started)

    async def _begin(self, group: str | None, started: list[SharedChild], *, is_ahead: bool = False) -> SharedChild:
        """Start a process on a place that there is. Raises as `_spawn`."""
        assert self._tasks is not None  # the caller has looked
        self._places.take()
        self._running += 1
        child = SharedChild(group, limits=self._limits, counts=self._counts)
        child.is_ahead = is_ahead
        child.on_freed = self._freed
        child.on_ended = partial(self._forget, child)
        started.append(child)
        # From here on `_own` gives the place back, whatever happens to the caller.
        await start_owner(self._tasks, partial(self._own, child), undo=self._never_begun)
        if self._is_ending:  # its start took longer than the drain
            raise Draining
        return child

    def _never_begun(self) -> None:
        self._running -= 1
        self._places.give_back()

    async def _spawn_ahead(self) -> SharedChild:
        """A process that is nobody's yet, on a place that there is. Whoever gets it ends it, or has it taken."""
        if self._tasks is None or self._is_ending:
            raise Draining
        return await self._begin(None, [], is_ahead=True)

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

    async def _own(self, child: SharedChild, *, task_status: TaskStatus[None]) -> None:
        """Own one process from spawn to reaped child."""
        process: Child | None = None
        try:
            async with open_child(
                self._spec,
                on_lines=child.received,
                on_gone=child.gone,
                finder=self._places.finder,
                watch=self._places.watch,
                turns=self._places.turns,
            ) as process:
                self._places.started(process)
                child.attach(process)
                self._alive.add(child)
                self._wakes.set()
                task_status.started()
                if self._is_ending:
                    child.end("shutdown", Draining())
                await child.ended.wait()
            self.cut += process.was_killed and self._is_ending
        except Exception:
            if process is None:
                raise  # to the caller of `_spawn`
            logger.exception("shared child ended badly", extra={"child": child.tag, "pid": child.pid})
        finally:
            child.end("not started", ChildStartFailed())
            self._alive.discard(child)  # if it had ended before it was one of them
            if process is not None:
                self._places.ended(process)
            self._running -= 1
            self._places.give_back()
            self._freed()

    # ---- those that are ready

    def _ready(self, child: SharedChild) -> None:
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
            self._shared.setdefault((child.group, child.capabilities), []).append(child)
            if self._limits.child_max_calls is not None:
                child.on_called = partial(self._retire_if_worn, child)
        self._freed()

    def _retire_if_worn(self, child: SharedChild) -> None:
        """A child that is old, or has had many calls, finishes what it has; the next call finds another one."""
        limits, age = self._limits, asyncio.get_running_loop().time() - child.created_at
        is_old = limits.child_max_age_seconds is not None and age > limits.child_max_age_seconds
        is_worn = limits.child_max_calls is not None and child.calls >= limits.child_max_calls
        if child.is_retired or child.has_ended or not (is_old or is_worn):
            return
        child.is_retired = True
        self._counts.add("retired.old_child" if is_old else "retired.worn_child")
        logger.info("shared child retired", extra={"child": child.tag, "pid": child.pid, "calls": child.calls})
        self._withdraw(child)
        child.mux.complete_listens()  # their clients listen again, to the next one
        child.idle_since = max(child.idle_since, child.created_at + age)
        self._freed()

    def _withdraw(self, child: SharedChild) -> None:
        """Nobody gets it from now on."""
        for key, children in list(self._shared.items()):
            if child in children:
                children.remove(child)
                if not children:
                    del self._shared[key]

    def _forget(self, child: SharedChild) -> None:
        """It has ended: nobody gets it from now on, not even before its owner wakes up."""
        self._alive.discard(child)
        self._withdraw(child)
        if child.is_ready:
            lived = asyncio.get_running_loop().time() - child.created_at
            if child.has_exited:
                self._exits.exited(child.returncode)  # one that was only being asked for its era may exit
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

    def _log_failed_start(self, started: list[SharedChild]) -> None:
        tail = started[-1].stderr_tail if started else []
        logger.warning("shared child was never ready", extra={"stderr": tail or "nothing"})

    # ---- ending

    def _evict(self) -> bool:
        """End the child that has been idle for the longest."""
        now = asyncio.get_running_loop().time()
        idle = [
            child
            for child in self._alive
            if child.is_ready and not child.is_busy and now - child.idle_since > EVICTABLE_AFTER_SECONDS
        ]
        if not idle or self._running > len(self._alive):  # or one is ending already
            return False
        self._counts.add("evicted.idle_child")
        min(idle, key=lambda child: child.idle_since).end("evicted: idle", SessionEnded())
        return True

    def end_all(self, reason: str) -> None:
        """End every child; open calls get the error of a shutdown."""
        self._is_ending = True
        for child in list(self._alive):
            calls = child.mux.calls_in_flight
            if calls:
                logger.warning("open calls cut off", extra={"child": child.tag, "calls": calls, "reason": reason})
            self.cut += calls
            try:
                child.end(reason, Draining())
            except Exception:  # of one child: the others must end all the same
                logger.exception("shared child ended badly", extra={"child": child.tag, "pid": child.pid})
        self._freed()

    async def all_gone(self) -> None:
        """Wait until no process is left."""
        while self._running:
            await self._places.changed(1.0)

    async def _check_for_ever(self) -> None:
        while True:
            if not self._alive:
                self._wakes = anyio.Event()
                await self._wakes.wait()
            await anyio.sleep(CHECK_SECONDS)
            now = asyncio.get_running_loop().time()
            for check in self.checks:
                try:
                    check(now)
                except Exception:  # it would end everything else
                    logger.exception("check failed")
            for child in list(self._alive):
                try:
                    child.check(now)
                    self._end_if_idle(child, now)
                except Exception:
                    logger.exception("check failed", extra={"child": child.tag})
                    child.end("bridge fault", ProxyError())

    def _end_if_idle(self, child: SharedChild, now: float) -> None:
        if not child.is_ready:
            return
        if child.group is None:
            limit = self._limits.idle_timeout_seconds
            if limit is not None and child in self._kept and now - child.idle_since > limit:
                child.end("idle", SessionEnded())
            return
        self._retire_if_worn(child)
        if child.is_busy:
            return
        if child.is_retired:
            if now - child.idle_since > RETIRED_IDLE_SECONDS:
                child.end("retired", SessionEnded())
            return
        limit = self._limits.idle_timeout_seconds
        ready = self._shared.get((child.group, child.capabilities), [])
        is_spare = ready[:1] != [child] or (child.translator is not None and self._era.speaks_modern is True)
        if is_spare:
            limit = min(SPARE_IDLE_SECONDS, limit or SPARE_IDLE_SECONDS)
        if limit is not None and now - child.idle_since > limit:
            child.end("idle", SessionEnded())


def _kept_as(capabilities: bytes | None) -> tuple[str, bytes | None]:
    """What children have in common that can serve each other's calls."""
    return ("2026-07-28", capabilities)


def canonical(capabilities: Raw) -> bytes:
    """The same for clients that can do the same."""
    try:
        return msgspec.json.encode(msgspec.json.decode(bytes(capabilities)), order="deterministic")
    except (msgspec.DecodeError, RecursionError):
        return bytes(capabilities)


def _looked_at(future: "asyncio.Future[None]") -> None:
    """Nobody may be left who waits for a start that failed; that is no fault."""
    if not future.cancelled():
        future.exception()

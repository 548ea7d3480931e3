"""Which sessions exist?"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

from proxy.child.spec import ChildSpec
from proxy.errors import Draining, OutOfResources, SessionNotFound, Stopped, TooManySessions
from proxy.observe import Counts
from proxy.protocol.lifecycle import State
from proxy.protocol.tool_rules import ToolRules
from proxy.sessions.era import ServerEra
from proxy.sessions.exits import Exits
from proxy.sessions.keeper import ChildKeeper, open_session
from proxy.sessions.limits import SessionLimits
from proxy.sessions.owners import start_owner
from proxy.sessions.places import Places
from proxy.sessions.recovery import Recovery
from proxy.sessions.session import Session
from proxy.sessions.shared.children import SharedChildren
from proxy.sessions.shared.session import PortKeeper, open_sharing_session
from proxy.sessions.starts import Starts
from proxy.sessions.told import Told
from proxy.sessions.warm.pool import WarmPool
from proxy.sessions.warm.sessions import SessionsAhead

logger = logging.getLogger(__name__)

CHECK_SECONDS = 0.1
"""How often time-outs are looked at; each may be late by this."""

SHUTDOWN = "shutdown"
"""The reason of an end that is not that of one server alone."""

EVICTABLE_AFTER_SECONDS = 5.0
"""A session that saw only `initialize` makes room for a new one once it is this old."""


class SessionManager:
    """All sessions of one server.

    Args:
        spec: How to start a child.
        limits: Bounds of each session.
        counts: What an operator may see.
        max_sessions: Sessions at once, those being started included.
        places: Room for its children, which others may share.
        era: What is known of the server's eras; found out if not given.
        exits: What follows when a child exits by itself; the end of its session if not given.
        warm: Where sessions that were begun ahead are kept; none are if it is not given.
        starts: Told how starts went, and says whether one is worth while; of the manager's own if not given.
        shared: The child of those that share one; each has its own if it is not given.
    """

    def __init__(
        self,
        *,
        spec: ChildSpec,
        limits: SessionLimits,
        counts: Counts,
        max_sessions: int,
        places: Places,
        era: ServerEra | None = None,
        exits: Exits | None = None,
        warm: WarmPool | None = None,
        starts: Starts | None = None,
        shared: SharedChildren | None = None,
    ) -> None:
        self._spec = spec
        self._limits = limits
        self._counts = counts
        self._max_sessions = max_sessions
        self._places = places
        self.era = era or ServerEra("auto")
        self._exits = exits or Exits()
        self._sessions: dict[str, Session] = {}
        self._spawning = 0  # for a client
        self._ahead: set[Session] = set()  # started, nobody's
        self._unpublished: set[Session] = set()  # started for a client, `initialize` not yet answered
        self._children = 0
        self._owned = 0  # sessions, those being started or ended included
        self._tasks: TaskGroup | None = None
        self._checks = anyio.Event()
        self._is_draining = False
        self._is_ending = False
        self._is_replaced = False  # by another one, of the same name perhaps, or is served no more
        self._cut = 0  # what a drain could not end in peace
        self.recovery: Recovery | None = None
        """Remembers sessions that have ended; None if nothing does."""
        self.tools: ToolRules | None = None
        """Which tools clients may see and call; None if all. Set before the first session."""
        self.starts = starts or Starts(time.monotonic)
        self.starts.serves.append(lambda: bool(self._sessions))
        self._shared = shared
        self._warm = warm if warm is not None else WarmPool(places=places, counts=counts)
        self._warm.add(
            SessionsAhead(
                start=self.open_ahead, starting=self._starting, starts=self.starts, is_wanted_at_once=shared is None
            )
        )
        self.is_awaited: Callable[[], bool] = lambda: False
        """Whether somebody has begun what will be a call; a drain lets it go on."""

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Own every session. On the way out all end, each with its ladder, shielded and bounded."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            self._is_draining = self._is_ending = self._is_replaced = False
            self._cut = 0
            tasks.start_soon(self._check_for_ever)
            try:
                yield
            finally:
                self._tasks = None
                self._is_draining = True
                self.end_all("stopped")
                with anyio.CancelScope(shield=True):
                    await self._all_gone()
                tasks.cancel_scope.cancel()

    # ---- what is there

    @property
    def session_count(self) -> int:
        """Sessions that a client can use, and those being started for one."""
        return len(self._sessions) + len(self._unpublished) + self._spawning

    @property
    def child_count(self) -> int:
        """Processes of its sessions, those included that are being ended, or nobody's yet."""
        return self._children

    @property
    def calls_in_flight(self) -> int:
        """Requests without an answer, in all sessions."""
        return sum(session.exchange.calls_in_flight for session in (*self._sessions.values(), *self._unpublished))

    @property
    def paths(self) -> list[dict[str, Any]]:
        """How many sessions take which way: the era of the client, and the one in which its child is spoken to."""
        eras = Counter(session.path.child_era for session in self._sessions.values())
        return [{"client": "legacy", "child": era, "sessions": count} for era, count in eras.items()]

    @property
    def has_room(self) -> bool:
        """Whether a new session could begin at once, be it in the place of a child that is nobody's."""
        is_there = self._shared is not None and self._shared.is_there
        return self._may_have_more and (is_there or self._places.has_room or self._places.has_spare)

    @property
    def _may_have_more(self) -> bool:
        return self.session_count < self._max_sessions

    def _starting(self) -> list[float]:
        """Since when clients wait for a child of their own."""
        now = asyncio.get_running_loop().time()
        return [*(now for _ in range(self._spawning)), *(session.created_at for session in self._unpublished)]

    @property
    def could_make_room(self) -> bool:
        """Whether a new session could begin, if need be in the place of one that saw only `initialize`."""
        now = asyncio.get_running_loop().time()
        return self.has_room or any(self._is_evictable(session, now) for session in self._sessions.values())

    @property
    def is_draining(self) -> bool:
        """Whether only what is open goes on."""
        return self._is_draining

    def find(self, session_id: str) -> Session:
        """The session with this id.

        Raises:
            SessionNotFound: If there is none, or it has ended.
        """
        session = self._sessions.get(session_id)
        if session is None or session.has_ended:
            raise SessionNotFound
        return session

    async def find_again(self, session_id: str) -> Session:
        """As `find`; a session that has ended may live again. Waits for its child then, and raises as `open`, too."""
        try:
            return self.find(session_id)
        except SessionNotFound:
            if self.recovery is None or self._tasks is None:
                raise
            ended = self._sessions.get(session_id)
            if ended is not None:  # its owner has not said so yet
                self._forget(ended)
            return await self.recovery.recover(session_id)

    def say_goodbye(self, session_id: str) -> None:
        """The client wants this session no more, whether it has ended or not; it is 404 when this returns.

        Raises:
            SessionNotFound: If there is none, or it has ended.
        """
        if self.recovery is not None:
            self.recovery.forget(session_id)
            ended = self._sessions.get(session_id)
            if ended is not None:  # its owner has not said so yet, and is not to have it remembered
                ended.may_come_back = False
        self.end(self.find(session_id), "deleted by its client")

    def recover_sessions(self, *, max_sessions: int, max_age_seconds: float) -> None:
        """Let sessions live again that have ended. Before `run`."""
        self.recovery = Recovery(
            max_sessions=max_sessions,
            max_age_seconds=max_age_seconds,
            start_timeout_seconds=self._limits.start_timeout_seconds,
            start_soon=self._start_soon,
            open_session=lambda shares: self.open(shares=shares),
            publish=self.publish,
            end=self.end,
            counts=self._counts,
            clock=time.monotonic,
        )

    def _start_soon(self, go_on: Callable[[], Coroutine[Any, Any, None]]) -> None:
        assert self._tasks is not None  # asked before
        self._tasks.start_soon(go_on)

    # ---- beginning

    async def open(self, *, shares: bool = False) -> Session:
        """A session, not yet initialized, with a child of its own: one that was begun ahead, or a new one.

        Waits for a free place, and for a child to be spawned, or for one that is shared to be ready.

        Args:
            shares: Whether its client may share a child with others, if there is one for that.

        Raises:
            Draining: If no new sessions begin.
            TooManySessions: If no place became free within `place_timeout_seconds`.
            CircuitOpen: If the last starts have failed.
            ChildStartFailed, OutOfResources: If the child can't be started.
            ChildStartTimedOut, ChildRestarting: If the shared one can't.
        """
        if self._tasks is None:
            raise Draining("The bridge is not running")
        if shares and self._shared is not None:
            await self._shared_child_ready(self._shared)
            # From here on `_own_session` sees to it that it is counted no more.
            return await start_owner(
                self._tasks, partial(self._own_session, shares=True), undo=partial(self._never_begun, shares=True)
            )
        self.starts.check()
        session = await self._soon_ready()
        if session is None:
            session = await self._ready_or_place()
        if session is not None:
            return session
        # From here on `_own_session` gives the place back, whatever happens to the caller.
        return await start_owner(self._tasks, self._own_session, undo=self._never_begun)

    async def _shared_child_ready(self, shared: SharedChildren) -> None:
        """Wait for the shared child. On return the session is counted, as whoever waits is."""
        await self._take_slot()
        try:
            await shared.ready()
            if self._tasks is None:  # the end has begun meanwhile
                raise Draining
        except BaseException:
            self._spawning -= 1
            self._owned -= 1
            self._wake()
            raise

    async def open_ahead(self) -> Session:
        """Begin a session that is nobody's yet, on a place that there is. Whoever gets it ends it, or has it taken.

        Raises:
            Draining: If no new sessions begin.
            ChildStartFailed, OutOfResources: If the child can't be started.
        """
        if self._tasks is None or self._is_draining:
            raise Draining
        self._children += 1
        self._owned += 1
        self._places.take()
        return await start_owner(
            self._tasks, partial(self._own_session, is_ahead=True), undo=partial(self._never_begun, is_ahead=True)
        )

    def _never_begun(self, *, is_ahead: bool = False, shares: bool = False) -> None:
        """`_own_session` was not even begun."""
        self._owned -= 1
        self._spawning -= not is_ahead
        if not shares:
            self._children -= 1
            self._places.give_back()

    def publish(self, session: Session, version: str | None) -> None:
        """Let a session be found by its id: its InitializeResult is about to be sent.

        Raises:
            ProxyError: If it has ended in the meantime; says why.
        """
        if session.has_ended:
            raise session.end_error
        session.initialized(version)
        self.starts.note(failed=False)
        self._unpublished.discard(session)
        self._sessions[session.id] = session
        self._warm.served()
        self._wake()

    def _opened(
        self, *, is_ahead: bool, shares: bool
    ) -> AbstractAsyncContextManager[tuple[Session, ChildKeeper | PortKeeper]]:
        limits, counts, era = self._limits, self._counts, self.era
        if shares and self._shared is not None:
            return open_sharing_session(self._shared, limits=limits, counts=counts, era=era)
        places, exits = self._places, self._exits
        return open_session(
            self._spec, limits=limits, counts=counts, places=places, era=era, exits=exits, is_ahead=is_ahead
        )

    async def _own_session(
        self, *, is_ahead: bool = False, shares: bool = False, task_status: TaskStatus[Session]
    ) -> None:
        """Own one session from spawn to reaped child. It has a place if it does not share a child."""
        session: Session | None = None
        try:
            async with self._opened(is_ahead=is_ahead, shares=shares) as (session, keeper):
                self._spawning -= not is_ahead
                session.exchange.tools = self.tools
                if self.recovery is not None and session.exchange.told is None:
                    session.exchange.told = Told()
                (self._ahead if is_ahead else self._unpublished).add(session)
                task_status.started(session)
                if self._is_ending:  # its start took longer than the drain
                    session.end(SHUTDOWN, self._refusal())
                await keeper.keep()
                if session.start_failed:
                    self._note_failed_start(
                        is_ahead=session in self._ahead, may_be_clients=session.start_failed_on_client
                    )
                self._forget(session)
            self._cut += keeper.has_killed and self._is_draining
        except Exception as exc:
            if session is None:
                if isinstance(exc, OutOfResources):
                    self.starts.note_full()
                elif not shares:  # else whoever has started the child has noted it
                    self._note_failed_start(is_ahead=is_ahead)
                raise  # to the caller of `open`
            # A fault in the end of one session must not reach the task group: it would end all the others.
            logger.exception("session ended badly", extra={"session": session.tag, "pid": session.pid})
        finally:
            if session is None:
                self._spawning -= not is_ahead
            else:
                self._forget(session)
            self._owned -= 1
            if not shares:
                self._children -= 1
                self._places.give_back()
            self._wake()

    def _note_failed_start(self, *, is_ahead: bool, may_be_clients: bool = False) -> None:
        if is_ahead:
            self.starts.note_failed_ahead()
        else:
            self.starts.note(failed=True, may_be_clients=may_be_clients)

    def _forget(self, session: Session) -> None:
        if session.may_come_back and self.recovery is not None:
            session.may_come_back = False
            self.recovery.remember(session)
        if self._sessions.get(session.id) is session:  # else it lives again, in another one under its id
            del self._sessions[session.id]
        self._unpublished.discard(session)
        self._ahead.discard(session)
        self._wake()

    # ---- places

    async def _take_slot(self) -> None:
        """Wait until there may be one more session, of those that need no place for a process."""
        with anyio.move_on_after(self._limits.place_timeout_seconds):
            while True:
                if self._is_draining:
                    raise self._refusal()
                if not self._may_have_more:
                    self._make_room()
                if self._may_have_more:
                    self._spawning += 1
                    self._owned += 1
                    self._checks.set()
                    return
                await self._places.changed(1.0)
        self._counts.add("refused.too_many_sessions")
        raise TooManySessions

    async def _soon_ready(self) -> Session | None:
        """A session that was begun ahead, once its child has proved itself; None if a new one is quicker.

        Until then it is nobody's: a client that gives up leaves it to the next one.
        """
        with self._warm.claim("session") as is_worth_while:
            has_waited = False
            while self._may_have_more and not self._is_draining:
                ready = self._take_ready(only_ready=True, has_waited=has_waited)
                if ready is not None or not is_worth_while():
                    return ready
                has_waited = True
                await self._places.changed(CHECK_SECONDS)
        return None

    async def _ready_or_place(self) -> Session | None:
        """A session that was begun ahead, or None and a place for a new one."""
        with self._places.wish() as wish, anyio.move_on_after(self._limits.place_timeout_seconds):
            while True:
                if self._is_draining:
                    raise self._refusal()
                if not self._may_have_more:
                    self._make_room()
                if self._may_have_more:
                    has_room = self._places.has_room
                    ready = self._take_ready(is_last_chance=not has_room, only_ready=has_room)
                    if ready is not None or self._take_place():
                        return ready
                    if not wish.make_room():
                        self._make_room()
                else:
                    wish.rest()
                # Not only woken: an unused session may become old enough to go meanwhile.
                await self._places.changed(1.0)
        self._counts.add("refused.too_many_sessions")
        raise TooManySessions

    def _take_ready(self, **which: bool) -> Session | None:
        """A session that was begun ahead and is its caller's now."""
        while True:
            session: Session | None = self._warm.take("session", **which)
            if session is None:
                return None
            self._ahead.discard(session)
            if session.has_ended:  # its owner has not said so yet
                continue
            session.taken()
            self._unpublished.add(session)
            self._checks.set()
            return session

    def _take_place(self) -> bool:
        if not self._places.has_room:
            return False
        self._warm.missed("session")
        self._spawning += 1
        self._children += 1
        self._owned += 1
        self._places.take()
        self._checks.set()
        return True

    def _make_room(self) -> None:
        """End the oldest session that saw only `initialize`, if it is old enough and none is ending already."""
        if self._owned > self.session_count + len(self._ahead):
            return
        now = asyncio.get_running_loop().time()
        for session in self._sessions.values():
            if self._is_evictable(session, now):
                self._counts.add("evicted.unused_session")
                self.end(session, "evicted: unused")
                return

    @staticmethod
    def _is_evictable(session: Session, now: float) -> bool:
        return session.state is State.UNUSED and session.idle_seconds(now) > EVICTABLE_AFTER_SECONDS

    def _wake(self) -> None:
        self._places.wake()
        self._checks.set()

    # ---- ending

    def end(self, session: Session, reason: str) -> None:
        """End one session; it is 404 when this returns."""
        session.end(reason)
        self._forget(session)

    def end_listens(self) -> None:
        """End the GET streams of every session; calls go on."""
        for session in self._sessions.values():
            try:
                session.exchange.streams.end_listens()
            except Exception:  # of one session: the others' must end all the same
                logger.exception("streams not ended", extra={"session": session.tag})

    def end_all(self, reason: str) -> None:
        """End every session; a call that a child may have carried out is not to be tried again by itself."""
        self._is_ending = True
        for session in (*self._sessions.values(), *self._unpublished, *self._ahead):
            calls = session.exchange.calls_in_flight
            if calls:
                logger.warning("open calls cut off", extra={"session": session.tag, "calls": calls, "reason": reason})
            self._cut += calls
            try:
                session.end(reason, self._refusal() if session.version is None else Stopped())
            except Exception:  # of one session: the others must end all the same
                logger.exception("session ended badly", extra={"session": session.tag, "pid": session.pid})
            self._forget(session)
        if self._shared is not None:  # whoever waits for it would hold up the end
            self._shared.end_all(reason)

    async def drain(self, grace_seconds: float, reason: str = SHUTDOWN) -> None:
        """Begin nothing new, let open calls finish for `grace_seconds`, then end every session.

        Waits until every child is gone.
        """
        self._is_draining = True
        self._is_replaced = reason != SHUTDOWN
        self._wake()
        with anyio.move_on_after(grace_seconds):
            while self.calls_in_flight or self._spawning or self.is_awaited():
                await self._places.changed(CHECK_SECONDS)
        self.end_all(reason)
        await self._all_gone()

    def _refusal(self) -> Draining:
        """What a client is told that comes, or waits, when nothing more begins here."""
        if self._is_replaced:
            return Draining("The server's configuration has changed; try again", retry_after_seconds=1)
        return Draining()

    @property
    def was_cut(self) -> bool:
        """Whether an end had to cut a call off or kill a child."""
        return self._cut > 0

    async def _all_gone(self) -> None:
        while self._owned:
            await self._places.changed(1.0)

    async def _check_for_ever(self) -> None:
        while True:
            if not self._owned:
                self._checks = anyio.Event()
                await self._checks.wait()
            await anyio.sleep(CHECK_SECONDS)
            now = asyncio.get_running_loop().time()
            for session in list(self._sessions.values()):
                try:
                    session.check(now)
                except Exception:
                    logger.exception("check failed", extra={"session": session.tag})
                    session.end("bridge fault")

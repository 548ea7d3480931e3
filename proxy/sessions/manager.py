"""How does a session begin, and how do all of one server end?"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskGroup

from proxy.child.spec import ChildSpec
from proxy.errors import Draining, SessionNotFound, Stopped
from proxy.observe import Counts
from proxy.protocol.tool_rules import ToolRules
from proxy.sessions.admission import Admission
from proxy.sessions.closing import SHUTDOWN, Closing
from proxy.sessions.era import ServerEra
from proxy.sessions.exits import Exits
from proxy.sessions.expiry import check_for_ever
from proxy.sessions.limits import SessionLimits
from proxy.sessions.owners import start_owner
from proxy.sessions.places import Places
from proxy.sessions.recovery import Recovery
from proxy.sessions.roster import Roster
from proxy.sessions.session import Session
from proxy.sessions.session_owner import SessionOwner
from proxy.sessions.shared.children import SharedChildren
from proxy.sessions.starts import Starts
from proxy.sessions.warm.pool import WarmPool
from proxy.sessions.warm.sessions import SessionsAhead

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 0.1
"""How soon a drain sees that the last call is over."""


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
        tools: Which tools clients may see and call; all if not given.

    Attributes:
        roster: The sessions there are.
        closing: Whether new ones begin.
        admission: Says whether there is room for one more.
        recovery: Remembers sessions that have ended; None if nothing does.
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
        tools: ToolRules | None = None,
    ) -> None:
        self._limits = limits
        self._counts = counts
        self._places = places
        self._shared = shared
        self._tasks: TaskGroup | None = None
        self.era = era or ServerEra("auto")
        self.tools = tools
        self.roster = roster = Roster(places)
        self.closing = closing = Closing()
        self.recovery: Recovery | None = None
        self.starts = starts or Starts(time.monotonic)
        self.starts.serves.append(lambda: bool(roster.published))
        self._owner = SessionOwner(
            spec=spec,
            limits=limits,
            counts=counts,
            places=places,
            era=self.era,
            exits=exits or Exits(),
            shared=shared,
            tools=tools,
            roster=roster,
            closing=closing,
            starts=self.starts,
        )
        self._warm = warm if warm is not None else WarmPool(places=places, counts=counts)
        self._warm.add(
            SessionsAhead(
                start=self.open_ahead,
                starting=roster.starting_since,
                starts=self.starts,
                is_wanted_at_once=shared is None,
            )
        )
        self.admission = Admission(
            roster=roster,
            closing=closing,
            max_sessions=max_sessions,
            places=places,
            warm=self._warm,
            shared=shared,
            wait_seconds=limits.place_timeout_seconds,
            counts=counts,
        )
        self.is_awaited: Callable[[], bool] = lambda: False
        """Whether somebody has begun what will be a call; a drain lets it go on."""

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Own every session. On the way out all end, each with its ladder, shielded and bounded."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            self.closing.reset()
            tasks.start_soon(check_for_ever, self.roster)
            try:
                yield
            finally:
                self._tasks = None
                self.closing.is_draining = True
                self.end_all("stopped")
                with anyio.CancelScope(shield=True):
                    await self.roster.all_gone()
                tasks.cancel_scope.cancel()

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
            return await self._begin(self._tasks, shares=True)
        self.starts.check()
        session = await self.admission.to_proved()
        if session is None:
            session = await self.admission.to_place()
        return session if session is not None else await self._begin(self._tasks)

    async def _shared_child_ready(self, shared: SharedChildren) -> None:
        """Wait for the shared child. On return the session is counted, as whoever waits is."""
        await self.admission.to_shared_child()
        try:
            await shared.ready()
            if self._tasks is None:  # the end has begun meanwhile
                raise Draining
        except BaseException:
            self.roster.never_begun(shares=True)
            raise

    async def open_ahead(self) -> Session:
        """Begin a session that is nobody's yet, on a place that there is. Whoever gets it ends it, or has it taken.

        Raises:
            Draining: If no new sessions begin.
            ChildStartFailed, OutOfResources: If the child can't be started.
        """
        if self._tasks is None or self.closing.is_draining:
            raise Draining
        self.roster.begins(is_ahead=True)
        return await self._begin(self._tasks, is_ahead=True)

    async def _begin(self, tasks: TaskGroup, *, is_ahead: bool = False, shares: bool = False) -> Session:
        """Begin one that is counted already: from here on that is its owner's care, whatever happens to the caller."""
        own = partial(self._owner.own, is_ahead=is_ahead, shares=shares)
        return await start_owner(tasks, own, undo=partial(self.roster.never_begun, is_ahead=is_ahead, shares=shares))

    def publish(self, session: Session, version: str | None) -> None:
        """Let a session be found by its id: its InitializeResult is about to be sent.

        Raises:
            ProxyError: If it has ended in the meantime; says why.
        """
        if session.has_ended:
            raise session.end_error
        session.initialized(version)
        self.starts.note(failed=False)
        self.roster.publish(session)
        self._warm.served()

    # ---- going on with one that has ended

    def recover_sessions(self, *, max_sessions: int, max_age_seconds: float) -> None:
        """Let sessions live again that have ended. Before `run`."""
        self.recovery = Recovery(
            max_sessions=max_sessions,
            max_age_seconds=max_age_seconds,
            start_timeout_seconds=self._limits.start_timeout_seconds,
            start_soon=self._start_soon,
            open_session=lambda shares: self.open(shares=shares),
            publish=self.publish,
            end=self.roster.end,
            counts=self._counts,
            clock=time.monotonic,
        )
        self.roster.remember = self.recovery.remember

    def _start_soon(self, go_on: Callable[[], Coroutine[Any, Any, None]]) -> None:
        assert self._tasks is not None  # asked before
        self._tasks.start_soon(go_on)

    async def find_again(self, session_id: str) -> Session:
        """As `Roster.find`; a session that has ended may live again. Waits for its child then, and raises as `open`."""
        try:
            return self.roster.find(session_id)
        except SessionNotFound:
            if self.recovery is None or self._tasks is None:
                raise
            ended = self.roster.published.get(session_id)
            if ended is not None:  # its owner has not said so yet
                self.roster.forget(ended)
            return await self.recovery.recover(session_id)

    # ---- ending

    def say_goodbye(self, session_id: str) -> None:
        """The client wants this session no more, whether it has ended or not; it is 404 when this returns.

        Raises:
            SessionNotFound: If there is none, or it has ended.
        """
        if self.recovery is not None:
            self.recovery.forget(session_id)
            ended = self.roster.published.get(session_id)
            if ended is not None:  # its owner has not said so yet, and is not to have it remembered
                ended.may_come_back = False
        self.roster.end(self.roster.find(session_id), "deleted by its client")

    def end_all(self, reason: str) -> None:
        """End every session; a call that a child may have carried out is not to be tried again by itself."""
        roster, closing = self.roster, self.closing
        closing.is_ending = True
        for session in (*roster.published.values(), *roster.unpublished, *roster.ahead):
            calls = 0 if session in roster.ahead else session.exchange.calls_in_flight  # a trial is nobody's loss
            if calls:
                logger.warning("open calls cut off", extra={"session": session.tag, "calls": calls, "reason": reason})
            closing.cut += calls
            try:
                session.end(reason, closing.refusal() if session.version is None else Stopped())
            except Exception:  # of one session: the others must end all the same
                logger.exception("session ended badly", extra={"session": session.tag, "pid": session.pid})
            roster.forget(session)
        if self._shared is not None:  # whoever waits for it would hold up the end
            self._shared.end_all(reason)

    async def drain(self, grace_seconds: float, reason: str = SHUTDOWN) -> None:
        """Begin nothing new, let open calls finish for `grace_seconds`, then end every session.

        Waits until every child is gone.
        """
        roster = self.roster
        self.closing.drain(reason)
        roster.wake()
        with anyio.move_on_after(grace_seconds):
            while roster.calls_in_flight or roster.starting or self.is_awaited():
                await self._places.changed(LOOK_AGAIN_SECONDS)
        self.end_all(reason)
        await roster.all_gone()

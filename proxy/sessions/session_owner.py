"""What becomes of one session, from spawn to reaped child?"""

import logging
from contextlib import AbstractAsyncContextManager

from anyio.abc import TaskStatus

from proxy.child.spec import ChildSpec
from proxy.errors import OutOfResources
from proxy.observe import Counts
from proxy.protocol.tool_rules import ToolRules
from proxy.sessions.closing import SHUTDOWN, Closing
from proxy.sessions.era import ServerEra
from proxy.sessions.exits import Exits
from proxy.sessions.keeper import ChildKeeper, open_session
from proxy.sessions.limits import SessionLimits
from proxy.sessions.places import Places
from proxy.sessions.roster import Roster
from proxy.sessions.session import Session
from proxy.sessions.shared.children import SharedChildren
from proxy.sessions.shared.session import PortKeeper, open_sharing_session
from proxy.sessions.starts import Starts
from proxy.sessions.told import Told

logger = logging.getLogger(__name__)


class SessionOwner:
    """Owns the sessions of one server, one task each.

    Args:
        spec: How to start a child.
        limits: Bounds of each session.
        counts: What an operator may see.
        places: Room for its children, which others may share.
        era: What is known of the server's eras.
        exits: What follows when a child exits by itself.
        shared: The child of those that share one; None if none do.
        tools: Which tools clients may see and call; None if all.
        roster: Told who comes and goes.
        closing: Whether everything ends; told what could not in peace.
        starts: Told how starts went.
    """

    def __init__(
        self,
        *,
        spec: ChildSpec,
        limits: SessionLimits,
        counts: Counts,
        places: Places,
        era: ServerEra,
        exits: Exits,
        shared: SharedChildren | None,
        tools: ToolRules | None,
        roster: Roster,
        closing: Closing,
        starts: Starts,
    ) -> None:
        self._spec = spec
        self._limits = limits
        self._counts = counts
        self._places = places
        self._era = era
        self._exits = exits
        self._shared = shared
        self._tools = tools
        self._roster = roster
        self._closing = closing
        self._starts = starts

    async def own(self, *, is_ahead: bool = False, shares: bool = False, task_status: TaskStatus[Session]) -> None:
        """Own one session, which is counted already and has a place if it does not share a child."""
        roster = self._roster
        session: Session | None = None
        try:
            async with self._opened(is_ahead=is_ahead, shares=shares) as (session, keeper):
                roster.begun(session, is_ahead=is_ahead)
                session.exchange.tools = self._tools
                if roster.remember is not None and session.exchange.told is None:
                    session.exchange.told = Told()
                task_status.started(session)
                if self._closing.is_ending:  # its start took longer than the drain
                    session.end(SHUTDOWN, self._closing.refusal())
                await keeper.keep()
                if session.start_failed:
                    self._note_failed_start(
                        is_ahead=session in roster.ahead, may_be_clients=session.start_failed_on_client
                    )
                roster.forget(session)
            self._closing.cut += keeper.has_killed and self._closing.is_draining
        except Exception as exc:
            if session is None:
                if isinstance(exc, OutOfResources):
                    self._starts.note_full()
                elif not shares:  # else whoever has started the child has noted it
                    self._note_failed_start(is_ahead=is_ahead)
                raise  # to whoever has started this task
            # A fault in the end of one session must not reach the task group: it would end all the others.
            logger.exception("session ended badly", extra={"session": session.tag, "pid": session.pid})
        finally:
            if session is None:
                roster.never_begun(is_ahead=is_ahead, shares=shares)
            else:
                roster.forget(session)
                roster.is_over(shares=shares)

    def _opened(
        self, *, is_ahead: bool, shares: bool
    ) -> AbstractAsyncContextManager[tuple[Session, ChildKeeper | PortKeeper]]:
        limits, counts, era = self._limits, self._counts, self._era
        if shares and self._shared is not None:
            return open_sharing_session(self._shared, limits=limits, counts=counts, era=era)
        places, exits = self._places, self._exits
        return open_session(
            self._spec, limits=limits, counts=counts, places=places, era=era, exits=exits, is_ahead=is_ahead
        )

    def _note_failed_start(self, *, is_ahead: bool, may_be_clients: bool = False) -> None:
        if is_ahead:
            self._starts.note_failed_ahead()
        else:
            self._starts.note(failed=True, may_be_clients=may_be_clients)

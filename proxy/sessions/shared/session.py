"""What does a session own that shares its child?"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy.observe import Counts
from proxy.sessions.era import ServerEra
from proxy.sessions.exits import Exits
from proxy.sessions.limits import SessionLimits
from proxy.sessions.session import Session
from proxy.sessions.shared.children import SharedChildren


class PortKeeper:
    """The session's way to the child, which it has until one of them ends.

    Attributes:
        has_killed: Whether the end of the session took SIGKILL: never.
    """

    has_killed = False

    def __init__(self, session: Session) -> None:
        self._session = session

    async def keep(self) -> None:
        """Wait for the end of the session."""
        await self._session.ended.wait()


@asynccontextmanager
async def open_sharing_session(
    children: SharedChildren, *, limits: SessionLimits, counts: Counts, era: ServerEra
) -> AsyncIterator[tuple[Session, PortKeeper]]:
    """Own one session on the child that is there.

    Raises as `SharedChildren.join`.
    """
    # What follows when the child exits is not for each of its sessions to see to.
    session = Session(limits=limits, counts=counts, era=era, exits=Exits(), places=children.turns.seat())
    try:
        async with children.join(on_lines=session.exchange.received, on_gone=session.child_gone) as port:
            session.attach(port)
            try:
                yield session, PortKeeper(session)
            finally:
                session.end("closed")
    finally:
        session.end("closed")

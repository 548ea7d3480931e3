"""What does a session own that shares its child?"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from proxy.observe import Counts
from proxy.sessions.era import ServerEra
from proxy.sessions.exits import Exits
from proxy.sessions.keeper import Keeper
from proxy.sessions.limits import SessionLimits
from proxy.sessions.session import Session, SessionChild
from proxy.sessions.shared.children import SharedChildren


class PortKeeper(Keeper):
    """The port of a session, on one shared child after the other.

    Args:
        session: Whose it is.
        children: Where a port is had.
    """

    def __init__(self, session: Session, children: SharedChildren) -> None:
        super().__init__(session)
        self._children = children
        self._lifetime: AbstractAsyncContextManager[SessionChild] | None = None

    async def start(self) -> None:
        """Have a port and give it to the session. Raises as `SharedChildren.join`."""
        session = self._session
        self._started_at = asyncio.get_running_loop().time()
        lifetime = self._children.join(on_lines=session.exchange.received, on_gone=session.child_gone)
        port, self._lifetime = await lifetime.__aenter__(), lifetime
        session.attach(port)

    async def end(self) -> None:
        """Leave the port. Waits for nothing."""
        lifetime, self._lifetime = self._lifetime, None
        if lifetime is not None:
            await lifetime.__aexit__(None, None, None)


@asynccontextmanager
async def open_sharing_session(
    children: SharedChildren, *, limits: SessionLimits, counts: Counts, era: ServerEra
) -> AsyncIterator[tuple[Session, PortKeeper]]:
    """Own one session on the child that is there.

    Raises as `SharedChildren.join`.
    """
    # What else follows when the child exits is not for each of its sessions to see to.
    exits = Exits("respawn" if children.respawns else "end")
    session = Session(limits=limits, counts=counts, era=era, exits=exits, places=children.turns.seat())
    keeper = PortKeeper(session, children)
    try:
        await keeper.start()
        yield session, keeper
    finally:
        session.end("closed")
        await keeper.end()

"""How does a session come by its child, and by another one when that dies?"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio

from proxy.child.process import Child, open_child
from proxy.child.spec import ChildSpec
from proxy.errors import ProxyError
from proxy.observe import Counts
from proxy.sessions.backoff import Backoff
from proxy.sessions.era import ServerEra
from proxy.sessions.exits import Exits
from proxy.sessions.limits import SessionLimits
from proxy.sessions.places import Places
from proxy.sessions.session import Session

logger = logging.getLogger(__name__)


class Keeper:
    """What a session has of one child after the other.

    Its methods are called by one task. Whoever has called `start` calls `end`.

    Args:
        session: Whose child it is.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._started_at = 0.0
        self.has_killed = False
        """Whether it took SIGKILL to end the last of them."""

    async def start(self) -> None:
        """Come by a child and give it to the session. Raises ProxyError if there is none."""
        raise NotImplementedError

    async def end(self) -> None:
        """Be done with the child that is there. Shielded and bounded."""
        raise NotImplementedError

    async def keep(self) -> None:
        """Replace the child whenever that is wanted, ever more slowly, until the session has ended."""
        session, clock = self._session, asyncio.get_running_loop().time
        backoff = Backoff(clock)
        while True:
            await session.child_wanted.wait()
            if session.ended.is_set():
                return
            backoff.failed(clock() - self._started_at)
            session.lost_children(backoff.failures)
            if session.ended.is_set():
                return
            await self.end()
            wait = backoff.wait_seconds
            logger.info("child is replaced", extra={"session": session.tag, "in_seconds": round(wait, 3)})
            with anyio.move_on_after(wait):
                await session.ended.wait()
            if session.ended.is_set():
                return
            try:
                await self.start()
            except ProxyError:
                continue  # which is in the log; `child_wanted` is still set


class ChildKeeper(Keeper):
    """The one child of a session, ended before another takes its place.

    Args:
        session: Whose child it is.
        spec: How to start one.
        places: Room for it, of which the session has one.
    """

    def __init__(self, session: Session, spec: ChildSpec, places: Places) -> None:
        super().__init__(session)
        self._spec = spec
        self._places = places
        self._lifetime: AbstractAsyncContextManager[Child] | None = None
        self._child: Child | None = None
        self._has_had_one = False

    async def start(self) -> None:
        """Start a child and give it to the session.

        Raises:
            ChildStartFailed, OutOfResources: If it can't be started.
        """
        session, places = self._session, self._places
        self._started_at = asyncio.get_running_loop().time()
        lifetime = open_child(
            self._spec,
            on_lines=session.exchange.received,
            on_gone=session.child_gone,
            finder=places.finder,
            watch=places.watch,
            turns=places.turns,
        )
        self._child, self._lifetime = await lifetime.__aenter__(), lifetime
        places.started(self._child, in_place_of_another=self._has_had_one)
        self._has_had_one = True
        session.attach(self._child)

    async def end(self) -> None:
        """End the child that is there. Shielded and bounded, as its ladder is."""
        lifetime, child = self._lifetime, self._child
        self._lifetime = self._child = None
        if lifetime is None or child is None:
            return
        try:
            await lifetime.__aexit__(None, None, None)
        finally:
            self._places.ended(child)
            self.has_killed = child.was_killed


@asynccontextmanager
async def open_session(
    spec: ChildSpec,
    *,
    limits: SessionLimits,
    counts: Counts,
    places: Places,
    era: ServerEra,
    exits: Exits,
    is_ahead: bool = False,
) -> AsyncIterator[tuple[Session, ChildKeeper]]:
    """Own one session from spawn to reaped child.

    Raises:
        ChildStartFailed, OutOfResources: If the child can't be started.
    """
    session = Session(limits=limits, counts=counts, era=era, exits=exits, is_ahead=is_ahead)
    keeper = ChildKeeper(session, spec, places)
    try:
        await keeper.start()
        yield session, keeper
    finally:
        session.end("closed")
        await keeper.end()

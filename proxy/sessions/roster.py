"""Which sessions are there, and how many are about to be?"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio

from proxy.errors import SessionNotFound
from proxy.sessions.places import Places
from proxy.sessions.session import Session

logger = logging.getLogger(__name__)


class Roster:
    """The sessions of one server, each from the moment at which it is about to be begun until its child is reaped.

    Args:
        places: Room for their children, which others may share.

    Attributes:
        published: Those that their clients can use, by id; the oldest first.
        unpublished: Begun for a client, `initialize` not yet answered.
        ahead: Begun, nobody's.
        starting: How many are being begun for a client.
        owned: How many there are in all, those included that are being begun or ended.
        child_count: Processes of theirs, those included that are being ended, or nobody's yet.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self.published: dict[str, Session] = {}
        self.unpublished: set[Session] = set()
        self.ahead: set[Session] = set()
        self.starting = 0
        self.owned = 0
        self.child_count = 0
        self._grown = anyio.Event()
        self.remember: Callable[[Session], None] | None = None
        """Told of each that has ended and may be gone on with; None if none may."""

    # ---- who is there

    @property
    def session_count(self) -> int:
        """Sessions that a client can use, and those being started for one."""
        return len(self.published) + len(self.unpublished) + self.starting

    @property
    def is_one_ending(self) -> bool:
        """Whether the room of a session is about to be free."""
        return self.owned > self.session_count + len(self.ahead)

    @property
    def calls_in_flight(self) -> int:
        """Requests without an answer, in all sessions."""
        return sum(session.exchange.calls_in_flight for session in (*self.published.values(), *self.unpublished))

    @property
    def paths(self) -> list[dict[str, Any]]:
        """How many sessions take which way: the era of the client, and the one in which its child is spoken to."""
        eras = Counter(session.path.child_era for session in self.published.values())
        return [{"client": "legacy", "child": era, "sessions": count} for era, count in eras.items()]

    def starting_since(self) -> list[float]:
        """Since when clients wait for a child of their own."""
        now = asyncio.get_running_loop().time()
        return [*(now for _ in range(self.starting)), *(session.created_at for session in self.unpublished)]

    def find(self, session_id: str) -> Session:
        """The session with this id.

        Raises:
            SessionNotFound: If there is none, or it has ended.
        """
        session = self.published.get(session_id)
        if session is None or session.has_ended:
            raise SessionNotFound
        return session

    # ---- who comes and goes

    def begins(self, *, is_ahead: bool = False, shares: bool = False) -> None:
        """One is about to be begun, on a place that there is unless it shares a child.

        Whoever says so says `never_begun`, or `begun` and later `is_over`.

        Args:
            is_ahead: Whether it is for nobody yet.
            shares: Whether it has no child of its own.
        """
        self.owned += 1
        if not is_ahead:
            self.starting += 1
            self._grown.set()
        if not shares:
            self.child_count += 1
            self._places.take()

    def begun(self, session: Session, *, is_ahead: bool) -> None:
        """It is there."""
        self.starting -= not is_ahead
        (self.ahead if is_ahead else self.unpublished).add(session)

    def never_begun(self, *, is_ahead: bool = False, shares: bool = False) -> None:
        """It will never be there."""
        self.starting -= not is_ahead
        self.is_over(shares=shares)

    def taken(self, session: Session) -> None:
        """A client gets one that was begun ahead."""
        self.ahead.discard(session)
        self.unpublished.add(session)
        self._grown.set()

    def publish(self, session: Session) -> None:
        """Its client can use it from now on."""
        self.unpublished.discard(session)
        self.published[session.id] = session
        self.wake()

    def end(self, session: Session, reason: str) -> None:
        """End one session; it is 404 when this returns."""
        session.end(reason)
        self.forget(session)

    def forget(self, session: Session) -> None:
        """It has ended: nobody finds it any more."""
        if session.may_come_back and self.remember is not None:
            session.may_come_back = False
            self.remember(session)
        if self.published.get(session.id) is session:  # else it lives again, in another one under its id
            del self.published[session.id]
        self.unpublished.discard(session)
        self.ahead.discard(session)
        self.wake()

    def is_over(self, *, shares: bool) -> None:
        """Its child is gone, too."""
        self.owned -= 1
        if not shares:
            self.child_count -= 1
            self._places.give_back()
        self.wake()

    def end_listens(self) -> None:
        """End the GET streams of every session; calls go on."""
        for session in self.published.values():
            try:
                session.exchange.streams.end_listens()
            except Exception:  # of one session: the others' must end all the same
                logger.exception("streams not ended", extra={"session": session.tag})

    # ---- waiting

    def wake(self) -> None:
        """Something has changed for those who wait."""
        self._places.wake()
        self._grown.set()

    async def somebody(self) -> None:
        """Wait until there may be a session."""
        if not self.owned:
            self._grown = anyio.Event()
            await self._grown.wait()

    async def all_gone(self) -> None:
        """Wait until no session and no child is left."""
        while self.owned:
            await self._places.changed(1.0)

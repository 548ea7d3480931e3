"""May one more session begin, and on which place?"""

import anyio

from proxy.errors import TooManySessions
from proxy.observe import Counts
from proxy.sessions.closing import Closing
from proxy.sessions.expiry import evictable
from proxy.sessions.places import Places
from proxy.sessions.roster import Roster
from proxy.sessions.session import Session
from proxy.sessions.shared.children import SharedChildren
from proxy.sessions.warm.pool import WarmPool

LOOK_AGAIN_SECONDS = 0.1
"""How soon whoever waits for a proof looks whether a new child would be quicker now."""


class Admission:
    """Where clients wait for a session.

    Args:
        roster: The sessions there are.
        closing: Whether new ones begin.
        max_sessions: Sessions at once, those being started included.
        places: Room for their children, which others may share.
        warm: Sessions that were begun ahead.
        shared: The child of those that share one; None if none do.
        wait_seconds: How long one may wait for a place.
        counts: What an operator may see.
    """

    def __init__(
        self,
        *,
        roster: Roster,
        closing: Closing,
        max_sessions: int,
        places: Places,
        warm: WarmPool,
        shared: SharedChildren | None,
        wait_seconds: float,
        counts: Counts,
    ) -> None:
        self._roster = roster
        self._closing = closing
        self._max_sessions = max_sessions
        self._places = places
        self._warm = warm
        self._shared = shared
        self._wait_seconds = wait_seconds
        self._counts = counts

    @property
    def has_room(self) -> bool:
        """Whether a new session could begin at once, be it in the place of a child that is nobody's."""
        is_there = self._shared is not None and self._shared.is_there
        return self._may_have_more and (is_there or self._places.has_room or self._places.has_spare)

    @property
    def could_make_room(self) -> bool:
        """Whether a new session could begin, if need be in the place of one that saw only `initialize`."""
        return self.has_room or evictable(self._roster) is not None

    @property
    def _may_have_more(self) -> bool:
        return self._roster.session_count < self._max_sessions

    async def to_shared_child(self) -> None:
        """Wait until there may be one more session, of those that need no place for a process; it is counted then.

        Raises:
            Draining: If no new sessions begin.
            TooManySessions: If there were too many for `wait_seconds`.
        """
        with anyio.move_on_after(self._wait_seconds):
            while True:
                if self._closing.is_draining:
                    raise self._closing.refusal()
                if not self._may_have_more:
                    self._make_room()
                if self._may_have_more:
                    self._roster.begins(shares=True)
                    return
                await self._places.changed(1.0)
        raise self._too_many()

    async def to_proved(self) -> Session | None:
        """A session that was begun ahead, once its child has proved itself; None if a new one is quicker.

        Until then it is nobody's: a client that gives up leaves it to the next one.
        """
        with self._warm.claim("session") as is_worth_while:
            has_waited = False
            while self._may_have_more and not self._closing.is_draining:
                ready = self._take_ready(only_ready=True, has_waited=has_waited)
                if ready is not None or not is_worth_while():
                    return ready
                has_waited = True
                await self._places.changed(LOOK_AGAIN_SECONDS)
        return None

    async def to_place(self) -> Session | None:
        """A session that was begun ahead, or None and a place for a new one, which is counted then.

        Raises as `to_shared_child`.
        """
        with self._places.wish() as wish, anyio.move_on_after(self._wait_seconds):
            while True:
                if self._closing.is_draining:
                    raise self._closing.refusal()
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
        raise self._too_many()

    def _too_many(self) -> TooManySessions:
        self._counts.add("refused.too_many_sessions")
        return TooManySessions()

    def _take_ready(self, **which: bool) -> Session | None:
        """A session that was begun ahead and is its caller's now."""
        while True:
            session: Session | None = self._warm.take("session", **which)
            if session is None:
                return None
            if session.has_ended:  # its owner has not said so yet
                self._roster.ahead.discard(session)
                continue
            session.taken()
            self._roster.taken(session)
            return session

    def _take_place(self) -> bool:
        if not self._places.has_room:
            return False
        self._warm.missed("session")
        self._roster.begins()
        return True

    def _make_room(self) -> None:
        """End the oldest session that saw only `initialize`, if it is old enough and none is ending already."""
        if self._roster.is_one_ending:
            return
        session = evictable(self._roster)
        if session is not None:
            self._counts.add("evicted.unused_session")
            self._roster.end(session, "evicted: unused")

"""How does a client that never begins anew go on when its session has ended?

The session's handshake is kept for a while. A request with the id of the session that has ended gets another child,
which is told what the last one knew, and the session lives again under its old id. What its server knew itself is lost.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio

from proxy.errors import ChildStartTimedOut, ProxyError, SessionNotFound
from proxy.observe import Counts
from proxy.protocol.changes import may_have_changed
from proxy.protocol.jsontext import parse_members
from proxy.protocol.sessionless import INITIALIZED
from proxy.protocol.versions import version_of_result
from proxy.sessions.handshakes import answer_of_child
from proxy.sessions.session import Session
from proxy.sessions.told import Wanted

logger = logging.getLogger(__name__)

MAX_REMEMBERED_BYTES = 64 * 1024 * 1024
"""All that is kept. Ours: a thousand times what a thousand ordinary sessions need."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    """A session that has ended."""

    wanted: Wanted
    uris: tuple[str, ...]
    version: str
    shares: bool
    ended_at: float
    size_bytes: int


class Recovery:
    """The sessions of one server that have ended and may be gone on with.

    Args:
        max_sessions: How many are remembered; the oldest are forgotten first.
        max_age_seconds: For how long.
        start_timeout_seconds: From the start of a child to the end of its handshake.
        start_soon: Runs something beside: a client that leaves must not end what others wait for.
        open_session: Begins a session, on a shared child if the one that has ended had one. May raise any ProxyError.
        publish: Lets it be found.
        end: Ends it.
        counts: What an operator may see.
        clock: The loop's clock.
    """

    def __init__(
        self,
        *,
        max_sessions: int,
        max_age_seconds: float,
        start_timeout_seconds: float,
        start_soon: Callable[[Callable[[], Coroutine[Any, Any, None]]], None],
        open_session: Callable[[bool], Coroutine[Any, Any, Session]],
        publish: Callable[[Session, str | None], None],
        end: Callable[[Session, str], None],
        counts: Counts,
        clock: Callable[[], float],
    ) -> None:
        self._max_sessions = max_sessions
        self._max_age_seconds = max_age_seconds
        self._start_timeout_seconds = start_timeout_seconds
        self._start_soon = start_soon
        self._open_session = open_session
        self._publish = publish
        self._end = end
        self._counts = counts
        self._clock = clock
        self._remembered: dict[bytes, _Remembered] = {}  # the oldest first; ids are secrets and not kept
        self._size_bytes = 0
        self._going: dict[bytes, asyncio.Future[Session]] = {}

    def __len__(self) -> int:
        return len(self._remembered)

    def remember(self, session: Session) -> None:
        """A session has ended that may be gone on with; nothing is kept of one of which too much would have to be."""
        told = session.exchange.told
        if told is None or not told.is_complete or session.version is None:
            return
        self.forget(session.id)
        kept = _Remembered(told.wanted(), told.uris, session.version, session.shares, self._clock(), told.size_bytes)
        self._remembered[_key(session.id)] = kept
        self._size_bytes += kept.size_bytes
        self._expire()

    def forget(self, session_id: str) -> bool:
        """Its client wants it no more. False if nothing was known of it."""
        return self._drop(_key(session_id))

    async def recover(self, session_id: str) -> Session:
        """The session that lives again under this id. Waits for its child; one start, whoever waits for it.

        Raises:
            SessionNotFound: If nothing is known of it, or its server does not speak its revision any more.
            ProxyError: If no child can be started; it may be tried again.
        """
        self._expire()
        key = _key(session_id)
        future = self._going.get(key)
        if future is None:
            if key not in self._remembered:
                raise SessionNotFound
            future = self._going[key] = asyncio.get_running_loop().create_future()
            future.add_done_callback(_looked_at)
            self._start_soon(partial(self._run, key, session_id, future))
        return await asyncio.shield(future)

    async def _run(self, key: bytes, session_id: str, future: "asyncio.Future[Session]") -> None:
        outcome: Session | ProxyError = ProxyError()
        try:
            outcome = await self._begin_again(key, session_id)
        except ProxyError as exc:
            outcome = exc
        except Exception:
            logger.exception("session not recovered")
        finally:
            del self._going[key]
            if isinstance(outcome, Session):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

    async def _begin_again(self, key: bytes, session_id: str) -> Session:
        kept = self._remembered.get(key)
        if kept is None:  # its client has said goodbye in the same moment
            raise SessionNotFound
        session = await self._open_session(kept.shares)
        session.connected()
        try:
            with anyio.move_on_after(self._start_timeout_seconds):
                answer = await answer_of_child(session, kept.wanted.initialize)
                if version_of_result(answer) != kept.version:
                    logger.warning("server does not shake hands as before", extra={"session": session.tag})
                    self._drop(key)
                    raise SessionNotFound
                if self._remembered.get(key) is not kept:  # its client has said goodbye meanwhile
                    raise SessionNotFound
                self._drop(key)
                session.id = session_id
                self._publish(session, kept.version)
                if kept.wanted.initialized:
                    session.exchange.notify(INITIALIZED)
                session.exchange.tell_again(kept.wanted)
                session.exchange.received([*may_have_changed(parse_members(answer).get("result"), kept.uris)])
                self._counts.add("recovered.session")
                logger.info("session recovered", extra={"session": session.tag, "pid": session.pid})
                return session
            session.start_timed_out()
            raise ChildStartTimedOut
        finally:
            session.disconnected()
            if session.version is None:
                self._end(session, "not recovered")

    def _expire(self) -> None:
        oldest_at = self._clock() - self._max_age_seconds
        for key, kept in list(self._remembered.items()):
            is_too_much = len(self._remembered) > self._max_sessions or self._size_bytes > MAX_REMEMBERED_BYTES
            if kept.ended_at > oldest_at and not is_too_much:
                return
            self._drop(key)

    def _drop(self, key: bytes) -> bool:
        kept = self._remembered.pop(key, None)
        if kept is not None:
            self._size_bytes -= kept.size_bytes
        return kept is not None


def _key(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode()).digest()


def _looked_at(future: "asyncio.Future[Session]") -> None:
    """Nobody may be left who waits for a start that failed; that is no fault."""
    if not future.cancelled():
        future.exception()

"""What do POST, GET and DELETE do in the revisions with a handshake?

Spec: 2025-11-25 basic/transports, Streamable HTTP.
"""

from functools import partial

import anyio
from msgspec import Raw
from starlette.types import Receive, Scope, Send

from proxy.edge.answers import send_empty, send_error, send_json
from proxy.edge.isolation import Isolation
from proxy.edge.presence import Presence
from proxy.edge.requests import check_get_headers, check_version
from proxy.edge.session_responses import EdgeLimits, SessionResponses
from proxy.edge.shutdown import Shutdown
from proxy.edge.sse import OPENING, as_bytes
from proxy.errors import (
    AlreadyInitialized,
    BatchRefused,
    CallCancelled,
    ChildRestarting,
    ChildStartTimedOut,
    Draining,
    DuplicateId,
    SessionMissing,
    SessionNotFound,
    TooManyCalls,
)
from proxy.protocol.messages import Message, Notification, Request, Response
from proxy.protocol.replay import place_of
from proxy.protocol.versions import BATCH_VERSION, LEGACY_VERSIONS, lower_version, version_of_result
from proxy.sessions.manager import SessionManager
from proxy.sessions.session import Session
from proxy.sessions.stream import Failure, Stream

SESSION_HEADER = b"mcp-session-id"


class LegacyEndpoint:
    """Serves clients of the revisions with a handshake."""

    has_sessions = True

    def __init__(
        self,
        manager: SessionManager,
        presence: Presence,
        limits: EdgeLimits,
        shutdown: Shutdown,
        isolation: Isolation,
    ) -> None:
        self._manager = manager
        self._isolation = isolation
        self._presence = presence
        self._limits = limits
        self._responses = SessionResponses(presence, limits, shutdown)

    async def post(
        self,
        parsed: Message | list[Message],
        headers: dict[bytes, bytes],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Serve what was posted.

        Raises:
            ProxyError: If it is refused before the response has begun.
        """
        check_version(headers, agreed=self._agreed_version(headers))
        if isinstance(parsed, Request) and parsed.method == "initialize":
            await self._initialize(parsed, headers, scope, receive, send)
            return
        session = await self._session_of(headers, may_live_again=isinstance(parsed, Request))
        session.use()
        session.connected()
        try:
            await self._pass_on(session, parsed, scope, receive, send)
        finally:
            session.disconnected()

    async def _session_of(self, headers: dict[bytes, bytes], *, may_live_again: bool) -> Session:
        """The session that is named. Waits, and raises as `SessionManager.open`, if it has ended and is to go on."""
        session_id = _session_id(headers)
        if may_live_again and self._manager.recovery is not None:
            return await self._manager.find_again(session_id)
        return self._manager.roster.find(session_id)

    def _agreed_version(self, headers: dict[bytes, bytes]) -> str | None:
        session_id = headers.get(SESSION_HEADER)
        version = headers.get(b"mcp-protocol-version")
        if session_id is None or version is None or version.decode("latin-1") in LEGACY_VERSIONS:
            return None
        try:
            return self._manager.roster.find(session_id.decode("latin-1")).version
        except SessionNotFound:
            return None

    async def _pass_on(
        self, session: Session, parsed: Message | list[Message], scope: Scope, receive: Receive, send: Send
    ) -> None:
        if isinstance(parsed, Request):
            if self._manager.closing.is_draining:
                raise Draining
            stream = session.exchange.streams.new(parsed.raw_id)
            await self._begin(session, parsed, stream, receive)
            await self._responses.respond(session, stream, scope, receive, send)
        elif isinstance(parsed, list):
            await self._pass_on_batch(session, parsed, scope, receive, send)
        else:
            await self._tell(session, parsed)
            await send_empty(send, 202)

    async def _begin(self, session: Session, request: Request, stream: Stream, receive: Receive) -> None:
        """Send a request to the child, in its turn. While it waits its client may leave: the idle clock starts then."""
        if session.intake.has_place:
            await session.intake.begin([request], stream)
            return
        is_gone = False

        def left() -> None:
            nonlocal is_gone
            is_gone = True
            session.exchange.disconnected(stream)
            session.disconnected()

        held = self._presence.hold(receive, commit_after_seconds=None, on_commit=stream.wake, on_gone=left)
        try:
            await session.intake.begin([request], stream)
        finally:
            self._presence.release(held)
            if is_gone:
                session.connected()  # whoever counted this connection will say that it is gone

    async def _tell(self, session: Session, message: Notification | Response) -> None:
        await session.intake.wait_to_tell(message)
        if session.has_ended:
            raise SessionNotFound
        if isinstance(message, Notification):
            session.exchange.notify(message)
        else:
            session.exchange.answer(message)

    async def _pass_on_batch(
        self, session: Session, messages: list[Message], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Spec: 2025-03-26 basic/transports, Sending Messages to the Server 3-6; basic/lifecycle, Initialization."""
        if session.version != BATCH_VERSION:
            raise BatchRefused
        requests = [message for message in messages if isinstance(message, Request)]
        if any(request.method == "initialize" for request in requests):
            raise BatchRefused("Invalid Request: initialize must not be part of a batch")
        if requests and self._manager.closing.is_draining:
            raise Draining
        session.exchange.check_new_ids(requests)
        stream = session.exchange.streams.new(*(request.raw_id for request in requests))
        is_full = False  # then it is for all that follow: they must not wait one after the other
        try:
            for message in messages:
                if not isinstance(message, Request):
                    await self._tell(session, message)
                    continue
                try:
                    if is_full and not session.intake.has_place:
                        raise TooManyCalls
                    await self._begin(session, message, stream, receive)
                except (
                    CallCancelled,
                    DuplicateId,
                    TooManyCalls,
                    ChildRestarting,
                ) as error:  # of this; the others go on
                    stream.put_answer(Failure(message.raw_id, error))
                    is_full = is_full or isinstance(error, TooManyCalls | ChildRestarting)
        except BaseException:
            session.exchange.disconnected(stream)  # the error answers for all; those that were sent have no stream
            raise
        if requests:
            await self._responses.respond(session, stream, scope, receive, send, batch_size=len(requests))
        else:
            await send_empty(send, 202)

    # ---- initialize

    async def _initialize(
        self, request: Request, headers: dict[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Begin a session. No timer begins the response: its status must be able to say that the child failed.

        Spec: 2025-11-25 basic/lifecycle, Initialization; basic/transports, Session Management.
        """
        self._refuse_live_session(headers)
        open_session = partial(self._manager.open, shares=self._isolation.principal(headers).group is not None)
        session = await self._presence.unless_gone(receive, open_session)
        if session is None:
            return
        session.connected()
        try:
            with anyio.move_on_after(self._limits.start_timeout_seconds):
                stream = session.exchange.streams.new(request.raw_id)
                await session.intake.begin([lower_version(request, self._limits.newest_version)], stream)
                while stream.is_live and not stream.has_ended:
                    stream.take()  # progress of a start has no stream to go to
                    await self._responses.hold(session, stream, receive, None)
                await self._send_initialize_result(session, stream, request.raw_id, send)
                return
            session.start_timed_out()
            raise ChildStartTimedOut
        finally:
            session.disconnected()
            if session.version is None:
                self._manager.roster.end(session, "not initialized")

    def _refuse_live_session(self, headers: dict[bytes, bytes]) -> None:
        """A stale session id is ignored; a live one means that the client has lost count."""
        session_id = headers.get(SESSION_HEADER)
        if session_id is None:
            return
        try:
            self._manager.roster.find(session_id.decode("latin-1"))
        except SessionNotFound:
            return
        raise AlreadyInitialized

    async def _send_initialize_result(self, session: Session, stream: Stream, raw_id: Raw, send: Send) -> None:
        if not stream.is_live:
            return  # the client left; nobody knows the session
        _, (*_, item) = stream.take()
        if isinstance(item, Failure):
            await send_error(send, item.error, item.raw_id)
            return
        answer = as_bytes(item)
        version = version_of_result(answer)
        if version is None:  # an error: the child wants no such session
            await send_json(send, 200, answer)
            return
        self._manager.publish(session, version)
        try:
            await send_json(send, 200, answer, [(SESSION_HEADER, session.id.encode())])
        except BaseException:
            self._manager.roster.end(session, "its client was not told of it")
            raise

    # ---- GET, DELETE

    async def get(self, headers: dict[bytes, bytes], scope: Scope, receive: Receive, send: Send) -> None:
        """Open a stream, or take one up again."""
        check_version(headers, agreed=self._agreed_version(headers))
        check_get_headers(headers)
        session = await self._session_of(headers, may_live_again=True)
        session.use()
        last_event_id = headers[b"last-event-id"].decode("latin-1") if b"last-event-id" in headers else None
        stream = session.exchange.resume(last_event_id) if last_event_id is not None else None
        if stream is None:
            stream = session.exchange.streams.listen()
            opening = self._responses.priming(session, stream)
        elif stream.has_ended and not stream.items:
            await send_empty(send, 204)  # anything else makes the TypeScript client come back for ever
            return
        else:
            opening = self._responses.priming(session, stream, place_of(last_event_id or ""))
        session.connected()
        try:
            is_calls = bool(stream.call_ids)
            await self._responses.stream(
                session, stream, scope, receive, send, opening=OPENING + opening, may_close=is_calls
            )
        finally:
            session.disconnected()

    async def delete(self, headers: dict[bytes, bytes], scope: Scope, receive: Receive, send: Send) -> None:
        """End a session."""
        check_version(headers, agreed=self._agreed_version(headers))
        self._manager.say_goodbye(_session_id(headers))
        await send_empty(send, 200)


def _session_id(headers: dict[bytes, bytes]) -> str:
    session_id = headers.get(SESSION_HEADER)
    if session_id is None:
        raise SessionMissing
    return session_id.decode("latin-1")

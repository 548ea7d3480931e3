"""What do clients of the 2024-11-05 transport get?

A GET opens one stream for everything that is said to the client, and tells it where to POST; the session lives as long
as that stream.

Spec: 2024-11-05 basic/transports, HTTP with SSE. Deprecated, and still what many clients fall back to.
"""

import asyncio
import logging
import secrets
from dataclasses import dataclass
from functools import partial
from urllib.parse import parse_qs, quote

import anyio
from anyio.abc import TaskGroup
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.edge.answers import send_empty, send_error
from proxy.edge.inbox import Inbox, Refused
from proxy.edge.isolation import Isolation
from proxy.edge.presence import Presence
from proxy.edge.requests import check_get_headers, check_json, read_headers
from proxy.edge.session_responses import EdgeLimits
from proxy.edge.shutdown import Shutdown
from proxy.edge.sse import SlowReader, as_bytes, send_stream
from proxy.edge.uploads import ClientGone
from proxy.errors import (
    AlreadyInitialized,
    BatchRefused,
    ChildStartTimedOut,
    Draining,
    MethodNotAllowed,
    PostNotAllowed,
    ProxyError,
    SessionMissing,
    SessionNotFound,
)
from proxy.protocol.messages import Message, Notification, Request, Response
from proxy.protocol.versions import lower_version, version_of_result
from proxy.sessions.manager import SessionManager
from proxy.sessions.session import Session
from proxy.sessions.stream import Failure, Stream

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Connection:
    """One client: its stream, its session, and the group of what goes on for it."""

    session: Session
    stream: Stream
    tasks: TaskGroup
    has_begun: bool = False


class LegacySse:
    """Serves `/sse` and `/messages/`. What a POST brings is answered on the stream of its client's GET."""

    def __init__(
        self,
        manager: SessionManager,
        inbox: Inbox,
        presence: Presence,
        limits: EdgeLimits,
        shutdown: Shutdown,
        isolation: Isolation,
    ) -> None:
        self._manager = manager
        self._presence = presence
        self._isolation = isolation
        self._inbox = inbox
        self._limits = limits
        self._shutdown = shutdown
        self._open: dict[str, _Connection] = {}

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve `/sse`, as an ASGI application."""
        try:
            if scope["method"] != "GET":
                raise MethodNotAllowed
            headers = read_headers(scope)
            check_get_headers(headers)
            shares = self._isolation.principal(headers).group is not None
            await self._listen(scope, receive, send, shares=shares)
        except ProxyError as error:
            await send_error(send, error)

    async def messages(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve `/messages/`, as an ASGI application."""
        try:
            if scope["method"] != "POST":
                raise PostNotAllowed
            await self._post(scope, receive, send)
        except Refused as refused:
            await send_error(send, refused.error, refused.raw_id)
        except ProxyError as error:
            await send_error(send, error)
        except ClientGone:
            return

    async def _listen(self, scope: Scope, receive: Receive, send: Send, *, shares: bool) -> None:
        session = await self._presence.unless_gone(receive, partial(self._manager.open, shares=shares))
        if session is None:
            return
        session.connected()
        key = secrets.token_hex(16)
        limits = self._limits
        try:
            async with anyio.create_task_group() as tasks:
                stream = session.exchange.streams.new()
                connection = self._open[key] = _Connection(session, stream, tasks)
                tasks.start_soon(self._end_unbegun, connection)
                patience = asyncio.get_running_loop().call_later(
                    limits.start_timeout_seconds, self._give_up, connection
                )
                try:
                    await send_stream(
                        scope,
                        receive,
                        send,
                        stream,
                        opening=_endpoint_event(scope, key),
                        ping_seconds=limits.ping_interval_seconds,
                        send_timeout_seconds=limits.slow_reader_timeout_seconds,
                        shutdown_grace_seconds=limits.drain_timeout_seconds,
                        shutdown=self._shutdown,
                    )
                except SlowReader:
                    session.exchange.streams.cut(stream)
                finally:
                    patience.cancel()
                    tasks.cancel_scope.cancel()
        finally:
            self._open.pop(key, None)
            session.disconnected()
            self._manager.roster.end(session, "its stream has ended")

    def _give_up(self, connection: _Connection) -> None:
        """Nothing was begun on it."""
        if not connection.has_begun:
            connection.stream.end()

    async def _end_unbegun(self, connection: _Connection) -> None:
        """The child may die before it is spoken to."""
        await connection.session.ended.wait()
        self._give_up(connection)

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = read_headers(scope)
        parsed = await self._inbox.read(receive, headers, check_json)
        raw_id = parsed.raw_id if isinstance(parsed, Request) else None
        try:
            connection = self._find(scope)
            await self._pass_on(connection, parsed)
        except ProxyError as error:
            await send_error(send, error, raw_id)
            return
        await send_empty(send, 202)

    def _find(self, scope: Scope) -> _Connection:
        keys = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("session_id", [])
        if len(keys) != 1:
            raise SessionMissing("Bad Request: Missing session_id; begin with a GET of the stream")
        connection = self._open.get(keys[0])
        if connection is None or connection.session.has_ended:
            raise SessionNotFound
        return connection

    async def _pass_on(self, connection: _Connection, message: Message | list[Message]) -> None:
        session = connection.session
        if isinstance(message, list):
            raise BatchRefused
        if isinstance(message, Request):
            if self._manager.closing.is_draining:
                raise Draining
            if message.method == "initialize":
                if connection.has_begun:
                    raise AlreadyInitialized
                connection.has_begun = True
                connection.tasks.start_soon(self._initialize, connection, message)
                return
            if session.version is None:
                raise SessionMissing("Bad Request: begin with initialize")
            session.use()
            await session.intake.begin([message], connection.stream)
            return
        session.use()
        await session.intake.wait_to_tell(message)
        if session.has_ended:
            raise SessionNotFound
        if isinstance(message, Notification):
            session.exchange.notify(message)
        elif isinstance(message, Response):
            session.exchange.answer(message)

    async def _initialize(self, connection: _Connection, request: Request) -> None:
        """Shake hands with the child; the result, or why there is none, goes onto the stream."""
        session, stream = connection.session, connection.stream
        try:
            with anyio.move_on_after(self._limits.start_timeout_seconds):
                answer = session.exchange.streams.new(request.raw_id)
                await session.intake.begin([lower_version(request, self._limits.newest_version)], answer)
                while not answer.has_ended:
                    answer.take()  # progress of a start has no stream to go to
                    await answer.wait()
                _, (*_, item) = answer.take()
                version = None if isinstance(item, Failure) else version_of_result(as_bytes(item))
                if version is not None:
                    self._manager.publish(session, version)
                stream.put(item)
                if version is None:
                    stream.end()
                else:
                    session.exchange.streams.listen_on(stream)
                return
            session.start_timed_out()
            raise ChildStartTimedOut
        except ProxyError as error:
            stream.put(Failure(request.raw_id, error))
            stream.end()


class Endpoint:
    """Stands between a route and a method of `LegacySse`: Starlette takes a bare method for something else."""

    def __init__(self, serve: ASGIApp) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        await self._serve(scope, receive, send)


def _endpoint_event(scope: Scope, key: str) -> bytes:
    """Where to POST: a path, so that it is of the same origin whatever that is called outside."""
    path = quote(f"{scope.get('root_path', '')}/messages/")
    return f"event: endpoint\r\ndata: {path}?session_id={key}\r\n\r\n".encode()

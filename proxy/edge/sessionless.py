"""What does a client of the handshake revisions get that has no session?

One request, one response, and nothing to come back to: no session id, no event ids, no GET. A client that closes the
connection before its answer has given it up.

Spec: 2025-11-25 basic/transports, Streamable HTTP; a server need not have sessions, nor streams of its own.
"""

from collections.abc import Awaitable, Callable

from msgspec import Raw
from starlette.types import Receive, Scope, Send

from proxy.edge.answers import send_empty, send_error, send_json, send_json_in_time
from proxy.edge.lone_responses import LoneResponses
from proxy.edge.presence import Presence, Result
from proxy.edge.requests import check_version
from proxy.edge.session_responses import EdgeLimits
from proxy.edge.shutdown import Shutdown
from proxy.edge.sse import as_bytes
from proxy.errors import BatchRefused, PostNotAllowed, SessionNeeded
from proxy.protocol.messages import Message, Request, pong
from proxy.protocol.sessionless import needs_session, version_spoken
from proxy.protocol.versions import BATCH_VERSION
from proxy.sessions.sessionless import HandshakeRefused, LoneCall, Sessionless
from proxy.sessions.stream import Failure


class SessionlessEndpoint:
    """Serves clients of the handshake revisions, each request by itself."""

    has_sessions = False

    def __init__(self, serving: Sessionless, presence: Presence, limits: EdgeLimits, shutdown: Shutdown) -> None:
        self._serving = serving
        self._presence = presence
        self._limits = limits
        self._responses = LoneResponses(
            presence,
            shutdown,
            ping_interval_seconds=limits.ping_interval_seconds,
            slow_reader_timeout_seconds=limits.slow_reader_timeout_seconds,
            drain_timeout_seconds=limits.drain_timeout_seconds,
        )

    async def get(self, headers: dict[bytes, bytes], scope: Scope, receive: Receive, send: Send) -> None:
        """Raises PostNotAllowed: nothing is ever said to a client that has asked nothing."""
        raise PostNotAllowed

    async def delete(self, headers: dict[bytes, bytes], scope: Scope, receive: Receive, send: Send) -> None:
        """Raises PostNotAllowed: there is no session to end."""
        raise PostNotAllowed

    async def post(
        self,
        parsed: Message | list[Message],
        headers: dict[bytes, bytes],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Serve what was posted. A session id that comes with it is somebody else's, or a mistake: it is not looked at.

        Raises:
            ProxyError: If it is refused before the response has begun.
        """
        check_version(headers)
        version = version_spoken(headers.get(b"mcp-protocol-version"), self._serving.newest_version)
        if isinstance(parsed, list):
            await self._batch(parsed, version, scope, receive, send)
        elif not isinstance(parsed, Request):
            await send_empty(send, 202)  # of no session; and whose call it could mean, nobody knows
        elif parsed.method == "ping":
            await send_json(send, 200, pong(parsed.raw_id))
        elif parsed.method == "initialize":
            await self._initialize(parsed, receive, send)
        elif needs_session(parsed.method):
            raise SessionNeeded
        else:
            await self._call([parsed], version, scope, receive, send)

    async def _initialize(self, request: Request, receive: Receive, send: Send) -> None:
        async def answer() -> bytes:
            return await self._serving.initialize(request)

        line = await self._unless_gone(receive, answer, [request], send)
        if line is not None:
            await send_json(send, 200, line)

    async def _batch(self, messages: list[Message], version: str, scope: Scope, receive: Receive, send: Send) -> None:
        """One child serves all of it. Spec: 2025-03-26 basic/transports, Sending Messages to the Server 3-6."""
        if version != BATCH_VERSION:
            raise BatchRefused
        requests = [message for message in messages if isinstance(message, Request)]
        if any(needs_session(request.method) for request in requests):
            raise BatchRefused("Invalid Request: one of the batch needs a session")
        if requests:
            await self._call(requests, version, scope, receive, send, is_batch=True)
        else:
            await send_empty(send, 202)

    async def _call(
        self,
        requests: list[Request],
        version: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        is_batch: bool = False,
    ) -> None:
        async def begin() -> LoneCall:
            return await self._serving.begin(requests, version=version)

        call = await self._unless_gone(receive, begin, requests, send, is_batch=is_batch)
        if call is None:
            return
        try:
            await self._respond(call, scope, receive, send, is_batch=is_batch)
        finally:
            self._serving.over(call)

    async def _unless_gone(
        self,
        receive: Receive,
        do: Callable[[], Awaitable[Result]],
        requests: list[Request],
        send: Send,
        *,
        is_batch: bool = False,
    ) -> Result | None:
        """What comes of it; None if the client has left meanwhile, or has got the child's own refusal as its answer."""
        try:
            return await self._presence.unless_gone(receive, do)
        except HandshakeRefused as refused:
            await self._send_refusal(refused, [request.raw_id for request in requests], send, is_batch=is_batch)
            return None

    async def _send_refusal(self, refused: HandshakeRefused, raw_ids: list[Raw], send: Send, *, is_batch: bool) -> None:
        """What the child has said to our handshake, it would have said to the client's."""
        lines = [refused.response.encode(raw_id=raw_id) for raw_id in raw_ids]
        await send_json(send, 200, b"[" + b",".join(lines) + b"]" if is_batch else lines[0])

    # ---- the response

    async def _respond(self, call: LoneCall, scope: Scope, receive: Receive, send: Send, *, is_batch: bool) -> None:
        """Answer with JSON if the answer is the first thing there is, else with a stream."""
        limits = self._limits
        items = await self._responses.answers(
            call,
            scope,
            receive,
            send,
            count=len(call.requests),
            commit_after_seconds=limits.commit_after_seconds,
        )
        if not items:
            return
        if not is_batch and isinstance(items[0], Failure):
            await send_error(send, items[0].error, items[0].raw_id)
            return
        body = b"[" + b",".join(map(as_bytes, items)) + b"]" if is_batch else as_bytes(items[0])
        await send_json_in_time(send, 200, body, timeout_seconds=limits.slow_reader_timeout_seconds)

"""What does a POST of revision 2026-07-28 get?

No session, no event ids, nothing to come back to: one request, one response, and a connection that is closed is a
request that is cancelled.

Spec: 2026-07-28 basic/transports/streamable-http.
"""

from dataclasses import dataclass

import anyio
from starlette.types import Receive, Scope, Send

from proxy.edge.answers import send_empty, send_error, send_json_in_time, status_of
from proxy.edge.isolation import Isolation
from proxy.edge.presence import Presence
from proxy.edge.shutdown import Shutdown
from proxy.edge.sse import OPENING, SlowReader, as_bytes, send_stream
from proxy.errors import BatchRefused, NotJsonRpc, RevisionUnsupported, StreamOverflow
from proxy.protocol.envelope import MODERN_VERSIONS, ModernRequest, read_envelope, version_of
from proxy.protocol.headers import check_routing, refuse_repeated
from proxy.protocol.messages import Message, Notification, Request
from proxy.sessions.modern.call import ModernCall
from proxy.sessions.modern.serving import ModernServing
from proxy.sessions.stream import Failure


@dataclass(frozen=True, slots=True)
class ModernEdgeLimits:
    """Bounds of responses; the defaults are those of `Settings`, which has the reasons."""

    commit_after_seconds: float = 15.0
    ping_interval_seconds: float = 15.0
    slow_reader_timeout_seconds: float = 30.0
    drain_timeout_seconds: float = 10.0


class ModernEndpoint:
    """Serves what clients without sessions post."""

    def __init__(
        self,
        serving: ModernServing,
        presence: Presence,
        isolation: Isolation,
        limits: ModernEdgeLimits,
        shutdown: Shutdown,
    ) -> None:
        self._serving = serving
        self._presence = presence
        self._isolation = isolation
        self._limits = limits
        self._shutdown = shutdown

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
        if isinstance(parsed, list):
            raise BatchRefused("Invalid Request: this revision has no batches")
        if isinstance(parsed, Notification):
            await self._notified(parsed, send)
            return
        if not isinstance(parsed, Request):
            raise NotJsonRpc("Invalid Request: in this revision the server asks nothing that could be answered")
        if len(headers) < len(scope["headers"]):
            refuse_repeated(scope["headers"])
        request = read_envelope(parsed)
        check_routing(headers, request)
        await self._serve(request, headers, scope, receive, send)

    async def _notified(self, notification: Notification, send: Send) -> None:
        """Accepted and dropped: ids are the clients' own choice, so a cancellation could hit another's request."""
        version = version_of(notification)
        if version is not None and version not in MODERN_VERSIONS:
            raise RevisionUnsupported(data={"supported": list(MODERN_VERSIONS), "requested": version})
        await send_empty(send, 202)

    async def _serve(
        self, request: ModernRequest, headers: dict[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> None:
        call = self._serving.new_call(request, self._isolation.principal(headers))
        try:
            if self._serving.begin_at_once(call, headers) or await self._begin(call, headers, receive):
                await self._respond(call, scope, receive, send)
        finally:
            call.abandon()  # does nothing to one that has ended

    async def _begin(self, call: ModernCall, headers: dict[bytes, bytes], receive: Receive) -> bool:
        """Whether it was sent to a child; False if its client has left before."""
        with anyio.CancelScope() as scope:
            held = self._presence.hold(receive, commit_after_seconds=None, on_commit=_nothing, on_gone=scope.cancel)
            try:
                await self._serving.begin(call, headers)
            finally:
                self._presence.release(held)
        return not scope.cancel_called

    async def _respond(self, call: ModernCall, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with JSON if the answer is the first thing there is, else with a stream."""
        stream = call.stream
        await self._hold(call, receive)
        if stream.was_cut:
            raise StreamOverflow
        if not stream.is_live:
            return
        if stream.has_ended and len(stream.items) == 1:
            _, (item,) = stream.take()
            if isinstance(item, Failure):
                await send_error(send, item.error, item.raw_id)
                return
            body, limits = as_bytes(item), self._limits
            await send_json_in_time(
                send, status_of(call.code), body, timeout_seconds=limits.slow_reader_timeout_seconds
            )
            return
        limits = self._limits
        try:
            await send_stream(
                scope,
                receive,
                send,
                stream,
                opening=OPENING if not stream.items else b"",
                ping_seconds=limits.ping_interval_seconds,
                send_timeout_seconds=limits.slow_reader_timeout_seconds,
                shutdown_grace_seconds=limits.drain_timeout_seconds,
                shutdown=self._shutdown,
            )
        except SlowReader:
            call.cut()

    async def _hold(self, call: ModernCall, receive: Receive) -> None:
        """Wait for the first thing to say, or for the moment when the response begins without."""
        stream = call.stream
        if stream.items or stream.has_ended:
            return
        # A client that asks what it meets reads the status: a child that does not answer is no older server.
        is_probe = call.request.method == "server/discover"
        held = self._presence.hold(
            receive,
            commit_after_seconds=None if is_probe else self._limits.commit_after_seconds,
            on_commit=stream.wake,
            on_gone=call.abandon,
        )
        try:
            await stream.wait()
        finally:
            self._presence.release(held)


def _nothing() -> None:
    return None

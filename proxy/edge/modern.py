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
from proxy.edge.lone_responses import LoneResponses
from proxy.edge.presence import Presence
from proxy.edge.shutdown import Shutdown
from proxy.edge.sse import as_bytes
from proxy.errors import BatchRefused, NotJsonRpc, RevisionUnsupported
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
        self._responses = LoneResponses(
            presence,
            shutdown,
            ping_interval_seconds=limits.ping_interval_seconds,
            slow_reader_timeout_seconds=limits.slow_reader_timeout_seconds,
            drain_timeout_seconds=limits.drain_timeout_seconds,
        )

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
        limits = self._limits
        # A client that asks what it meets reads the status: a child that does not answer is no older server.
        is_probe = call.request.method == "server/discover"
        commit_after_seconds = None if is_probe else limits.commit_after_seconds
        items = await self._responses.answers(call, scope, receive, send, commit_after_seconds=commit_after_seconds)
        if not items:
            return
        (item,) = items
        if isinstance(item, Failure):
            await send_error(send, item.error, item.raw_id)
            return
        status, timeout_seconds = status_of(call.code), limits.slow_reader_timeout_seconds
        await send_json_in_time(send, status, as_bytes(item), timeout_seconds=timeout_seconds)


def _nothing() -> None:
    return None

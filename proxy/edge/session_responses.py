"""How does a stream of a session become an HTTP response?

Spec: 2025-11-25 basic/transports, Streamable HTTP.
"""

from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from proxy.edge.answers import send_error, send_json_in_time
from proxy.edge.presence import Presence
from proxy.edge.shutdown import Shutdown
from proxy.edge.sse import SlowReader, as_bytes, priming, send_stream
from proxy.errors import StreamOverflow
from proxy.protocol.versions import POLLING_VERSION
from proxy.sessions.session import Session
from proxy.sessions.stream import Failure, Stream


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """Bounds of HTTP requests and responses; the defaults are those of `Settings`, which has the reasons."""

    commit_after_seconds: float = 5.0
    ping_interval_seconds: float = 15.0
    slow_reader_timeout_seconds: float = 30.0
    start_timeout_seconds: float = 60.0
    drain_timeout_seconds: float = 10.0
    stream_backlog_bytes: int = 8 * 1024 * 1024
    reconnect_delay_seconds: float = 1.0
    close_stream_after_seconds: float | None = None
    newest_version: str | None = None


class SessionResponses:
    """Responses of clients that can come back to a stream."""

    def __init__(self, presence: Presence, limits: EdgeLimits, shutdown: Shutdown) -> None:
        self._presence = presence
        self._limits = limits
        self._shutdown = shutdown

    async def respond(
        self,
        session: Session,
        stream: Stream,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        batch_size: int | None = None,
    ) -> None:
        """Answer with JSON if the answer is the first thing there is, else with a stream."""
        await self.hold(session, stream, receive, self._limits.commit_after_seconds)
        if stream.was_cut:
            raise StreamOverflow
        if not stream.is_live:
            return
        if stream.has_ended and len(stream.items) == (batch_size or 1):
            _, items = stream.take()
            if batch_size is None and isinstance(items[0], Failure):
                await send_error(send, items[0].error, items[0].raw_id)
                return
            body = as_bytes(items[0]) if batch_size is None else b"[" + b",".join(map(as_bytes, items)) + b"]"
            await send_json_in_time(send, 200, body, timeout_seconds=self._limits.slow_reader_timeout_seconds)
            return
        session.exchange.streams.begin(stream)
        await self.stream(session, stream, scope, receive, send, opening=self.priming(session, stream), may_close=True)

    def priming(self, session: Session, stream: Stream, place: int = 0) -> bytes:
        """The event that opens a response behind this place of a stream; nothing for clients that don't know it."""
        if (session.version or "") < POLLING_VERSION:
            return b""
        return priming(stream.number, place, retry_seconds=self._limits.reconnect_delay_seconds)

    async def hold(
        self, session: Session, stream: Stream, receive: Receive, commit_after_seconds: float | None
    ) -> None:
        """Wait for the first thing to say, or for the moment when the response begins without."""
        if stream.items or stream.has_ended:
            return
        held = self._presence.hold(
            receive,
            commit_after_seconds=commit_after_seconds,
            on_commit=stream.wake,
            on_gone=lambda: session.exchange.disconnected(stream),
        )
        try:
            await stream.wait()
        except BaseException:
            session.exchange.disconnected(stream)  # the host gives this request up; nobody will read its stream
            raise
        finally:
            self._presence.release(held)

    async def stream(
        self,
        session: Session,
        stream: Stream,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        opening: bytes = b"",
        may_close: bool = False,
    ) -> None:
        """Send a stream until it ends, its client goes, or (for one that comes back) `close_stream_after` is over."""
        may_close = may_close and (session.version or "") >= POLLING_VERSION
        connection = stream.connection
        is_complete = False
        try:
            is_complete = await send_stream(
                scope,
                receive,
                send,
                stream,
                opening=opening,
                ping_seconds=self._limits.ping_interval_seconds,
                send_timeout_seconds=self._limits.slow_reader_timeout_seconds,
                shutdown_grace_seconds=self._limits.drain_timeout_seconds,
                shutdown=self._shutdown,
                close_after_seconds=self._limits.close_stream_after_seconds if may_close else None,
            )
        except SlowReader:
            session.exchange.streams.cut(stream)
            is_complete = True  # as far as it will be
        finally:
            if not is_complete and stream.connection == connection:  # else its client is back on another response
                session.exchange.disconnected(stream)

"""How does a stream become `text/event-stream`?

The only importer of sse_starlette, and only when the first stream opens: it patches `uvicorn.Server` on import, which
a host that embeds the bridge should not meet before it streams.
"""

import math
from collections.abc import AsyncIterator, Iterable
from functools import cache
from typing import TYPE_CHECKING

import anyio
from starlette.types import Message, Receive, Scope, Send

from proxy.edge.answers import error_body
from proxy.edge.shutdown import Shutdown
from proxy.protocol.replay import event_id
from proxy.sessions.stream import SEEN_ELSEWHERE, Ask, Item, Stream

if TYPE_CHECKING:
    from sse_starlette import EventSourceResponse

HEADERS = {"cache-control": "no-cache, no-transform"}
WRITE_BYTES = 64 * 1024
"""What is written in one piece. A reader has its time for each anew, so it is cut only if it takes next to nothing."""
PING = b": ping\r\n\r\n"
"""Sent when there is nothing to say. Never in the middle of an event, as a timer beside the stream would."""
OPENING = b": open\r\n\r\n"
"""Sent at once on a stream that may stay silent, so that every proxy on the way passes the response on."""


def as_bytes(item: Item) -> bytes:
    """The JSON-RPC message of an item."""
    if isinstance(item, bytes):
        return item
    if isinstance(item, Ask):
        return item.message
    return error_body(item.error, item.raw_id)


def as_events(stream: int, first: int, items: Iterable[Item]) -> bytes:
    """Items as events, in one piece: all that waits goes out in one write.

    Args:
        stream: The number of the stream, which is in the event ids; 0 for one that has none.
        first: The place of the first item.
        items: What to write.
    """
    if not stream:  # nothing to come back to
        return b"".join([b"event: message\r\ndata: %b\r\n\r\n" % as_bytes(item) for item in items])
    return b"".join(
        [
            b"id: %d-%d\r\nevent: message\r\ndata: %b\r\n\r\n" % (stream, place, as_bytes(item))
            for place, item in enumerate(items, start=first)
            if item is not SEEN_ELSEWHERE
        ]
    )


def priming(stream: int, place: int = 0, *, retry_seconds: float) -> bytes:
    """An event with an id and no data: whoever loses the response before anything was said can come back, too.

    Args:
        stream: The number of the stream.
        place: The last message that the client has. On a response that takes a stream up again: the TypeScript clients
            forget where they were if a response has no event.
        retry_seconds: When to come back.

    Spec: 2025-11-25 basic/transports, Sending Messages 6. Older clients choke on empty data.
    """
    return b"id: %b\r\nretry: %d\r\ndata: \r\n\r\n" % (event_id(stream, place), round(retry_seconds * 1000))


def _pieces(data: bytes) -> Iterable[bytes]:
    """What is written one after the other; ordinary events, all in one piece."""
    if len(data) <= 2 * WRITE_BYTES:
        return (data,)
    return (data[start : start + WRITE_BYTES] for start in range(0, len(data), WRITE_BYTES))


class SlowReader(Exception):
    """The client took nothing of what was written for `send_timeout_seconds`."""


async def _events(
    stream: Stream, connection: int, opening: bytes, close_at: float, ping_seconds: float
) -> AsyncIterator[bytes]:
    if opening:
        yield opening
    while stream.connection == connection:  # asked before the wait, too: it would take the other's place
        ping_at = anyio.current_time() + ping_seconds
        with anyio.CancelScope(deadline=min(close_at, ping_at)) as scope:
            await stream.wait()
        if stream.connection != connection:
            return  # the client is back on another response, which has the stream now
        first, items = stream.take(WRITE_BYTES)
        if items:
            for piece in _pieces(as_events(stream.number, first, items)):
                yield piece
                stream.pieces_taken += 1
                if stream.connection != connection:
                    return
        elif stream.has_ended or not stream.is_live or (scope.cancelled_caught and close_at <= ping_at):
            return
        elif scope.cancelled_caught:
            yield PING


@cache
def _response_class() -> "type[EventSourceResponse]":
    from sse_starlette import EventSourceResponse

    class OurResponse(EventSourceResponse):
        """Ends with our shutdown: the library's own sign is a flag of the process, which outlives one server in it."""

        async def _listen_for_exit_signal(self) -> None:  # type: ignore[override]  # a static method of the library
            assert self._shutdown_event is not None  # `send_stream` gives it
            await self._shutdown_event.wait()

    return OurResponse


async def send_stream(
    scope: Scope,
    receive: Receive,
    send: Send,
    stream: Stream,
    *,
    opening: bytes = b"",
    ping_seconds: float,
    send_timeout_seconds: float,
    shutdown_grace_seconds: float,
    shutdown: Shutdown,
    close_after_seconds: float | None = None,
) -> bool:
    """Answer the HTTP request with a stream; waits until the stream has ended or the client is gone.

    Returns whether the stream is done with: everything was sent, or another response has taken it over.

    Raises:
        SlowReader: If the client does not read.
    """
    from sse_starlette.sse import SendTimeoutError

    async def send_in_time(message: Message) -> None:
        """The library bounds what is sent in between; the head and the end may meet a slow reader, too."""
        if message["type"] == "http.response.body" and message.get("more_body", False):
            await send(message)
            return
        with anyio.move_on_after(send_timeout_seconds) as timeout:
            await send(message)
        if timeout.cancelled_caught:
            raise SendTimeoutError

    connection = stream.connection
    close_at = math.inf if close_after_seconds is None else anyio.current_time() + close_after_seconds
    response = _response_class()(
        _events(stream, connection, opening, close_at, ping_seconds),
        headers=HEADERS,
        ping=0,
        send_timeout=send_timeout_seconds,
        shutdown_event=shutdown.begun,
        shutdown_grace_period=shutdown_grace_seconds,
    )
    try:
        with shutdown.watched():
            await response(scope, receive, send_in_time)
    except SendTimeoutError as exc:
        if stream.connection == connection:
            raise SlowReader from exc
    if stream.connection != connection:
        return True
    return stream.has_ended and stream.is_live and not stream.items

"""How does a stream become `text/event-stream`?

The only importer of sse_starlette, and only when the first stream opens: it patches `uvicorn.Server` on import, which
a host that embeds the bridge should not meet before it streams.
"""

from collections.abc import AsyncIterator, Iterable

import anyio
from starlette.types import Receive, Scope, Send

from proxy.edge.answers import error_body
from proxy.sessions.stream import Ask, Item, Stream

HEADERS = {"cache-control": "no-cache, no-transform"}
OPENING = b": open\r\n\r\n"
"""Sent at once on a stream that may stay silent, so that every proxy on the way passes the response on."""


def as_bytes(item: Item) -> bytes:
    """The JSON-RPC message of an item."""
    if isinstance(item, bytes):
        return item
    if isinstance(item, Ask):
        return item.message
    return error_body(item.error, item.raw_id)


def as_events(items: Iterable[Item]) -> bytes:
    """Items as events, in one piece: all that waits goes out in one write."""
    return b"".join([b"event: message\r\ndata: %b\r\n\r\n" % as_bytes(item) for item in items])


async def _events(stream: Stream, opening: bytes) -> AsyncIterator[bytes]:
    if opening:
        yield opening
    while True:
        await stream.wait()
        items = stream.take()
        if items:
            yield as_events(items)
        elif stream.has_ended or not stream.is_live:
            return


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
    shutdown: anyio.Event,
) -> bool:
    """Answer the HTTP request with a stream; waits until the stream has ended or the client is gone.

    Returns whether everything was sent.
    """
    from sse_starlette import EventSourceResponse
    from sse_starlette.sse import SendTimeoutError

    response = EventSourceResponse(
        _events(stream, opening),
        headers=HEADERS,
        ping=ping_seconds,
        send_timeout=send_timeout_seconds,
        shutdown_event=shutdown,
        shutdown_grace_period=shutdown_grace_seconds,
    )
    try:
        await response(scope, receive, send)
    except SendTimeoutError:
        return False
    return stream.has_ended and stream.is_live and not stream.items

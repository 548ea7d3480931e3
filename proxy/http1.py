"""What is a connection held to?

uvicorn's HTTP/1.1, with bounds: of the head of a request in bytes and in time, of requests that wait behind another
one, of connections that have nothing to do or take nothing. One shared timer looks at all of them (`check`): one for
each request would cost more. What can't be served gets a JSON-RPC error, as everything else does.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from proxy.edge.answers import CLOSE, REFUSALS, Header, error_body
from proxy.errors import BadHttp, HeadStalled, HeadTooLarge, ProxyError, TooManyConnections
from proxy.observe import Counts

logger = logging.getLogger(__name__)

MAX_PIPELINED = 16
"""Requests that may wait behind another one on a connection. Hardly any client sends even one before its answer."""

LINGER_SECONDS = 5.0
"""How long a client whose request is refused may go on sending: closed at once, it would not see the answer."""

_OFFER_OF_HTTP2 = re.compile(rb"\r\nupgrade:(?=[ \t]*h2c[ \t]*\r\n)", re.IGNORECASE)
_IGNORED = b"\r\nignored:"  # of the same length: what follows must stay where it is


@dataclass(frozen=True, slots=True)
class Http1Limits:
    """Bounds of a connection; the defaults are those of `Settings`, which has the reasons."""

    max_header_bytes: int = 64 * 1024
    header_timeout_seconds: float = 30.0
    keep_alive_timeout_seconds: float = 75.0
    slow_reader_timeout_seconds: float = 30.0


class _Outlet:
    """What a response is written to: the transport, but closed with regard to a client that still sends."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


class Http1Protocol(HttpToolsProtocol):
    """One connection.

    Args:
        limits: What it is held to.
        counts: What was refused.
        refusal: Answer with this whatever comes, and close.
        uvicorn: What uvicorn's own protocols are made of.
    """

    def __init__(
        self, *, limits: Http1Limits, counts: Counts, refusal: ProxyError | None = None, **uvicorn: Any
    ) -> None:
        super().__init__(**uvicorn)
        self._limits = limits
        self._counts = counts
        self._refusal = refusal
        self._outlet: _Outlet | None = None
        self._active: RequestResponseCycle | None = None  # `cycle` is the one whose request came last
        self._is_in_head = False
        self._is_deaf = False  # whatever still comes is thrown away
        self._is_lingering = False  # all is said
        self._head_bytes = 0
        self._heads_in_read = 0
        self._is_large_read = False
        self._since = self.loop.time()
        """When what it does now began: a head, a body on its way, or having nothing to do."""
        self._unsent_bytes = 0
        self._moved_at = 0.0

    # ---- what the listener asks

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self._active is not None and not self._active.response_complete

    @property
    def may_go(self) -> bool:
        """Whether it could make room for another: nothing that has come in whole is being answered."""
        if self._is_lingering:
            return False
        return not self.is_busy or (self.cycle.more_body and not self.cycle.response_started)

    @property
    def worth(self) -> tuple[bool, float]:
        """Those that could make room go in this order: idle ones, then those whose body is on the way; oldest first."""
        return self.is_busy, self._since

    def check(self, now: float) -> None:
        """Act on what has taken too long. Called about once a second."""
        waited = now - self._since
        if self._is_lingering:
            if waited > LINGER_SECONDS:
                self.transport.abort()
        elif self.is_busy and not self.transport.is_closing():
            return  # the endpoint watches over bodies and answers
        elif not self._is_taken(now):
            return
        elif self._is_in_head:
            if waited > self._limits.header_timeout_seconds:
                self.refuse(HeadStalled())
        elif self._active is not None and self._active.more_body:  # refused early, and still sent
            if waited > LINGER_SECONDS:
                self.transport.abort()
        elif waited > self._limits.keep_alive_timeout_seconds:
            self.transport.close()

    def _is_taken(self, now: float) -> bool:
        """Whether the client has taken every answer. It is cut if it takes nothing of one for too long."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and not 0 < self._unsent_bytes <= unsent:
            self._moved_at = now
        elif unsent and now - self._moved_at > self._limits.slow_reader_timeout_seconds:
            self._counts.add("cut.slow_connection")
            self.transport.abort()
        self._unsent_bytes = unsent
        return unsent == 0

    def make_way(self) -> None:
        """Close, because another needs the place."""
        self.transport.abort()

    def refuse(self, error: ProxyError) -> None:
        """Answer with this error, throw away what still comes, and close.

        If an answer has begun, nothing can be said any more: the connection is cut.
        """
        self._counts.add(f"refused.{_COUNTED[type(error)]}")
        has_begun = self.is_busy and self._active is not None and self._active.response_started
        self._client_gone()
        if has_begun:
            self.transport.abort()
        elif not self.transport.is_closing():
            self.transport.write(_response(error, self.server_state.default_headers))
            self._linger()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """A client has connected."""
        super().connection_made(transport)
        self._outlet = _Outlet(transport, self._close)
        if self._refusal is not None:
            self.refuse(self._refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: every request on it is told, not only the last."""
        self._client_gone()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        if self._is_deaf:
            return
        is_head = self._is_in_head or not self.is_busy
        if is_head and b"h2c" in data:
            data = _without_offer_of_http2(data)
        self._heads_in_read = 0
        self._is_large_read = len(data) > self._limits.max_header_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._stop_behind_upgrade()
        except httptools.HttpParserError as exc:
            reason = exc.__context__  # what a callback of ours raised, if one did
            logger.debug("x request not read", exc_info=exc)
            self.refuse(reason if isinstance(reason, ProxyError) else BadHttp())
        if self._is_in_head and not self._is_deaf:
            # What came before this head in the same read is not counted with it.
            self._part_of_head(len(data) if is_head and not self._heads_in_read else 0)
        elif self._heads_in_read and not self._is_deaf and self.cycle.more_body:
            self._since = self.loop.time()

    # ---- httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        self._is_in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        self._is_in_head = False
        self._heads_in_read += 1
        if self._is_large_read or self._head_bytes:  # else it is a part of what fits
            if _size_of(self.url, self.headers) > self._limits.max_header_bytes:
                raise HeadTooLarge
        if len(self.pipeline) >= MAX_PIPELINED:
            raise BadHttp("Bad Request: too many requests are sent before their answers")
        if self.url[:1] != b"/":
            self._take_authority()
        super().on_headers_complete()
        assert self._outlet is not None  # connected before anything was read
        self.cycle.transport = self._outlet  # type: ignore[assignment]  # all of a transport that it uses

    def on_message_complete(self) -> None:
        """A request is complete. As uvicorn's, and said of one that was answered before, too."""
        self.cycle.more_body = False
        if self.cycle.response_complete:
            self._since = self.loop.time()
        else:
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """An answer is out. As uvicorn's, without a timer of its own."""
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self._is_deaf:
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self._since = self.loop.time()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    # ---- inside

    def _part_of_head(self, size: int) -> None:
        """What was read ends within the head of a request."""
        if not self._head_bytes:
            self._since = self.loop.time()
        self._head_bytes += max(1, size)
        if self._head_bytes > self._limits.max_header_bytes:
            self.refuse(HeadTooLarge())

    def _take_authority(self) -> None:
        """Of a target that is a whole URL, its host counts and no other: RFC 9112 3.2.2."""
        if self.url != b"*":
            target = httptools.parse_url(self.url)
            name = target.host or b""
            host = (b"[%b]" % name if b":" in name else name) + (b":%d" % target.port if target.port else b"")
            self.headers[:] = [(b"host", host), *(header for header in self.headers if header[0] != b"host")]

    def _stop_behind_upgrade(self) -> None:
        """The parser has stopped behind a head that offers another protocol: what follows is no HTTP that we know."""
        self._is_deaf = True
        if self.is_busy:
            self.cycle.keep_alive = False
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def _client_gone(self) -> None:
        """Nobody will read what is still answered."""
        self._is_deaf = True
        for cycle in (self._active, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()

    def _close(self) -> None:
        """An answer is out that says that it is the last."""
        if self._is_deaf or (self._active is not None and self._active.more_body):  # its client may still send
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        """Let the client see the answer before its connection is gone: RFC 9112 9.6."""
        self._is_deaf = self._is_lingering = True
        self._since = self.loop.time()
        self.flow.resume_reading()
        self.transport.write_eof()


_COUNTED: dict[type[ProxyError], str] = {
    BadHttp: "bad_http",
    HeadTooLarge: "head_too_large",
    HeadStalled: "head_stalled",
    TooManyConnections: "too_many_connections",
}


def _response(error: ProxyError, headers: Iterable[Header]) -> bytes:
    refusal, body = REFUSALS[type(error)], error_body(error, None)
    about = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *CLOSE]
    lines = [b"%b: %b\r\n" % header for header in (*headers, *refusal.headers, *about)]
    return b"".join([STATUS_LINE[refusal.status], *lines, b"\r\n", body])


def _size_of(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    """The size of a head, nearly."""
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)


def _without_offer_of_http2(data: bytes) -> bytes:
    """Java's HttpClient offers HTTP/2 with every plaintext request; the parser would stop there and lose the body.

    Spec: RFC 9110 7.8: a server MAY ignore a received Upgrade header field.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _OFFER_OF_HTTP2.sub(_IGNORED, head + end[:2]) + end[2:] + rest

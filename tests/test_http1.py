"""What a connection is held to, with a clock that a test moves and a client that takes what a test says."""

import asyncio
import json
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from proxy.errors import TooManyConnections
from proxy.http1 import LINGER_SECONDS, MAX_PIPELINED, Http1Limits, Http1Protocol
from proxy.observe import Counts

LIMITS = Http1Limits(
    max_header_bytes=4096, header_timeout_seconds=30, keep_alive_timeout_seconds=75, slow_reader_timeout_seconds=20
)
REQUEST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"


class Wire(asyncio.Transport):
    """A transport: what was written, and what became of it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unsent = 0
        self.end = ""
        self.has_ended_writing = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return bool(self.end)

    def close(self) -> None:
        self.end = self.end or "closed"

    def abort(self) -> None:
        self.end = "aborted"

    def write_eof(self) -> None:
        self.has_ended_writing = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Connection:
    """A connection, with an application that answers when it is told to, and notes who has left."""

    def __init__(self, *, refusal: TooManyConnections | None = None) -> None:
        config = uvicorn.Config(
            self._app, interface="asgi3", lifespan="off", log_config=None, access_log=False, ws="none"
        )
        config.load()
        self.counts = Counts()
        self.answer = asyncio.Event()
        self.left: list[str] = []
        self.wire = Wire()
        self._began = asyncio.get_running_loop().time()
        self.protocol = Http1Protocol(
            limits=LIMITS, counts=self.counts, refusal=refusal, config=config, server_state=ServerState(), app_state={}
        )
        self.protocol.connection_made(self.wire)

    async def receives(self, data: bytes) -> None:
        self.protocol.data_received(data)
        for _ in range(20):
            await asyncio.sleep(0)

    def after(self, seconds: float) -> str:
        """What became of the connection, so long after its beginning."""
        self.protocol.check(self._began + seconds)
        return self.wire.end

    @property
    def status(self) -> int:
        return int(self.wire.written.split(b" ")[1])

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        told = asyncio.get_running_loop().create_task(self._listen(scope["path"], receive))
        await self.answer.wait()
        told.cancel()
        headers = [(b"content-length", b"2")] + ([(b"connection", b"close")] if scope["path"] == "/close" else [])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    async def _listen(self, path: str, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.append(path)


# ---- time


async def test_a_connection_that_says_nothing_is_closed_in_the_end() -> None:
    connection = Connection()

    assert connection.after(74) == ""
    assert connection.after(76) == "closed"
    assert connection.wire.written == b""


async def test_blank_lines_are_no_request() -> None:
    connection = Connection()
    await connection.receives(b"\r\n\r\n")

    assert connection.after(76) == "closed"


async def test_a_head_that_is_not_complete_in_time_is_refused() -> None:
    """Whatever comes of it meanwhile."""
    connection = Connection()
    await connection.receives(REQUEST[:20])
    await connection.receives(REQUEST[20:30])

    assert connection.after(29) == ""
    assert connection.after(31) == ""
    assert (connection.status, connection.wire.has_ended_writing) == (408, True)
    assert connection.counts.snapshot() == {"refused.head_stalled": 1}
    await connection.receives(REQUEST[30:])  # too late: thrown away
    assert connection.wire.written.count(b"HTTP/1.1 ") == 1
    assert connection.after(31 + LINGER_SECONDS + 1) == "aborted"


async def test_a_connection_is_kept_while_it_is_answered_and_idle_afterwards() -> None:
    connection = Connection()
    await connection.receives(REQUEST)
    assert connection.protocol.is_busy and not connection.protocol.may_go
    assert connection.after(10_000) == ""

    connection.answer.set()
    await connection.receives(b"")
    assert (connection.status, connection.protocol.may_go) == (200, True)
    assert connection.after(74) == ""
    assert connection.after(80) == "closed"


async def test_a_client_that_takes_nothing_of_its_answer_is_cut_and_a_slow_one_is_not() -> None:
    connection = Connection()
    connection.answer.set()
    await connection.receives(REQUEST)
    connection.wire.unsent = 5000
    connection.after(1)
    connection.wire.unsent = 4999
    assert connection.after(20) == ""  # something was taken
    assert connection.after(39) == ""
    assert connection.after(41) == "aborted"
    assert connection.counts.snapshot() == {"cut.slow_connection": 1}  # its stream may have been counted already


async def test_a_client_that_sends_on_after_its_answer_is_cut_off_soon() -> None:
    connection = Connection()
    connection.answer.set()
    await connection.receives(REQUEST[:-1])
    await connection.receives(b"")
    assert connection.status == 200

    assert connection.after(LINGER_SECONDS - 1) == ""
    assert connection.after(LINGER_SECONDS + 1) == "aborted"


async def test_a_body_that_is_complete_after_its_answer_leaves_the_connection_usable() -> None:
    connection = Connection()
    connection.answer.set()
    await connection.receives(REQUEST[:-1])
    await connection.receives(REQUEST[-1:] + REQUEST)

    assert connection.wire.written.count(b"HTTP/1.1 200") == 2
    assert connection.after(LINGER_SECONDS + 1) == ""


async def test_a_last_answer_lingers_only_for_a_client_that_still_sends() -> None:
    """RFC 9112 9.6: closed with something unread, the connection is reset, and the answer may be lost."""
    sends, has_sent = Connection(), Connection()
    close = REQUEST.replace(b"POST /", b"POST /close")
    for connection, data in ((sends, close[:-1]), (has_sent, close)):
        connection.answer.set()
        await connection.receives(data)
        assert connection.status == 200

    assert (sends.wire.end, sends.wire.has_ended_writing) == ("", True)
    assert has_sent.wire.end == "closed"
    assert sends.after(LINGER_SECONDS + 1) == "aborted"


async def test_those_that_could_make_room_go_in_order_and_those_that_are_answered_stay() -> None:
    """Requests whose body stands still would else keep everybody out, health checks too."""
    idle, sends, answered, streams = Connection(), Connection(), Connection(), Connection()
    await sends.receives(REQUEST[:-1])
    await answered.receives(REQUEST)
    await streams.receives(REQUEST[:-1])
    streams.protocol.cycle.response_started = True
    connections = [sends.protocol, idle.protocol, answered.protocol, streams.protocol]

    may_go = sorted((each for each in connections if each.may_go), key=lambda each: each.worth)
    assert may_go == [idle.protocol, sends.protocol]
    sends.protocol.make_way()
    sends.protocol.connection_lost(None)
    await asyncio.sleep(0.01)
    assert (sends.wire.end, sends.left) == ("aborted", ["/"])


# ---- heads


@pytest.mark.parametrize("reads", [1, 2, 50])
async def test_a_head_that_is_too_large_is_refused_however_it_comes(reads: int) -> None:
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 4096 + b"\r\n\r\n"
    connection = Connection()
    size = -(-len(head) // reads)
    for start in range(0, len(head), size):
        await connection.receives(head[start : start + size])

    assert (connection.status, connection.wire.written.count(b"HTTP/1.1 ")) == (431, 1)
    assert json.loads(connection.wire.written.partition(b"\r\n\r\n")[2])["error"]["code"] == -32600


async def test_a_head_of_nearly_the_limit_is_served_however_large_its_body_is() -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\nX-A: " + b"a" * 4000 + b"\r\n\r\n"
    for pieces in ([head + b" " * 9000], [head[:2000], head[2000:] + b" " * 9000]):
        connection = Connection()
        connection.answer.set()
        for piece in pieces:
            await connection.receives(piece)

        assert connection.status == 200


async def test_a_body_is_not_counted_with_the_head_that_follows_it() -> None:
    connection = Connection()
    large = REQUEST.replace(b"2\r\n\r\n{}", b"6000\r\n\r\n" + b" " * 6000)
    await connection.receives(large[:-5500])
    await connection.receives(large[-5500:] + REQUEST[:20])
    connection.answer.set()
    await connection.receives(REQUEST[20:])

    assert connection.wire.written.count(b"HTTP/1.1 200") == 2


# ---- several requests


async def test_a_client_that_leaves_is_known_to_every_request_on_its_connection() -> None:
    """uvicorn tells the last one alone; the first would wait for it for ever, and its session live as long."""
    connection = Connection()
    await connection.receives(REQUEST.replace(b"POST /", b"POST /first") + REQUEST.replace(b"POST /", b"POST /second"))
    connection.protocol.connection_lost(None)
    await asyncio.sleep(0.01)

    assert connection.left == ["/first"]
    connection.answer.set()
    await asyncio.sleep(0.01)
    assert connection.wire.written == b""


async def test_so_many_requests_may_wait_and_no_more() -> None:
    most, too_many = Connection(), Connection()
    await most.receives(REQUEST * (MAX_PIPELINED + 1))
    most.answer.set()
    await asyncio.sleep(0.05)
    await too_many.receives(REQUEST * (MAX_PIPELINED + 2))

    assert most.wire.written.count(b"HTTP/1.1 200") == MAX_PIPELINED + 1
    assert (too_many.status, too_many.counts.snapshot()) == (400, {"refused.bad_http": 1})


async def test_what_is_refused_while_an_answer_is_written_ends_the_connection_without_a_word() -> None:
    connection = Connection()
    await connection.receives(REQUEST)
    assert connection.protocol._active is not None
    connection.protocol._active.response_started = True
    await connection.receives(b"\0")

    assert (connection.wire.end, connection.wire.written) == ("aborted", b"")
    assert connection.left == ["/"]


# ---- refused from the beginning


async def test_a_connection_that_is_one_too_many_is_told_so_whatever_it_says() -> None:
    connection = Connection(refusal=TooManyConnections())
    await connection.receives(REQUEST)

    assert (connection.status, connection.wire.has_ended_writing) == (503, True)
    head = connection.wire.written.partition(b"\r\n\r\n")[0].lower()
    assert b"retry-after: 2" in head and b"connection: close" in head
    assert connection.after(LINGER_SECONDS + 1) == "aborted"

"""How does a message get to a server and its answer back, at next to no cost?

Two lanes with the same methods: `HttpLane` is one keep-alive connection, `PipeLane` the pipes of one child. Each has
one call in flight. They don't block; `exchange` waits for one answer, `load.py` for many. Every wait is bounded.
"""

import contextlib
import fcntl
import os
import select
import socket
import subprocess
import time
from collections.abc import Sequence
from typing import Protocol

from benchmarks.messages import INITIALIZED, WrongAnswer, check_initialized, initialize

READ_BYTES = 1 << 18
PIPE_BYTES = 1 << 18
EXCHANGE_SECONDS = 60.0
CLOSE_SECONDS = 5.0


class Lane(Protocol):
    """A way to one session."""

    def fileno(self) -> int:
        """The descriptor that becomes readable when `receive` has something to do."""

    def send(self, message: bytes) -> None:
        """Write one message; waits while the other side does not read."""

    def receive(self) -> bytes | None:
        """Read once; the whole reply if it is complete now."""

    def confirm(self) -> None:
        """The last reply was an InitializeResult: say that the session begins."""

    def messages(self, reply: bytes) -> list[bytes]:
        """The JSON-RPC messages of a reply."""

    def close(self) -> None:
        """End the session, or the child."""


def wait_for(fd: int, event: int, deadline: float) -> None:
    """Wait for one descriptor. Raises WrongAnswer at the deadline (`time.monotonic`)."""
    poller = select.poll()
    poller.register(fd, event)
    if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise WrongAnswer("nothing came in time")


def exchange(lane: Lane, message: bytes, seconds: float = EXCHANGE_SECONDS) -> bytes:
    """Send one request and wait for its whole reply."""
    deadline = time.monotonic() + seconds
    lane.send(message)
    while True:
        wait_for(lane.fileno(), select.POLLIN, deadline)
        reply = lane.receive()
        if reply is not None:
            return reply


def begin_session(lane: Lane) -> None:
    """Initialize; on return the session can be used."""
    check_initialized(exchange(lane, initialize(0)), 0)
    lane.confirm()


class HttpLane:
    """One connection to an HTTP server, and the session that was begun on it."""

    def __init__(self, port: int, path: str = "/mcp") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._session = ""
        self._fixed = (
            f" {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
            "accept: application/json, text/event-stream\r\n"
        )
        self._post = f"POST{self._fixed}content-length: ".encode()
        self._reply = HttpReply()

    def fileno(self) -> int:
        return self._socket.fileno()

    def without_session(self, tool: str) -> None:
        """From here on every message is a call of this tool in revision 2026-07-28."""
        named = f"{self._fixed}mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: {tool}\r\n"
        self._post = f"POST{named}content-length: ".encode()

    def confirm(self) -> None:
        self._session = self._reply.header("mcp-session-id")
        if not self._session:
            raise WrongAnswer("no session id")
        named = f"{self._fixed}mcp-session-id: {self._session}\r\nmcp-protocol-version: 2025-11-25\r\n"
        self._post = f"POST{named}content-length: ".encode()
        exchange(self, INITIALIZED)

    def send(self, message: bytes) -> None:
        self._reply = HttpReply()
        self._write(b"%b%d\r\n\r\n%b" % (self._post, len(message), message))

    def _write(self, data: bytes) -> None:
        deadline = time.monotonic() + EXCHANGE_SECONDS
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                wait_for(self.fileno(), select.POLLOUT, deadline)

    def receive(self) -> bytes | None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return None
        if not data:
            raise WrongAnswer("the connection was closed")
        if not self._reply.feed(data):
            return None
        if self._reply.status not in (200, 202):
            raise WrongAnswer(f"status {self._reply.status}: {self._reply.body()[:120]!r}")
        return self._reply.body()

    def messages(self, reply: bytes) -> list[bytes]:
        if not self._reply.header("content-type").startswith("text/event-stream"):
            return [reply]
        data = [line[5:].strip() for line in reply.split(b"\n") if line.startswith(b"data:")]
        return [message for message in data if message]  # a priming event has none

    def close(self) -> None:
        with self._socket, contextlib.suppress(OSError, WrongAnswer):  # best effort: the server is about to stop
            if self._session:
                self._reply = HttpReply()
                head = f"DELETE{self._fixed}mcp-session-id: {self._session}\r\ncontent-length: 0\r\n\r\n"
                self._write(head.encode())
                wait_for(self.fileno(), select.POLLIN, time.monotonic() + CLOSE_SECONDS)
                self.receive()


class HttpReply:
    """Collects one HTTP/1.1 response, by its Content-Length or in chunks."""

    def __init__(self) -> None:
        self.status = 0
        self._head = b""
        self._names = b""  # the head in lower case
        self._parts: list[bytes] = []
        self._left = 0  # bytes of the body, or of the chunk and the line end behind it, that have not come
        self._is_chunked = False
        self._begun = b""  # of a chunk's length

    def feed(self, data: bytes) -> bool:
        """Take what was read; returns whether the response is complete."""
        if not self.status:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return False
            self._head = head + b"\r\n"
            self._names = self._head.lower()
            self.status = int(head[9:12])
            self._is_chunked = self.header("transfer-encoding") == "chunked"
            self._left = int(self.header("content-length") or 0)
        if self._is_chunked:
            return self._feed_chunks(self._begun + data)
        self._left -= len(data)
        self._parts.append(data)
        return self._left <= 0

    def _feed_chunks(self, data: bytes) -> bool:
        at, self._begun = 0, b""
        while at < len(data):
            if self._left == 0:
                end = data.find(b"\r\n", at)
                size = int(data[at:end], 16) if end >= 0 else 0
                if end < 0 or (size == 0 and len(data) < end + 4):
                    self._begun = data[at:]
                    return False
                if size == 0:
                    return True
                at, self._left = end + 2, size + 2
            part = data[at : at + self._left]
            self._parts.append(part[: max(0, self._left - 2)])
            at += len(part)
            self._left -= len(part)
        return False

    def body(self) -> bytes:
        """The body as far as it came."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def header(self, name: str) -> str:
        """The value of a header, empty if there is none; `name` in lower case."""
        start = self._names.find(f"\r\n{name}: ".encode())
        if start < 0:
            return ""
        start += len(name) + 4
        return self._head[start : self._head.index(b"\r\n", start)].decode("latin-1")


class PipeLane:
    """A child of our own: the same messages without a bridge."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # as the bridge does; see systems.py
        )
        assert self._process.stdin is not None and self._process.stdout is not None  # both are PIPE
        self._stdin, self._stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        for fd in (self._stdin, self._stdout):
            os.set_blocking(fd, False)
            with contextlib.suppress(AttributeError, OSError):
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # as the bridge does: compare with the best there is
        self._parts: list[bytes] = []
        self._line = b""  # how the line that has not ended begins

    def fileno(self) -> int:
        return self._stdout

    def send(self, message: bytes) -> None:
        deadline = time.monotonic() + EXCHANGE_SECONDS
        view = memoryview(message + b"\n")
        while view:
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                wait_for(self._stdin, select.POLLOUT, deadline)

    def receive(self) -> bytes | None:
        try:
            data = os.read(self._stdout, READ_BYTES)
        except BlockingIOError:
            return None
        if not data:
            raise WrongAnswer("the child is gone")
        self._parts.append(data)
        begins = data.rfind(b"\n", 0, len(data) - 1) + 1
        self._line = data[begins : begins + 80] if begins else (self._line + data[:80])[:80]
        if not data.endswith(b"\n"):
            return None
        is_answer = b'"method":' not in self._line
        self._line = b""
        if not is_answer:
            return None
        reply = (self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))[:-1]
        self._parts = []
        return reply

    def confirm(self) -> None:
        self.send(INITIALIZED)

    def messages(self, reply: bytes) -> list[bytes]:
        return reply.split(b"\n")

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(CLOSE_SECONDS)

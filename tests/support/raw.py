"""HTTP as bytes: what a client must not send, and what exactly comes back. Every wait is bounded."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import SocketStream

from tests.support.daemon import Daemon
from tests.support.mcp import PATIENCE_SECONDS

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> tuple[int, int, Any]:
        """Status, JSON-RPC code and id of a refusal; its body must be a JSON-RPC error object with a message."""
        assert self.headers["content-type"] == "application/json", self
        body = json.loads(self.body)
        assert body.keys() == {"jsonrpc", "id", "error"} and body["error"]["message"], body
        return self.status, body["error"]["code"], body["id"]


class Raw:
    """A connection on which a test says what it likes."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._unread = b""

    async def send(self, *pieces: bytes) -> bool:
        """Send. False if the server has closed; what is left is not sent then."""
        with anyio.fail_after(2 * PATIENCE_SECONDS):
            try:
                for piece in pieces:
                    await self._stream.send(piece)
            except anyio.BrokenResourceError:
                return False
        return True

    async def next(self) -> Answer:
        """Wait for the next response; it must have a Content-Length, as all of ours have."""
        while b"\r\n\r\n" not in self._unread:
            await self._read()
        head, _, rest = self._unread.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        code = int(status.split(" ")[1])
        length = int(headers.get("content-length", 0))
        while len(rest) < length:
            await self._read()
            rest = self._unread.partition(b"\r\n\r\n")[2]
        self._unread = rest[length:]
        return Answer(code, headers, rest[:length])

    async def until_closed(self) -> bytes:
        """Wait until the server has closed; returns what came before, unparsed."""
        try:
            while True:
                await self._read()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return self._unread

    async def _read(self) -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            self._unread += await self._stream.receive()


@asynccontextmanager
async def raw(daemon: Daemon, *pieces: bytes) -> AsyncIterator[Raw]:
    """A connection on which this has been sent."""
    async with await anyio.connect_tcp("127.0.0.1", daemon.port) as stream:
        connection = Raw(stream)
        await connection.send(*pieces)
        yield connection


async def only_answer(daemon: Daemon, *pieces: bytes) -> Answer:
    """Send this; there is one response, and the server closes."""
    async with raw(daemon, *pieces) as connection:
        answer = await connection.next()
        assert await connection.until_closed() == b""
        return answer


async def answers(daemon: Daemon, *pieces: bytes, count: int = 1) -> list[Answer]:
    """Send this; there are so many responses, and the connection serves on: nothing is left on it of what was sent."""
    async with raw(daemon, *pieces) as connection:
        received = [await connection.next() for _ in range(count)]
        await connection.send(HEALTH)
        health = await connection.next()
        assert (health.status, b'"status"' in health.body) == (200, True), health
        return received


def head(*lines: str | bytes, first: str | bytes = "POST /mcp HTTP/1.1", host: str | None = "localhost") -> bytes:
    """The head of a request: the usual lines and these."""
    usual: Iterable[str] = ["Content-Type: application/json", "Accept: */*"]
    named = [f"Host: {host}"] if host is not None else []
    encoded = [line if isinstance(line, bytes) else line.encode("latin-1") for line in (first, *named, *usual, *lines)]
    return b"\r\n".join([*encoded, b"", b""])


def post(body: bytes, *lines: str | bytes, first: str | bytes = "POST /mcp HTTP/1.1") -> bytes:
    """A whole request with its length."""
    return head(*lines, f"Content-Length: {len(body)}", first=first) + body

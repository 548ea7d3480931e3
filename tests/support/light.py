"""A client of 2026-07-28 that costs next to nothing, for tests with hundreds of them: one connection, no library."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from tests.support.modern import Json, headers_of


def posted(message: Json) -> bytes:
    """A POST as it goes over the wire."""
    body = json.dumps(message).encode()
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers_of(message).items())
    return f"POST /mcp HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


class LightClient:
    """One connection, on which one request follows the other. Has no patience of its own: its user bounds the wait."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def health(self) -> Json:
        """What `/health` says."""
        self._writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        shown: Json = json.loads(await self._reader.readexactly(int(head.partition(b"content-length:")[2].split()[0])))
        return shown

    async def messages(self, message: Json) -> AsyncGenerator[Json, None]:
        """Post a request; the messages of its response as they come. Those that are not read are in the way."""
        self._writer.write(posted(message))
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200 "), head
        _, found, length = head.partition(b"content-length:")
        if found:
            yield json.loads(await self._reader.readexactly(int(length.split()[0])))
            return
        rest = b""
        while chunk := await self._chunk():
            *events, rest = (rest + chunk).split(b"\r\n\r\n")
            for event in events:
                if event.startswith(b"event: message\r\ndata: "):
                    yield json.loads(event.partition(b"data: ")[2])

    async def result(self, message: Json) -> Json:
        """The result of a request that must have one, and nothing before it."""
        (answer,) = [each async for each in self.messages(message)]
        assert answer["id"] == message["id"], answer
        result: Json = answer["result"]
        return result

    async def _chunk(self) -> bytes:
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        return (await self._reader.readexactly(size + 2))[:-2]


@asynccontextmanager
async def light_client(port: int) -> AsyncIterator[LightClient]:
    """A client; its connection is closed on the way out."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        yield LightClient(reader, writer)
    finally:
        writer.close()

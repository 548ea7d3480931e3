"""A client that writes lines and reads lines, to say what no well-behaved client says."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

PATIENCE_SECONDS = 10.0
MAX_LINE_BYTES = 2**20


class RawClient:
    """The demo server as a process, and its pipes."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self.process = process
        self._stdin = process.stdin
        self._stdout = BufferedByteReceiveStream(process.stdout)
        self._stderr = BufferedByteReceiveStream(process.stderr)

    async def write(self, *messages: Any) -> None:
        """Write each as a line; bytes as they are."""
        for message in messages:
            line = message if isinstance(message, bytes) else json.dumps(message).encode()
            with anyio.fail_after(PATIENCE_SECONDS):
                await self._stdin.send(line + b"\n")

    async def read(self) -> Any:
        """Read the next message."""
        with anyio.fail_after(PATIENCE_SECONDS):
            return json.loads(await self._stdout.receive_until(b"\n", MAX_LINE_BYTES))

    async def read_log(self) -> str:
        """Read the next line of stderr."""
        with anyio.fail_after(PATIENCE_SECONDS):
            return (await self._stderr.receive_until(b"\n", MAX_LINE_BYTES)).decode()

    async def request(self, id_: str | int, method: str, params: Any = None) -> Any:
        """Write one request and read one message."""
        await self.write(request(id_, method, params))
        return await self.read()

    async def initialize(self, revision: str, capabilities: dict[str, Any] | None = None) -> Any:
        """Shake hands, and give the result."""
        answer = await self.request("init", "initialize", hello(revision, capabilities))
        await self.write(notification("notifications/initialized"))
        return answer["result"]

    async def end_stdin(self) -> None:
        """Close the server's stdin."""
        await self._stdin.aclose()

    async def read_to_end(self) -> tuple[bytes, str, int]:
        """Give what is left of stdout and of stderr, and the exit status."""
        with anyio.fail_after(PATIENCE_SECONDS):
            rest = b"".join([chunk async for chunk in _chunks(self._stdout)])
            log = b"".join([chunk async for chunk in _chunks(self._stderr)])
            return rest, log.decode(), await self.process.wait()


@asynccontextmanager
async def open_demo() -> AsyncIterator[RawClient]:
    """Start the demo server, and end it on the way out."""
    async with await anyio.open_process([sys.executable, "-m", "proxy.demo"]) as process:
        try:
            yield RawClient(process)
        finally:
            if process.returncode is None:
                process.kill()


def hello(revision: str, capabilities: dict[str, Any] | None = None) -> dict[str, Any]:
    """Give the params of initialize."""
    info = {"name": "raw", "version": "1"}
    return {"protocolVersion": revision, "capabilities": capabilities or {}, "clientInfo": info}


def request(id_: str | int, method: str, params: Any = None) -> dict[str, Any]:
    """Give a request."""
    return notification(method, params) | {"id": id_}


def notification(method: str, params: Any = None) -> dict[str, Any]:
    """Give a notification."""
    message = {"jsonrpc": "2.0", "method": method}
    return message if params is None else message | {"params": params}


def call(id_: str | int, tool: str, **arguments: Any) -> dict[str, Any]:
    """Give a tools/call request."""
    return request(id_, "tools/call", {"name": tool, "arguments": arguments})


async def _chunks(stream: BufferedByteReceiveStream) -> AsyncIterator[bytes]:
    while True:
        try:
            yield await stream.receive()
        except anyio.EndOfStream:
            return

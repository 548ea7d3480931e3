"""An ASGI server that does what a test says: the bridge without a socket."""

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
from starlette.types import ASGIApp, Message, Scope

from proxy import Bridge, Settings
from tests.support.mcp import ACCEPT, PATIENCE_SECONDS, Client

PROGRAM = str(Path(__file__).parents[1] / "programs" / "child.py")


class Response:
    """One request and what comes back. Give it to the application with `serve`.

    Attributes:
        status: None before the response has begun.
        body: What has come of it.
        is_complete: Whether it came to its end.
        is_over: Whether the application has returned.
        fails: From now on, nothing can be sent any more: the server raises.
        takes_no_end: The client takes everything but the end: the server waits.
        room_bytes: The client takes no more than so much: then the server waits.
        leaves_after_parts: The client closes the connection when so many parts of the body were sent.
    """

    def __init__(self, method: str, headers: dict[str, str], *parts: bytes, ends: bool = True) -> None:
        names = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        self.scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": "/mcp",
            "raw_path": b"/mcp",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"host"), *names],
        }
        self._messages: list[Message] = [
            {"type": "http.request", "body": part, "more_body": index < len(parts) - 1 or not ends}
            for index, part in enumerate(parts)
        ]
        self._changed = anyio.Event()
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_complete = False
        self.is_over = False
        self.fails = False
        self.takes_no_end = False
        self.room_bytes: int | None = None
        self.leaves_after_parts: int | None = None
        self._parts = 0
        self._is_waited_for = False

    async def serve(self, app: ASGIApp) -> None:
        """Have the application answer it."""
        try:
            await app(self.scope, self._receive, self._send)
        finally:
            self.is_over = True
            self._wake()

    def give(self, part: bytes, *, ends: bool = False) -> None:
        """Another part of the request's body arrives."""
        self._messages.append({"type": "http.request", "body": part, "more_body": not ends})
        self._wake()

    def leave(self) -> None:
        """The client closes the connection."""
        self._messages.append({"type": "http.disconnect"})
        self._wake()

    async def until_read(self) -> None:
        """Wait until the application has taken all that was given, and waits for more."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while not self._is_waited_for:
                await self._changed.wait()

    async def until(self, text: bytes) -> None:
        """Wait until this has come in the body."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while text not in self.body:
                await self._changed.wait()

    async def until_over(self) -> None:
        """Wait until the application has returned."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while not self.is_over:
                await self._changed.wait()

    @property
    def json(self) -> Any:
        """The body, if it is one object."""
        return json.loads(self.body)

    async def _receive(self) -> Message:
        await anyio.lowlevel.cancel_shielded_checkpoint()
        if not self._messages:
            self._is_waited_for = True
            self._wake()
        while not self._messages:
            await self._changed.wait()
        message = self._messages[0]
        if message["type"] != "http.disconnect":
            self._messages.pop(0)
        return message

    async def _send(self, message: Message) -> None:
        await anyio.lowlevel.cancel_shielded_checkpoint()
        if self.fails:
            raise OSError("the connection is gone")
        if self.takes_no_end and message["type"] == "http.response.body" and not message.get("more_body", False):
            await anyio.sleep_forever()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")
            if self.room_bytes is not None and len(self.body) > self.room_bytes:
                await anyio.sleep_forever()
            self.is_complete = not message.get("more_body", False)
            self._parts += 1
            if self._parts == self.leaves_after_parts:
                self.leave()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


@asynccontextmanager
async def embedded(**settings: Any) -> AsyncIterator[tuple[ASGIApp, Client]]:
    """A running bridge in front of the child that does everything, and a client with a session at it."""
    graces = {"stdin_grace_seconds": 0.3, "term_grace_seconds": 0.3}
    bridge = Bridge(Settings(argv=(sys.executable, "-I", "-S", PROGRAM), **{**graces, **settings}))
    async with bridge.run(), httpx.AsyncClient(transport=httpx.ASGITransport(bridge.asgi), timeout=None) as http:
        yield bridge.asgi, await Client(http, "http://host/mcp").open()


def headers_of(client: Client, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The headers of a request of this client."""
    assert client.session_id is not None and client.version is not None
    usual = {"accept": ACCEPT, "content-type": "application/json"}
    return {**usual, "mcp-session-id": client.session_id, "mcp-protocol-version": client.version, **(more or {})}

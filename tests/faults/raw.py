"""A client with a socket and no manners: it sends what it likes and reads when it likes."""

import asyncio
import ctypes
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from tests.support.daemon import Daemon
from tests.support.mcp import PATIENCE_SECONDS, Body, Client, encode

SO_ATTACH_FILTER = 26
RECEIVE_BUFFER_BYTES = 64 * 1024
"""Asked of the kernel: what is not read is soon felt by the sender."""


class Raw:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self.got = b""

    def cut_off(self) -> None:
        """As the function."""
        cut_off(self._socket)

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        with anyio.fail_after(PATIENCE_SECONDS):
            await self._loop.sock_sendall(self._socket, data)

    async def read(self, max_bytes: int = 1 << 18) -> bytes:
        """What has arrived; waits for something. Empty at the end, however it came."""
        with anyio.fail_after(PATIENCE_SECONDS):
            try:
                data = await self._loop.sock_recv(self._socket, max_bytes)
            except ConnectionResetError:
                data = b""
        self.got += data
        return data

    async def read_until(self, end: bytes) -> bytes:
        """Everything up to something that must come."""
        while end not in self.got[-len(end) - (1 << 18) :]:
            more = await self.read()
            assert more, f"the end came first, after {self.got[-200:]!r}"
        return self.got

    async def read_to_end(self) -> bytes:
        """Everything, until the connection is closed."""
        while await self.read():
            pass
        return self.got


def cut_off(connection: socket.socket) -> None:
    """From now on every packet to this socket is dropped and nothing acknowledged: its machine is really gone."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: ret 0
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


def post(client: Client, body: Body, *fields: str) -> bytes:
    """A POST in the client's session."""
    data = encode(body)
    return head("POST", client, "Content-Type: application/json", f"Content-Length: {len(data)}", *fields) + data


def head(method: str, client: Client | None, *fields: str) -> bytes:
    """The head of a request, in the client's session if there is one."""
    session = [f"Mcp-Session-Id: {client.session_id}"] if client is not None and client.session_id else []
    return "\r\n".join([f"{method} /mcp HTTP/1.1", "Host: localhost", *session, *fields, "", ""]).encode()


def body_of(answer: bytes) -> bytes:
    """What has arrived of a chunked body."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower(), head
    parts = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        parts.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return b"".join(parts)


@asynccontextmanager
async def raw_connection(daemon: Daemon) -> AsyncIterator[Raw]:
    """A connection of its own, closed on the way out whatever was read of it."""
    connection = socket.socket()
    with connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", daemon.port))
        yield Raw(connection)

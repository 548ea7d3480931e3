"""A client whose machine is gone: no FIN, no RST, nothing."""

import ctypes
import socket
import struct
import sys

import httpx
import pytest

from tests.support.daemon import running_daemon
from tests.support.mcp import until

SO_ATTACH_FILTER = 26
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
ACCEPT = {"accept": "application/json, text/event-stream"}


def cut_off(connection: socket.socket) -> None:
    """From now on every packet to this socket is dropped, acknowledgements are not sent: the peer is really gone."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: ret 0
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


@pytest.mark.skipif(sys.platform != "linux", reason="socket filters and TCP_USER_TIMEOUT are Linux's")
async def test_a_client_that_is_cut_off_is_noticed_and_its_session_ends() -> None:
    """Design: presence. Dead peers are found by TCP_USER_TIMEOUT, and then the idle clock runs."""
    flags = ("--slow-reader-timeout", "1s", "--dead-peer-timeout", "16s", "--ping-interval", "1s")
    with running_daemon(*flags, "--idle-timeout", "1s", "--demo") as daemon:
        async with httpx.AsyncClient(timeout=20) as http:
            session_id = (await http.post(daemon.url, json=HELLO, headers=ACCEPT)).headers["mcp-session-id"]
            with socket.create_connection(("127.0.0.1", daemon.port)) as connection:
                head = (
                    f"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nMcp-Session-Id: {session_id}"
                )
                connection.sendall(head.encode() + b"\r\n\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
                cut_off(connection)

                async def is_gone() -> bool:
                    health = (await http.get(daemon.base_url + "/health")).json()
                    return (health["sessions"], health["children"]) == (0, 0)

                await until(is_gone, "the session of a client that is cut off has ended", seconds=45)

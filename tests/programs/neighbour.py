"""A client that only wants to be served while others are in trouble, and tells how long it had to wait.

Started as `python -I -S tests/programs/neighbour.py PORT [hold]`; standard library only, a process of its own so that
what a test does costs it nothing. It opens a session, with `hold` leaves one call open, writes one line of JSON,
`{"pid", "marker"}` of its server, and then calls again and again until its stdin ends. Then the open call must be
answered, too, the server be the same, and the session end with its DELETE. The last line it writes says `{"answers",
"median_seconds", "slowest_seconds"}`.

Whatever is not as it should be ends it with a traceback.
"""

import json
import os
import select
import socket
import statistics
import sys
import time
from typing import Any

PATIENCE_SECONDS = 60.0
BETWEEN_CALLS_SECONDS = 0.01


class Connection:
    """One kept-alive connection; one request at a time."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.session_id = ""

    def ask(self, message: dict[str, Any] | None, method: str = "POST") -> tuple[int, bytes]:
        """Status and body of the answer."""
        self.send(message, method)
        return self.receive()

    def send(self, message: dict[str, Any] | None, method: str = "POST") -> None:
        """Send a request; the answer is for later."""
        body = b"" if message is None else json.dumps({"jsonrpc": "2.0", **message}).encode()
        lines = [f"{method} /mcp HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
        lines += [f"Mcp-Session-Id: {self.session_id}"] if self.session_id else []
        self._socket.sendall("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)

    def receive(self) -> tuple[int, bytes]:
        """Read one answer to its end."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        status_line, *lines = head.split(b"\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
        self.session_id = fields.get(b"mcp-session-id", b"").decode() or self.session_id
        status = int(status_line.split(b" ")[1])
        if b"content-length" not in fields:
            return status, self._message_of_stream(body)
        while len(body) < int(fields[b"content-length"]):
            body += self._more()
        return status, body

    def _message_of_stream(self, body: bytes) -> bytes:
        """The answer is a stream when it took long; all that is said on it to us is the answer."""
        while not body.endswith(b"\r\n0\r\n\r\n"):
            body += self._more()
        (message,) = (line[6:] for line in body.split(b"\r\n") if line.startswith(b"data: {"))
        return message

    def _more(self) -> bytes:
        data = self._socket.recv(1 << 16)
        assert data, "the connection was closed"
        return data


def call(number: int | str, tool: str, **arguments: Any) -> dict[str, Any]:
    """A `tools/call`."""
    return {"id": number, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def result_of(number: int | str, answer: tuple[int, bytes]) -> Any:
    """The result of a call that went well."""
    status, body = answer
    message = json.loads(body)
    assert status == 200 and message.keys() == {"jsonrpc", "id", "result"} and message["id"] == number, answer
    return message["result"]


def stdin_has_ended() -> bool:
    """Whether it is time to stop."""
    readable, _, _ = select.select([0], [], [], BETWEEN_CALLS_SECONDS)
    return bool(readable) and not os.read(0, 1)


def main() -> None:
    """Be served."""
    talking, waiting = Connection(int(sys.argv[1])), Connection(int(sys.argv[1]))
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "neighbour", "version": "1"}}
    result_of("hello", talking.ask({"id": "hello", "method": "initialize", "params": params}))
    waiting.session_id = talking.session_id
    assert talking.ask({"method": "notifications/initialized"}) == (202, b"")
    if "hold" in sys.argv:
        waiting.send(call("held", "hold"))
    pid = result_of("pid", talking.ask(call("pid", "pid")))["pid"]
    marker = result_of("env", talking.ask(call("env", "env")))["env"]["MCP_PROXY_CHILD_OF"]
    print(json.dumps({"pid": pid, "marker": marker}), flush=True)

    took: list[float] = []
    while not (took and stdin_has_ended()):
        began = time.monotonic()
        number = len(took)
        assert result_of(number, talking.ask(call(number, "echo", n=number))) == {"echo": {"n": number}}
        took.append(time.monotonic() - began)

    assert result_of("pid", talking.ask(call("pid", "pid")))["pid"] == pid
    result_of("release", talking.ask(call("release", "release")))
    if "hold" in sys.argv:
        assert result_of("held", waiting.receive()) == {"released": True}
    assert talking.ask(None, "DELETE")[0] == 200
    figures = {"answers": len(took), "median_seconds": statistics.median(took), "slowest_seconds": max(took)}
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()

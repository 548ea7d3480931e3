"""A hub between sessions and a child, both of which are the test."""

import json
from typing import Any

from proxy.child.link import Line, Link
from proxy.errors import ProxyError
from proxy.observe import Counts
from proxy.protocol.child_lines import parse_child_line
from proxy.protocol.kept_handshake import keep_handshake
from proxy.protocol.messages import Response
from proxy.sessions.shared.hub import Hub
from proxy.sessions.shared.port import Port
from tests.support.fake_link import FakeLink

Json = dict[str, Any]

CAPABILITIES: Json = {"tools": {}, "logging": {}, "resources": {"subscribe": True}, "tasks": {}}
"""What the child of these tests offers."""


LINGER_SECONDS = 600.0


class Client:
    """One session: what it says goes to the hub, what it hears is kept."""

    def __init__(self, behind: "Stage", capabilities: Json) -> None:
        self.heard: list[Line] = []
        self.gone: list[int | None] = []
        self.port = Port(behind, on_lines=self.heard.extend, on_gone=self.gone.append)
        behind.hub.join(self.port)
        self.asks("init", "initialize", {"protocolVersion": "2025-11-25", "capabilities": capabilities}, id_=0)
        self.take()

    def says(self, message: Json) -> None:
        self.port.send(json.dumps(message, separators=(",", ":")).encode())

    def asks(self, _: str, method: str, params: Json | None = None, *, id_: int) -> None:
        self.says({"jsonrpc": "2.0", "id": id_, "method": method, "params": params or {}})

    def calls(self, id_: int, method: str = "tools/call", **params: Any) -> None:
        self.says({"jsonrpc": "2.0", "id": id_, "method": method, "params": params})

    def tells(self, method: str, **params: Any) -> None:
        self.says({"jsonrpc": "2.0", "method": method, "params": params})

    def cancels(self, id_: int) -> None:
        self.tells("notifications/cancelled", requestId=id_)

    def take(self) -> list[Json]:
        """What it has heard since the last time, parsed."""
        lines = [json.loads(line) for line in self.heard if isinstance(line, bytes)]
        self.heard.clear()
        return lines


class Stage:
    """A hub that has shaken hands with its child.

    Attributes:
        now: The time, which the test moves.
    """

    def __init__(
        self, *, may_ask: bool = False, version: str = "2025-11-25", capabilities: Json = CAPABILITIES
    ) -> None:
        self.now = 100.0
        self.counts = Counts()
        self.fake = FakeLink()
        self.link: Link | None = self.fake
        self.pid: int | None = 4711
        self.stderr_tail: list[str] = []
        self.fault: ProxyError | None = None
        self.hub = Hub(
            may_ask=may_ask,
            linger_seconds=LINGER_SECONDS,
            reply_backlog_bytes=1000,
            counts=self.counts,
            clock=lambda: self.now,
            tag="test",
        )
        self.hub.attach(self.fake)
        result = {"protocolVersion": version, "capabilities": capabilities, "serverInfo": {"name": "x", "version": "1"}}
        (answer,) = parse_child_line(json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode())
        assert isinstance(answer, Response)
        self.hub.shaken(keep_handshake(answer.members))

    def said(self, port: Port, line: bytes) -> None:
        self.hub.said(port, line)

    def leave(self, port: Port) -> None:
        self.hub.leave(port)

    def client(self, **capabilities: Any) -> Client:
        return Client(self, capabilities)

    def clients(self, count: int) -> list[Client]:
        return [self.client() for _ in range(count)]

    # ---- as the child

    def take(self) -> list[Json]:
        """What the child has heard since the last time."""
        messages = self.fake.messages
        self.fake.sent_lines.clear()
        return messages

    def says(self, *messages: Json | bytes) -> None:
        self.hub.received([m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages])

    def answers(self, child_id: Any, **result: Any) -> None:
        self.says({"jsonrpc": "2.0", "id": child_id, "result": result})

    def refuses(self, child_id: Any, code: int = -32000) -> None:
        self.says({"jsonrpc": "2.0", "id": child_id, "error": {"code": code, "message": "no"}})

    def tells(self, method: str, **params: Any) -> None:
        self.says({"jsonrpc": "2.0", "method": method, "params": params})

    def logs(self, text: str, level: str = "info") -> None:
        self.tells("notifications/message", level=level, data=text)

    def asks(self, id_: Any, method: str = "sampling/createMessage", **params: Any) -> None:
        self.says({"jsonrpc": "2.0", "id": id_, "method": method, "params": params})

    def count(self, name: str) -> int:
        return self.counts.snapshot().get(name, 0)

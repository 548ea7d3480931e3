"""A translation with a test on both of its sides, that says and hears lines; the clock stands still."""

import json
from collections.abc import Callable
from typing import Any

from msgspec import Raw

from proxy.child.link import Line
from proxy.errors import ChildExited, ProxyError
from proxy.observe import Counts
from proxy.protocol.ids import IdMinter
from proxy.sessions.modern.as_legacy import AsLegacy
from tests.support.fake_link import FakeLink

Json = dict[str, Any]

PREFIX = "io.modelcontextprotocol/"
SUBSCRIPTION = PREFIX + "subscriptionId"
OFFERS = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": False},
    "resources": {"listChanged": True, "subscribe": True},
    "logging": {},
    "extensions": {"x/y": {}},
}
CAPABILITIES = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {"listChanged": True}}


class Between:
    """The exchange of a session above, a modern child below.

    Attributes:
        link: The child's pipes.
        said: What the client's side was told, parsed.
        lines: The same as it came.
        failed: The requests that can't be answered.
        ready: How often a child was ready.
        refused: The errors of those that were not.
        takes_care: Whether somebody else takes care of those.
        on_question: What the client's side does when it hears a question, while it hears it.
        now: On the clock.
    """

    def __init__(self) -> None:
        self.link = FakeLink()
        self.said: list[Json] = []
        self.lines: list[Line] = []
        self.failed: list[tuple[int, ProxyError]] = []
        self.ready = 0
        self.refused: list[Json] = []
        self.takes_care = False
        self.on_question: Callable[[Json], None] = lambda _: None
        self.now = 1000.0
        self.counts = Counts()
        self.as_legacy = AsLegacy(
            on_lines=self._hear,
            on_failed=lambda id_, error: self.failed.append((id_, error)),
            on_ready=self._ready,
            on_refused=self._refused,
            mint=IdMinter().mint,
            counts=self.counts,
            clock=lambda: self.now,
            tag="t",
        )
        self._heard_at_child = 0
        self._ids = iter(range(1000, 1_000_000))

    # ---- what a test lets the two sides say

    def opened(
        self, *, version: str = "2025-11-25", capabilities: Json | None = None, offers: Json | None = None
    ) -> "Between":
        """After the handshake, `notifications/initialized` included. What was said until then is forgotten."""
        declared = CAPABILITIES if capabilities is None else capabilities
        self.as_legacy.attach(self.link)
        self.ask("initialize", {"protocolVersion": version, "capabilities": declared, "clientInfo": client_info()})
        self.answer_discover(offers)
        self.tell("notifications/initialized")
        if self.at_child("subscriptions/listen"):
            self.acknowledge()
        self.said.clear()
        self.lines.clear()
        self.to_child()
        return self

    def ask(self, method: str, params: Any = None) -> int:
        """A request of the client; returns its id."""
        id_ = next(self._ids)
        message: Json = {"jsonrpc": "2.0", "id": id_, "method": method}
        self.send(message if params is None else {**message, "params": params})
        return id_

    def call(self, tool: str = "t", **arguments: Any) -> int:
        """A `tools/call` of the client; returns its id."""
        return self.ask("tools/call", {"name": tool, "arguments": arguments})

    def tell(self, method: str, params: Any = None) -> None:
        """A notification of the client."""
        message: Json = {"jsonrpc": "2.0", "method": method}
        self.send(message if params is None else {**message, "params": params})

    def cancel(self, id_: int) -> None:
        """The client cancels a request."""
        self.tell("notifications/cancelled", {"requestId": id_, "reason": "enough"})

    def send(self, message: Json) -> None:
        """Something that the client's side says."""
        self.as_legacy.send(json.dumps(message).encode())

    def child(self, *messages: Json | bytes) -> None:
        """What one read of the child's stdout brings."""
        self.as_legacy.received([line if isinstance(line, bytes) else json.dumps(line).encode() for line in messages])

    def result(self, id_: int, result: Any) -> None:
        """The child answers."""
        self.child({"jsonrpc": "2.0", "id": id_, "result": result})

    def notify(self, method: str, params: Any = None) -> None:
        """The child notifies."""
        self.child({"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params})})

    def answer_discover(self, offers: Json | None = None) -> None:
        """The child answers the last `server/discover`."""
        (id_,) = [each["id"] for each in self.to_child() if each["method"] == "server/discover"]
        meta = {PREFIX + "serverInfo": {"name": "s", "version": "2"}}
        capabilities = OFFERS if offers is None else offers
        head = {"resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 0, "cacheScope": "private"}
        self.result(id_, {**head, "capabilities": capabilities, "_meta": meta})

    def acknowledge(self, *, honoured: Json | None = None) -> int:
        """The child acknowledges the last listen; returns its id."""
        listen = self.at_child("subscriptions/listen")[-1]
        wanted = listen["params"]["notifications"] if honoured is None else honoured
        meta = {SUBSCRIPTION: listen["id"]}
        self.notify("notifications/subscriptions/acknowledged", {"notifications": wanted, "_meta": meta})
        id_ = listen["id"]
        assert isinstance(id_, int)
        return id_

    def restart(self, error: ProxyError | None = None) -> FakeLink:
        """The child dies, and another one is there. Returns its pipes."""
        self.as_legacy.child_gone(error or ChildExited())
        self.link = FakeLink()
        self._heard_at_child = 0
        self.as_legacy.attach(self.link)
        return self.link

    def later(self, seconds: float) -> None:
        """Time passes, and somebody looks at the clock."""
        self.now += seconds
        self.as_legacy.check(self.now)

    # ---- what a test hears

    def to_child(self) -> list[Json]:
        """What the child was told since this was last asked."""
        new = self.link.messages[self._heard_at_child :]
        self._heard_at_child += len(new)
        return new

    def at_child(self, method: str) -> list[Json]:
        """Everything of this method that the child was ever told."""
        return [message for message in self.link.messages if message.get("method") == method]

    def to_client(self) -> list[Json]:
        """What the client was told since this was last asked."""
        said, self.said = self.said, []
        return said

    def asked_child(self) -> Json:
        """The one request that the child was sent since `to_child` was last asked."""
        (message,) = self.to_child()
        return message

    def _hear(self, lines: list[Line]) -> None:
        self.lines += lines
        for line in lines:
            if not isinstance(line, bytes) or b"{" not in line:
                continue
            message = json.loads(line)
            self.said.append(message)
            if "method" in message and "id" in message:
                self.on_question(message)

    def _ready(self) -> None:
        self.ready += 1

    def _refused(self, error: Raw) -> bool:
        self.refused.append(json.loads(bytes(error)))
        return self.takes_care


def client_info() -> Json:
    return {"name": "c", "version": "1"}


def input_required(state: str | None = "s", /, **questions: Json) -> Json:
    """An interim result that asks these, by their keys."""
    result: Json = {"resultType": "input_required"}
    if questions:
        result["inputRequests"] = questions
    return result if state is None else {**result, "requestState": state}


def elicit(message: str = "?") -> Json:
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": {"type": "object"}}}


SAMPLE: Json = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}}
ROOTS: Json = {"method": "roots/list"}

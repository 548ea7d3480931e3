"""`AsModern` between a test that is what stands above it and a test that is its child."""

import json
from collections.abc import Callable
from typing import Any

from msgspec import Raw

from proxy.child.link import Line
from proxy.observe import Counts
from proxy.protocol.jsontext import parse_members
from proxy.sessions.modern.as_modern import AsModern
from proxy.sessions.modern.as_modern_port import AsModernLimits
from tests.support.fake_link import FakeLink

Json = dict[str, Any]

PREFIX = "io.modelcontextprotocol/"
SUBSCRIPTION = f"{PREFIX}subscriptionId"
INFO = {"name": "old", "version": "1"}
EVERYTHING: Json = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {}}
OFFERED: Json = {
    "tools": {"listChanged": True},
    "prompts": {},
    "resources": {"listChanged": True, "subscribe": True},
    "logging": {},
}
ELICIT: Json = {"message": "Your name?", "requestedSchema": {"type": "object", "properties": {}}}
ACCEPT: Json = {"action": "accept", "content": {"name": "Ada"}}
SAMPLE: Json = {"messages": [], "maxTokens": 10}
SAMPLED: Json = {"role": "assistant", "content": {"type": "text", "text": "hi"}, "model": "m"}
DONE: Json = {"content": [{"type": "text", "text": "done"}]}


class FakeTimer:
    """What `FakeLoop` gives."""

    def __init__(self, at: float, action: Callable[[], None]) -> None:
        self.at = at
        self.action = action
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeLoop:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[FakeTimer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, action: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(self.now + delay, action)
        self.timers.append(timer)
        return timer

    def run(self) -> None:
        """Let happen what is due."""
        due = [timer for timer in self.timers if timer.at <= self.now]
        self.timers = [timer for timer in self.timers if timer.at > self.now and not timer.is_cancelled]
        for timer in due:
            if not timer.is_cancelled:
                timer.action()


class Bridge:
    """A child of the handshake era, to speak 2026-07-28 to.

    Attributes:
        events: `ready`, `free`, `stuck` and `refused ...`, as they came.
        said: Everything that came up, parsed.
    """

    def __init__(
        self,
        capabilities: Json | None = None,
        *,
        offered: Json | None = None,
        client_info: Json | None = None,
        is_ready: bool = True,
        **limits: Any,
    ) -> None:
        self.loop = FakeLoop()
        self.counts = Counts()
        self.link = FakeLink()
        self.events: list[str] = []
        self.said: list[Json] = []
        self.lines: list[bytes] = []
        self.when_free: Callable[[], None] = lambda: None
        self.capabilities: Json = EVERYTHING if capabilities is None else capabilities
        self._next_id = 0
        self._child_seen = 0
        self._above_seen = 0
        self.modern = AsModern(
            capabilities=parse_members(json.dumps(self.capabilities).encode()),
            client_info=None if client_info is None else Raw(json.dumps(client_info).encode()),
            on_lines=self._up,
            on_ready=lambda: self.events.append("ready"),
            on_refused=lambda code, message, supported: self.events.append(f"refused {code} {message} {supported}"),
            on_free=self._freed,
            on_stuck=lambda: self.events.append("stuck"),
            clock=self.loop.time,
            later=self.loop.call_later,
            counts=self.counts,
            tag="test",
            limits=AsModernLimits(**limits),
        )
        self.modern.attach(self.link)
        if is_ready:
            (hello,) = self.down()
            result: Json = {"protocolVersion": "2025-11-25", "serverInfo": INFO}
            self.child_answers(hello["id"], {**result, "capabilities": OFFERED if offered is None else offered})
            self.down()
            self.events.clear()

    def _up(self, lines: list[Line]) -> None:
        for line in lines:
            assert isinstance(line, bytes)
            assert b"\n" not in line
            self.lines.append(line)
            self.said.append(json.loads(line))

    def _freed(self) -> None:
        self.events.append("free")
        self.when_free()

    # ---- above

    def request(self, method: str, params: Json | None = None, **meta: Any) -> int:
        """Send a request of 2026-07-28; returns its id."""
        self._next_id += 1
        envelope: Json = {f"{PREFIX}protocolVersion": "2026-07-28", f"{PREFIX}clientCapabilities": self.capabilities}
        if "level" in meta:
            envelope[f"{PREFIX}logLevel"] = meta.pop("level")
        if meta.pop("progress", False):
            envelope["progressToken"] = self._next_id
        self.tell(
            {
                "jsonrpc": "2.0",
                "id": self._next_id,
                "method": method,
                "params": {**(params or {}), "_meta": {**envelope, **meta}},
            }
        )
        return self._next_id

    def call(self, name: str = "tool", *, state: str | None = None, **params: Any) -> int:
        """Call a tool, or call it again with a state."""
        meta = {key: params.pop(key) for key in ("level", "progress") if key in params}
        given = {"requestState": state} if state is not None else {}
        return self.request("tools/call", {"name": name, "arguments": {}, **given, **params}, **meta)

    def retry(self, state: str, **answers: Json) -> int:
        """Call the tool again with a state and answers."""
        return self.call(state=state, inputResponses=answers)

    def cancel(self, request_id: int) -> None:
        self.tell({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}})

    def tell(self, message: Json | bytes) -> None:
        """Send a line as it is."""
        self.modern.send(message if isinstance(message, bytes) else json.dumps(message).encode())

    def up(self) -> list[Json]:
        """What has come up since this was last asked."""
        new = self.said[self._above_seen :]
        self._above_seen = len(self.said)
        return new

    def answer(self) -> Json:
        """The one line that has come up since."""
        (line,) = self.up()
        return line

    def asked(self) -> tuple[str, Json]:
        """State and questions of the one line that has come up since."""
        result = self.answer()["result"]
        assert result["resultType"] == "input_required", result
        return result["requestState"], result["inputRequests"]

    # ---- the child

    def down(self) -> list[Json]:
        """What the child got since this was last asked."""
        new = self.link.messages[self._child_seen :]
        self._child_seen = len(self.link.sent_lines)
        return new

    def got(self) -> Json:
        """The one line that the child got since."""
        (line,) = self.down()
        return line

    def child_says(self, *messages: Json | bytes) -> None:
        self.modern.received([m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages])

    def child_answers(self, request_id: int, result: Any = DONE) -> None:
        self.child_says({"jsonrpc": "2.0", "id": request_id, "result": result})

    def child_fails(self, request_id: int, code: Any, message: str = "no", data: Any = None) -> None:
        error = {"code": code, "message": message} | ({} if data is None else {"data": data})
        self.child_says({"jsonrpc": "2.0", "id": request_id, "error": error})

    def child_tells(self, method: str, params: Json | None = None) -> None:
        self.child_says({"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params}))

    def child_asks(self, ask_id: Any, method: str = "elicitation/create", params: Json | None = None) -> None:
        shown = ELICIT if params is None and method == "elicitation/create" else params
        self.child_says(
            {"jsonrpc": "2.0", "id": ask_id, "method": method} | ({} if shown is None else {"params": shown})
        )

    # ---- time

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and both sides act on it."""
        self.loop.now += seconds
        self.loop.run()
        self.modern.check(self.loop.now)

    def count(self, name: str) -> int:
        return self.counts.snapshot().get(name, 0)


def pause(bridge: Bridge, ask_id: Any = 0, method: str = "elicitation/create") -> tuple[str, int]:
    """A call that has asked; returns its state and the id that the child knows it by."""
    bridge.call()
    call = bridge.got()
    bridge.child_asks(ask_id, method, SAMPLE if method == "sampling/createMessage" else None)
    bridge.pass_time(0.1)
    state, _ = bridge.asked()
    return state, call["id"]

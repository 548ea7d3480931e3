"""Sinks that remember, and a multiplexer between a test that is its clients and a test that is its child."""

import json
from collections.abc import Callable
from typing import Any

from proxy.errors import ProxyError
from proxy.observe import Counts
from proxy.protocol.envelope import ModernRequest
from proxy.protocol.messages import Response
from proxy.sessions.modern.limits import ModernLimits
from proxy.sessions.modern.mux import Mux, MuxCall
from tests.support.fake_link import FakeLink

Json = dict[str, Any]


class Heard:
    """A sink that remembers what it was told.

    Attributes:
        told: The notifications, parsed.
        raw: The same as they came.
        answers: What answered it, parsed; more than one is a fault.
        failures: Why there is no answer.
    """

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.answers: list[Any] = []
        self.failures: list[ProxyError] = []
        self.raw_id = b"0"
        self.on_told: Callable[[], None] = lambda: None

    @property
    def told(self) -> list[Json]:
        return [json.loads(line) for line in self.raw]

    def notified(self, line: bytes) -> None:
        assert b"\n" not in line
        assert not self.answers and not self.failures, "something follows the end"
        self.raw.append(line)
        self.on_told()

    def answered(self, response: Response) -> None:
        assert not self.answers and not self.failures, "a second end"
        self.answers.append(json.loads(bytes(response.members["error" if response.is_error else "result"])))

    def failed(self, error: ProxyError) -> None:
        assert not self.answers and not self.failures, "a second end"
        self.failures.append(error)


class Wires:
    """A multiplexer, what its child got, and what it counted.

    Attributes:
        now: What its clock shows.
    """

    def __init__(self, **limits: Any) -> None:
        self.now = 100.0
        self.link = FakeLink()
        self.counts = Counts()
        self.mux = Mux(limits=ModernLimits(**limits), counts=self.counts, clock=lambda: self.now, tag="shared-0")
        self.mux.attach(self.link)

    def begin(self, request: ModernRequest, **more: Any) -> tuple[MuxCall, Heard]:
        """A client's request."""
        sink = Heard()
        return self.mux.begin(request, sink, **more), sink

    def say(self, *messages: Json | bytes) -> None:
        """The child writes these lines, and they come in one read."""
        lines = [
            message if isinstance(message, bytes) else json.dumps({"jsonrpc": "2.0", **message}).encode()
            for message in messages
        ]
        self.mux.received(list(lines))

    def answer(self, child_id: int, result: Any = None) -> None:
        """The child answers a request."""
        self.say({"id": child_id, "result": {"resultType": "complete"} if result is None else result})

    def progress(self, token: int | str, step: int = 1, **more: Any) -> None:
        """The child reports progress."""
        self.say({"method": "notifications/progress", "params": {"progressToken": token, "progress": step, **more}})

    def log(self, level: Any = "info", data: str = "x") -> None:
        """The child writes a log message."""
        self.say({"method": "notifications/message", "params": {"level": level, "data": data}})

    @property
    def sent(self) -> list[Json]:
        """What the child got, parsed."""
        return self.link.messages

    @property
    def cancelled(self) -> list[int]:
        """The ids of those requests that the child was told to give up."""
        return [each["params"]["requestId"] for each in self.sent if each["method"] == "notifications/cancelled"]

    @property
    def counted(self) -> dict[str, int]:
        return self.counts.snapshot()

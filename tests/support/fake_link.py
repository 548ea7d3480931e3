"""The pipes of a child that does what a test says. What a real process does is tested in tests/child."""

import json
from typing import Any

from proxy.child.link import Link


class FakeLink(Link):
    """Keeps what is sent, and pretends to be full or stuck."""

    def __init__(self) -> None:
        self.sent_lines: list[bytes] = []
        self.pending = 0
        self.stuck = 0.0
        self.paused = False

    def send(self, line: bytes) -> None:
        assert b"\n" not in line
        self.sent_lines.append(line)

    @property
    def pending_bytes(self) -> int:
        return self.pending

    async def sent(self) -> None:
        self.pending = 0

    def stuck_seconds(self) -> float:
        return self.stuck

    @property
    def is_paused(self) -> bool:
        return self.paused

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What was sent, parsed."""
        return [json.loads(line) for line in self.sent_lines]

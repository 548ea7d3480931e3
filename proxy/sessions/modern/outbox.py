"""What is said to the client's side, in which order?"""

from collections.abc import Callable
from typing import Any

from msgspec import Raw

from proxy.child.link import Line
from proxy.errors import ProxyError
from proxy.protocol.framing import one_line
from proxy.protocol.jsontext import Members, encode


class Outbox:
    """Lines and failed requests, kept until `flush`: whoever gets them may say something at once, and what he says must
    find everything in its place.

    Args:
        on_lines: Gets the lines.
        on_failed: Gets the id of each request that can't be answered, and why.
    """

    def __init__(self, *, on_lines: Callable[[list[Line]], None], on_failed: Callable[[int, ProxyError], None]) -> None:
        self._on_lines = on_lines
        self._on_failed = on_failed
        self._lines: list[Line] = []
        self._waiting: list[list[Line] | tuple[int, ProxyError]] = []
        self._is_flushing = False

    def line(self, line: Line) -> None:
        """Pass a line on."""
        self._lines.append(line)

    def answer(self, request_id: int, members: Members) -> None:
        """Pass on an answer of the server, as the answer to this request."""
        self.line(one_line(encode({**members, "id": Raw(b"%d" % request_id)})))

    def result(self, request_id: int, result: Any) -> None:
        """Answer a request with a result of our own."""
        self.line(encode({"jsonrpc": "2.0", "id": request_id, "result": result}))

    def error(self, request_id: int, error: Raw) -> None:
        """Answer a request with this error."""
        self.line(one_line(encode({"jsonrpc": "2.0", "id": request_id, "error": error})))

    def refusal(self, request_id: int, code: int, message: str) -> None:
        """Answer a request with an error of our own."""
        self.error(request_id, Raw(encode({"code": code, "message": message})))

    def failure(self, request_id: int, error: ProxyError) -> None:
        """Say that a request can't be answered."""
        self._seal()
        self._waiting.append((request_id, error))

    def flush(self) -> None:
        """Say all of it. Called by somebody who is being told something, it leaves the rest to who tells him."""
        self._seal()
        if self._is_flushing:
            return
        self._is_flushing = True
        try:
            while self._waiting:
                item = self._waiting.pop(0)
                if isinstance(item, list):
                    self._on_lines(item)
                else:
                    self._on_failed(*item)
        finally:
            self._is_flushing = False

    def _seal(self) -> None:
        if self._lines:
            self._waiting.append(self._lines)
            self._lines = []

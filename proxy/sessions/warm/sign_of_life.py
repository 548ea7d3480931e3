"""Does this child answer?

A `ping` is the one request that a server takes before `initialize`; one that knows no `initialize` takes
`server/discover`. Any answer will do, an error too: whoever gives one is up, and reads.

Spec: 2025-11-25 basic/lifecycle, Initialization; basic/utilities/ping. 2026-07-28 basic/transports/stdio, Backward
compatibility.
"""

from collections.abc import Callable

from proxy.child.link import ChildLink, Line
from proxy.protocol.child_lines import parse_child_line
from proxy.protocol.messages import Response


def ping(request_id: int) -> bytes:
    """A `ping` on one line."""
    return b'{"jsonrpc":"2.0","id":%d,"method":"ping"}' % request_id


class SignOfLife:
    """One question, asked when this is made; its answer is taken out of what the child says.

    Args:
        link: The child's.
        question_id: The id of the question, which nothing else on this link has.
        question: On one line.
        pass_on: Gets everything else, and from the answer on all that the link delivers.
        on_answer: Called when the answer is there.
    """

    def __init__(
        self,
        link: ChildLink,
        question_id: int,
        question: bytes,
        *,
        pass_on: Callable[[list[Line]], None],
        on_answer: Callable[[], None],
    ) -> None:
        self._link = link
        self._id = question_id
        self._pass_on = pass_on
        self._on_answer = on_answer
        link.deliver_to(self._received)
        link.send(question)

    def _received(self, lines: list[Line]) -> None:
        rest = [line for line in lines if not self._is_answer(line)]
        if len(rest) < len(lines):
            self._link.deliver_to(self._pass_on)
            self._on_answer()
        if rest:
            self._pass_on(rest)

    def _is_answer(self, line: Line) -> bool:
        if not isinstance(line, bytes) or b'"id"' not in line:
            return False
        return any(isinstance(each, Response) and each.id == self._id for each in parse_child_line(line))

"""Does this child answer?

A `ping` is the one request that a server takes before `initialize`. Any answer will do, an error too: whoever gives one
is up, and reads.

Spec: 2025-11-25 basic/lifecycle, Initialization; basic/utilities/ping.
"""

from collections.abc import Callable

from proxy.child.link import ChildLink, Line
from proxy.protocol.messages import Response, parse_child_line


class Ping:
    """One `ping`, sent when this is made; its answer is taken out of what the child says.

    Args:
        link: The child's.
        ping_id: An id that nothing else on this link has.
        pass_on: Gets everything else, and from the answer on all that the link delivers.
        on_answer: Called when the answer is there.
    """

    def __init__(
        self,
        link: ChildLink,
        ping_id: int,
        *,
        pass_on: Callable[[list[Line]], None],
        on_answer: Callable[[], None],
    ) -> None:
        self._link = link
        self._id = ping_id
        self._pass_on = pass_on
        self._on_answer = on_answer
        link.deliver_to(self._received)
        link.send(b'{"jsonrpc":"2.0","id":%d,"method":"ping"}' % ping_id)

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

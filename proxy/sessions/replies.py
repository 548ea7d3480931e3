"""How much is answered to a child in its client's place?"""

from proxy.child.link import Link
from proxy.observe import Counts


class Replies:
    """Answers of ours to the requests of one child.

    A child that asks in a loop and reads nothing would fill our memory. Not reading its stdout meanwhile would stop it
    for good: it reads again only when it has written what it wants to.

    Args:
        limit_bytes: What of them may wait for the child, beside what else does.
        counts: Of those that were dropped.
    """

    def __init__(self, *, limit_bytes: int, counts: Counts) -> None:
        self._limit_bytes = limit_bytes
        self._counts = counts
        self._sent_bytes = 0  # since the child had last read everything

    def send(self, link: Link, line: bytes) -> None:
        """Answer the child; nothing if that many answers wait that it could read."""
        if not link.pending_bytes:
            self._sent_bytes = 0
        elif self._sent_bytes > self._limit_bytes:
            self._counts.add("dropped.reply_child_does_not_read")
            return
        self._sent_bytes += len(line)
        link.send(line)

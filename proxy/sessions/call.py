"""What is known of one request of a client while it is open?"""

from proxy.protocol.messages import Request
from proxy.sessions.stream import Stream


class Call:
    """One request in progress at a child.

    Attributes:
        request: As the client sent it, id and token included.
        child_id: The id that the child knows it by.
        stream: Where its answer, progress and questions go.
        started_at: When it was sent to the child, on the loop's clock.
        moved_at: When it last made progress; its time-out counts from here.
    """

    __slots__ = ("child_id", "moved_at", "request", "started_at", "stream")

    def __init__(self, request: Request, child_id: int, stream: Stream, now: float) -> None:
        self.request = request
        self.child_id = child_id
        self.stream = stream
        self.started_at = now
        self.moved_at = now

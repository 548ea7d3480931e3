"""What is known of one request of a client while it is open?"""

from msgspec import Raw

from proxy.protocol.messages import Request
from proxy.sessions.stream import Stream


class Call:
    """One request in progress at a child. Keeps no argument of it: those may be large, and the call may take hours.

    Attributes:
        client_id: The id that the client knows it by.
        raw_id: The same as the client wrote it.
        method: What is called.
        progress_token: The token for its progress that the child knows, if there is one.
        raw_token: The same as the client wrote it, if the child knows another.
        child_id: The id that the child knows it by.
        stream: Where its answer, progress and questions go.
        started_at: When it was sent to the child, on the loop's clock.
        moved_at: When it last made progress; its time-out counts from here.
        initialize: The request itself if it is `initialize`: that may have to be said in other words.
    """

    __slots__ = (
        "child_id",
        "client_id",
        "initialize",
        "method",
        "moved_at",
        "progress_token",
        "raw_id",
        "raw_token",
        "started_at",
        "stream",
    )

    def __init__(self, request: Request, child_id: int, stream: Stream, now: float) -> None:
        self.client_id = request.id
        self.raw_id = request.raw_id
        self.method = request.method
        self.progress_token = request.progress_token
        self.raw_token: Raw | None = None
        self.child_id = child_id
        self.stream = stream
        self.initialize = request if request.method == "initialize" else None
        self.started_at = now
        self.moved_at = now

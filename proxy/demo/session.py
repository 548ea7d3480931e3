"""What has been agreed with the client, and what does it want to hear?"""

from proxy.demo.content import Library
from proxy.demo.messages import INVALID_PARAMS, Json, RpcError

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""The revisions with a handshake, oldest first. They are dates, so they compare as text."""

LOG_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""Least severe first. 2025-11-25 server/utilities/logging, Log Levels (RFC 5424)."""

PAGE_SIZE = 50
"""Items per page of a list. Ours: only a list that the client itself made long has a second page."""

_FIELD_SINCE = {
    "annotations": "2025-03-26",
    "title": "2025-06-18",
    "outputSchema": "2025-06-18",
    "structuredContent": "2025-06-18",
}


class Session:
    """The state of the one conversation this process has. Changed only by the thread that reads."""

    def __init__(self) -> None:
        self.revision = ""  # Empty before initialize, so it compares as older than any.
        self.client_capabilities: Json = {}
        self.is_ready = False  # True from notifications/initialized on.
        self.log_level = LOG_LEVELS[0]
        self.subscriptions: set[str] = set()
        self.library = Library()

    def wants_log(self, level: str) -> bool:
        """Tell if a log message of this level is severe enough for the client."""
        return LOG_LEVELS.index(level) >= LOG_LEVELS.index(self.log_level)

    def find_obstacle(self, capability: str, since: str = REVISIONS[0]) -> str | None:
        """Say why the client cannot be asked for something that needs `capability`; None if it can.

        Spec: 2025-11-25 basic/lifecycle, Operation: both parties MUST only use negotiated capabilities.
        """
        if self.revision < since:
            return f"{capability} needs revision {since} or later, and this session speaks {self.revision}"
        declared = self.client_capabilities.get(capability)
        if declared is None:
            return f"the client did not declare the capability {capability}"
        # 2025-11-25 client/elicitation, Capabilities: an empty object means form mode only.
        if capability == "elicitation" and declared and "form" not in declared and "url" in declared:
            return "the client declared the capability elicitation without form mode"
        if not self.is_ready:
            # Lifecycle, Initialization: before that the server SHOULD NOT send requests other than pings.
            return "the client has not sent notifications/initialized"
        return None

    def trim(self, item: Json) -> Json:
        """Leave out the fields that the revision of this session does not have."""
        return {k: v for k, v in item.items() if self.revision >= _FIELD_SINCE.get(k, "")}

    def page(self, key: str, items: list[Json], params: Json) -> Json:
        """Give the page of a list that the cursor in `params` asks for.

        Raises:
            RpcError: If the cursor is not one of ours.

        Spec: 2025-11-25 server/utilities/pagination, Error Handling: invalid cursors SHOULD give -32602.
        """
        start = 0
        if (cursor := params.get("cursor")) is not None:
            starts = {f"from-{n}": n for n in range(PAGE_SIZE, len(items), PAGE_SIZE)}
            if not isinstance(cursor, str) or cursor not in starts:
                raise RpcError(INVALID_PARAMS, "invalid cursor")
            start = starts[cursor]
        end = start + PAGE_SIZE
        page: Json = {key: [self.trim(item) for item in items[start:end]]}
        return page | ({"nextCursor": f"from-{end}"} if end < len(items) else {})

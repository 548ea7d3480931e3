"""What has a client told its child that another one in its place must know?"""

from typing import NamedTuple

from msgspec.structs import replace

from proxy.protocol.ids import text_at
from proxy.protocol.jsontext import as_object
from proxy.protocol.messages import Notification, Request

MAX_SUBSCRIPTIONS = 1024
"""Resources that are remembered for one session. As many as the SDK servers have subscriptions."""
MAX_KEPT_BYTES = 1024 * 1024
"""All that is remembered of one session. Ours: an `initialize` has a thousandth of it."""

SUBSCRIBE = "resources/subscribe"
UNSUBSCRIBE = "resources/unsubscribe"
_REMEMBERED = frozenset({"initialize", "logging/setLevel", SUBSCRIBE, UNSUBSCRIBE})
_KEPT_MEMBERS = ("jsonrpc", "id", "method", "params")


class Wanted(NamedTuple):
    """What is sent to a child before anything else, in this order."""

    initialize: Request
    initialized: bool
    level: Request | None
    subscriptions: tuple[Request, ...]


class Told:
    """What one session has told its child, as far as the child has agreed.

    Bounded: once there is more than `MAX_KEPT_BYTES` or `MAX_SUBSCRIPTIONS`, it knows that it does not know all.
    """

    def __init__(self) -> None:
        self._open: dict[int, Request] = {}  # not answered yet, by the child's id
        self._initialize: Request | None = None
        self._level: Request | None = None
        self._subscriptions: dict[str, Request] = {}
        self._kept_bytes = 0
        self._is_too_much = False
        self.is_initialized = False
        """Whether the client has said that the handshake is over."""

    @property
    def is_complete(self) -> bool:
        """Whether a child that is told this knows what the last one knew."""
        return self._initialize is not None and not self._is_too_much

    @property
    def size_bytes(self) -> int:
        """What is kept."""
        return self._kept_bytes

    @property
    def uris(self) -> tuple[str, ...]:
        """The resources that the client has subscribed to."""
        return tuple(self._subscriptions)

    def wanted(self) -> Wanted:
        """What another child has to be told. Only if `is_complete`."""
        assert self._initialize is not None  # see `is_complete`
        return Wanted(self._initialize, self.is_initialized, self._level, tuple(self._subscriptions.values()))

    def begun(self, child_id: int, request: Request) -> None:
        """A request was sent to the child."""
        if request.method in _REMEMBERED and not self._is_too_much:
            self._kept_bytes += request.size_bytes
            if self._kept_bytes > MAX_KEPT_BYTES:
                self._give_up()
            else:
                kept = self._open[child_id] = _copy(request)
                self._kept_bytes -= request.size_bytes - kept.size_bytes

    def settled(self, child_id: int, *, is_agreed: bool) -> None:
        """A request was answered, or never will be."""
        request = self._open.pop(child_id, None)
        if request is None:
            return
        if is_agreed and request.method == "initialize":
            self._initialize = request
        elif is_agreed and request.method == "logging/setLevel":
            self._replace(self._level)
            self._level = request
        elif is_agreed and request.method == SUBSCRIBE:
            self._replace(self._subscriptions.pop(_uri(request), None))
            self._subscriptions[_uri(request)] = request
            if len(self._subscriptions) > MAX_SUBSCRIPTIONS:
                self._give_up()
        else:
            self._replace(request)
            if is_agreed:
                self._replace(self._subscriptions.pop(_uri(request), None))

    def notified(self, notification: Notification) -> None:
        """A notification of the client was passed on."""
        if notification.method == "notifications/initialized":
            self.is_initialized = True

    def _replace(self, before: Request | None) -> None:
        if before is not None:
            self._kept_bytes -= before.size_bytes

    def _give_up(self) -> None:
        self._is_too_much = True
        self._open.clear()
        self._subscriptions.clear()
        self._level = None


def _copy(request: Request) -> Request:
    """What a server is asked by it, in memory of its own: the members are views that would keep the whole body."""
    members = {name: request.members[name].copy() for name in _KEPT_MEMBERS if name in request.members}
    return replace(request, members=members, envelope=None)


def _uri(request: Request) -> str:
    return text_at(as_object(request.members.get("params")) or {}, "uri") or ""

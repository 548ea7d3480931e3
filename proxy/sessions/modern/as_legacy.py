"""How does a server that speaks only 2026-07-28 look like one of the handshake era?

Above is the `Exchange` of one session, which thinks that it talks to a child of the handshake era; below is a modern
child of this session's own, and another one when that dies. Event-driven: no task and no await.

Spec: 2026-07-28 basic/versioning, basic/patterns; 2025-11-25 basic/lifecycle.
"""

import logging
from collections.abc import Callable, Iterable

from msgspec import Raw

from proxy.child.link import Line, Link
from proxy.errors import ChildRestarting, ProxyError
from proxy.observe import Counts
from proxy.protocol.changes import CHANGE_OF, RESOURCE_UPDATED, change, listenable, log_level_of
from proxy.protocol.child_lines import parse_child_line
from proxy.protocol.ids import decode_id
from proxy.protocol.jsontext import Members, as_object, encode
from proxy.protocol.messages import Notification, Request, Response
from proxy.protocol.translate_to_legacy import (
    LegacyClient,
    discover_fault,
    initialize_error,
    initialize_result,
    offers,
    own_request,
    read_initialize,
)
from proxy.sessions.modern.crossings import Crossings
from proxy.sessions.modern.current_link import CurrentLink
from proxy.sessions.modern.listening import Listening
from proxy.sessions.modern.outbox import Outbox
from proxy.sessions.modern.reading import Reading

logger = logging.getLogger(__name__)

DEFAULT_LOG_LEVEL = "debug"
"""What a client gets that has set no level: what the SDK servers of the handshake era send it, which is everything."""

MAX_CLIENT_BYTES = 64 * 1024
"""What a client may say of itself: it is kept, and sent with each request. Ours: a hundred times what clients say."""

_LOCAL = frozenset({"initialize", "ping", "logging/setLevel"})
"""Requests that need no child, or bring it about."""

_NOT_OF_THIS_ERA = frozenset({"server/discover", "subscriptions/listen"})
_CONSUMED = frozenset({"notifications/roots/list_changed", "notifications/progress", "notifications/tasks/status"})
"""Notifications of clients that the modern era has no place for."""


class AsLegacy(CurrentLink):
    """A modern child, as its session's `Exchange` sees it: a link to a child of the handshake era.

    Nothing that it is told makes it raise.

    Args:
        on_lines: Gets the lines of the server that seems to be there.
        on_failed: Gets the id of each request that can't be answered, and why.
        on_ready: Called when a child has answered `server/discover`: requests can be sent to it from then on.
        on_refused: Called with the error of one that has not; whether somebody else takes care of that. If not, it
            becomes the answer to `initialize`.
        mint: Gives an id for a request to a child: another one each time, whoever else has sent it something.
        answer_timeout_seconds: A question of the server waits so long for an answer of a client that is there.
        counts: What was dropped.
        clock: The loop's clock.
        tag: Names the session in the log.
    """

    def __init__(
        self,
        *,
        on_lines: Callable[[list[Line]], None],
        on_failed: Callable[[int, ProxyError], None],
        on_ready: Callable[[], None],
        on_refused: Callable[[Raw], bool],
        mint: Callable[[], int],
        answer_timeout_seconds: float = 600.0,
        counts: Counts,
        clock: Callable[[], float],
        tag: str,
    ) -> None:
        super().__init__()
        self._on_ready = on_ready
        self._on_refused = on_refused
        self._tag = tag
        self._is_ready = False
        self._client: LegacyClient | None = None
        self._initialize: Request | None = None  # while it is not answered
        self._discover_id: int | None = None  # while it is not answered
        self._capabilities: Members = {}
        self._level: str | None = None
        self._mint = mint
        self._outbox = Outbox(on_lines=on_lines, on_failed=on_failed)
        self._crossings = Crossings(
            write=self.write,
            mint=mint,
            outbox=self._outbox,
            answer_timeout_seconds=answer_timeout_seconds,
            counts=counts,
            clock=clock,
            tag=tag,
        )
        self._listening = Listening(
            send=self.write, mint=self._mint, answers=self._outbox, on_gap=self._may_have_changed, clock=clock
        )
        self._reading = Reading(
            outbox=self._outbox,
            listening=self._listening,
            on_answer=self._answered,
            on_unreadable=self._crossings.unreadable,
            wanted_level=lambda: self._wanted_level,
            open_ids=self._crossings.ids_at_child,
            counts=counts,
            clock=clock,
            tag=tag,
        )

    @property
    def is_ready(self) -> bool:
        """Whether there is a child that requests can be sent to."""
        return self._is_ready

    @property
    def open_requests(self) -> int:
        """Requests of the client, and questions of the server, without an answer."""
        return len(self._crossings) + self._crossings.open_questions

    def owner_of(self, question_id: int) -> int | None:
        """The request of the client on whose behalf the server asks this."""
        return self._crossings.owner_of(question_id)

    @staticmethod
    def needs_child(method: str) -> bool:
        """Whether a request must wait for a child that is ready."""
        return method not in _LOCAL

    # ---- the child's life

    def attach(self, link: Link) -> None:
        """A child is there; any other that was there before is gone."""
        self.replace(link)
        self._discover()

    def received(self, lines: list[Line]) -> None:
        """Take what one read of the child's stdout brought. Never raises."""
        if self.has_child:
            self._reading.lines(lines)
            self._outbox.flush()

    def child_gone(self, error: ProxyError) -> None:
        """The child is gone: requests that are with it fail at once, those that wait for the client go on."""
        self.replace(None)
        self._is_ready, self._discover_id = False, None
        self._crossings.lost(error)
        self._listening.lost(error)
        self._outbox.flush()

    def check(self, now: float) -> None:
        """Act on what has taken long enough. Called a few times a second."""
        self._crossings.check(now)
        self._listening.check(now)
        self._outbox.flush()

    # ---- as a link

    def send(self, line: bytes) -> None:
        """Take one line of the client's side, and answer it here or say it to the child in its words. Never raises."""
        for message in parse_child_line(line):
            try:
                if isinstance(message, Request):
                    self._asked(message)
                elif isinstance(message, Notification):
                    self._told(message)
                elif isinstance(message, Response):
                    self._crossings.client_answered(message)
            except Exception:
                logger.exception("line of a client not handled", extra={"session": self._tag})
                if isinstance(message, Request):
                    self._outbox.failure(_id_of(message), ProxyError())
        self._outbox.flush()

    # ---- from the client

    def _asked(self, request: Request) -> None:
        request_id, method = _id_of(request), request.method
        if method == "initialize":
            self._begin(request)
        elif method == "ping":
            self._outbox.result(request_id, {})
        elif method == "logging/setLevel":
            self._set_level(request)
        elif method in ("resources/subscribe", "resources/unsubscribe"):
            self._subscribe(request)
        elif method in _NOT_OF_THIS_ERA or method.startswith("tasks/"):
            self._outbox.refusal(request_id, -32601, "Method not found")
        else:
            self._crossings.begin(request_id, request, log_level=self._wanted_level)

    def _begin(self, request: Request) -> None:
        if self._client is not None:
            self._outbox.refusal(_id_of(request), -32600, "Invalid Request: already initialized")
            return
        client = read_initialize(request)
        if client.size_bytes > MAX_CLIENT_BYTES:
            self._outbox.refusal(_id_of(request), -32602, "Invalid params: capabilities and clientInfo are too long")
            return
        self._client, self._initialize = client, request
        self._discover()

    def _set_level(self, request: Request) -> None:
        level = log_level_of(request.members.get("params"))
        if not offers(self._capabilities, "logging"):
            self._outbox.refusal(_id_of(request), -32601, "Method not found")
        elif level is None:
            self._outbox.refusal(_id_of(request), -32602, "Invalid params: level")
        else:
            self._level = level
            self._outbox.result(_id_of(request), {})

    def _subscribe(self, request: Request) -> None:
        request_id = _id_of(request)
        raw_uri = (as_object(request.members.get("params")) or {}).get("uri")
        uri = decode_id(raw_uri) if raw_uri is not None else None
        if not self._is_ready:
            self._outbox.failure(request_id, ChildRestarting())
        elif not offers(self._capabilities, "resources", "subscribe"):
            self._outbox.refusal(request_id, -32601, "Method not found")
        elif raw_uri is None or not isinstance(uri, str):
            self._outbox.refusal(request_id, -32602, "Invalid params: uri")
        elif request.method == "resources/subscribe":
            self._listening.subscribe(request_id, uri, raw_uri)
        else:
            self._listening.unsubscribe(request_id, uri)

    def _told(self, notification: Notification) -> None:
        if notification.method == "notifications/cancelled":
            request_id = notification.subject if isinstance(notification.subject, int) else 0
            if not self._crossings.cancel(request_id, notification):
                self._listening.cancelled(request_id)
        elif notification.method == "notifications/initialized":
            self._listening.start()
        elif notification.method not in _CONSUMED:
            self.write(notification.encode())

    # ---- to and from the child

    @property
    def _wanted_level(self) -> str | None:
        return (self._level or DEFAULT_LOG_LEVEL) if offers(self._capabilities, "logging") else None

    def _discover(self) -> None:
        """Ask a child what it is: the first request to each, and one that no other era's server would take for another.

        Spec: 2026-07-28 basic/transports/stdio, Backward compatibility.
        """
        if self._client is not None and self.has_child:
            self._discover_id = self._mint()
            self.write(own_request("server/discover", self._client).encode(id=self._discover_id))

    def _answered(self, response: Response) -> None:
        if response.id is not None and response.id == self._discover_id:
            self._discover_id = None
            self._discovered(response)
        else:
            self._crossings.answered(response)

    def _discovered(self, response: Response) -> None:
        fault, result = discover_fault(response), as_object(response.members.get("result"))
        client, initialize = self._client, self._initialize
        assert client is not None  # who was told of
        if fault is not None or result is None:
            if not self._on_refused(fault or Raw(b"null")) and initialize is not None:
                self._outbox.error(_id_of(initialize), initialize_error(fault or Raw(b"null"), initialize))
            return
        self._is_ready, self._initialize = True, None
        self._capabilities = as_object(result.get("capabilities")) or {}
        if initialize is not None:
            answer = {**response.members, "result": Raw(encode(initialize_result(result, client.version)))}
            self._outbox.answer(_id_of(initialize), answer)
        self._on_ready()
        self._crossings.ready(client)
        self._listening.ready(client, listenable(self._capabilities))

    def _may_have_changed(self, kinds: tuple[str, ...], uris: Iterable[Raw]) -> None:
        for kind in kinds:
            self._outbox.line(change(CHANGE_OF[kind]))
        for uri in uris:
            self._outbox.line(change(RESOURCE_UPDATED, uri=uri))


def _id_of(request: Request) -> int:
    assert isinstance(request.id, int)  # the exchange mints them
    return request.id

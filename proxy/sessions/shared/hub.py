"""How do the messages of many sessions cross to one child, and back?

The tables of one child of the handshake era that sessions share: requests by the ids that it knows them by. Ids and
progress tokens are minted for the child and given back as the sessions have them. Everything here happens on the event
loop without an await between reading and changing a table.

Spec: 2025-11-25 basic/lifecycle, basic/utilities.
"""

import logging
from collections.abc import Callable

from msgspec import Raw

from proxy.child.link import Link
from proxy.observe import Counts
from proxy.protocol.changes import may_have_changed
from proxy.protocol.child_lines import BadLine, parse_child_line
from proxy.protocol.ids import Id, decode_text
from proxy.protocol.input_requests import read_declared
from proxy.protocol.jsontext import encode
from proxy.protocol.kept_handshake import KeptHandshake, capabilities_of
from proxy.protocol.messages import Notification, Request, Response, pong
from proxy.sessions.reader import Reader
from proxy.sessions.replies import Replies
from proxy.sessions.shared.attribution import Attribution
from proxy.sessions.shared.calls import SharedCalls
from proxy.sessions.shared.levels import SET_LEVEL, Levels
from proxy.sessions.shared.port import Port
from proxy.sessions.shared.questions import Questions
from proxy.sessions.shared.tasks import LIST, OF_ONE_TASK, STATUS, SharedTasks, asks_for_task
from proxy.sessions.shared.watching import SUBSCRIBE, UNSUBSCRIBE, Watching

logger = logging.getLogger(__name__)

_LIST_CHANGES = frozenset(f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources"))
INITIALIZED = "notifications/initialized"
"""The child has been told that it is."""
ROOTS_CHANGED = "notifications/roots/list_changed"
"""Whose, the child could not tell."""


class Hub(Reader):
    """All sessions of one child.

    Args:
        may_ask: Whether the server may ask its clients something.
        linger_seconds: For how long the child may talk of what was cancelled and that it does not answer.
        reply_backlog_bytes: What may wait of our own answers for a child that does not read.
        counts: What was dropped and why.
        clock: The loop's clock.
        tag: Names the child in the log.
    """

    def __init__(
        self,
        *,
        may_ask: bool,
        linger_seconds: float,
        reply_backlog_bytes: int,
        counts: Counts,
        clock: Callable[[], float],
        tag: str,
    ) -> None:
        super().__init__(counts=counts, clock=clock, whose={"child": tag})
        self._link: Link | None = None
        self._handshake: KeptHandshake | None = None
        self._ports: dict[Port, None] = {}
        self._attribution = Attribution(linger_seconds=linger_seconds, clock=clock)
        self.calls = SharedCalls(send=self._send, attribution=self._attribution, counts=counts)
        """The requests that are with the child."""
        self._levels = Levels(self.calls.ask)
        self._watching = Watching(self.calls.ask)
        self._tasks = SharedTasks(self.calls.ask, self._attribution)
        self._questions = Questions(may_ask=may_ask, counts=counts)
        self._replies = Replies(limit_bytes=reply_backlog_bytes, counts=counts)

    @property
    def ports(self) -> list[Port]:
        """The sessions that use the child, oldest first."""
        return list(self._ports)

    @property
    def port_count(self) -> int:
        """Sessions that use the child."""
        return len(self._ports)

    @property
    def unanswered(self) -> int:
        """Cancelled calls that the child has not answered, and tasks alike."""
        return self._attribution.unanswered

    def attach(self, link: Link | None) -> None:
        """Connect the child; or (None) it is gone: nothing is sent any more."""
        self._link = link

    @property
    def version(self) -> str | None:
        """The revision in which the child has shaken hands; None if it has not, or has refused."""
        server = self._handshake.server if self._handshake is not None else None
        return server.version if server is not None else None

    def shaken(self, handshake: KeptHandshake) -> None:
        """The child has answered `initialize`; so will be the clients."""
        self._handshake = handshake

    def join(self, port: Port) -> None:
        """A session has come."""
        self._ports[port] = None
        self._levels.join(port)

    def leave(self, port: Port) -> None:
        """A session has ended: what it has asked is cancelled, what it was asked refused, what it watched let go."""
        if port in self._ports:
            port.close()
            self._forget(port)

    def may_go(self, port: Port) -> bool:
        """Whether a session has nothing here but what another process can be told."""
        is_at_rest = port.declared is not None and not port.calls and not port.waiting
        return is_at_rest and not self._questions.has_asked(port) and not self._tasks.has_unread(port)

    def take_over(self, port: Port, before: "Hub") -> None:
        """A session that `may_go` comes from another process, and hears that what it has read may be otherwise here.

        Both processes have shaken hands in the same revision.
        """
        level, raw_uris = before._levels.of(port), before._watching.uris_of(port)
        before._forget(port)
        self._ports[port] = None
        self._levels.adopt(port, level)
        self._watching.adopt(port, raw_uris)
        if port.is_initialized and self._handshake is not None:
            uris = [uri for raw_uri in raw_uris if (uri := decode_text(raw_uri)) is not None]
            for line in may_have_changed(self._handshake.answer.get("result"), uris):
                port.deliver(line)

    def _forget(self, port: Port) -> None:
        del self._ports[port]
        self.calls.cancel_all(port)
        for line in self._questions.leave(port):
            self._reply(line)
        self._watching.leave(port)
        self._tasks.leave(port)
        self._levels.leave(port)
        self._attribution.leave(port)

    def check(self, now: float) -> None:
        """Act on what has taken long enough. Called a few times a second."""
        self._attribution.check(now)

    # ---- from the sessions

    def said(self, port: Port, line: bytes) -> None:
        """Take one line of a session. Never raises: a bug costs one line."""
        for message in parse_child_line(line):
            try:
                if isinstance(message, Request):
                    self._asked_by(port, message)
                elif isinstance(message, Notification):
                    self._told_by(port, message)
                elif isinstance(message, Response):
                    self._answered_by(port, message)
            except Exception:
                logger.exception("line of a client not handled", extra=self._whose)
                if isinstance(message, Request):
                    port.refuse(_id_of(message), -32603, "Internal error")

    def _asked_by(self, port: Port, request: Request) -> None:
        port_id, params = _id_of(request), request.members.get("params")
        if request.method == "initialize":
            self._begin_session(port, request)
        elif request.method == SET_LEVEL and self._offers("logging"):
            self._levels.set(port, port_id, params)
        elif request.method == SUBSCRIBE and self._offers("resources", "subscribe"):
            self._watching.subscribe(port, port_id, params)
        elif request.method == UNSUBSCRIBE and self._offers("resources", "subscribe"):
            if not self._watching.unsubscribe(port, port_id, params):
                self.calls.begin(port, request)
        elif request.method == LIST:
            self.calls.begin(port, request, self._tasks.own_of_list)
        elif request.method in OF_ONE_TASK and self._offers("tasks"):
            if self._tasks.is_own(port, params):
                self.calls.begin(port, request, self._tasks.reader_of(request))
            else:
                port.refuse(port_id, -32602, "Task not found")
        else:
            self.calls.begin(port, request, self._tasks.begun if asks_for_task(params) else None)

    def _begin_session(self, port: Port, initialize: Request) -> None:
        if port.declared is not None or self._handshake is None:
            port.refuse(_id_of(initialize), -32600, "Invalid Request: already initialized")
            return
        port.declared = read_declared(capabilities_of(initialize))  # which keeps nothing of the message
        port.answer(_id_of(initialize), self._handshake.answer_for(initialize))

    def _told_by(self, port: Port, notification: Notification) -> None:
        if notification.method == "notifications/cancelled":
            port.waiting.discard(notification.subject)
            self.calls.cancel(port, notification)
        elif notification.method == "notifications/progress":
            if self._questions.is_progress(port, notification):
                self._send(notification.encode())
        elif notification.method == INITIALIZED:
            port.is_initialized = True
        elif notification.method != ROOTS_CHANGED:
            self._send(notification.encode())

    def _answered_by(self, port: Port, response: Response) -> None:
        if self._questions.answered(port, response):
            self._send(encode(response.members))
        else:
            self._counts.add("dropped.answer_nobody_waits_for")

    # ---- from the child

    def _progress(self, token: Id | None, line: bytes) -> None:
        self.calls.progress(token, line)

    def _answered(self, response: Response) -> None:
        self.calls.answered(response)

    def _asked(self, request: Request) -> None:
        if request.method == "ping":
            self._reply(pong(request.raw_id))
            return
        params = request.members.get("params")
        if self._tasks.is_about_one(params):
            port = self._tasks.owner_of_related(params)
        else:
            port = self._attribution.only_call_of
        refused = self._questions.asked(request, port, in_doubt=self.unanswered > 0)
        if refused is not None:
            self._reply(refused)
        elif port is not None:
            port.deliver(encode(request.members))

    def _told(self, notification: Notification) -> None:
        method, params = notification.method, notification.members.get("params")
        if method == "notifications/progress":
            self._progress(notification.subject, notification.encode())
        elif method == "notifications/cancelled":
            port = self._questions.withdrawn(notification.subject)
            self._spread(notification, [port] if port is not None else [], "dropped.cancel_of_unknown_ask")
        elif method == "notifications/message":
            wanting = [port for port in self._concerned(params) if self._levels.wants(port, params)]
            self._spread(notification, wanting, "dropped.log_of_no_certain_session")
        elif method == "notifications/resources/updated":
            self._spread(notification, self._watching.watchers_of(params), "dropped.update_nobody_watches")
        elif method == STATUS:
            owner = self._tasks.told(params)
            self._spread(notification, [owner] if owner is not None else [], "dropped.status_of_nobodys_task")
        elif method in _LIST_CHANGES:
            self._spread(notification, self.ports, "dropped.notification_without_session")
        else:
            self._spread(notification, self._concerned(params), "dropped.notification_of_no_certain_session")

    def _concerned(self, params: Raw | None) -> list[Port]:
        """Whom something concerns that names no call: whose task it is about, who alone has a call, or all."""
        if self._tasks.is_about_one(params):
            only = self._tasks.owner_of_related(params)
        elif self._attribution.is_quiet:
            return self.ports
        else:
            only = self._attribution.only
        return [only] if only is not None else []

    def _spread(self, notification: Notification, ports: list[Port], dropped: str) -> None:
        if not ports:
            self._counts.add(dropped)
            return
        line = encode(notification.members)
        for port in ports:
            port.deliver(line)

    def _bad_line(self, line: BadLine) -> None:
        if not self.calls.spoiled(line):
            super()._bad_line(line)

    # ---- inside

    def _offers(self, capability: str, flag: str | None = None) -> bool:
        server = self._handshake.server if self._handshake is not None else None
        return server is not None and server.offers(capability, flag)

    def _send(self, line: bytes) -> None:
        if self._link is not None:
            self._link.send(line)

    def _reply(self, line: bytes) -> None:
        if self._link is not None:
            self._replies.send(self._link, line)


def _id_of(request: Request) -> int:
    assert isinstance(request.id, int)  # a session mints them
    return request.id

"""Who listens to what on a server of the handshake era, which has no listens?

List changes come without being asked for; updates of a resource are subscribed to, once for all who want them. What
the server says is said to every listen that asked for it.

Spec: 2026-07-28 basic/patterns/subscriptions; 2025-11-25 server/resources, Subscriptions.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec import Raw

from proxy.observe import Counts
from proxy.protocol.envelope import SUBSCRIPTION_KEY
from proxy.protocol.handshake import Server
from proxy.protocol.ids import decode_text, text_at
from proxy.protocol.jsontext import Members, as_object, encode, parse_array
from proxy.protocol.messages import Notification, Response
from proxy.protocol.translate_to_modern import CHANGES, COMPLETE, for_listen, meta_of
from proxy.protocol.uris import Watched
from proxy.sessions.modern.as_modern_port import Port

MAX_LISTENS = 1024
"""On one child. The same as the SDKs' servers allow."""
MAX_URIS = 16384
"""Resources that all listens on one child want to know about. Ours: a runaway backstop."""
MAX_URI_BYTES = 2048
"""Longest address that can be listened to. Ours: it is kept as long as somebody listens."""
MAX_MISSED_BYTES = 1024 * 1024
"""Of what comes for a listen before it is acknowledged."""


@dataclass(slots=True)
class Listen:
    """One `subscriptions/listen`.

    Attributes:
        listen_id: Its id above.
        changes: The list changes that it gets.
        uris: The resources that it wants to know about, by their addresses.
        pending: Those for which the child has not said yet whether it will tell.
        since: When it was opened, on the loop's clock.
        is_acknowledged: Whether it was told what it gets. Nothing else is said before.
        missed: What came for it before that.
    """

    listen_id: int
    changes: list[str]
    uris: dict[str, Raw]
    pending: set[str]
    since: float
    is_acknowledged: bool = False
    missed: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Subscription:
    """One resource at the child.

    Attributes:
        raw_uri: Its address as it was written.
        listens: Who wants to know about it.
        is_on: Whether the child tells of it.
        request: The request that is to change that; the next one waits for its answer, as a server may run both at
            once.
    """

    raw_uri: Raw
    listens: dict[int, Listen]
    is_on: bool = False
    request: int | None = None


class BridgeListens:
    """All listens of one child.

    Args:
        port: Both ends of the bridge.
        clock: The loop's clock.
        wait_seconds: For the child's answer to a subscription, before a listen is acknowledged without it.
    """

    def __init__(self, *, port: Port, counts: Counts, clock: Callable[[], float], wait_seconds: float) -> None:
        self._port = port
        self._counts = counts
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._open: dict[int, Listen] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._addresses = Watched()  # of those
        self._offered: frozenset[str] = frozenset()
        self._can_subscribe = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def subscribed(self) -> int:
        """Resources that the child tells of, or is asked to."""
        return len(self._subscriptions)

    def begin(self, server: Server) -> None:
        """The child is ready."""
        self._offered = server.changes
        self._can_subscribe = server.offers("resources", "subscribe")

    # ---- from above

    def open(self, listen_id: int, params: Members) -> None:
        """Listen. The acknowledgement comes first, with what the child can tell of; if that is nothing, the end."""
        wanted = as_object(params.get("notifications"))
        uris = _uris_in(wanted.get("resourceSubscriptions")) if wanted is not None else None
        if wanted is None or uris is None:
            self._port.fail(listen_id, -32602, "Invalid params: notifications is not what can be listened to")
            return
        if not self._can_subscribe:
            uris = {}
        listened_to = sum(len(listen.uris) for listen in self._open.values())
        if len(self._open) >= MAX_LISTENS or listened_to + len(uris) > MAX_URIS:
            self._counts.add("refused.too_many_listens")
            self._port.fail(listen_id, -32603, "Subscription limit reached")
            return
        changes = [name for name in CHANGES.values() if name in self._offered and wanted.get(name) == Raw(b"true")]
        listen = Listen(listen_id, changes, uris, set(uris), self._clock())
        self._open[listen_id] = listen
        for uri in uris:
            self._subscribe(uri, listen)
        self._acknowledge_if_settled(listen)

    def close(self, listen_id: int) -> bool:
        """It listens no more, and wants no answer; False if there is no such listen."""
        listen = self._open.pop(listen_id, None)
        if listen is None:
            return False
        for uri in listen.uris:
            self._leave(uri, listen)
        return True

    # ---- from the child

    def told(self, notification: Notification) -> bool:
        """Say a change to all who listen to it; False if it is none."""
        if notification.method == "notifications/resources/updated":
            self._updated(notification)
        elif notification.method in CHANGES:
            change = CHANGES[notification.method]
            listens = [listen for listen in self._open.values() if change in listen.changes]
            self._tell(listens, notification, about=change)
        else:
            return False
        return True

    def check(self, now: float) -> None:
        """Acknowledge what the child has not answered in time: it may still tell of it."""
        for listen in list(self._open.values()):
            if not listen.is_acknowledged and now - listen.since >= self._wait_seconds:
                listen.pending.clear()
                self._acknowledge_if_settled(listen)

    # ---- inside

    def _updated(self, notification: Notification) -> None:
        params = as_object(notification.members.get("params")) or {}
        uri = text_at(params, "uri")
        listens: dict[int, Listen] = {}
        for watched in self._addresses.concerned_by(uri or ""):
            listens |= self._subscriptions[watched].listens
        self._tell(list(listens.values()), notification, about=uri or "")

    def _tell(self, listens: list[Listen], notification: Notification, *, about: str) -> None:
        if not listens:
            self._counts.add("dropped.change_nobody_listens_to")
        for listen in listens:
            line = for_listen(notification.members, listen.listen_id)
            if listen.is_acknowledged:
                self._port.up(line)
            elif sum(map(len, listen.missed.values())) + len(line) <= MAX_MISSED_BYTES:
                listen.missed[about] = line
            else:
                self._counts.add("dropped.change_before_acknowledgement")

    def _acknowledge_if_settled(self, listen: Listen) -> None:
        if listen.is_acknowledged or listen.pending:
            return
        listen.is_acknowledged = True
        honoured: dict[str, Any] = dict.fromkeys(listen.changes, True)
        if listen.uris:
            honoured["resourceSubscriptions"] = list(listen.uris.values())
        notice: dict[str, Any] = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged"}
        notice["params"] = Raw(encode({"notifications": honoured}))
        self._port.up(for_listen(notice, listen.listen_id))
        for line in listen.missed.values():
            self._port.up(line)
        listen.missed = {}
        if not honoured:
            self._end(listen)

    def _end(self, listen: Listen) -> None:
        """There is nothing that it could ever be told."""
        del self._open[listen.listen_id]
        meta = {SUBSCRIPTION_KEY: Raw(b"%d" % listen.listen_id)}
        result = {"resultType": COMPLETE, **meta_of({"_meta": Raw(encode(meta))}, self._port.info)}
        self._port.answer(listen.listen_id, {"result": Raw(encode(result))})

    def _subscribe(self, uri: str, listen: Listen) -> None:
        subscription = self._subscriptions.setdefault(uri, Subscription(listen.uris[uri], {}))
        self._addresses.add(uri)
        subscription.listens[listen.listen_id] = listen
        if subscription.is_on and subscription.request is None:
            listen.pending.discard(uri)
        self._adjust(uri, subscription)

    def _leave(self, uri: str, listen: Listen) -> None:
        subscription = self._subscriptions.get(uri)
        if subscription is not None and subscription.listens.pop(listen.listen_id, None) is not None:
            self._adjust(uri, subscription)

    def _adjust(self, uri: str, subscription: Subscription) -> None:
        """Let the child tell of a resource as long as somebody listens."""
        is_wanted = bool(subscription.listens)
        if subscription.request is not None:
            return  # see again when it is answered
        if is_wanted == subscription.is_on:
            if not is_wanted:
                del self._subscriptions[uri]
                self._addresses.discard(uri)
            return
        method = "resources/subscribe" if is_wanted else "resources/unsubscribe"
        subscription.request = self._port.request(
            method, {"uri": subscription.raw_uri}, lambda response: self._adjusted(uri, subscription, response)
        )

    def _adjusted(self, uri: str, subscription: Subscription, response: Response) -> None:
        was_on, subscription.request = subscription.is_on, None
        if was_on:
            subscription.is_on = False  # refused or not: nobody can do more about it
        elif not response.is_error:
            subscription.is_on = True
            for listen in list(subscription.listens.values()):
                listen.pending.discard(uri)
                self._acknowledge_if_settled(listen)
        else:
            self._refused(uri, subscription)
        self._adjust(uri, subscription)

    def _refused(self, uri: str, subscription: Subscription) -> None:
        """The child does not tell of this resource; those who listen to others as well go on."""
        listens, subscription.listens = subscription.listens, {}
        for listen in listens.values():
            listen.pending.discard(uri)
            if not listen.is_acknowledged:
                del listen.uris[uri]
            self._acknowledge_if_settled(listen)


def _uris_in(raw: Raw | None) -> dict[str, Raw] | None:
    """The addresses in a filter, each once; None if they are no addresses, or too many."""
    data = bytes(raw) if raw is not None else b"[]"
    if data == b"null":
        return {}
    if not data.startswith(b"["):
        return None
    found: dict[str, Raw] = {}
    for element in parse_array(data):
        uri = decode_text(element) if len(element) <= MAX_URI_BYTES else None
        if uri is None or len(found) >= MAX_URIS:
            return None
        found[uri] = Raw(element)
    return found

"""Who listens to what on one child?

Clients that ask for the same share one subscription of the child: the SDKs allow 1,024 in a process.

Spec: 2026-07-28 basic/patterns/subscriptions. The acknowledgement comes first, every message names the subscription
by the id of the request that opened it, and nothing is sent that was not asked for.
"""

from collections.abc import Callable
from typing import Any, TypeGuard

import msgspec
from msgspec import Raw

from proxy.errors import ProxyError, TooManyListens
from proxy.observe import Counts
from proxy.protocol.envelope import SUBSCRIPTION_KEY, ModernRequest
from proxy.protocol.framing import one_line
from proxy.protocol.ids import Id, decode_id
from proxy.protocol.jsontext import Members, encode, parse_members
from proxy.protocol.messages import Notification, Response, cancellation
from proxy.sessions.modern.sink import Sink

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


class Listen:
    """One client's subscription."""

    __slots__ = ("is_acknowledged", "raw_id", "shared", "sink")

    def __init__(self, raw_id: Raw, sink: Sink, shared: "_Shared") -> None:
        self.raw_id = raw_id
        self.sink = sink
        self.shared = shared
        self.is_acknowledged = False

    def tell(self, notification: Notification, params: Members, meta: Members) -> None:
        """Pass a notification on under the client's own id. Nothing goes before the acknowledgement."""
        if notification.method == ACKNOWLEDGED:
            self.is_acknowledged = True
        elif not self.is_acknowledged:
            return
        stamped: Members = {**meta, SUBSCRIPTION_KEY: self.raw_id}
        told: dict[str, Any] = {**notification.members, "params": {**params, "_meta": stamped}}
        self.sink.notified(one_line(encode(told)))


class _Shared:
    """One subscription at the child, and whose it is."""

    __slots__ = ("acknowledgement", "child_id", "key", "listens")

    def __init__(self, key: bytes, child_id: int) -> None:
        self.key = key
        self.child_id = child_id
        self.listens: dict[Listen, None] = {}
        self.acknowledgement: tuple[Notification, Members, Members] | None = None


class Listens:
    """The subscriptions on one child.

    Args:
        max_listens: Clients that may listen at once.
        counts: What was dropped and why.
        mint: Gives ids for requests to the child.
        send: Writes a line to the child.
    """

    def __init__(
        self, *, max_listens: int, counts: Counts, mint: Callable[[], int], send: Callable[[bytes], None]
    ) -> None:
        self._max_listens = max_listens
        self._counts = counts
        self._mint = mint
        self._send = send
        self._by_id: dict[int, _Shared] = {}
        self._by_key: dict[bytes, _Shared] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def shared_count(self) -> int:
        """Subscriptions that the child knows of."""
        return len(self._by_id)

    def open(self, request: ModernRequest, sink: Sink, instead: Raw | None = None) -> Listen:
        """Listen; the acknowledgement of a subscription that is shared already comes at once.

        Args:
            request: Of the client.
            sink: Gets what is told.
            instead: What the child is asked for, if not for the `notifications` of the request.

        Raises:
            TooManyListens: If `max_listens` clients listen.
        """
        if self._count >= self._max_listens:
            raise TooManyListens
        key = _key_of(instead if instead is not None else request.params.get("notifications", Raw(b"")))
        shared = self._by_key.get(key)
        is_new = shared is None
        if shared is None:
            shared = _Shared(key, self._mint())
            self._by_key[key] = self._by_id[shared.child_id] = shared
        listen = Listen(request.raw_id, sink, shared)
        shared.listens[listen] = None
        self._count += 1
        if is_new:
            changed = {} if instead is None else {"notifications": instead}
            self._send(request.encode(id=shared.child_id, **changed))
        elif shared.acknowledgement is not None:
            listen.tell(*shared.acknowledgement)
        return listen

    def close(self, listen: Listen) -> None:
        """The client listens no more. The last one takes the child's subscription with it."""
        shared = listen.shared
        if listen not in shared.listens:
            return  # it has ended before
        del shared.listens[listen]
        self._count -= 1
        if not shared.listens and self._forget(shared):
            self._send(cancellation(shared.child_id, reason="nobody listens any more"))

    def told(self, notification: Notification) -> bool:
        """Pass a notification of the child on to those who listen; False if it names no subscription at all."""
        params = _members(notification.members.get("params"))
        meta = _members(params.get("_meta"))
        if SUBSCRIPTION_KEY not in meta:
            return False
        shared = self._by_id.get(_as_int(decode_id(meta[SUBSCRIPTION_KEY])))
        if shared is None:
            self._counts.add("dropped.notification_of_no_listen")
            return True
        if notification.method == ACKNOWLEDGED:
            shared.acknowledgement = (notification, params, meta)
        elif shared.acknowledgement is None:
            self._counts.add("dropped.notification_before_acknowledgement")
            return True
        for listen in list(shared.listens):
            listen.tell(notification, params, meta)
        return True

    def answered(self, response: Response) -> bool:
        """The child ends a subscription with a result, or refuses it. False if the answer is to something else."""
        shared = self._by_id.get(response.id) if isinstance(response.id, int) else None
        if shared is None:
            return False
        self._forget(shared)
        for listen in self._taken_from(shared):
            listen.sink.answered(_stamped(response, listen.raw_id))
        return True

    def cancelled(self, child_id: Id | None) -> bool:
        """The child ends a subscription abruptly."""
        shared = self._by_id.get(_as_int(child_id))
        if shared is None:
            return False
        self._forget(shared)
        for listen in self._taken_from(shared):
            listen.sink.failed(ProxyError())
        return True

    def end_all(self, error: ProxyError) -> None:
        """The child is gone: every subscription breaks off, and its client opens another."""
        for shared in list(self._by_id.values()):
            self._forget(shared)
            for listen in self._taken_from(shared):
                listen.sink.failed(error)

    def complete_all(self) -> None:
        """Every subscription ends in peace. The child is told nothing; it will go soon."""
        for shared in list(self._by_id.values()):
            self._forget(shared)
            for listen in self._taken_from(shared):
                listen.sink.answered(completion(listen.raw_id))

    def _taken_from(self, shared: _Shared) -> list[Listen]:
        listens = list(shared.listens)
        shared.listens.clear()
        self._count -= len(listens)
        return listens

    def _forget(self, shared: _Shared) -> bool:
        if self._by_key.get(shared.key) is shared:
            del self._by_key[shared.key]
        return self._by_id.pop(shared.child_id, None) is not None


def completion(raw_id: Raw) -> Response:
    """The result with which a subscription ends in peace."""
    result = encode({"resultType": "complete", "_meta": {SUBSCRIPTION_KEY: raw_id}})
    return Response(None, {"jsonrpc": Raw(b'"2.0"'), "id": raw_id, "result": Raw(result)})


def _key_of(notifications: Raw) -> bytes:
    """The same for those that ask for the same."""
    raw = bytes(notifications)
    try:
        asked = msgspec.json.decode(raw)
        if isinstance(asked, dict):
            asked = {name: sorted(value) if _are_texts(value) else value for name, value in asked.items()}
        return msgspec.json.encode(asked, order="deterministic")
    except (msgspec.DecodeError, RecursionError):
        return raw


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _stamped(response: Response, raw_id: Raw) -> Response:
    """The result of a subscription names it, too."""
    result = response.members.get("result")
    if result is None or not bytes(result).startswith(b"{"):
        return response
    members = parse_members(bytes(result))
    meta = {**_members(members.get("_meta")), SUBSCRIPTION_KEY: raw_id}
    return Response(response.id, {**response.members, "result": Raw(encode({**members, "_meta": meta}))})


def _members(raw: Raw | None) -> Members:
    return parse_members(bytes(raw)) if raw is not None and bytes(raw).startswith(b"{") else {}


def _as_int(value: Id | None) -> int:
    return value if isinstance(value, int) else 0

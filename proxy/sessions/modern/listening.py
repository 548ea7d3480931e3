"""How does a session of the handshake era hear of changes at a server that has only `subscriptions/listen`?

One listen for the session: of every list that may change, and of every resource that the client has subscribed to. When
these change another is opened, and the one before ends once the new one is acknowledged: nothing is missed, and nothing
heard twice.

Spec: 2026-07-28 basic/patterns/subscriptions; 2025-11-25 server/resources, Subscriptions.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec import Raw

from proxy.errors import AnswerUnusable, ProxyError
from proxy.protocol.changes import acknowledged_resources
from proxy.protocol.ids import Id
from proxy.protocol.messages import Notification, Response, cancellation
from proxy.protocol.translate_to_legacy import LegacyClient, own_request
from proxy.sessions.backoff import Backoff

MAX_SUBSCRIPTIONS = 1024
"""Resources that one session may subscribe to. As many as the SDK servers have subscriptions."""

MAX_SUBSCRIBED_BYTES = 1024 * 1024
"""Their URIs in all: each change of them is a request with all of them in it."""


class Answers(Protocol):
    """Where the answers to the client's requests go."""

    def result(self, request_id: int, result: Any) -> None:
        """Answer one with a result."""

    def error(self, request_id: int, error: Raw) -> None:
        """Answer one with an error of the server."""

    def refusal(self, request_id: int, code: int, message: str) -> None:
        """Answer one with an error of ours."""

    def failure(self, request_id: int, error: ProxyError) -> None:
        """One can't be answered."""


@dataclass(slots=True)
class _Listen:
    """One `subscriptions/listen` at the child."""

    id: int
    kinds: tuple[str, ...]
    uris: frozenset[str]
    opened_at: float


@dataclass(slots=True)
class _Wish:
    """A resource that the client wants to hear of."""

    raw: Raw
    waiting: list[int] = field(default_factory=list)
    """The requests that are answered when the child has acknowledged it."""


class Listening:
    """What one session listens to, whatever becomes of its children.

    Args:
        send: Writes a line to the child.
        mint: Gives an id for a request to it.
        answers: Where the client's requests are answered.
        on_gap: Told, by kinds and URIs, what may have changed while nobody listened.
        clock: The loop's clock.
    """

    def __init__(
        self,
        *,
        send: Callable[[bytes], None],
        mint: Callable[[], int],
        answers: Answers,
        on_gap: Callable[[tuple[str, ...], Iterable[Raw]], None],
        clock: Callable[[], float],
    ) -> None:
        self._send = send
        self._mint = mint
        self._answers = answers
        self._on_gap = on_gap
        self._clock = clock
        self._client: LegacyClient | None = None  # while there is a child
        self._is_started = False
        self._kinds: tuple[str, ...] = ()
        self._wishes: dict[str, _Wish] = {}
        self._wished_bytes = 0
        self._current: _Listen | None = None
        self._opening: _Listen | None = None
        self._has_gap = False
        self._backoff = Backoff(clock)
        self._retry_at: float | None = None

    # ---- the client

    def start(self) -> None:
        """The client is ready to be told of lists that change."""
        self._is_started = True
        self._update()

    def subscribe(self, request_id: int, uri: str, raw_uri: Raw) -> None:
        """Hear of a resource; the request is answered once the child has acknowledged that."""
        wish = self._wishes.get(uri)
        if wish is not None and not wish.waiting:
            self._answers.result(request_id, {})
            return
        if wish is None:
            size = len(bytes(raw_uri))
            if len(self._wishes) >= MAX_SUBSCRIPTIONS or self._wished_bytes + size > MAX_SUBSCRIBED_BYTES:
                self._answers.refusal(request_id, -32603, "Too many subscriptions in this session")
                return
            wish = self._wishes[uri] = _Wish(raw_uri)
            self._wished_bytes += size
        wish.waiting.append(request_id)
        self._update()

    def unsubscribe(self, request_id: int, uri: str) -> None:
        """Hear of a resource no longer. One that nobody has subscribed to is no fault."""
        for waiting in self._forget(uri):
            self._answers.result(waiting, {})
        self._answers.result(request_id, {})
        self._update()

    def cancelled(self, request_id: int) -> bool:
        """A request to subscribe is cancelled. False if none with this id waits."""
        for uri, wish in self._wishes.items():
            if request_id in wish.waiting:
                wish.waiting.remove(request_id)
                if not wish.waiting:
                    self._forget(uri)
                    self._update()
                return True
        return False

    # ---- the child

    def ready(self, client: LegacyClient, kinds: tuple[str, ...]) -> None:
        """There is a child, which tells of these lists."""
        self._client, self._kinds = client, kinds
        self._update()

    def lost(self, error: ProxyError) -> None:
        """The child is gone. What waited for it fails; everything else is wanted of the next one, too."""
        self._has_gap = self._has_gap or self._current is not None
        self._client = self._current = self._opening = self._retry_at = None
        for uri in [uri for uri, wish in self._wishes.items() if wish.waiting]:
            for request_id in self._forget(uri):
                self._answers.failure(request_id, error)

    def carries(self, subscription: Id | None) -> bool:
        """Whether what belongs to this subscription is for the client."""
        return self._current is not None and subscription == self._current.id

    def owns(self, request_id: Id | None) -> bool:
        """Whether this is the id of a listen that is open at the child."""
        return any(each is not None and each.id == request_id for each in (self._current, self._opening))

    def acknowledged(self, subscription: Id | None, notification: Notification) -> None:
        """The child has opened a listen; what it does not honour is not subscribed to."""
        opened = self._opening
        if opened is None or opened.id != subscription:
            return
        if self._current is not None:
            self._send(cancellation(self._current.id, reason="Replaced by another subscription"))
        honoured = acknowledged_resources(notification)
        if honoured is None:
            honoured = opened.uris
        for uri in [uri for uri in self._wishes if uri in opened.uris]:
            self._settle(uri, is_honoured=uri in honoured)
        opened.uris &= honoured
        self._current, self._opening = opened, None
        if self._has_gap:
            self._has_gap = False
            self._on_gap(opened.kinds, [wish.raw for uri, wish in self._wishes.items() if uri in opened.uris])
        self._update()

    def ended(self, request_id: Id | None, response: Response | None) -> None:
        """The child has ended a listen, or never opened it.

        Args:
            request_id: Of the listen.
            response: With which it was ended, if with one.
        """
        if self._opening is not None and self._opening.id == request_id:
            opened, self._opening = self._opening, None
            self._refused(opened, response.members.get("error") if response is not None else None)
        elif self._current is not None and self._current.id == request_id:
            lived = self._clock() - self._current.opened_at
            self._current, self._has_gap = None, True
            self._retry_later(lived)

    def check(self, now: float) -> None:
        """Listen again where the child has ended it."""
        if self._retry_at is not None and now >= self._retry_at:
            self._update()

    # ---- inside

    def _update(self) -> None:
        """Open what is wanted now, unless another one is just being opened."""
        client, current = self._client, self._current
        if client is None or self._opening is not None:
            return
        self._retry_at = None
        kinds, uris = self._kinds if self._is_started else (), frozenset(self._wishes)
        if current is not None and (current.kinds, current.uris) == (kinds, uris):
            return
        if kinds or uris:
            self._open(client, kinds, uris)
        elif current is not None:
            self._send(cancellation(current.id, reason="Nothing is subscribed to any more"))
            self._current = None

    def _open(self, client: LegacyClient, kinds: tuple[str, ...], uris: frozenset[str]) -> None:
        wanted: dict[str, Any] = dict.fromkeys(kinds, True)
        if uris:
            wanted["resourceSubscriptions"] = [self._wishes[uri].raw for uri in self._wishes if uri in uris]
        self._opening = _Listen(self._mint(), kinds, uris, self._clock())
        request = own_request("subscriptions/listen", client, notifications=wanted)
        self._send(request.encode(id=self._opening.id))

    def _settle(self, uri: str, *, is_honoured: bool) -> None:
        wish = self._wishes[uri]
        waiting, wish.waiting = wish.waiting, []
        if not is_honoured:
            self._forget(uri)
        for request_id in waiting:
            if is_honoured:
                self._answers.result(request_id, {})
            else:
                self._answers.refusal(request_id, -32602, "The server does not report changes of this resource")

    def _refused(self, opened: _Listen, error: Raw | None) -> None:
        """A listen was not opened: those who asked for something new in it are told, and it is tried without that."""
        new = [uri for uri, wish in self._wishes.items() if uri in opened.uris and wish.waiting]
        for uri in new:
            for request_id in self._forget(uri):
                if error is None:
                    self._answers.failure(request_id, AnswerUnusable("The server has ended the subscription"))
                else:
                    self._answers.error(request_id, error)
        if new:
            self._update()
        else:
            self._retry_later(0.0)

    def _retry_later(self, lived_seconds: float) -> None:
        self._backoff.failed(lived_seconds)
        self._retry_at = self._clock() + self._backoff.wait_seconds

    def _forget(self, uri: str) -> list[int]:
        """Want it no longer; returns the requests that waited for it."""
        wish = self._wishes.pop(uri, None)
        if wish is None:
            return []
        self._wished_bytes -= len(bytes(wish.raw))
        return wish.waiting

"""Which requests wait for input of their clients, and may this one go on?

The `requestState` of a child is kept here and its client gets a random one in its place: so it is bound to the client,
the request, the process that asked and a time, and it is good for one retry. A process that ended takes its states
with it, as nobody else could read them.

Spec: 2026-07-28 basic/patterns/mrtr, Security: the state is to be treated as hostile and should be bound to principal,
request and expiry.
"""

import secrets
from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Raw

from proxy.errors import StateRefused, TooManyContinuations
from proxy.observe import Counts
from proxy.protocol.answers import check_answers, digest_of
from proxy.protocol.envelope import ModernRequest

Child = TypeVar("Child")


class Continuation(Generic[Child]):
    """One request that was answered with `input_required`.

    Attributes:
        state: What its client sends back; a secret.
        principal: Whose it is.
        digest: Of the request.
        asked: Key -> method of its questions.
        inner: The state that the child gave, as the bytes it was; None if it gave none.
        child: Where the retry must go.
        expires_at: On the loop's clock.
    """

    __slots__ = ("asked", "child", "digest", "expires_at", "inner", "principal", "state")

    def __init__(
        self,
        *,
        principal: str,
        digest: bytes,
        asked: dict[str, str],
        inner: Raw | None,
        child: Child,
        expires_at: float,
    ) -> None:
        self.state = secrets.token_urlsafe(32)
        self.principal = principal
        self.digest = digest
        self.asked = asked
        self.inner = inner
        self.child = child
        self.expires_at = expires_at


class Continuations(Generic[Child]):
    """All of one server. Bounded in number and time.

    Args:
        max_continuations: How many may be open.
        timeout_seconds: How long a client has for its retry.
        counts: What was refused and why.
        clock: The loop's clock.
        on_abandoned: Told of each that will never be retried.
    """

    def __init__(
        self,
        *,
        max_continuations: int,
        timeout_seconds: float,
        counts: Counts,
        clock: Callable[[], float],
        on_abandoned: Callable[[Continuation[Child]], None],
    ) -> None:
        self._max = max_continuations
        self._timeout_seconds = timeout_seconds
        self._counts = counts
        self._clock = clock
        self._on_abandoned = on_abandoned
        self._open: dict[str, Continuation[Child]] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._open)

    def add(
        self, request: ModernRequest, *, principal: str, asked: dict[str, str], inner: Raw | None, child: Child
    ) -> Continuation[Child]:
        """Keep a request that waits for input.

        Raises:
            TooManyContinuations: If `max_continuations` wait.
        """
        if len(self._open) >= self._max:
            self._counts.add("refused.too_many_continuations")
            raise TooManyContinuations
        continuation = Continuation(
            principal=principal,
            digest=digest_of(request),
            asked=asked,
            inner=inner,
            child=child,
            expires_at=self._clock() + self._timeout_seconds,
        )
        self._open[continuation.state] = continuation
        return continuation

    def take(self, request: ModernRequest, *, principal: str) -> Continuation[Child]:
        """The one that this retry goes on with; it is used up. The answers have been looked at.

        Raises:
            StateRefused: If there is none, or it is another's, another request's, too old or used up.
            AnswersMalformed: If the answers can't be; it stays usable.
        """
        state = request.text("requestState")
        continuation = self._open.get(state) if state is not None else None
        if (
            continuation is None
            or continuation.principal != principal
            or continuation.expires_at <= self._clock()
            or not secrets.compare_digest(continuation.digest, digest_of(request))
        ):
            self._counts.add("refused.request_state")
            raise StateRefused
        check_answers(continuation.asked, request.params.get("inputResponses"))
        del self._open[continuation.state]
        return continuation

    def put_back(self, continuation: Continuation[Child]) -> None:
        """Its retry did not reach the child, or was refused by it: it may be tried again."""
        self._open[continuation.state] = continuation

    def expire(self, now: float) -> None:
        """Give up those whose time is over."""
        for continuation in [each for each in self._open.values() if each.expires_at <= now]:
            del self._open[continuation.state]
            self._counts.add("expired.continuation")
            self._on_abandoned(continuation)

    def drop(self, child: Child) -> None:
        """The child is gone, and with it whatever could go on there."""
        for continuation in [each for each in self._open.values() if each.child is child]:
            del self._open[continuation.state]

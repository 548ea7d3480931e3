"""What is one request of a modern client, from the moment it is read to its answer?"""

import logging
from collections.abc import Callable
from typing import NamedTuple

from msgspec import Raw

from proxy.errors import AnswerUnusable, ClientFault, ProxyError
from proxy.protocol.answers import digest_of
from proxy.protocol.envelope import RETRIED_METHODS, ModernRequest
from proxy.protocol.messages import Response
from proxy.sessions.modern.child import SharedChild
from proxy.sessions.modern.continuations import Continuation
from proxy.sessions.modern.listens import Listen
from proxy.sessions.modern.mux import MuxCall
from proxy.sessions.modern.opening import code_of
from proxy.sessions.modern.tasks import Task
from proxy.sessions.stream import Failure, Stream

logger = logging.getLogger(__name__)

KEPT_BYTES = 64 * 1024
"""Of a larger request only what its answer needs is kept: many may be open at once."""


class Principal(NamedTuple):
    """Whose request it is.

    Attributes:
        name: What continuations and tasks are bound to.
        group: Clients of one group share children; None for one that shares with nobody.
    """

    name: str
    group: str | None


class ModernCall:
    """The sink of one request: what is said about it goes to its HTTP response.

    Attributes:
        request: As its client sent it.
        principal: Whose it is.
        stream: The messages of the response.
        code: Of the error that the child answered with; None otherwise.
        continuation: What it goes on with, if it is a retry.
        task: What it asks for, if that is a task.
    """

    def __init__(
        self,
        request: ModernRequest,
        principal: Principal,
        stream: Stream,
        *,
        finish: "Callable[[ModernCall, Response], Response]",
        on_cut: Callable[[], None],
    ) -> None:
        self.request = request
        self.principal = principal
        self.stream = stream
        self.code: int | None = None
        self.continuation: Continuation[SharedChild] | None = None
        self.task: Task[SharedChild] | None = None
        self.on_ended: Callable[[], None] = _nothing
        """Called once when nothing more will come from the child."""
        self._finish = finish
        self._on_cut = on_cut
        self._child: SharedChild | None = None
        self._mux_call: MuxCall | None = None
        self._has_place = False
        self._is_over = False
        self._listen: Listen | None = None

    def begin(self, child: SharedChild, changed: dict[str, Raw | None]) -> None:
        """Send it to the child. The place that was taken there is given back when it has ended."""
        self._child = child
        self._has_place = True
        request = self.request
        if request.request.size_bytes > KEPT_BYTES:
            self.request = request.slim(digest_of(request) if request.method in RETRIED_METHODS else b"")
        call = child.mux.begin(request, self, changed)
        if not self._is_over:  # a translator may answer at once
            self._mux_call = call
            call.request = self.request

    def listen(self, child: SharedChild, instead: Raw | None) -> None:
        """Open a subscription. Raises as `Listens.open`."""
        self._child = child
        self._listen = child.mux.listen(self.request, self, instead)

    @property
    def child(self) -> SharedChild:
        """Where it was sent."""
        assert self._child is not None  # begun
        return self._child

    def cut(self) -> None:
        """Its client does not read: the response ends, and with it the request."""
        self.stream.was_cut = True
        self._on_cut()
        self.abandon()

    def abandon(self) -> None:
        """Its client is gone, which in this era means that it is cancelled.

        Spec: 2026-07-28 basic/patterns/cancellation: closing the response stream MUST be treated as cancellation.
        """
        child, stream = self._child, self.stream
        if stream.has_ended:
            return
        stream.disconnect()
        stream.end()
        if child is None:
            return
        if self._listen is not None:
            child.mux.unlisten(self._listen)
        elif self._mux_call is not None:
            child.mux.cancel(self._mux_call, "the client has closed the connection")
            self._end()

    # ---- sink

    def notified(self, line: bytes) -> None:
        """Pass it on."""
        self.stream.put(line)

    def answered(self, response: Response) -> None:
        """Pass the answer on, under the client's id."""
        try:
            response = self._finish(self, response)
        except Exception as exc:
            if not isinstance(exc, ProxyError):
                logger.exception("answer not handled")
            self.failed(_told_of(exc))
            return
        self.code = code_of(response) if response.is_error else None
        self.stream.put_answer(response.encode(raw_id=self.request.raw_id))
        self._end()

    def failed(self, error: ProxyError) -> None:
        """There will be no answer. A subscription just ends: its client subscribes again."""
        if self._listen is not None and self.stream.places:
            self.stream.end()
        else:
            self.stream.put_answer(Failure(self.request.raw_id, error))
        self._end()

    def _end(self) -> None:
        self._is_over = True
        self._mux_call = None
        if self._has_place and self._child is not None:
            self._has_place = False
            self._child.give_place_back()
        on_ended, self.on_ended = self.on_ended, _nothing
        on_ended()


def _told_of(exc: Exception) -> ProxyError:
    """What a client is told of an answer that could not be passed on: nothing of it is its own fault."""
    if isinstance(exc, ClientFault):
        return AnswerUnusable()
    return exc if isinstance(exc, ProxyError) else ProxyError()


def _nothing() -> None:
    return None

"""When is the child given what a client has sent for it?

A call waits for a place among those in flight, and everything waits while the child reads nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import anyio

from proxy.errors import ChildNotReading, ProxyError, ToolUnknown, TooManyCalls
from proxy.observe import Counts
from proxy.protocol.messages import Message, Notification, Request, Response
from proxy.sessions.exchange import Exchange
from proxy.sessions.limits import SessionLimits
from proxy.sessions.path import ChildPath
from proxy.sessions.stream import Failure, Stream


class CallPlaces(Protocol):
    """The places for calls in flight at the child; `anyio.Semaphore` is one."""

    @property
    def value(self) -> int:
        """How many are free; 0 if a call has to wait."""

    def acquire_nowait(self) -> None:
        """Take one.

        Raises:
            anyio.WouldBlock: If there is none.
        """

    async def acquire(self) -> None:
        """Take one. Waits until there is one."""

    def release(self) -> None:
        """Give one back."""


class Intake:
    """What one session's client has sent, until the child can be given it.

    Args:
        exchange: The messages in both directions.
        path: How they reach the child.
        limits: How much may wait, and for how long.
        counts: What an operator may see.
        places: For calls in flight.
        refusal: Why the child is given nothing more; None while it is.
    """

    def __init__(
        self,
        *,
        exchange: Exchange,
        path: ChildPath,
        limits: SessionLimits,
        counts: Counts,
        places: CallPlaces,
        refusal: Callable[[], ProxyError | None],
    ) -> None:
        self._exchange = exchange
        self._path = path
        self._limits = limits
        self._counts = counts
        self._places = places
        self._refusal = refusal
        self._waiting_bytes = 0  # of messages that can't be given to the child yet

    @property
    def has_place(self) -> bool:
        """Whether a request would be sent to the child at once."""
        return self._places.value > 0 and self._is_reading and self._path.is_ready

    @property
    def _is_reading(self) -> bool:
        return self._exchange.link.pending_bytes <= self._limits.stream_backlog_bytes

    async def begin(self, requests: list[Request], stream: Stream) -> None:
        """Send requests to the child, as soon as there is a place for each.

        Waits while `max_calls_per_child` are in flight or the child's stdin is far behind. A call of a tool that is not
        there for its client is answered at once.

        Raises:
            DuplicateId: If an id is in flight in this session.
            CallCancelled: If the client cancelled one that waited.
            TooManyCalls: If no place became free within `place_timeout_seconds`, or too much waits for one already.
            ChildRestarting: If within the same time there was no child in the place of one that died.
            ChildNotReading: If the child did not read its stdin.
            ProxyError: If the session ended meanwhile.
        """
        exchange = self._exchange
        exchange.check_new_ids(requests)
        for request in requests:
            unknown = exchange.tools.refusal(request) if exchange.tools is not None else None
            if unknown is not None:
                self._counts.add("refused.tool")
                stream.put_answer(Failure(request.raw_id, ToolUnknown(unknown)))
                continue
            if not self._take_place_at_once(request):
                await self._wait_for_place(request)
            try:
                refusal = self._refusal()
                if refusal is not None:
                    raise refusal
                exchange.check_new_ids([request])  # again: others went on while this one waited
            except ProxyError:
                self._places.release()
                raise
            exchange.begin(request, stream)

    def _take_place_at_once(self, request: Request) -> bool:
        if not self._is_taken_now(request):
            return False
        try:
            self._places.acquire_nowait()
        except anyio.WouldBlock:
            return False
        return True

    def _is_taken_now(self, request: Request) -> bool:
        """Whether there is a child for it, which reads."""
        return self._is_reading and self._path.is_ready_for(request.method)

    async def _wait_for_place(self, request: Request) -> None:
        """Returns with a place, which the caller gives back."""
        has_place = False
        try:
            with self._waiting(request), self._exchange.queued(request):
                with anyio.move_on_after(self._limits.place_timeout_seconds):
                    await self._places.acquire()
                    has_place = True
                if not has_place:
                    raise TooManyCalls
                while self._refusal() is None and not self._is_taken_now(
                    request
                ):  # again: one may die during either wait
                    await self._path.ready_for(request.method, timeout_seconds=self._limits.place_timeout_seconds)
                    await self._stdin_taken()
        except BaseException:
            if has_place:
                self._places.release()
            raise

    async def wait_to_tell(self, message: Notification | Response) -> None:
        """Wait while more than `stream_backlog_bytes` wait for the child to read them.

        Raises:
            TooManyCalls: If too much waits so already.
            ChildNotReading: If the child has not read them within `stdin_stall_timeout_seconds`.
        """
        if not self._is_reading:
            with self._waiting(message):
                await self._stdin_taken()

    @contextmanager
    def _waiting(self, message: Message) -> Iterator[None]:
        """Bounds what waits at one time, beside what the child's pipe has been given: one message may always."""
        size = message.size_bytes
        if self._waiting_bytes and self._waiting_bytes + size > self._limits.stream_backlog_bytes:
            raise TooManyCalls
        self._waiting_bytes += size
        try:
            yield
        finally:
            self._waiting_bytes -= size

    async def _stdin_taken(self) -> None:
        link, limit = self._exchange.link, self._limits.stream_backlog_bytes
        if link.pending_bytes <= limit:
            return
        with anyio.move_on_after(self._limits.stdin_stall_timeout_seconds):
            while link.pending_bytes > limit:  # again after each wait: all that waited are woken at once
                await link.sent()
            return
        raise ChildNotReading

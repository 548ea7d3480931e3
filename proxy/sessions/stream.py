"""How does a message reach one HTTP response?

A stream is the only queue between a child and a client. It is filled on the event loop by what the child writes and
emptied by the one coroutine that answers the HTTP request.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import Raw

from proxy.errors import ProxyError


@dataclass(frozen=True, slots=True)
class Failure:
    """Stands where the answer to a call would be."""

    raw_id: Raw
    error: ProxyError


@dataclass(frozen=True, slots=True)
class Ask:
    """A request of the child, under the id by which the client will answer it."""

    ask_id: int
    message: bytes


Item = bytes | Failure | Ask
"""What a stream carries: a message as it goes out, a request of the child, or the failure of a call."""


SEEN_ELSEWHERE: Item = b""
"""Holds the place of a message that has gone to another stream; never sent."""


def size_of(item: Item) -> int:
    """What an item takes, nearly."""
    if isinstance(item, bytes):
        return len(item)
    return len(item.message) if isinstance(item, Ask) else 256


class Stream:
    """The messages of one HTTP response, waiting to be sent.

    It outlives the response once it is numbered: what is put while no client is connected is only recorded, and a
    client that comes back gets it on another response.

    Args:
        backlog_bytes: What may wait behind the message that is being written.
        on_full: Called when more than that waits; its owner stops the child or ends the stream.
        on_emptied: Called when everything that waited was taken.
        on_record: Called with messages of a numbered stream that were sent, or that nobody was there to be sent, and
            the place of the first.
        call_ids: The ids of the calls whose answers belong here; the last answer ends the stream.
    """

    __slots__ = (
        "_backlog_bytes",
        "_on_emptied",
        "_on_full",
        "_on_record",
        "_places",
        "_recorded",
        "_waiter",
        "call_ids",
        "connection",
        "ended_at",
        "has_ended",
        "is_live",
        "items",
        "number",
        "open_calls",
        "pieces_taken",
        "size_bytes",
        "was_cut",
    )

    def __init__(
        self,
        *,
        backlog_bytes: int,
        on_full: "Callable[[Stream], None]",
        on_emptied: "Callable[[Stream], None]",
        on_record: "Callable[[Stream, int, list[Item]], None]",
        call_ids: tuple[Raw, ...] = (),
    ) -> None:
        self.items: list[Item] = []
        self.size_bytes = 0
        self.number = 0
        """Names the stream in event ids; 0 until the response has begun as a stream."""
        self.connection = 0
        """Counts the responses that carried the stream. One that sees another number than its own has been replaced."""
        self.is_live = True
        """Whether a client is known, or believed, to be connected."""
        self.has_ended = False
        """Whether nothing more will be put."""
        self.ended_at = 0.0
        """When, as far as its owner has noticed."""
        self.pieces_taken = 0
        """Grows with every piece of a message that the client has taken: one that is slow, but reads."""
        self.was_cut = False
        """Whether we ended the response because its client did not read."""
        self.call_ids = call_ids
        self.open_calls = len(call_ids)
        """Calls without an answer."""
        self._places = 0  # given so far
        self._recorded = 0  # the last of them that is kept
        self._backlog_bytes = backlog_bytes
        self._on_full = on_full
        self._on_emptied = on_emptied
        self._on_record = on_record
        self._waiter: asyncio.Future[None] | None = None

    @property
    def places(self) -> int:
        """How many messages have been put, those from before it was numbered included."""
        return self._places

    def put(self, item: Item) -> None:
        """Add a message. Dropped if the stream has ended, or if the client is gone and can't come back."""
        self._add(item)
        # One message alone is never too much: the limit is for what waits behind it.
        if self.size_bytes > self._backlog_bytes and len(self.items) > 1:
            self._on_full(self)

    def put_answer(self, item: Item) -> None:
        """Add the answer to one of its calls; the last one ends the stream."""
        self.open_calls -= 1
        self._add(item)  # whatever its size: it is what the client came for, and nothing more will come
        if self.open_calls == 0:
            self.end()

    def end(self) -> None:
        """Nothing follows. What waits is still sent."""
        self.has_ended = True
        self.wake()

    def begin(self, number: int) -> None:
        """The response begins as a stream: from here on every message has an event id."""
        self.number = number

    def disconnect(self) -> list[Ask]:
        """The client is gone: nothing waits any more. Returns the child's requests that did, which nobody has seen."""
        self.is_live = False
        unseen = [item for item in self.items if isinstance(item, Ask)]
        # A question that nobody has seen goes to another stream, and to that alone.
        first = self._places - len(self.items) + 1
        self._record(first, [SEEN_ELSEWHERE if isinstance(item, Ask) else item for item in self.items])
        self._clear()
        self.wake()
        return unseen

    def reconnect(self, items: list[Item]) -> None:
        """The client is back, and has missed these."""
        self._clear()
        self.items = items
        self.size_bytes = sum(map(size_of, items))
        self.is_live = True
        self.was_cut = False
        self.connection += 1
        self.wake()

    def take(self, max_bytes: int | None = None) -> tuple[int, list[Item]]:
        """The place of the first message that waits, and those that wait, oldest first; the caller sends them.

        Args:
            max_bytes: Stop when so much is taken; one message is taken whatever its size. None takes all.
        """
        items = self.items
        first = self._places - len(items) + 1
        if max_bytes is None or self.size_bytes <= max_bytes:
            self._record(first, items)
            self._clear()
            return first, items
        count, size = 0, 0
        while size < max_bytes and count < len(items):
            size += size_of(items[count])
            count += 1
        taken, self.items = items[:count], items[count:]
        self.size_bytes -= size
        self._record(first, taken)
        if not self.items:
            self._clear()
        return first, taken

    def wake(self) -> None:
        """Let `wait` return."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until something waits to be sent, the stream ends, the client is gone, or `wake` is called.

        One waiter at a time: the coroutine that answers the HTTP request.
        """
        if self.items or self.has_ended or not self.is_live:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        try:
            await waiter
        finally:
            if self._waiter is waiter:
                self._waiter = None

    def _add(self, item: Item) -> None:
        if self.has_ended:
            return
        self._places += 1
        if not self.is_live:
            self._record(self._places, [item])
            return
        self.items.append(item)
        self.size_bytes += size_of(item)
        self.wake()

    def _record(self, first: int, items: list[Item]) -> None:
        """Keep messages, from place `first` on, for a client that comes back; those that are kept already, once."""
        skip = max(0, self._recorded + 1 - first)
        if self.number and len(items) > skip:
            self._on_record(self, first + skip, items[skip:])
            self._recorded = first + len(items) - 1

    def _clear(self) -> None:
        self.items = []
        self.size_bytes = 0
        self._on_emptied(self)

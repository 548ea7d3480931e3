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


class Stream:
    """The messages of one HTTP response, waiting to be sent.

    Args:
        backlog_bytes: What may wait behind the message that is being written.
        on_full: Called when more than that waits; its owner stops the child or ends the stream.
        on_emptied: Called when everything that waited was taken.
    """

    __slots__ = (
        "_backlog_bytes",
        "_on_emptied",
        "_on_full",
        "_waiter",
        "has_ended",
        "is_live",
        "items",
        "open_calls",
        "size_bytes",
        "was_cut",
    )

    def __init__(
        self,
        *,
        backlog_bytes: int,
        on_full: "Callable[[Stream], None]",
        on_emptied: "Callable[[Stream], None]",
        open_calls: int = 0,
    ) -> None:
        self.items: list[Item] = []
        self.size_bytes = 0
        self.is_live = True
        """Whether a client is known, or believed, to be connected."""
        self.has_ended = False
        """Whether nothing more will be put."""
        self.was_cut = False
        """Whether we ended it because its client did not read."""
        self.open_calls = open_calls
        """Calls whose answers belong here; the last one ends the stream."""
        self._backlog_bytes = backlog_bytes
        self._on_full = on_full
        self._on_emptied = on_emptied
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Item) -> None:
        """Add a message. Dropped if the client is gone or the stream has ended."""
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

    def disconnect(self) -> list[Ask]:
        """The client is gone: drop what waits. Returns the child's requests among it, which nobody has seen."""
        self.is_live = False
        unseen = [item for item in self.items if isinstance(item, Ask)]
        self._clear()
        self.wake()
        return unseen

    def take(self) -> list[Item]:
        """Everything that waits, oldest first; the caller sends it."""
        items = self.items
        self._clear()
        return items

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
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _add(self, item: Item) -> None:
        if self.has_ended or not self.is_live:
            return
        self.items.append(item)
        if isinstance(item, bytes):
            self.size_bytes += len(item)
        elif isinstance(item, Ask):
            self.size_bytes += len(item.message)
        self.wake()

    def _clear(self) -> None:
        self.items = []
        if self.size_bytes:
            self.size_bytes = 0
            self._on_emptied(self)

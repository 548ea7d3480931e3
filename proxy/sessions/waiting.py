"""What did the child say while nobody listened?"""

from collections.abc import Callable
from typing import NamedTuple

from proxy.sessions.stream import Ask


class Waiting(NamedTuple):
    """One message without a stream."""

    item: bytes | Ask
    related: bool
    size_bytes: int


class WaitingRoom:
    """Messages that wait for the next stream, oldest first. Bounded: the oldest make room.

    Args:
        max_messages: How many may wait.
        max_bytes: How much they may be in all.
        on_dropped: Called with each that had to go.
    """

    def __init__(self, *, max_messages: int, max_bytes: int, on_dropped: Callable[[bytes | Ask], None]) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._on_dropped = on_dropped
        self._entries: list[Waiting] = []
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, item: bytes | Ask, *, related: bool) -> None:
        """Let it wait; the oldest ones go if there is no room."""
        size = len(item.message) if isinstance(item, Ask) else len(item)
        self._entries.append(Waiting(item, related, size))
        self._size_bytes += size
        while self._entries and (len(self._entries) > self._max_messages or self._size_bytes > self._max_bytes):
            oldest = self._entries.pop(0)
            self._size_bytes -= oldest.size_bytes
            self._on_dropped(oldest.item)

    def remove_ask(self, ask_id: int) -> bool:
        """Take a request of the child back. False if it does not wait here."""
        for index, entry in enumerate(self._entries):
            if isinstance(entry.item, Ask) and entry.item.ask_id == ask_id:
                del self._entries[index]
                self._size_bytes -= entry.size_bytes
                return True
        return False

    def offer(self, accept: Callable[[Waiting], bool]) -> None:
        """Offer each to a stream, oldest first; those that `accept` takes are gone from here."""
        entries, self._entries, self._size_bytes = self._entries, [], 0
        for entry in entries:
            if not accept(entry):
                self._entries.append(entry)
                self._size_bytes += entry.size_bytes

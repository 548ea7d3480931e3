"""Which events come after `Last-Event-ID`?

An event id names the stream and the place on it: `3-17` is the seventeenth event of the session's third stream. Place 0
is the priming event.

Spec: 2025-11-25 basic/transports, Resumability and Redelivery: ids are unique in the session and should name their
stream; what another stream carried MUST NOT be replayed.
"""

import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")

_EVENT_ID = re.compile(r"([1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})")


def event_id(stream: int, place: int) -> bytes:
    """The id of an event, as it is written."""
    return b"%d-%d" % (stream, place)


def parse_event_id(text: str) -> tuple[int, int] | None:
    """The stream and the place that an id names; None if it is none of ours."""
    match = _EVENT_ID.fullmatch(text.strip())
    return (int(match[1]), int(match[2])) if match else None


def place_of(text: str) -> int:
    """The place that an id of ours names; 0 for others."""
    parsed = parse_event_id(text)
    return parsed[1] if parsed else 0


class Replay(Generic[Item]):
    """What was put on the streams of one session and may have to be sent again. Bounded: the oldest make room.

    The newest event stays whatever its size: it may be the answer that a client comes back for.

    Args:
        max_events: How many are kept.
        max_bytes: How much they are in all.
        max_age_seconds: For how long.
        size_of: What an item takes.
    """

    def __init__(
        self, *, max_events: int, max_bytes: int, max_age_seconds: float, size_of: Callable[[Item], int]
    ) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._max_age_seconds = max_age_seconds
        self._size_of = size_of
        self._events: deque[tuple[int, int, Item, int, float]] = deque()  # stream, place, item, size, since when
        self._size_bytes = 0
        self._evicted: dict[int, int] = {}  # the last place of each stream that is kept no more

    def __len__(self) -> int:
        return len(self._events)

    @property
    def size_bytes(self) -> int:
        """What is kept, in all."""
        return self._size_bytes

    def add(self, stream: int, first: int, items: Sequence[Item], now: float) -> int:
        """Keep the events of a stream from place `first` on. Returns how many had to go, of these or older ones."""
        evicted = skipped = max(0, len(items) - self._max_events)
        if skipped:  # a flood: what would go at once is not even looked at
            self._evicted[stream] = first + skipped - 1
        events, size_of = self._events, self._size_of
        for place, item in enumerate(items[skipped:], start=first + skipped):
            size = size_of(item)
            events.append((stream, place, item, size, now))
            self._size_bytes += size
        while len(events) > 1 and (len(events) > self._max_events or self._size_bytes > self._max_bytes):
            self._evict()
            evicted += 1
        return evicted

    def after(self, stream: int, place: int) -> list[Item]:
        """What is kept of a stream behind a place, oldest first."""
        return [item for owner, at, item, _, _ in self._events if owner == stream and at > place]

    def has_gap(self, stream: int, place: int) -> bool:
        """Whether something behind this place is kept no more."""
        return self._evicted.get(stream, 0) > place

    def forget(self, stream: int) -> None:
        """Forget a stream and all that is kept of it."""
        self._events = deque(event for event in self._events if event[0] != stream)
        self._size_bytes = sum(event[3] for event in self._events)
        self._evicted.pop(stream, None)

    def expire(self, now: float) -> int:
        """Let go of what is too old. Returns how many went."""
        evicted = 0
        while self._events and now - self._events[0][4] > self._max_age_seconds:
            self._evict()
            evicted += 1
        return evicted

    def _evict(self) -> None:
        stream, place, _, size, _ = self._events.popleft()
        self._size_bytes -= size
        self._evicted[stream] = max(place, self._evicted.get(stream, 0))

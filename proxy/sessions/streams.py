"""Which streams does a session have, which gets a message, and what waits for one?"""

import logging
from collections.abc import Callable, Iterable

from msgspec import Raw

from proxy.child.link import Link
from proxy.errors import EventsGone, TooManyStreams
from proxy.observe import Counts
from proxy.protocol.ids import IdMinter
from proxy.protocol.replay import Replay, parse_event_id
from proxy.protocol.routing import choose_stream
from proxy.sessions.limits import SessionLimits
from proxy.sessions.stream import Ask, Failure, Item, Stream, size_of
from proxy.sessions.waiting import Waiting, WaitingRoom

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 5.0
"""How often what is too old to come back to is looked for."""

MAX_NUMBERED = 1000
"""Streams that a client of one session may come back to. Ours: far more than any client has open."""


class Streams:
    """The open HTTP responses of one session.

    Args:
        limits: Bounds of the session.
        counts: What was cut and dropped.
        clock: The loop's clock.
        tag: Names the session in the log.
        call_streams: The streams of the open calls, oldest first.
        on_placed: Told where a message went: onto a stream, or (None) among those that wait for one.
        on_dropped: Told of each that waited in vain.
        on_cut: Told of a stream whose client does not read; ends it as if the client had gone.
    """

    def __init__(
        self,
        *,
        limits: SessionLimits,
        counts: Counts,
        clock: Callable[[], float],
        tag: str,
        call_streams: Callable[[], Iterable[Stream]],
        on_placed: Callable[[bytes | Ask, Stream | None], None],
        on_dropped: Callable[[bytes | Ask], None],
        on_cut: Callable[[Stream], None],
    ) -> None:
        self._limits = limits
        self._counts = counts
        self._clock = clock
        self._tag = tag
        self._call_streams = call_streams
        self._on_placed = on_placed
        self._on_cut = on_cut
        self._link: Link | None = None
        self._listens: list[Stream] = []
        self._has_listened = False
        self._is_open_to_client = False  # until the InitializeResult is out, nobody knows this session
        self._waiting = WaitingRoom(
            max_messages=limits.waiting_messages, max_bytes=limits.waiting_size_bytes, on_dropped=on_dropped
        )
        self._numbers = IdMinter()
        self._numbered: dict[int, Stream] = {}  # streams that a client may come back to, oldest first
        self._replay: Replay[Item] = Replay(
            max_events=limits.replay_events,
            max_bytes=limits.replay_size_bytes,
            max_age_seconds=limits.replay_age_seconds,
            size_of=size_of,
        )
        self._swept_at = 0.0
        self._paused_for: Stream | None = None
        self._paused_at = 0.0
        self._pieces_taken = 0

    def attach(self, link: Link) -> None:
        """Connect the child whose output the streams carry."""
        self._link = link

    def open_to_client(self) -> None:
        """The client knows the session from now on, and what has waited may go to its streams."""
        self._is_open_to_client = True

    def close_to_client(self) -> None:
        """Only answers and progress go out from now on: the calls are of several clients, and the rest is nobody's."""
        self._is_open_to_client = False

    # ---- opening and closing

    def new(self, *call_ids: Raw) -> Stream:
        """A stream for the answers to these calls."""
        return Stream(
            backlog_bytes=self._limits.stream_backlog_bytes,
            on_full=self._full,
            on_emptied=self._emptied,
            on_record=self._record,
            call_ids=call_ids,
        )

    def begin(self, stream: Stream) -> None:
        """The response begins as a stream; from here on a client that loses it can come back."""
        stream.begin(self._numbers.mint())
        self._numbered[stream.number] = stream
        while len(self._numbered) > MAX_NUMBERED:
            # The oldest that has ended, else the oldest without a client; one in use only if there is no other.
            self._forget(min(self._numbered.values(), key=lambda each: (not each.has_ended, each.is_live)))

    def listen(self) -> Stream:
        """A stream for a GET.

        Raises:
            TooManyStreams: If `max_get_streams` are open.
        """
        stream = self.new()
        self._add_listen(stream)
        self.begin(stream)
        self._has_listened = True
        self.offer_waiting()
        return stream

    def listen_on(self, stream: Stream) -> None:
        """This stream of `new` is for whatever is said to its client, which can't come back to it.

        Raises:
            TooManyStreams: If `max_get_streams` are open.
        """
        self._add_listen(stream)
        self._has_listened = True
        self.offer_waiting()

    def resume(self, last_event_id: str) -> Stream | None:
        """The stream that this event was on, with what followed on it waiting; None if it is none of ours.

        If everything was delivered, the stream has ended and nothing waits. If what followed is kept no more, failures
        of its calls wait, and the stream has ended.

        Raises:
            TooManyStreams: If it is the stream of a GET and `max_get_streams` others are open.

        Spec: 2025-11-25 basic/transports, Resumability and Redelivery.
        """
        parsed = parse_event_id(last_event_id)
        stream = self._numbered.get(parsed[0]) if parsed is not None else None
        if stream is None or parsed is None or parsed[1] > stream.places:
            self._counts.add("resumed.unknown")
            return None
        _, place = parsed
        unseen = (
            stream.disconnect()
        )  # the old response may seem alive still; what waits for it is recorded with the rest
        missed = self._replay.after(stream.number, place)
        if self._replay.has_gap(stream.number, place):
            self._counts.add("resumed.with_gap")
            if stream.has_ended and not missed:
                missed = [Failure(raw_id, EventsGone()) for raw_id in stream.call_ids]
        if not stream.call_ids and not stream.has_ended and stream not in self._listens:
            self._add_listen(stream)
        stream.reconnect(missed)
        for ask in unseen:
            self.deliver(ask, related=True)
        self._counts.add("resumed")
        self.offer_waiting()
        return stream

    def _add_listen(self, stream: Stream) -> None:
        if len(self._listens) >= self._limits.max_get_streams:
            raise TooManyStreams
        self._listens.append(stream)

    def end_listens(self) -> None:
        """End every GET stream."""
        listens, self._listens = self._listens, []
        for stream in listens:
            stream.end()

    def disconnected(self, stream: Stream) -> list[Ask]:
        """The client of this stream is gone. Returns the child's requests on it that nobody has seen."""
        if stream in self._listens:
            self._listens.remove(stream)
        return stream.disconnect()

    # ---- placing messages

    def choose(self, *, related: bool) -> Stream | None:
        """The stream for a message; None if it must wait for the next."""
        if not self._is_open_to_client:
            return None
        return choose_stream(
            related=related,
            live_calls=[stream for stream in self._call_streams() if stream.is_live],
            live_listens=[stream for stream in self._listens if stream.is_live and not stream.has_ended],
            has_listened=self._has_listened,
        )

    def deliver(self, item: bytes | Ask, *, related: bool, preferred: Stream | None = None) -> None:
        """Place a message on the one stream it belongs to, or let it wait for the next.

        Args:
            related: Whether the message is normally caused by an open call.
            preferred: The stream of the call that has caused it, where that is known. Taken if its client is there.
        """
        is_there = preferred is not None and preferred.is_live and self._is_open_to_client
        stream = preferred if is_there else self.choose(related=related)
        self._on_placed(item, stream)
        if stream is None:
            self._waiting.add(item, related=related)
        else:
            stream.put(item)

    def offer_waiting(self) -> None:
        """A stream is new: place what it may have of those that wait."""

        def accept(entry: Waiting) -> bool:
            if self.choose(related=entry.related) is None:
                return False
            self.deliver(entry.item, related=entry.related)
            return True

        if len(self._waiting):
            self._waiting.offer(accept)

    def take_back(self, ask_id: int) -> bool:
        """A request of the child that waits is needed no more. False if it does not wait."""
        return self._waiting.remove_ask(ask_id)

    # ---- slow readers

    def make_way(self) -> None:
        """Somebody needs the child: it waits for a slow reader no longer."""
        if self._paused_for is not None:
            self.cut(self._paused_for)

    def check(self, now: float) -> None:
        """Wait for a slow reader only for so long; keep what was sent only for so long."""
        slow = self._paused_for
        if slow is not None and slow.pieces_taken != self._pieces_taken:
            self._paused_at, self._pieces_taken = now, slow.pieces_taken  # slow, but it reads
        if slow is not None and now - self._paused_at > self._limits.slow_reader_timeout_seconds:
            self.cut(slow)
        if now - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = now
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        expired = self._replay.expire(now)
        if expired:
            self._counts.add("replay.expired", expired)
        for stream in [each for each in self._numbered.values() if each.has_ended]:
            stream.ended_at = stream.ended_at or now
            if now - stream.ended_at > self._limits.replay_age_seconds:
                self._forget(stream)

    def cut(self, stream: Stream) -> None:
        """End the stream of a client that does not read. Once: the write that it does not take is noticed, too."""
        if stream.was_cut:
            return
        self._counts.add("cut.slow_reader")
        stream.was_cut = True
        logger.warning("stream of a slow reader ended", extra={"session": self._tag, "bytes": stream.size_bytes})
        self._on_cut(stream)

    def _record(self, stream: Stream, first: int, items: list[Item]) -> None:
        evicted = self._replay.add(stream.number, first, items, self._clock())
        if evicted:
            self._counts.add("replay.evicted", evicted)

    def _forget(self, stream: Stream) -> None:
        del self._numbered[stream.number]
        self._replay.forget(stream.number)

    def _full(self, stream: Stream) -> None:
        """While nobody else needs the child, it is simply not read: the pipe pushes back."""
        assert self._link is not None  # what fills a stream came from it
        others = any(each is not stream for each in self._call_streams())
        if others or self._link.is_shared or self._link.pending_bytes or self._paused_for not in (None, stream):
            self.cut(stream)
        elif self._paused_for is None:
            self._paused_for, self._paused_at, self._pieces_taken = stream, self._clock(), stream.pieces_taken
            self._link.pause()

    def _emptied(self, stream: Stream) -> None:
        if self._paused_for is stream:
            assert self._link is not None  # it was paused
            self._paused_for = None
            self._link.resume()

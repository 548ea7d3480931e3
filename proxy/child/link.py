"""How do the pipes of a child become lines, and back?"""

import asyncio
import logging
import os
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Protocol

from proxy.child.pipes import PipeReader, PipeWriter, undone
from proxy.child.turns import Flood, Turns
from proxy.protocol.framing import LineDecoder, OversizedLine, split_after

logger = logging.getLogger(__name__)

TRACE_BYTES = 2048
"""How much of a message is logged at DEBUG, the only level at which any of it is."""

LINES_AT_ONCE = 16
"""Lines that are passed on before it is looked at the clock, or anybody else has a turn. Each takes 2 to 20 us."""
_DECODED_LINES = 256
"""Lines that are cut out of a read at once: it may bring 100,000."""

Line = bytes | OversizedLine


class Link(Protocol):
    """Where lines for a server go, and what is known of how it takes them."""

    def send(self, line: bytes) -> None:
        """Pass one line (without its newline) on, or keep it until it is taken. Never waits."""

    @property
    def pending_bytes(self) -> int:
        """Bytes that were sent and not yet taken."""

    async def sent(self) -> None:
        """Wait until everything is taken, or never will be."""

    def stuck_seconds(self) -> float:
        """For how long nothing was taken although something waits for it. 0 while its output is left unread."""

    def pause(self) -> None:
        """Leave its output unread: it will have to wait."""

    def resume(self) -> None:
        """Read its output again."""

    @property
    def is_shared(self) -> bool:
        """Whether others need its output, too: then it is never left unread."""
        return False


class ChildLink(Link, Protocol):
    """The link to a child, which also brings its lines."""

    def deliver_to(self, on_lines: Callable[[list[Line]], None]) -> None:
        """From now on somebody else gets the lines."""


class PipeLink(ChildLink):
    """The stdin and stdout of one child, as lines. Owns both descriptors, also when it can't be made.

    Callbacks run on the event loop as soon as there is something: no task stands between the pipe and its reader.

    Args:
        on_lines: Gets the lines that a read completed, in order, at most `LINES_AT_ONCE` at once.
        on_closed: Called once when the child closes its stdout or can't be written to any more.
        turns: What all links on this loop have in common.
    """

    def __init__(
        self,
        *,
        stdin_fd: int,
        stdout_fd: int,
        max_line_bytes: int,
        on_lines: Callable[[list[Line]], None],
        on_closed: Callable[[], None],
        turns: Turns | None = None,
    ) -> None:
        self._is_traced = logger.isEnabledFor(logging.DEBUG)
        self._decoder = LineDecoder(max_line_bytes=max_line_bytes)
        self._on_lines = on_lines
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._waiting = b""  # was read and is not passed on yet; meanwhile nothing more is read
        self._lines: list[Line] = []  # the same before that, cut into lines
        self._turns = turns or Turns()
        self._flood = Flood(self._turns)
        self._is_at_end = False
        self._outgoing: list[bytes] = []  # was sent in this turn of the loop
        self._outgoing_bytes = 0
        with undone(partial(os.close, stdout_fd)):
            self._writer = PipeWriter(stdin_fd, on_broken=on_closed)
        with undone(self._writer.close):
            self._reader = PipeReader(stdout_fd, on_data=self._data, on_eof=self._eof)

    def send(self, line: bytes) -> None:
        """Write one line to the child's stdin, with all others of this turn of the loop, or keep it until it is taken.

        See `pending_bytes` and `sent`. A line for a child whose stdin is closed is dropped: its death,
        or `on_closed`, tells the session.
        """
        if self._is_traced:
            logger.debug("> %s", _shown(line))
        if not self._outgoing:
            self._turns.message()
            self._loop.call_soon(self._write)
        self._outgoing.append(line)
        self._outgoing_bytes += len(line) + 1

    @property
    def pending_bytes(self) -> int:
        """Bytes that the child's stdin has not taken yet."""
        return self._outgoing_bytes + self._writer.pending_bytes

    async def sent(self) -> None:
        """Wait until the child's stdin has taken everything, or is closed."""
        self._write()
        await self._writer.emptied()

    def stuck_seconds(self) -> float:
        """For how long the child has not read its stdin although something waits for it. 0 while we don't read it."""
        return 0.0 if self._reader.is_paused else self._writer.stuck_seconds()

    @property
    def is_paused(self) -> bool:
        """Whether the child's stdout is left unread."""
        return self._reader.is_paused

    def pause(self) -> None:
        """Leave the child's stdout unread; it will block once the pipe is full."""
        self._reader.pause()

    def resume(self) -> None:
        """Read the child's stdout again. A child that could not write could not read either: its clock restarts."""
        if self._reader.is_paused:
            self._writer.restart_clock()
            self._reader.resume()

    def deliver_to(self, on_lines: Callable[[list[Line]], None]) -> None:
        """From now on somebody else gets the lines."""
        self._on_lines = on_lines

    def drain(self) -> None:
        """Read what the child's stdout holds now, an unfinished last line included. For a child that is dead."""
        self._reader.drain()
        lines, data = self._lines, self._waiting
        self._lines, self._waiting = [], b""
        # All at once: of a flood of noise, whoever gets it looks at the beginning only.
        self._pass_on([*lines, *self._decoder.feed(data), *self._decoder.finish()])

    def close_stdin(self) -> None:
        """The first step of every ending."""
        self._write()
        self._writer.close()

    def close(self) -> None:
        """Close both pipes. No callback comes after this."""
        self._on_lines = _ignore
        self._on_closed = _nothing
        self._waiting = b""
        self._lines = []
        self._outgoing = []
        self._outgoing_bytes = 0
        self._writer.close()
        self._reader.close()

    def _write(self) -> None:
        """Write the lines of this turn at once: a system call, and a child that wakes up, cost more than all else."""
        lines, self._outgoing = self._outgoing, []
        self._outgoing_bytes = 0
        if lines:
            lines.append(b"")
            self._writer.write(b"\n".join(lines))

    def _data(self, data: bytes) -> None:
        if self._is_behind:  # read by `drain` in the middle of a flood
            self._waiting += data
        elif data.count(b"\n") <= LINES_AT_ONCE:
            self._turns.message()
            self._pass_on(self._decoder.feed(data))
        else:
            self._waiting = data
            self._reader.hold()
            self._turn()

    def _turn(self) -> None:
        """Pass some of a flood on, and the rest after everybody else has had a turn."""
        until = self._flood.turn_ends_at()
        try:
            self._pass_on_some()
            while self._is_behind and perf_counter() < until:
                self._pass_on_some()
        finally:
            if self._is_behind:
                self._loop.call_soon(self._turn)
            else:
                self._reader.release()
                if self._is_at_end:
                    self._eof()

    @property
    def _is_behind(self) -> bool:
        """Whether something was read and is not passed on yet."""
        return bool(self._lines or self._waiting)

    def _pass_on_some(self) -> None:
        if not self._lines:
            head, self._waiting = split_after(self._waiting, _DECODED_LINES)
            self._lines = self._decoder.feed(head)
        some, self._lines = self._lines[:LINES_AT_ONCE], self._lines[LINES_AT_ONCE:]
        self._pass_on(some)

    def _flush(self) -> None:
        self._pass_on(self._decoder.finish())

    def _pass_on(self, lines: list[Line]) -> None:
        if self._is_traced:
            for line in lines:
                logger.debug("< %s", _shown(line) if isinstance(line, bytes) else f"oversized: {line.size_bytes} bytes")
        if lines:
            self._on_lines(lines)

    def _eof(self) -> None:
        self._is_at_end = True
        if self._is_behind:
            return
        self._flush()
        self._on_closed()


def _shown(line: bytes) -> str:
    return line[:TRACE_BYTES].decode(errors="replace") + (" ..." if len(line) > TRACE_BYTES else "")


def _ignore(lines: list[Line]) -> None:
    """Stands in for a reader that is gone."""


def _nothing() -> None:
    """Stands in for a reader that is gone."""

"""Where does one line end?

Spec: 2025-11-25 basic/transports, stdio: "Messages are delimited by newlines, and MUST NOT contain embedded
newlines." `\\n` alone is a separator: U+2028, U+0085, VT and FF are ordinary characters of a JSON string.
"""

from dataclasses import dataclass

EDGE_BYTES = 4096
"""How much of an over-long line is kept from each end: enough to find the id of the call it answers."""

_NO_NEWLINES = bytes.maketrans(b"\r\n", b"  ")


@dataclass(frozen=True, slots=True)
class OversizedLine:
    """Stands where a line over the limit was; its bytes are gone but for both ends."""

    size_bytes: int
    head: bytes
    tail: bytes


class LineDecoder:
    """Turn arbitrary chunks of bytes into complete lines, in order, blank ones left out.

    Linear in time whatever the chunking. A line over the limit costs `2 * EDGE_BYTES` of memory and is reported
    in its place.

    Args:
        max_line_bytes: Longest line kept, newline excluded. A memory limit, not a protocol one.
    """

    def __init__(self, *, max_line_bytes: int) -> None:
        self._max = max_line_bytes
        self._buffer = bytearray()  # the unfinished line, or its head once it is oversized
        self._tail = b""  # the last bytes of an oversized line
        self._size = 0  # length of the unfinished line, kept or not

    def feed(self, chunk: bytes) -> list[bytes | OversizedLine]:
        """Accept a chunk and return the lines it completes, newline and trailing `\\r` removed."""
        lines: list[bytes | OversizedLine] = []
        parts = chunk.split(b"\n")
        rest = parts.pop()
        for part in parts:
            if self._size or len(part) > self._max:
                self._add(part)
                line = self._take()
                if not isinstance(line, bytes):
                    lines.append(line)
                    continue
                part = line
            if part.endswith(b"\r"):
                part = part[:-1]
            if part and not part.isspace():
                lines.append(part)
        if rest:
            self._add(rest)
        return lines

    def finish(self) -> list[bytes | OversizedLine]:
        """What is left at the end of the stream: a last line without a newline, if it has anything on it."""
        return self.feed(b"\n") if self._size else []

    @property
    def unfinished_bytes(self) -> int:
        """Length of the line that has begun and not ended."""
        return self._size

    def _add(self, part: bytes) -> None:
        before, self._size = self._size, self._size + len(part)
        if self._size <= self._max:
            self._buffer += part
            return
        if before <= self._max:  # it grows over the limit now: keep its two ends only
            kept = bytes(self._buffer[-EDGE_BYTES:])
            self._buffer = self._buffer[:EDGE_BYTES]
            self._buffer += part[: EDGE_BYTES - len(self._buffer)]
            self._tail = kept
        elif len(self._buffer) < EDGE_BYTES:  # only under a limit that is smaller than an edge
            self._buffer += part[: EDGE_BYTES - len(self._buffer)]
        self._tail = part[-EDGE_BYTES:] if len(part) >= EDGE_BYTES else (self._tail + part)[-EDGE_BYTES:]

    def _take(self) -> bytes | OversizedLine:
        line: bytes | OversizedLine = bytes(self._buffer)
        if self._size > self._max:
            line = OversizedLine(self._size, bytes(self._buffer[:EDGE_BYTES]), self._tail)
        self._buffer = bytearray()
        self._tail = b""
        self._size = 0
        return line


def split_after(data: bytes, lines: int) -> tuple[bytes, bytes]:
    """The beginning of `data` with so many line ends in it at most, and the rest."""
    parts = data.split(b"\n", lines)
    if len(parts) <= lines:
        return data, b""
    return data[: len(data) - len(parts[-1])], parts[-1]


def one_line(message: bytes) -> bytes:
    """The same JSON text without a raw CR or LF in it.

    Valid JSON has them only between tokens, so a space means the same. Without this a pretty-printed body would
    reach the child as several lines, and its second line would pass every check by.
    """
    if b"\n" in message or b"\r" in message:
        return message.translate(_NO_NEWLINES)
    return message

"""How do lines come in and go out?

Spec: 2025-11-25 basic/transports, stdio: one message per line, UTF-8, only messages on stdout.
"""

import json
import os
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn

MAX_LINE_BYTES = 64 * 2**20
"""Longest line read. Ours: the spec sets no limit; this keeps a line without end from eating the memory."""

LAST_WRITE_SECONDS = 0.5
"""Wait at the end for a line that is half out. Ours: long for a pipe, short for who waits for our exit."""


class ClientGone(Exception):
    """Nobody reads our stdout any more."""


def log(text: str) -> None:
    """Write one line to stderr, which is where logs belong.

    Not `sys.stderr`: its buffer has a lock that a thread still running at exit could hold for ever.

    Spec: 2025-11-25 basic/transports, stdio: the server MAY write UTF-8 strings to stderr.
    """
    line = "demo: " + text.replace("\n", "\\n") + "\n"
    try:
        os.write(2, line.encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # Nobody listens, and there is nowhere else to say so.


def read_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Give each line that is not blank, until end of file; log and skip lines over `MAX_LINE_BYTES`."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            log(f"ignored a line of more than {MAX_LINE_BYTES} bytes")
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE_BYTES)
        elif line.strip():
            yield line


def decode(line: bytes) -> Any:
    """Parse one line of JSON.

    Raises:
        ValueError: If it is not UTF-8, not JSON, has NaN or Infinity, or is nested too deeply.
    """
    try:
        # Decoded here: given bytes, json.loads() would also accept UTF-16 and UTF-32.
        return json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def encode(message: Any) -> bytes:
    """Give the JSON of `message` without a newline in it.

    ASCII on purpose: everything else is escaped, so no reader can mistake a U+2028 for the end of a line,
    and a lone surrogate that came in can also go out.

    Raises:
        ValueError: If JSON has no way to write it, such as infinity.
    """
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii")


class LineWriter:
    """Writes whole lines to a file descriptor, from any thread.

    Waits while the pipe is full: a client that does not read slows us down instead of filling our memory.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def write_line(self, line: bytes) -> None:
        """Write one line and its newline; there is no buffer, so nothing is left to flush.

        Raises:
            ClientGone: If the reading end is closed.
        """
        rest = memoryview(line + b"\n")
        with self._lock:
            try:
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
            except (BrokenPipeError, ConnectionResetError) as exc:
                raise ClientGone from exc

    def close(self) -> None:
        """Let a line being written by another thread get out whole, and write no more after it.

        Waits at most `LAST_WRITE_SECONDS`, because the client may not be reading. The lock is kept: the
        process ends next, and the threads that wait for it are daemons.
        """
        self._lock.acquire(timeout=LAST_WRITE_SECONDS)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")

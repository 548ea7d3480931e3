"""What did the child say on its stderr?

Spec: 2025-11-25 basic/transports, stdio: the server MAY write UTF-8 strings to stderr for any logging; the client
SHOULD NOT take them for errors. Always read, or a chatty child would block for ever.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping

from proxy.child.pipes import PipeReader

logger = logging.getLogger("proxy.child.stderr")

TAIL_LINES = 20
MAX_LINE_BYTES = 2048
"""Longer lines are cut in the log. Ours: enough for any message, too little to fill a disk with one."""
BURST_LINES = 400
LINES_PER_SECOND = 100.0
"""What one child may write into the log; the rest is read, counted and said to have been left out."""


class StderrDrain:
    """Reads a child's stderr to its end, logs it line by line within a rate, keeps the last lines for diagnosis.

    Args:
        fd: To read from; owned.
        who: Whose it is: fields of the log.
    """

    def __init__(self, fd: int, *, who: Mapping[str, object]) -> None:
        self._who = who
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._budget = float(BURST_LINES)
        self._budget_at = self._loop.time()
        self._left_out = 0
        self._reader = PipeReader(fd, on_data=self._data, on_eof=self._flush)

    @property
    def tail(self) -> list[str]:
        """The last lines, oldest first."""
        return list(self._tail)

    def drain(self) -> None:
        """Read at once what is there now. For a child that is dead."""
        self._reader.drain()
        self._flush()

    def close(self) -> None:
        """Stop reading."""
        self._reader.close()
        self._flush()

    def _data(self, data: bytes) -> None:
        now = self._loop.time()
        self._budget = min(float(BURST_LINES), self._budget + (now - self._budget_at) * LINES_PER_SECOND)
        self._budget_at = now
        *lines, rest = (self._rest + data).split(b"\n", int(self._budget))
        for line in lines:
            self._line(line)
        over = rest.count(b"\n")
        if over:  # a flood: count it, look at its end only
            self._left_out += over
            *last, rest = rest[-2 * TAIL_LINES * MAX_LINE_BYTES :].rsplit(b"\n", TAIL_LINES + 1)
            for line in last[-min(over, TAIL_LINES) :]:
                self._keep(line)
        self._rest = rest[:MAX_LINE_BYTES]

    def _line(self, raw: bytes) -> None:
        text = self._keep(raw)
        if not text:
            return
        if self._budget < 1:
            self._left_out += 1
            return
        self._budget -= 1
        if self._left_out:
            logger.warning("stderr lines left out", extra={**self._who, "lines": self._left_out})
            self._left_out = 0
        logger.info("%s", text, extra=self._who)

    def _keep(self, raw: bytes) -> str:
        """Remember a line for diagnosis, and return it as text."""
        text = raw[:MAX_LINE_BYTES].decode(errors="replace").rstrip()
        if text:
            self._tail.append(text)
        return text

    def _flush(self) -> None:
        if self._rest:
            rest, self._rest = self._rest, b""
            self._line(rest)
        if self._left_out:
            logger.warning("stderr lines left out", extra={**self._who, "lines": self._left_out})
            self._left_out = 0

"""How does what a child writes become messages for whoever keeps its tables?"""

import logging
from collections.abc import Callable

from proxy.child.link import Line
from proxy.observe import Counts
from proxy.protocol.badlines import without_noise
from proxy.protocol.child_lines import BadLine, parse_child_line, progress_token_of
from proxy.protocol.ids import Id
from proxy.protocol.messages import (
    Message,
    Notification,
    Request,
    Response,
)

logger = logging.getLogger(__name__)

LOGGED_EVERY_SECONDS = 10.0


class Reader:
    """Reads the lines of one child. What is said there is the business of those who inherit from it.

    Args:
        counts: What was dropped and why.
        clock: The loop's clock.
        whose: Whom the log names: a session or a child, and which.
    """

    def __init__(self, *, counts: Counts, clock: Callable[[], float], whose: dict[str, str]) -> None:
        self._counts = counts
        self._clock = clock
        self._whose = whose
        self._logged_at = -LOGGED_EVERY_SECONDS

    def received(self, lines: list[Line]) -> None:
        """Take some lines of the child's stdout. Never raises: a bug costs one line."""
        lines, noise = without_noise(lines)
        if noise:
            self._counts.add("bad_line.not_json", noise)
        for line in lines:
            try:
                self._line(line)
            except Exception:
                logger.exception("line of the child not handled", extra=self._whose)

    def _line(self, line: Line) -> None:
        if isinstance(line, bytes):
            token = progress_token_of(line)
            if token is not None:
                self._progress(token, line)
                return
        for message in parse_child_line(line):
            self._message(message)

    def _message(self, message: Message | BadLine) -> None:
        if isinstance(message, Response):
            self._answered(message)
        elif isinstance(message, Request):
            self._asked(message)
        elif isinstance(message, Notification):
            self._told(message)
        else:
            self._bad_line(message)

    def _progress(self, token: Id | None, line: bytes) -> None:
        raise NotImplementedError

    def _answered(self, response: Response) -> None:
        raise NotImplementedError

    def _asked(self, request: Request) -> None:
        raise NotImplementedError

    def _told(self, notification: Notification) -> None:
        raise NotImplementedError

    def _bad_line(self, line: BadLine) -> None:
        """Of a line that is no message. Those who inherit look for a call that it answers."""
        self._counts.add(f"bad_line.{line.reason}")
        self._log_rarely(
            "bad line from the child; more within 10 s are only counted", reason=line.reason, bytes=line.size_bytes
        )

    def _note_timed_out(self, method: str) -> None:
        self._counts.add("timed_out.call")
        self._log_rarely("call not answered in time; more within 10 s are only counted", method=method[:64])

    def _log_rarely(self, text: str, **extra: object) -> None:
        now = self._clock()
        if now - self._logged_at >= LOGGED_EVERY_SECONDS:
            self._logged_at = now
            logger.warning("%s", text, extra={**self._whose, **extra})

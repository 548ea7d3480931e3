"""What does a line of a modern child mean for a client of the handshake era?

Spec: 2026-07-28 basic/transports/stdio; basic/patterns/subscriptions; server/utilities/logging.
"""

import logging
from collections.abc import Callable, Collection

from proxy.child.link import Line
from proxy.observe import Counts
from proxy.protocol.badlines import call_answered_by
from proxy.protocol.changes import RESOURCE_UPDATED, log_level_of, subscription_of, without_subscription
from proxy.protocol.child_lines import BadLine, parse_child_line, progress_token_of
from proxy.protocol.envelope import reaches
from proxy.protocol.messages import Message, Notification, Request, Response
from proxy.protocol.translate_to_modern import CHANGES
from proxy.sessions.modern.listening import Listening
from proxy.sessions.modern.outbox import Outbox

logger = logging.getLogger(__name__)

_CHANGES = frozenset({*CHANGES, RESOURCE_UPDATED})
_BAD_LINE_LOG_SECONDS = 10.0


class Reading:
    """Reads the lines of a session's modern child.

    Args:
        outbox: Where what is for the client goes.
        listening: Gets what is about its listen.
        on_answer: Gets every other answer.
        on_unreadable: Told the id, as the child knows it, of a request whose answer can't be read.
        wanted_level: The level from which on log messages are for the client; None if none are.
        open_ids: The ids of the open requests, as the child knows them.
        counts: What was dropped.
        clock: The loop's clock.
        tag: Names the session in the log.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        listening: Listening,
        on_answer: Callable[[Response], None],
        on_unreadable: Callable[[int], None],
        wanted_level: Callable[[], str | None],
        open_ids: Collection[int],
        counts: Counts,
        clock: Callable[[], float],
        tag: str,
    ) -> None:
        self._outbox = outbox
        self._listening = listening
        self._on_answer = on_answer
        self._on_unreadable = on_unreadable
        self._wanted_level = wanted_level
        self._open_ids = open_ids
        self._counts = counts
        self._clock = clock
        self._tag = tag
        self._bad_lines_logged_at = -_BAD_LINE_LOG_SECONDS

    def lines(self, lines: list[Line]) -> None:
        """Take what one read brought. Never raises: a bug costs one line."""
        for line in lines:
            try:
                self._line(line)
            except Exception:
                logger.exception("line of a modern child not handled", extra={"session": self._tag})

    def _line(self, line: Line) -> None:
        # Progress names its call by the client's own token. Noise is counted, and bounded, by who gets it.
        if isinstance(line, bytes) and (b"{" not in line or progress_token_of(line) is not None):
            self._outbox.line(line)
            return
        for message in parse_child_line(line):
            self._message(message)

    def _message(self, message: Message | BadLine) -> None:
        if isinstance(message, Response):
            if self._listening.owns(message.id):
                self._listening.ended(message.id, message)
            else:
                self._on_answer(message)
        elif isinstance(message, Notification):
            self._told(message)
        elif isinstance(message, Request):
            # A modern server never asks, and must never be answered. Spec: 2026-07-28 basic/transports/stdio.
            self._counts.add("dropped.request_of_modern_child")
            logger.warning("request of a modern child dropped", extra={"session": self._tag})
        else:
            self._bad_line(message)

    def _told(self, notification: Notification) -> None:
        method = notification.method
        if method == "notifications/subscriptions/acknowledged":
            self._listening.acknowledged(subscription_of(notification), notification)
        elif method == "notifications/cancelled":
            self._listening.ended(notification.subject, None)
        elif method in _CHANGES and not self._listening.carries(subscription_of(notification)):
            self._counts.add("dropped.change_not_subscribed")
        elif method == "notifications/message" and not self._is_wanted(notification):
            self._counts.add("dropped.log_not_asked_for")
        else:
            self._outbox.line(without_subscription(notification))

    def _is_wanted(self, notification: Notification) -> bool:
        wanted, level = self._wanted_level(), log_level_of(notification.members.get("params"))
        return wanted is not None and (level is None or reaches(level, wanted))

    def _bad_line(self, line: BadLine) -> None:
        self._counts.add(f"bad_line.{line.reason}")
        now = self._clock()
        if now - self._bad_lines_logged_at >= _BAD_LINE_LOG_SECONDS:
            self._bad_lines_logged_at = now
            logger.warning(
                "bad line from the child; more within 10 s are only counted",
                extra={"session": self._tag, "reason": line.reason, "bytes": line.size_bytes},
            )
        answered = call_answered_by(line.ends, self._open_ids)
        if answered is not None:
            self._on_unreadable(answered)

"""What is every session's way to a child that others use, too?"""

import logging
from collections.abc import Callable

from proxy.child.link import ChildLink, Line

logger = logging.getLogger(__name__)


class SharedLink(ChildLink):
    """A link to a child as if it were the session's own, but never left unread.

    Args:
        on_lines: Gets what the child says to the session.
        on_gone: Called once when the child serves no more.
    """

    def __init__(self, *, on_lines: Callable[[list[Line]], None], on_gone: Callable[[int | None], None]) -> None:
        self._on_lines = on_lines
        self._on_gone = on_gone
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        raise NotImplementedError

    def pause(self) -> None:
        """Does nothing: others need what the child says."""

    def resume(self) -> None:
        """Does nothing, as `pause`."""

    @property
    def is_shared(self) -> bool:
        """It is."""
        return True

    def deliver_to(self, on_lines: Callable[[list[Line]], None]) -> None:
        """From now on somebody else gets the lines."""
        self._on_lines = on_lines

    def deliver(self, line: Line) -> None:
        """Give the session a line as if its own child had written it. Never raises: others wait for theirs."""
        if self._is_closed:
            return
        try:
            self._on_lines([line])
        except Exception:
            logger.exception("line of a shared child not handled", extra={"pid": self.pid})

"""What does one session see of a child that others use, too?"""

import logging
from collections.abc import Callable
from typing import Protocol

from msgspec import Raw

from proxy.child.link import Line, Link
from proxy.errors import ProxyError
from proxy.protocol.badlines import unusable_answer
from proxy.protocol.child_lines import BadLine
from proxy.protocol.input_requests import Declared
from proxy.protocol.jsontext import Members, encode
from proxy.protocol.translate_to_modern import error_object
from proxy.sessions.shared.shared_link import SharedLink

logger = logging.getLogger(__name__)


Read = Callable[["Port", Members], Members]
"""Gets the answer to a call of this session; gives it as the session gets it."""


class SharedCall:
    """One request of a session in progress at the child.

    Attributes:
        port: Whose it is.
        port_id: The id that the session knows it by.
        child_id: The id, and the progress token, that the child knows it by.
        raw_token: The token under which the session wants to hear of its progress, if it does.
        read: Looks at the answer, and may change it; None if nobody need.
    """

    __slots__ = ("child_id", "port", "port_id", "raw_token", "read")

    def __init__(
        self, port: "Port", port_id: int, child_id: int, raw_token: Raw | None, read: "Read | None" = None
    ) -> None:
        self.read = read
        self.port = port
        self.port_id = port_id
        self.child_id = child_id
        self.raw_token = raw_token


class Behind(Protocol):
    """What stands behind a port."""

    @property
    def link(self) -> Link | None:
        """The child's pipes; None once they are closed."""

    @property
    def pid(self) -> int | None:
        """The child's process id."""

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines the child wrote on stderr; for the log, never for a client."""

    @property
    def fault(self) -> ProxyError | None:
        """Why the child was ended, if that was for something that it did."""

    def said(self, port: "Port", line: bytes) -> None:
        """Take one line of a session. Never raises."""

    def leave(self, port: "Port") -> None:
        """A session has ended."""


class Port(SharedLink):
    """One session's way to a child that it has not for itself: as a link to a child of its own, but never left unread.

    Attributes:
        calls: The session's requests that are with the child, by the ids of the session.
        waiting: Its requests that are answered from here once the child has said something else.
        declared: What its client can be asked; None before `initialize`.
        is_initialized: Whether its client has said that the handshake is over.
    """

    def __init__(
        self, behind: Behind, *, on_lines: Callable[[list[Line]], None], on_gone: Callable[[int | None], None]
    ) -> None:
        super().__init__(on_lines=on_lines, on_gone=on_gone)
        self.calls: dict[int, SharedCall] = {}
        self.waiting: set[int] = set()
        self.declared: Declared | None = None
        self.is_initialized = False
        self.was_killed = False
        """Never: whoever leaves a port ends no process."""
        self._behind = behind

    @property
    def link(self) -> "Port":
        """Itself, where a session looks for the pipes of its child."""
        return self

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self._behind.pid

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines the child wrote on stderr; for the log, never for a client."""
        return self._behind.stderr_tail

    @property
    def fault(self) -> ProxyError | None:
        """Why the child was ended, if that was for something that it did."""
        return self._behind.fault

    # ---- as a link

    def send(self, line: bytes) -> None:
        """Say one line to the child, under other names where it has some. Dropped once the port is closed."""
        if not self._is_closed:
            self._behind.said(self, line)

    @property
    def pending_bytes(self) -> int:
        """Bytes, of all sessions, that the child's stdin has not taken yet."""
        link = self._behind.link
        return link.pending_bytes if link is not None and not self._is_closed else 0

    async def sent(self) -> None:
        """Wait until the child's stdin has taken everything, or is closed."""
        link = self._behind.link
        if link is not None:
            await link.sent()

    def stuck_seconds(self) -> float:
        """For how long the child has not read its stdin although something waits for it."""
        link = self._behind.link
        return link.stuck_seconds() if link is not None and not self._is_closed else 0.0

    # ---- towards the session

    def answer(self, port_id: int, members: Members) -> None:
        """Answer a request of the session with the result or the error among these members."""
        self.deliver(encode({**members, "jsonrpc": "2.0", "id": port_id}))

    def answer_waiting(self, port_id: int, members: Members) -> None:
        """The same, if the session still waits for it."""
        if port_id in self.waiting:
            self.waiting.discard(port_id)
            self.answer(port_id, members)

    def refuse(self, port_id: int, code: int, message: str) -> None:
        """Answer a request of the session with an error of ours."""
        self.deliver(encode({"jsonrpc": "2.0", "id": port_id, "error": error_object(code, message)}))

    def spoil(self, port_id: int, line: BadLine) -> None:
        """The answer to a request was a line that can't be used: the session gets one that it can't use either."""
        self.deliver(unusable_answer(port_id, line))

    def leave(self) -> None:
        """The session has ended."""
        self._behind.leave(self)

    def move_to(self, behind: Behind) -> None:
        """From now on another process serves the session, which need not know."""
        self._behind = behind

    def close(self) -> None:
        """Nothing is said on it any more, in either direction."""
        self._is_closed = True

    def lose(self, returncode: int | None) -> None:
        """The child is dead, or (None) of no more use: tell the session. Never raises."""
        self.close()
        try:
            self._on_gone(returncode)
        except Exception:
            logger.exception("death of a shared child not handled", extra={"pid": self.pid})

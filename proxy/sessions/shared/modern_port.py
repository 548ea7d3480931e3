"""What does one session see of a child that speaks only 2026-07-28, and that others use, too?

Above is the translation of one session (`sessions/modern/as_legacy`), below the multiplexer of the child. Requests get
other ids and tokens there; subscriptions that are alike are one.
"""

import logging
from collections.abc import Callable

from msgspec import Raw

from proxy.child.link import Line
from proxy.errors import ProxyError
from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.envelope import read_envelope
from proxy.protocol.ids import Id
from proxy.protocol.jsontext import encode
from proxy.protocol.messages import (
    Message,
    Notification,
    Request,
    Response,
    cancellation,
)
from proxy.protocol.translate_to_modern import error_object
from proxy.sessions.modern.child import SharedChild
from proxy.sessions.modern.listens import Listen
from proxy.sessions.modern.mux import MuxCall
from proxy.sessions.shared.shared_link import SharedLink

logger = logging.getLogger(__name__)

LISTEN = "subscriptions/listen"


class _Sink:
    """The other end of one request of a session."""

    def __init__(self, port: "ModernPort", request: Request) -> None:
        self.port = port
        self.id = request.id
        self.raw_id = request.raw_id
        self.is_listen = request.method == LISTEN
        self.is_open = True

    def notified(self, line: bytes) -> None:
        """A notification about the request."""
        self.port.deliver(line)

    def answered(self, response: Response) -> None:
        """The answer."""
        self.is_open = False
        self.port.forget(self.id)
        self.port.deliver(response.encode(raw_id=self.raw_id))

    def failed(self, error: ProxyError) -> None:
        """There will be no answer."""
        self.is_open = False
        self.port.failed(self.id, self.raw_id, error, is_listen=self.is_listen)


class ModernPort(SharedLink):
    """One session's way to a shared child of 2026-07-28, as a link to one of its own, but never left unread.

    Args:
        child: The child.
        on_lines: Gets what it says to the session.
        on_gone: Called once when it serves no more.
    """

    def __init__(
        self,
        child: SharedChild,
        *,
        on_lines: Callable[[list[Line]], None],
        on_gone: Callable[[int | None], None],
    ) -> None:
        super().__init__(on_lines=on_lines, on_gone=on_gone)
        self._child = child
        self._open: dict[Id, MuxCall | Listen] = {}
        child.users[self] = self._lost

    @property
    def link(self) -> "ModernPort":
        """Itself, where a session looks for the pipes of its child."""
        return self

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self._child.pid

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines the child wrote on stderr; for the log, never for a client."""
        return self._child.stderr_tail

    @property
    def fault(self) -> ProxyError | None:
        """Why the child was ended, if that was for something that it did."""
        return self._child.fault

    # ---- as a link

    def send(self, line: bytes) -> None:
        """Say one line to the child. Never raises; dropped once the port is closed."""
        if self._is_closed:
            return
        try:
            self._said(parse_client_message(line))
        except Exception:
            logger.exception("line of a client not handled", extra={"child": self._child.tag})

    def _said(self, message: Message) -> None:
        if isinstance(message, Request):
            sink = _Sink(self, message)
            try:
                request, mux = read_envelope(message), self._child.mux
                begun = mux.listen(request, sink) if sink.is_listen else mux.begin(request, sink)
            except ProxyError as error:
                self.failed(message.id, message.raw_id, error, is_listen=False)
                return
            if sink.is_open:  # else it was answered at once
                self._open[message.id] = begun
                if isinstance(begun, MuxCall):
                    begun.request = request.slim(b"")  # what was sent is kept no longer
                    self._child.called()
        elif isinstance(message, Notification):
            if message.method == "notifications/cancelled":
                self._cancelled(message.subject)
            else:
                self._child.mux.link.send(message.encode())

    def _cancelled(self, request_id: Id | None) -> None:
        opened = self._open.pop(request_id, None) if request_id is not None else None
        if isinstance(opened, Listen):
            self._child.mux.unlisten(opened)
        elif opened is not None:
            self._child.mux.cancel(opened, "the client has cancelled it")

    @property
    def pending_bytes(self) -> int:
        """Bytes, of all sessions, that the child's stdin has not taken yet."""
        return 0 if self._is_closed else self._child.mux.link.pending_bytes

    async def sent(self) -> None:
        """Wait until the child's stdin has taken everything, or is closed."""
        await self._child.mux.link.sent()

    def stuck_seconds(self) -> float:
        """For how long the child has not read its stdin although something waits for it."""
        return 0.0 if self._is_closed else self._child.mux.link.stuck_seconds()

    # ---- towards the session

    def forget(self, request_id: Id) -> None:
        """A request is answered."""
        self._open.pop(request_id, None)

    def failed(self, request_id: Id, raw_id: Raw, error: ProxyError, *, is_listen: bool) -> None:
        """A request will not be answered. If that is for the end of the child, the session is told of that instead."""
        self.forget(request_id)
        if self._child.has_ended:
            return
        if is_listen and isinstance(request_id, int):
            self.deliver(cancellation(request_id, reason="the subscription has ended"))
        else:
            self.deliver(encode({"jsonrpc": "2.0", "id": raw_id, "error": error_object(-32603, str(error))}))

    def close(self) -> None:
        """The session has ended, or goes on elsewhere: the child is told that nobody waits any more."""
        if self._is_closed:
            return
        self._is_closed = True
        self._child.leave(self)
        for request_id in list(self._open):
            self._cancelled(request_id)

    def _lost(self) -> None:
        """The child serves no more."""
        self._is_closed = True
        self._open.clear()
        self._on_gone(self._child.returncode if self._child.has_exited else None)

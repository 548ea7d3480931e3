"""How do requests of many clients share one child?

The tables of one child that serves clients without sessions: requests by the ids that it knows them by, and what they
want to be told meanwhile. Ids and progress tokens are minted for the child and given back as their clients wrote them.
Everything here happens on the event loop without an await between reading and changing a table.
"""

from collections.abc import Callable

from msgspec import Raw

from proxy.child.link import Link
from proxy.errors import AnswerUnusable, CallTimedOut, ChildNotReading, ProxyError
from proxy.observe import Counts
from proxy.protocol.badlines import call_answered_by
from proxy.protocol.child_lines import BadLine
from proxy.protocol.envelope import ModernRequest, reaches
from proxy.protocol.framing import one_line
from proxy.protocol.ids import Id, IdMinter, text_at
from proxy.protocol.jsontext import parse_members
from proxy.protocol.messages import (
    Notification,
    Request,
    Response,
    cancellation,
)
from proxy.protocol.tokens import with_token
from proxy.sessions.modern.limits import ModernLimits
from proxy.sessions.modern.listens import Listen, Listens
from proxy.sessions.modern.sink import Sink
from proxy.sessions.reader import Reader


class MuxCall:
    """One request in progress at a child.

    Attributes:
        request: As its client sent it.
        child_id: The id, and the progress token, that the child knows it by.
        sink: Where its answer goes.
        is_own: Whether the bridge itself asks; it has limits of its own for that.
        started_at: When it was sent to the child, on the loop's clock.
        moved_at: When it last made progress; its time-out counts from here.
    """

    __slots__ = ("child_id", "is_own", "moved_at", "request", "sink", "started_at")

    def __init__(self, request: ModernRequest, child_id: int, sink: Sink, now: float, is_own: bool) -> None:
        self.request = request
        self.child_id = child_id
        self.sink = sink
        self.is_own = is_own
        self.started_at = now
        self.moved_at = now


class Mux(Reader):
    """All requests in flight at one child.

    Args:
        limits: Bounds of the child.
        counts: What was dropped and why.
        clock: The loop's clock.
        tag: Names the child in the log.
    """

    def __init__(self, *, limits: ModernLimits, counts: Counts, clock: Callable[[], float], tag: str) -> None:
        super().__init__(counts=counts, clock=clock, whose={"child": tag})
        self._limits = limits
        self._link: Link | None = None
        self.minter = IdMinter()
        """Gives the ids of requests to the child."""
        self._calls: dict[int, MuxCall] = {}
        self._own = 0  # calls among them that no client has made
        self._wanting_logs: dict[int, MuxCall] = {}
        self._listens = Listens(
            max_listens=limits.max_listens,
            counts=counts,
            mint=self.minter.mint,
            send=lambda line: self.link.send(line),
        )
        self.failed_calls = 0
        """Calls that have ended without an answer of the child, which may be busy with them still."""

    def attach(self, link: Link) -> None:
        """Connect the child."""
        self._link = link

    @property
    def link(self) -> Link:
        """The way to the child."""
        assert self._link is not None  # attached before anybody can know of the child
        return self._link

    @property
    def calls_in_flight(self) -> int:
        """Requests of clients without an answer, those that listen aside."""
        return len(self._calls) - self._own

    @property
    def has_calls(self) -> bool:
        """Whether anything waits for an answer, the bridge itself included."""
        return bool(self._calls)

    @property
    def listen_count(self) -> int:
        """Clients that listen."""
        return len(self._listens)

    # ---- from clients

    def begin(
        self,
        request: ModernRequest,
        sink: Sink,
        changed: dict[str, Raw | None] | None = None,
        *,
        is_own: bool = False,
    ) -> MuxCall:
        """Send a request to the child; what it says about it goes to `sink`.

        Args:
            request: What to send.
            sink: Gets the answer.
            changed: Members of `params` that the child gets otherwise; None leaves one out.
            is_own: Whether the bridge asks for itself; no client waits for such a call.
        """
        child_id = self.minter.mint()
        call = MuxCall(request, child_id, sink, self._clock(), is_own)
        self._own += is_own
        self._calls[child_id] = call
        if request.log_level is not None:
            self._wanting_logs[child_id] = call
        self.link.send(request.encode(id=child_id, **(changed or {})))
        return call

    def cancel(self, call: MuxCall, reason: str) -> None:
        """Nobody waits for the answer any more: the child is told, and what it still says is dropped.

        Spec: 2026-07-28 basic/patterns/cancellation: on stdio a client MUST send `notifications/cancelled`.
        """
        if self._close(call):
            self.failed_calls += 1
            self.link.send(cancellation(call.child_id, reason=reason))

    def listen(self, request: ModernRequest, sink: Sink, instead: Raw | None = None) -> Listen:
        """As `Listens.open`."""
        return self._listens.open(request, sink, instead)

    def unlisten(self, listen: Listen) -> None:
        """As `Listens.close`."""
        self._listens.close(listen)

    # ---- from the child

    def fail_all(self, error: ProxyError) -> None:
        """Answer every open call with this error and end every listen."""
        for call in list(self._calls.values()):
            self._fail(call, error)
        self._listens.end_all(error)

    def complete_listens(self) -> None:
        """End every listen in peace; calls go on."""
        self._listens.complete_all()

    def check(self, now: float) -> None:
        """Act on what has taken a client's call too long. Called a few times a second."""
        limits = self._limits
        if self.link.stuck_seconds() > limits.stdin_stall_timeout_seconds:
            self._time_out([call for call in self._calls.values() if not call.is_own], ChildNotReading())
        if limits.call_timeout_seconds is not None or limits.call_timeout_total_seconds is not None:
            late = [call for call in self._calls.values() if not call.is_own and self._is_late(call, now)]
            self._time_out(late, CallTimedOut())

    # ---- inside

    def _answered(self, response: Response) -> None:
        call = self._calls.get(response.id) if isinstance(response.id, int) else None
        if call is not None:
            self._close(call)
            call.sink.answered(response)
        elif not self._listens.answered(response):
            self._counts.add("dropped.answer_to_no_call")  # late after a cancellation, or of no known id

    def _asked(self, request: Request) -> None:
        """No revision without a handshake has requests of the server."""
        self._counts.add("dropped.request_of_modern_child")
        self._log_rarely("request of a child dropped: its revision has none", method=request.method)

    def _told(self, notification: Notification) -> None:
        if notification.method == "notifications/progress" and notification.subject is not None:
            self._progress(notification.subject, notification.encode())
        elif notification.method == "notifications/message":
            self._logged(notification)
        elif notification.method == "notifications/cancelled":
            if not self._listens.cancelled(notification.subject):
                self._counts.add("dropped.cancel_of_unknown_listen")
        elif not self._listens.told(notification):
            self._counts.add("dropped.notification_without_listen")

    def _progress(self, token: Id | None, line: bytes) -> None:
        call = self._calls.get(token) if isinstance(token, int) else None
        raw_token = call.request.raw_token if call is not None else None
        if call is None or raw_token is None:
            self._counts.add("dropped.progress_of_no_call")
            return
        call.moved_at = self._clock()
        call.sink.notified(one_line(with_token(line, call.child_id, raw_token)))

    def _logged(self, notification: Notification) -> None:
        """On stdio a log message names no request: it is passed on only when no other can be meant.

        Spec: 2026-07-28 server/utilities/logging: never to a request that did not ask for it.
        """
        if len(self._wanting_logs) != 1:
            self._counts.add("dropped.log_of_no_certain_call")
            return
        (call,) = self._wanting_logs.values()
        raw = notification.members.get("params")
        params = parse_members(bytes(raw)) if raw is not None and bytes(raw).startswith(b"{") else {}
        if reaches(text_at(params, "level"), call.request.log_level):
            call.sink.notified(notification.encode())
        else:
            self._counts.add("dropped.log_below_level")

    def _bad_line(self, line: BadLine) -> None:
        super()._bad_line(line)
        answered = call_answered_by(line.ends, self._calls)
        if answered is not None:
            self._fail(self._calls[answered], AnswerUnusable())

    def _is_late(self, call: MuxCall, now: float) -> bool:
        quiet, total = self._limits.call_timeout_seconds, self._limits.call_timeout_total_seconds
        return (quiet is not None and now - call.moved_at > quiet) or (
            total is not None and now - call.started_at > total
        )

    def _time_out(self, calls: list[MuxCall], error: ProxyError) -> None:
        for call in calls:
            self._note_timed_out(call.request.method)
            self.link.send(cancellation(call.child_id, reason=str(error)))
            self._fail(call, error)

    def _fail(self, call: MuxCall, error: ProxyError) -> None:
        if self._close(call):
            self.failed_calls += 1
            call.sink.failed(error)

    def _close(self, call: MuxCall) -> bool:
        """Take a call out of the tables; False if it has left them before."""
        if self._calls.pop(call.child_id, None) is None:
            return False
        self._own -= call.is_own
        self._wanting_logs.pop(call.child_id, None)
        return True

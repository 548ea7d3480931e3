"""How do messages cross between one client's streams and one child?

The tables of one session: calls by their ids on both sides, progress tokens, the child's own requests, the open
streams, and what waits for one. Everything here happens on the event loop without an await between reading and
changing a table.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import msgspec

from proxy.child.link import Link
from proxy.errors import (
    AnswerUnusable,
    CallCancelled,
    CallTimedOut,
    ChildNotReading,
    DuplicateId,
    ProxyError,
)
from proxy.observe import Counts
from proxy.protocol.badlines import call_answered_by
from proxy.protocol.child_lines import BadLine
from proxy.protocol.framing import one_line
from proxy.protocol.ids import Id, IdMinter
from proxy.protocol.messages import (
    Notification,
    Request,
    Response,
    cancellation,
    pong,
    refusal,
)
from proxy.protocol.routing import relates_to_a_call
from proxy.protocol.tasks import MAX_TASK_TOKENS, begins_task
from proxy.protocol.tokens import under_token, with_token
from proxy.protocol.tool_rules import CALL, LIST, ToolRules
from proxy.sessions.asks import Asks
from proxy.sessions.call import Call
from proxy.sessions.limits import SessionLimits
from proxy.sessions.reader import Reader
from proxy.sessions.replies import Replies
from proxy.sessions.stream import Ask, Failure, Stream
from proxy.sessions.streams import Streams
from proxy.sessions.told import Told, Wanted

logger = logging.getLogger(__name__)

_NO_CLIENT = "No client is connected that could answer"
_NO_BACK_CHANNEL = "Method not found: this client can't be asked anything"


class Exchange(Reader):
    """Both directions of one session.

    Args:
        limits: Bounds of the session.
        counts: What was dropped and why.
        clock: The loop's clock.
        tag: Names the session in the log.
    """

    def __init__(self, *, limits: SessionLimits, counts: Counts, clock: Callable[[], float], tag: str) -> None:
        super().__init__(counts=counts, clock=clock, whose={"session": tag})
        self._limits = limits
        self._link: Link | None = None
        self._minter = IdMinter()
        self._calls: dict[int, Call] = {}
        self._child_ids: dict[Id, int] = {}  # the client's id of each open call -> ours
        self._queued: dict[Id | None, anyio.CancelScope] = {}  # requests that wait for their turn
        self._by_token: dict[Id, Call] = {}
        self._task_tokens: dict[Id, None] = {}  # of calls that go on as tasks, the oldest first
        self._asks = Asks()
        self.streams = Streams(
            limits=limits,
            counts=counts,
            clock=clock,
            tag=tag,
            call_streams=lambda: [call.stream for call in self._calls.values()],
            on_placed=self._placed,
            on_dropped=self._waited_in_vain,
            on_cut=self.disconnected,
        )
        self._replies = Replies(limit_bytes=limits.stream_backlog_bytes, counts=counts)
        self.on_call_closed: Callable[[], None] = lambda: None
        """Called when a call has left the tables."""
        self.refuses_asks = False
        """Whether the child is told at once that its client can't be asked: nobody could know whose an answer is."""
        self.mints_tokens = False
        """Whether the child knows progress by tokens of ours: another client may use those of this one after it."""
        self.failed_calls = 0
        """Calls that were answered here instead of by the child, which may be busy with them still."""
        self.owner_of: Callable[[int], int | None] = lambda _: None
        """The call, as the child knows it, on whose behalf the child asks this; None if it does not say."""
        self.tools: ToolRules | None = None
        """Which tools its client may see and call; None if all."""
        self.told: Told | None = None
        """Remembers what another child would have to know; None if there will be none."""
        self._unheard: set[int] = set()  # requests to a child in the place of another; nobody waits for the answers

    @property
    def calls_in_flight(self) -> int:
        """Requests of the client without an answer."""
        return len(self._calls)

    @property
    def link(self) -> Link:
        """The child's pipes."""
        assert self._link is not None  # set before a client can know of the session
        return self._link

    def attach(self, link: Link) -> None:
        """Connect the child. Nothing can be sent before."""
        self._link = link
        self.streams.attach(link)

    def mint(self) -> int:
        """The id of one more request to a child of this session; each is given once."""
        return self._minter.mint()

    def mint_unheard(self) -> int:
        """The id of a request whose answer nobody waits for."""
        child_id = self.mint()
        self._unheard.add(child_id)
        return child_id

    def tell_again(self, wanted: Wanted) -> None:
        """Send what another child was told after the handshake; the answers are nobody's."""
        level = (wanted.level,) if wanted.level is not None else ()
        for request in (*level, *wanted.subscriptions):
            child_id = self.mint_unheard()
            if self.told is not None:
                self.told.begun(child_id, request)
            self.link.send(request.encode(id=child_id))

    def initialize_again(self) -> None:
        """Send the `initialize` that is in flight to who is attached now: what was attached before has not answered."""
        for call in list(self._calls.values()):
            if call.initialize is not None:
                self.link.send(call.initialize.encode(id=call.child_id))

    def is_in_flight(self, child_id: Id | None) -> bool:
        """Whether the child owes an answer to this."""
        return isinstance(child_id, int) and child_id in self._calls

    # ---- from the client

    def check_new_ids(self, requests: list[Request]) -> None:
        """Raises DuplicateId if one of these ids is in flight, or stands there twice."""
        keys = [request.id for request in requests]
        if len(set(keys)) < len(keys) or any(key in self._child_ids or key in self._queued for key in keys):
            raise DuplicateId

    @contextmanager
    def queued(self, request: Request) -> Iterator[None]:
        """A request that waits for its turn: its id is taken, and it can be cancelled without the child's knowing.

        Raises:
            CallCancelled: In the middle of the block, if the client cancels it.
        """
        with anyio.CancelScope() as scope:
            self._queued[request.id] = scope
            try:
                yield
            finally:
                del self._queued[request.id]
        if scope.cancel_called:
            raise CallCancelled

    def begin(self, request: Request, stream: Stream) -> Call:
        """Send a request to the child; its answer will come on `stream`."""
        self.streams.make_way()
        child_id = self.mint()
        call = Call(request, child_id, stream, self._clock())
        if self.mints_tokens:
            members, call.raw_token = under_token(request.members, child_id)
            request = msgspec.structs.replace(request, members=members)
            call.progress_token = child_id if call.raw_token is not None else None
        self._calls[child_id] = call
        self._child_ids[request.id] = child_id
        if call.progress_token is not None:
            self._by_token[call.progress_token] = call
        if self.told is not None:
            self.told.begun(child_id, request)
        self.link.send(request.encode(id=child_id))
        self.streams.offer_waiting()
        return call

    def notify(self, notification: Notification) -> None:
        """Pass on a notification of the client. A cancellation also ends the call that it names."""
        if notification.method == CALL and self.tools is not None:
            self._counts.add("dropped.tool_call_without_id")  # a server may do it all the same, whatever the rules say
            return
        if notification.method != "notifications/cancelled":
            if self.told is not None:
                self.told.notified(notification)
            self.link.send(notification.encode())
            return
        if notification.subject in self._queued:
            self._queued[notification.subject].cancel()
            return
        child_id = self._child_ids.get(notification.subject) if notification.subject is not None else None
        call = self._calls.get(child_id) if child_id is not None else None
        if call is None or call.method == "initialize":
            self._counts.add("dropped.cancel_of_unknown_call")
            return
        self.link.send(notification.encode_about(call.child_id))
        self._fail(call, CallCancelled())

    def answer(self, response: Response) -> None:
        """Pass on the client's answer to a request of the child; one that nobody waits for is dropped."""
        ask = self._asks.get(response.id)
        if ask is None:
            self._counts.add("dropped.answer_nobody_waits_for")
            return
        self._asks.close(ask)
        self.link.send(response.encode(raw_id=ask.raw_id))

    def resume(self, last_event_id: str) -> Stream | None:
        """The client is back: see `Streams.resume`."""
        stream = self.streams.resume(last_event_id)
        if stream is not None:
            self._asks.regain(stream)
        return stream

    def disconnected(self, stream: Stream) -> None:
        """The client of this stream is gone. Its calls go on: a disconnect is not a cancel.

        Spec: 2025-11-25 basic/transports, Sending Messages 6: "Disconnection SHOULD NOT be interpreted as the client
        cancelling its request."
        """
        unseen = self.streams.disconnected(stream)
        self._asks.lose(stream, self._clock())
        for ask in unseen:
            self.streams.deliver(ask, related=True)

    # ---- from the child

    def fail(self, child_id: int, error: ProxyError) -> None:
        """Answer an open call, by the id that the child knows, with this error."""
        call = self._calls.get(child_id)
        if call is not None:
            self._fail(call, error)

    def fail_all(self, error: ProxyError) -> None:
        """Answer every open call with this error and end every stream."""
        for call in list(self._calls.values()):
            try:
                self._fail(call, error)
            except Exception:  # of one call: the others' clients wait, too
                logger.exception("call not answered", extra=self._whose)
        self.streams.end_listens()

    def child_lost(self, error: ProxyError) -> None:
        """The child is gone, and another one will come: what was between it and the client is over."""
        self._unheard.clear()
        self._task_tokens.clear()
        for ask in self._asks.all():
            self._asks.close(ask)
            if not self.streams.take_back(ask.ask_id) and ask.stream is not None:
                self._put(ask.stream, cancellation(ask.ask_id, reason="The server is being restarted"))
        for call in list(self._calls.values()):
            self._fail(call, error)

    def check(self, now: float) -> None:
        """Act on what has taken too long. Called a few times a second."""
        limits = self._limits
        self.streams.check(now)
        if self.link.stuck_seconds() > limits.stdin_stall_timeout_seconds:
            self._time_out(list(self._calls.values()), ChildNotReading())
        for ask in self._asks.lost_before(now - limits.server_request_timeout_seconds):
            self.streams.take_back(ask.ask_id)
            self._asks.close(ask)
            self._counts.add("refused.ask_without_client")
            self._reply(refusal(ask.raw_id, code=-32603, message=_NO_CLIENT))
        if limits.call_timeout_seconds is not None or limits.call_timeout_total_seconds is not None:
            late = [call for call in self._calls.values() if self._is_late(call, now)]
            self._time_out(late, CallTimedOut())

    # ---- inside

    def _answered(self, response: Response) -> None:
        call = self._calls.get(response.id) if isinstance(response.id, int) else None
        if call is None:
            if isinstance(response.id, int) and response.id in self._unheard:
                self._unheard.discard(response.id)
                if self.told is not None:
                    self.told.settled(response.id, is_agreed=not response.is_error)
                return
            self._counts.add("dropped.answer_to_no_call")  # late after a cancellation, or of no known id
            return
        if self.told is not None:
            self.told.settled(call.child_id, is_agreed=not response.is_error)
        self._close(call)
        if call.progress_token is not None and not self.mints_tokens and begins_task(response.members):
            self._task_tokens[call.progress_token] = None
            if len(self._task_tokens) > MAX_TASK_TOKENS:
                del self._task_tokens[next(iter(self._task_tokens))]
        if self.tools is not None and call.method == LIST and not response.is_error:
            response = self.tools.listed(response)
        self._note_if_lost(call.stream)
        call.stream.put_answer(response.encode(raw_id=call.raw_id))

    def _asked(self, request: Request) -> None:
        if request.method == "ping" and (self.refuses_asks or self.streams.choose(related=True) is None):
            self._reply(pong(request.raw_id))
        elif self.refuses_asks:
            self._counts.add("refused.ask_without_session")
            self._reply(refusal(request.raw_id, code=-32601, message=_NO_BACK_CHANNEL))
        elif self._asks.is_full:
            self._counts.add("refused.too_many_asks")
            self._reply(refusal(request.raw_id, code=-32603, message="Too many requests without an answer"))
        else:
            owner = self.owner_of(request.id) if isinstance(request.id, int) else None
            call = self._calls.get(owner) if owner is not None else None
            self.streams.deliver(
                self._asks.add(request), related=True, preferred=call.stream if call is not None else None
            )

    def _reply(self, line: bytes) -> None:
        self._replies.send(self.link, line)

    def _told(self, notification: Notification) -> None:
        if notification.method == "notifications/progress":
            self._progress(notification.subject, notification.encode())
        elif notification.method == "notifications/cancelled":
            self._withdrawn(notification)
        else:
            related = relates_to_a_call(notification.method, is_request=False)
            self.streams.deliver(notification.encode(), related=related)

    def _progress(self, token: Id | None, line: bytes) -> None:
        call = self._by_token.get(token) if token is not None else None
        if call is None:
            if token in self._task_tokens:
                self.streams.deliver(one_line(line), related=True)
            else:
                self._counts.add("dropped.progress_of_no_call")
            return
        call.moved_at = self._clock()
        message = one_line(line)
        if call.raw_token is not None:
            message = with_token(message, call.child_id, call.raw_token)
        self._put(call.stream, message)

    def _put(self, stream: Stream, message: bytes) -> None:
        self._note_if_lost(stream)
        stream.put(message)

    def _note_if_lost(self, stream: Stream) -> None:
        if not stream.is_live and not stream.number:
            self._counts.add("dropped.client_gone")

    def _withdrawn(self, notification: Notification) -> None:
        """The child needs no answer to a request of its own any more."""
        ask = self._asks.of_child(notification.subject)
        if ask is None:
            self._counts.add("dropped.cancel_of_unknown_ask")
            return
        self._asks.close(ask)
        if not self.streams.take_back(ask.ask_id) and ask.stream is not None:
            self._put(ask.stream, notification.encode_about(ask.ask_id))

    def _bad_line(self, line: BadLine) -> None:
        super()._bad_line(line)
        answered = call_answered_by(line.ends, self._calls)
        if answered is not None:
            self._fail(self._calls[answered], AnswerUnusable())

    def _placed(self, item: bytes | Ask, stream: Stream | None) -> None:
        ask = self._asks.get(item.ask_id) if isinstance(item, Ask) else None
        if ask is not None:
            ask.stream = stream
            ask.lost_at = self._clock() if stream is None else None

    def _waited_in_vain(self, item: bytes | Ask) -> None:
        self._counts.add("dropped.waiting_room_full")
        ask = self._asks.get(item.ask_id) if isinstance(item, Ask) else None
        if ask is not None:
            self._asks.close(ask)
            self._reply(refusal(ask.raw_id, code=-32603, message=_NO_CLIENT))

    def _is_late(self, call: Call, now: float) -> bool:
        if call.method == "initialize":
            return False  # its limit is the start's
        quiet, total = self._limits.call_timeout_seconds, self._limits.call_timeout_total_seconds
        return (quiet is not None and now - call.moved_at > quiet) or (
            total is not None and now - call.started_at > total
        )

    def _time_out(self, calls: list[Call], error: ProxyError) -> None:
        for call in calls:
            self._note_timed_out(call.method)
            if call.method != "initialize":  # which must not be cancelled
                self.link.send(cancellation(call.child_id, reason=str(error)))
            self._fail(call, error)

    def _fail(self, call: Call, error: ProxyError) -> None:
        if self.told is not None:
            self.told.settled(call.child_id, is_agreed=False)
        self.failed_calls += 1
        self._close(call)
        call.stream.put_answer(Failure(call.raw_id, error))

    def _close(self, call: Call) -> None:
        del self._calls[call.child_id]
        del self._child_ids[call.client_id]
        token = call.progress_token
        if token is not None and self._by_token.get(token) is call:
            del self._by_token[token]
        self.on_call_closed()

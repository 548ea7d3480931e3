"""What becomes of each request of a client of the handshake era at a modern child?

Spec: 2026-07-28 basic, Request metadata and Results; basic/patterns/cancellation, basic/patterns/mrtr.
"""

import logging
from collections.abc import Callable, Collection

from msgspec import Raw

from proxy.errors import AnswerUnusable, ChildRestarting, ProxyError
from proxy.observe import Counts
from proxy.protocol.envelope import RETRIED_METHODS
from proxy.protocol.jsontext import Members, as_object, encode
from proxy.protocol.messages import Notification, Request, Response
from proxy.protocol.output_schemas import ToolOutputs
from proxy.protocol.questions import read_input_required
from proxy.protocol.translate_to_legacy import (
    LegacyClient,
    Outgoing,
    enveloped,
    failed_tool,
    legacy_error,
    plain_result,
    result_kind,
)
from proxy.sessions.modern.outbox import Outbox
from proxy.sessions.modern.rounds import Crossing, Rounds

logger = logging.getLogger(__name__)

RETRY_WAIT_SECONDS = 10.0
"""A request whose questions were answered waits so long for a child that it can be sent to again."""


class Crossings:
    """The open requests of one session's client.

    Args:
        write: Writes a line to the child.
        mint: Gives an id for a request to it.
        outbox: Where answers and questions go.
        answer_timeout_seconds: A question waits so long for an answer of a client that is there.
        counts: What was dropped.
        clock: The loop's clock.
        tag: Names the session in the log.
    """

    def __init__(
        self,
        *,
        write: Callable[[bytes], None],
        mint: Callable[[], int],
        outbox: Outbox,
        answer_timeout_seconds: float,
        counts: Counts,
        clock: Callable[[], float],
        tag: str,
    ) -> None:
        self._write = write
        self._mint = mint
        self._outbox = outbox
        self._counts = counts
        self._clock = clock
        self._tag = tag
        self._client: LegacyClient | None = None  # while there is a child that requests can be sent to
        self._open: dict[int, Crossing] = {}
        self._at_child: dict[int, Crossing] = {}  # by the child's id
        self._outputs = ToolOutputs()
        self._rounds = Rounds(
            say=outbox.line,
            resend=self._send_again,
            give_up=self._give_up,
            answer_timeout_seconds=answer_timeout_seconds,
            counts=counts,
            clock=clock,
        )

    def __len__(self) -> int:
        return len(self._open)

    @property
    def open_questions(self) -> int:
        """Questions of the server that the client has not answered."""
        return self._rounds.open_questions

    @property
    def ids_at_child(self) -> Collection[int]:
        """The ids of those that the child has not answered, as it knows them. Goes on telling the truth."""
        return self._at_child.keys()

    def owner_of(self, question_id: int) -> int | None:
        """The request, as the client's side knows it, on whose behalf this is asked."""
        return self._rounds.owner_of(question_id)

    # ---- the child's life

    def ready(self, client: LegacyClient) -> None:
        """There is a child that requests can be sent to. Those that wait for it go first."""
        self._client = client
        for crossing in self._retrying():
            self._send_again(crossing)

    def lost(self, error: ProxyError) -> None:
        """The child is gone: requests that are with it fail at once, those that wait for the client go on."""
        self._client = None
        for crossing in list(self._at_child.values()):
            self._fail(crossing, error)

    def check(self, now: float) -> None:
        """Act on what has taken long enough."""
        self._rounds.check(now)
        for crossing in self._retrying():
            if crossing.due_at is not None and now >= crossing.due_at:
                self._fail(crossing, ChildRestarting())

    def _retrying(self) -> list[Crossing]:
        return [crossing for crossing in self._open.values() if crossing.retry is not None]

    # ---- from the client

    def begin(self, request_id: int, request: Request, *, log_level: str | None) -> None:
        """Send a request to the child.

        Args:
            request_id: Its id.
            request: As the client's side sends it.
            log_level: The least severe log message that the client wants; None if it wants none.
        """
        if self._client is None:
            self._outbox.failure(request_id, ChildRestarting())
            return
        outgoing = enveloped(request, self._client, log_level=log_level)
        if outgoing is None:
            self._outbox.refusal(request_id, -32602, "Invalid params: params and _meta must be objects")
            return
        crossing = Crossing(request_id, request.method, outgoing)
        self._open[request_id] = crossing
        self._to_child(crossing, outgoing)

    def client_answered(self, response: Response) -> None:
        """The client has answered a question."""
        self._rounds.answered(response)

    def cancel(self, request_id: int, notification: Notification) -> bool:
        """The client has cancelled a request. False if it is none of those that are open."""
        crossing = self._open.pop(request_id, None)
        if crossing is None:
            return False
        if crossing.child_id is not None:
            del self._at_child[crossing.child_id]
            self._write(notification.encode_about(crossing.child_id))
        else:
            self._rounds.drop(crossing, reason="The request was cancelled")
        return True

    # ---- to the child

    def _to_child(self, crossing: Crossing, outgoing: Outgoing) -> None:
        crossing.child_id = self._mint()
        self._at_child[crossing.child_id] = crossing
        more, crossing.retry, crossing.due_at = crossing.retry or {}, None, None
        self._write(outgoing.encode(id=crossing.child_id, **more))

    def _send_again(self, crossing: Crossing) -> None:
        """Send one with its `retry`, or let it wait for a child."""
        if self._client is not None and crossing.outgoing is not None:
            self._to_child(crossing, crossing.outgoing)
        else:
            crossing.due_at = self._clock() + RETRY_WAIT_SECONDS

    # ---- from the child

    def answered(self, response: Response) -> None:
        """The child has answered."""
        crossing = self._at_child.pop(response.id, None) if isinstance(response.id, int) else None
        if crossing is None:
            self._counts.add("dropped.answer_to_no_call")  # late after a cancellation, or of no known id
            return
        crossing.child_id = None
        try:
            self._cross(crossing, response)
        except Exception:
            logger.exception("answer of a modern child not handled", extra={"session": self._tag})
            self._fail(crossing, AnswerUnusable())

    def unreadable(self, child_id: int) -> None:
        """The child has answered with a line that can't be read."""
        crossing = self._at_child.get(child_id)
        if crossing is not None:
            self._fail(crossing, AnswerUnusable())

    def _cross(self, crossing: Crossing, response: Response) -> None:
        error, result = response.members.get("error"), as_object(response.members.get("result"))
        kind = result_kind(result) if result is not None else None
        if error is not None:
            self._finish(crossing, {**response.members, "error": legacy_error(error)})
        elif result is not None and kind == "complete":
            self._finish(crossing, {**response.members, "result": Raw(encode(self._plain(crossing, result)))})
        elif result is not None and kind == "input_required" and crossing.method in RETRIED_METHODS:
            self._ask(crossing, result)
        else:
            self._fail(crossing, AnswerUnusable())

    def _plain(self, crossing: Crossing, result: Members) -> Members:
        members = plain_result(crossing.method, result)
        if crossing.method == "tools/list":
            return self._outputs.listed(members)
        if crossing.method == "tools/call":
            return self._outputs.called(crossing.tool, members)
        return members

    def _ask(self, crossing: Crossing, result: Members) -> None:
        interim = read_input_required(result)
        if interim is None or self._client is None:
            self._fail(crossing, AnswerUnusable())
        else:
            self._rounds.begin(crossing, interim, self._client.capabilities)

    def _finish(self, crossing: Crossing, answer: Members) -> None:
        del self._open[crossing.id]
        self._outbox.answer(crossing.id, answer)

    def _fail(self, crossing: Crossing, error: ProxyError) -> None:
        del self._open[crossing.id]
        if crossing.child_id is not None:
            del self._at_child[crossing.child_id]
        self._outbox.failure(crossing.id, error)

    def _give_up(self, crossing: Crossing, why: str) -> None:
        """Nothing is to be cancelled: at the server, the request was completed by its interim result."""
        del self._open[crossing.id]
        self._counts.add("gave_up.input_required")
        if crossing.method == "tools/call":
            self._outbox.result(crossing.id, failed_tool(why))
        else:
            self._outbox.refusal(crossing.id, -32603, why)

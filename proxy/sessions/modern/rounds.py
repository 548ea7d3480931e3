"""How does a request get from its client what the server needs, round by round?

A modern server can't ask. It answers with what it needs to know, and the request is sent again with the answers. A
client of the handshake era is asked by requests, each of which it answers.

Spec: 2026-07-28 basic/patterns/mrtr; 2025-11-25 client/elicitation, client/sampling, client/roots.
"""

import secrets
from collections.abc import Callable
from typing import Any

from msgspec import Raw

from proxy.observe import Counts
from proxy.protocol.envelope import RETRIED_METHODS
from proxy.protocol.ids import IdMinter
from proxy.protocol.jsontext import Members, as_object
from proxy.protocol.messages import Response, cancellation
from proxy.protocol.questions import InputRequired
from proxy.protocol.translate_to_legacy import Outgoing

MAX_ROUNDS = 10
"""Interim results in one call. As the official SDK clients of 2026-07-28: a server can't rely on more."""

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 0.25
"""Before a request that was answered with nothing but a state is sent again. As the Python SDK's client."""


class Crossing:
    """One request of the client, on its way through the eras.

    Attributes:
        id: As the client's side knows it.
        method: What is called.
        tool: Of which tool, if one is called.
        outgoing: What is sent again; None for a request that never is: its arguments may be large.
        child_id: As the server knows it; None while it is not there, but waits for the client, a pause or a child.
        retry: What it is sent again with; None if it does not wait to be sent again.
    """

    __slots__ = (
        "answers",
        "asked_at",
        "child_id",
        "due_at",
        "id",
        "method",
        "open",
        "outgoing",
        "retry",
        "rounds",
        "state",
        "tool",
    )

    def __init__(self, id: int, method: str, outgoing: Outgoing) -> None:
        self.id = id
        self.method = method
        self.tool = outgoing.name if method == "tools/call" else None
        self.outgoing = outgoing if method in RETRIED_METHODS else None
        self.child_id: int | None = None
        self.rounds = 0
        self.state: Raw | None = None  # of the round that is being answered
        self.open: dict[int, str] = {}  # the questions without an answer, and the key of each
        self.answers: dict[str, Raw] = {}
        self.asked_at = 0.0
        self.due_at: float | None = None  # when it is sent again
        self.retry: dict[str, Any] | None = None


class Rounds:
    """The questions of one session's server that its client has not answered, and the requests that wait for them.

    Args:
        say: Passes a line on to the client.
        resend: Sends a request again, with its `retry`.
        give_up: Ends a request whose server can't get what it needs; says why.
        answer_timeout_seconds: A question waits so long for an answer of a client that is there.
        counts: What was dropped.
        clock: The loop's clock.
    """

    def __init__(
        self,
        *,
        say: Callable[[bytes], None],
        resend: Callable[[Crossing], None],
        give_up: Callable[[Crossing, str], None],
        answer_timeout_seconds: float,
        counts: Counts,
        clock: Callable[[], float],
    ) -> None:
        self._say = say
        self._resend = resend
        self._give_up = give_up
        self._answer_timeout_seconds = answer_timeout_seconds
        self._counts = counts
        self._clock = clock
        self._minter = IdMinter()
        self._asked: dict[int, Crossing] = {}  # by the id of each question
        self._pausing: dict[int, Crossing] = {}

    @property
    def open_questions(self) -> int:
        """Questions without an answer."""
        return len(self._asked)

    def owner_of(self, question_id: int) -> int | None:
        """The request, as the client's side knows it, on whose behalf this is asked."""
        crossing = self._asked.get(question_id)
        return crossing.id if crossing is not None else None

    def begin(self, crossing: Crossing, interim: InputRequired, declared: Members) -> None:
        """Ask the client, or wait a little, and send the request again.

        Args:
            crossing: The request that was answered with an interim result.
            interim: That result.
            declared: The capabilities of the client: it is asked nothing that it has not declared.
        """
        crossing.rounds += 1
        missing = [name for each in interim.questions if (name := each.missing_capability(declared))]
        if crossing.rounds > MAX_ROUNDS:
            self._give_up(crossing, f"The server asked for more input {MAX_ROUNDS} times and has not finished")
        elif missing:
            self._give_up(crossing, f"The server needs something that the client does not offer: {missing[0]}")
        else:
            self._begin(crossing, interim)

    def _begin(self, crossing: Crossing, interim: InputRequired) -> None:
        now = self._clock()
        crossing.state, crossing.answers, crossing.asked_at = interim.state, {}, now
        if not interim.questions:
            pause = FIRST_PAUSE_SECONDS * 2.0 ** (crossing.rounds - 1)
            crossing.due_at = now + min(pause, LONGEST_PAUSE_SECONDS)
            self._pausing[crossing.id] = crossing
        for question in interim.questions:
            question_id = self._minter.mint()
            crossing.open[question_id] = question.key
            self._asked[question_id] = crossing
            self._say(question.encode(id=question_id, elicitation_id=secrets.token_urlsafe(12)))

    def answered(self, response: Response) -> None:
        """The client has answered. The last answer of a round sends the request again."""
        crossing = self._asked.pop(response.id, None) if isinstance(response.id, int) else None
        if crossing is None or not isinstance(response.id, int):
            self._counts.add("dropped.answer_to_no_question")
            return
        key = crossing.open.pop(response.id)
        result = response.members.get("result")
        if as_object(result) is None or result is None:
            self.drop(crossing, reason="Another question of the same request was not answered")
            self._give_up(crossing, "The client did not answer what the server asked")
            return
        crossing.answers[key] = result
        if not crossing.open:
            self._again(crossing)

    def drop(self, crossing: Crossing, *, reason: str) -> None:
        """A request is over, or waits for nothing more: its questions are taken back."""
        for question_id in crossing.open:
            del self._asked[question_id]
            self._say(cancellation(question_id, reason=reason))
        crossing.open = {}
        self._pausing.pop(crossing.id, None)

    def check(self, now: float) -> None:
        """Send again what has paused; give up what nobody answers."""
        for crossing in [each for each in self._pausing.values() if each.due_at is not None and each.due_at <= now]:
            del self._pausing[crossing.id]
            self._again(crossing)
        late = {each.id: each for each in self._asked.values() if now - each.asked_at > self._answer_timeout_seconds}
        for crossing in late.values():
            self.drop(crossing, reason="No answer in time")
            self._give_up(crossing, "The client did not answer in time what the server asked")

    def _again(self, crossing: Crossing) -> None:
        crossing.due_at = None
        crossing.retry = {"inputResponses": crossing.answers} if crossing.answers else {}
        if crossing.state is not None:
            crossing.retry["requestState"] = crossing.state
        crossing.answers, crossing.state = {}, None
        self._resend(crossing)

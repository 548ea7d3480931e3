"""Which questions of a server of the handshake era have no answer yet?

Those of the call that has the turn, and those for the roots that no call caused, which wait for the next one: many
servers ask as soon as they are started.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import Raw

from proxy.observe import Counts
from proxy.protocol.ids import Id
from proxy.protocol.input_requests import ELICITATION, input_request, input_required, key_of, legacy_answer
from proxy.protocol.jsontext import Members, as_object, encode
from proxy.protocol.messages import Request, refusal
from proxy.sessions.modern.as_modern_port import Port

MAX_QUESTIONS = 64
"""Without an answer, of one child. Ours: a runaway backstop; an honest server has a few."""
MAX_QUESTION_BYTES = 16 * 1024 * 1024
"""The same, in bytes."""

_NOBODY = "No client is connected that could answer"


@dataclass(slots=True)
class Question:
    """One question without an answer.

    Attributes:
        key: Its name in `input_required`.
        method: What is asked.
        shown: The question as the client gets it.
        raw_id: The id the child gave it; None if the bridge asks, because the child's answer said so.
        child_key: The same, decoded.
        asked_at: When it was asked, on the loop's clock.
        is_shown: Whether the client has been asked.
    """

    key: str
    method: str
    shown: Raw
    raw_id: Raw | None
    child_key: Id | None
    asked_at: float
    is_shown: bool = False


class Questions:
    """All questions of one child without an answer.

    Args:
        port: Where refusals and answers go.
        clock: The loop's clock.
        wait_seconds: How long one for the roots waits for a call.
    """

    def __init__(self, *, port: Port, counts: Counts, clock: Callable[[], float], wait_seconds: float) -> None:
        self._port = port
        self._counts = counts
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._of_turn: dict[str, Question] = {}
        self._unattended: list[Question] = []
        self._minted = 0
        self.given: Members = {}
        """Answers to questions of the turn that came before them, by the names that the child gives its questions."""

    def __len__(self) -> int:
        return len(self._of_turn) + len(self._unattended)

    @property
    def of_turn(self) -> list[Question]:
        """Those of the call that has the turn."""
        return list(self._of_turn.values())

    # ---- from the child

    def admit(self, request: Request) -> Question | None:
        """A question of the child; None if it has too many, and this one is refused."""
        params = request.members.get("params", Raw(b""))
        size = len(memoryview(params)) + sum(
            len(memoryview(each.shown)) for each in (*self._of_turn.values(), *self._unattended)
        )
        if len(self) >= MAX_QUESTIONS or size > MAX_QUESTION_BYTES:
            self._counts.add("refused.too_many_asks")
            self._port.reply(refusal(request.raw_id, code=-32603, message="Too many requests without an answer"))
            return None
        shown = input_request(request.method, as_object(params) or {})
        return Question("", request.method, shown, request.raw_id, request.id, self._clock())

    def add(self, question: Question) -> None:
        """This question is one of the turn's."""
        named = key_of(question.child_key) if question.child_key is not None else None
        if named is None or named in self._of_turn:
            named = self._mint_key()
        question.key = named
        self._of_turn[named] = question

    def add_address(self, shown: Raw) -> None:
        """The bridge has a question of its own for the turn: the child's answer named an address to open."""
        key = self._mint_key()
        self._of_turn[key] = Question(key, ELICITATION, shown, None, None, self._clock())

    def leave(self, question: Question) -> None:
        """This question waits for the next call."""
        self._unattended.append(question)

    def attend(self) -> None:
        """A call has come with which those that wait can be asked."""
        unattended, self._unattended = self._unattended, []
        for question in unattended:
            self.add(question)

    def withdraw(self, child_key: Id | None) -> None:
        """The child needs no answer any more."""
        before = len(self)
        self._unattended = [each for each in self._unattended if each.child_key != child_key]
        for question in self.of_turn:
            if question.raw_id is not None and question.child_key == child_key:
                del self._of_turn[question.key]
        if len(self) == before:
            self._counts.add("dropped.cancel_of_unknown_ask")

    # ---- to the client, and back

    def show(self, state: str) -> Raw:
        """The result that asks for all answers of the turn."""
        for question in self._of_turn.values():
            question.is_shown = True
        requests = {key: question.shown for key, question in self._of_turn.items()}
        return input_required(requests, state=state, info=self._port.info)

    def answer(self, question: Question, raw: Raw) -> None:
        """The client has answered this question of the turn."""
        del self._of_turn[question.key]
        if question.raw_id is not None:
            answer: dict[str, Any] = {"jsonrpc": "2.0", "id": question.raw_id, "result": legacy_answer(raw)}
            self._port.down(encode(answer))

    def refuse_turn(self, reason: str) -> None:
        """Nobody will answer those of the turn."""
        for question in self.of_turn:
            self._refuse(question, reason)
        self._of_turn.clear()
        self.given = {}

    def check(self, now: float) -> None:
        """Refuse those that have waited for a call too long."""
        for question in [each for each in self._unattended if now - each.asked_at >= self._wait_seconds]:
            self._unattended.remove(question)
            self._counts.add("refused.ask_without_client")
            self._refuse(question, _NOBODY)

    def clear(self) -> None:
        """Nobody is there any more that could be told."""
        self._of_turn.clear()
        self._unattended.clear()

    def _refuse(self, question: Question, reason: str) -> None:
        if question.raw_id is not None:
            self._port.reply(refusal(question.raw_id, code=-32603, message=reason))

    def _mint_key(self) -> str:
        while True:
            self._minted += 1
            key = f"ask-{self._minted}"
            if key not in self._of_turn:
                return key

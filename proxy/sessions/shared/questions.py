"""Whom does a shared child ask?

Nothing says for whom it asks. So it may ask only while one call alone is open (one that was cancelled and never
answered is, too), and only the client that made it; any other question is refused at once.
"""

from dataclasses import dataclass

from msgspec import Raw

from proxy.observe import Counts
from proxy.protocol.ids import Id, decode_id
from proxy.protocol.input_requests import QUESTIONS, Declared, lacking
from proxy.protocol.jsontext import as_object
from proxy.protocol.messages import Notification, Request, Response, refusal
from proxy.protocol.tokens import token_in
from proxy.sessions.asks import MAX_OPEN_ASKS
from proxy.sessions.shared.port import Port

NOT_FOUND, FAULT = -32601, -32603


@dataclass(frozen=True, slots=True)
class _Question:
    port: Port
    raw_id: Raw
    token: Id | None


class Questions:
    """The requests of one child that have no answer.

    Args:
        may_ask: Whether the operator lets the server ask at all.
        counts: Of those that were refused.
    """

    def __init__(self, *, may_ask: bool, counts: Counts) -> None:
        self._may_ask = may_ask
        self._counts = counts
        self._open: dict[Id, _Question] = {}

    def asked(self, request: Request, port: Port | None, *, in_doubt: bool) -> bytes | None:
        """The child asks. Returns the refusal; None if the question is to be given to this port.

        Args:
            request: The question.
            port: The session that has caused it for certain, if there is one.
            in_doubt: Whether something that was cancelled could have caused it.
        """
        if not self._may_ask or request.method not in QUESTIONS:
            return self._refuse(request, NOT_FOUND, "Method not found: the clients of this process can't be asked")
        if port is None:
            if in_doubt:
                self._counts.add("refused.ask_after_cancelled_call")
            return self._refuse(request, FAULT, "It is not certain whom to ask: not one call alone can have caused it")
        params = as_object(request.members.get("params")) or {}
        if lacking(request.method, params, port.declared or Declared()):
            return self._refuse(request, NOT_FOUND, "Method not found: the client can't be asked this")
        if len(self._open) >= MAX_OPEN_ASKS or request.id in self._open:
            return self._refuse(request, FAULT, "Too many requests without an answer")
        raw_token = token_in(request.members)
        token = decode_id(raw_token) if raw_token is not None else None
        self._open[request.id] = _Question(port, request.raw_id, token)
        return None

    def answered(self, port: Port, response: Response) -> bool:
        """Whether this session may answer that; then it has."""
        question = self._open.get(response.id) if response.id is not None else None
        if question is None or question.port is not port:
            return False
        assert response.id is not None  # it is the key
        del self._open[response.id]
        return True

    def is_progress(self, port: Port, notification: Notification) -> bool:
        """Whether this tells of the progress of an answer that this session owes."""
        return notification.subject is not None and any(
            each.token == notification.subject and each.port is port for each in self._open.values()
        )

    def withdrawn(self, question_id: Id | None) -> Port | None:
        """The child needs no answer any more. Returns the session that was asked; None if nobody was."""
        question = self._open.pop(question_id, None) if question_id is not None else None
        return question.port if question is not None else None

    def has_asked(self, port: Port) -> bool:
        """Whether a session owes an answer."""
        return any(each.port is port for each in self._open.values())

    def leave(self, port: Port) -> list[bytes]:
        """A session has gone. Returns the refusals of what it was asked."""
        gone = [question_id for question_id, each in self._open.items() if each.port is port]
        return [
            refusal(self._open.pop(question_id).raw_id, code=FAULT, message="The client that was asked is gone")
            for question_id in gone
        ]

    def _refuse(self, request: Request, code: int, message: str) -> bytes:
        self._counts.add("refused.ask_of_shared_child")
        return refusal(request.raw_id, code=code, message=message)

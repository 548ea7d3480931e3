"""What does a server ask for in an interim result, and how is a client of the handshake era asked?

Spec: 2026-07-28 basic/patterns/mrtr; 2025-11-25 client/elicitation, client/sampling, client/roots.
"""

from typing import Any, NamedTuple

from msgspec import Raw

from proxy.protocol.framing import one_line
from proxy.protocol.ids import decode_id
from proxy.protocol.jsontext import Members, as_object, encode

MAX_QUESTIONS = 64
"""Questions in one interim result. Ours: a runaway backstop; each is a request that a person may have to answer."""

_CAPABILITIES = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}


class Question(NamedTuple):
    """One of `inputRequests`.

    Attributes:
        key: Its name there, under which the server expects the answer.
        method: The request that it stands for.
        raw_params: The params of that request, if it has any.
    """

    key: str
    method: str
    raw_params: Raw | None

    def missing_capability(self, declared: Members) -> str | None:
        """What a client lacks to be asked this; None if it can be asked."""
        name = _CAPABILITIES.get(self.method)
        if name is None:
            return self.method
        capability = as_object(declared.get(name))
        if capability is None:
            return name
        params = as_object(self.raw_params) or {}
        if name == "elicitation":
            mode = decode_id(params["mode"]) if "mode" in params else "form"
            is_there = mode in capability or (mode == "form" and "url" not in capability)
            return None if is_there else f"elicitation by {mode}"
        if name == "sampling" and "tools" in params and "tools" not in capability:
            return "sampling with tools"
        return None

    def encode(self, *, id: int, elicitation_id: str) -> bytes:
        """The request on one line, as the client gets it.

        Args:
            id: Names the question.
            elicitation_id: Names the page that is to be opened, which the modern era has no name for.
        """
        request: dict[str, Any] = {"jsonrpc": "2.0", "id": id, "method": self.method}
        params = as_object(self.raw_params)
        if params is not None:
            is_by_url = self.method == "elicitation/create" and bytes(params.get("mode", b"")) == b'"url"'
            request["params"] = {**params, "elicitationId": elicitation_id} if is_by_url else params
        return one_line(encode(request))


class InputRequired(NamedTuple):
    """An interim result: the request is to be sent again, with answers and the state.

    Attributes:
        questions: What is to be answered; none means "again, a little later".
        state: Goes back as the bytes that came; None if there is none.
    """

    questions: tuple[Question, ...]
    state: Raw | None


def read_input_required(result: Members) -> InputRequired | None:
    """What a server asks for; None if it can't be made out, or is more than `MAX_QUESTIONS`."""
    given = {name: raw for name, raw in result.items() if bytes(raw) != b"null"}
    state = given.get("requestState")
    requests = as_object(given["inputRequests"]) if "inputRequests" in given else {}
    if requests is None or len(requests) > MAX_QUESTIONS:
        return None
    if state is not None and not bytes(state).startswith(b'"'):
        return None
    questions: list[Question] = []
    for key, raw in requests.items():
        request = as_object(raw) or {}
        method = decode_id(request["method"]) if "method" in request else None
        if not isinstance(method, str):
            return None
        questions.append(Question(key, method, request.get("params")))
    return InputRequired(tuple(questions), state) if questions or state is not None else None

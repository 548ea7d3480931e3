"""Do these answers fit what was asked, and is this the request that was interrupted?

Spec: 2026-07-28 basic/patterns/mrtr. A request that is answered with `input_required` is sent again, the same but for
its id, the answers and the state that it was given.
"""

import hashlib

import msgspec
from msgspec import Raw

from proxy.errors import AnswersMalformed
from proxy.protocol.envelope import ModernRequest
from proxy.protocol.ids import text_at
from proxy.protocol.jsontext import Members, as_object

MAX_CANONICAL_BYTES = 64 * 1024
"""Larger values are compared as they are written: parsing them would hold up everybody."""

_NOT_THE_REQUEST = frozenset({"_meta", "inputResponses", "requestState"})


def questions_of(result: Members) -> dict[str, str]:
    """Key -> method of each question in an `input_required` result."""
    questions = as_object(result.get("inputRequests")) or {}
    return {key: text_at(as_object(question) or {}, "method") or "" for key, question in questions.items()}


def digest_of(request: ModernRequest) -> bytes:
    """The same for a request and its retry: the method, and all of `params` but what a retry changes."""
    if request.digest:
        return request.digest
    digest = hashlib.sha256(request.method.encode())
    for name in sorted(request.params.keys() - _NOT_THE_REQUEST):
        digest.update(b"\0%b\0" % name.encode("utf-8", "surrogatepass"))
        digest.update(_canonical(request.params[name]))
    return digest.digest()


def check_answers(asked: dict[str, str], raw: Raw | None) -> None:
    """Refuse answers that no question of this kind can have. Some may be missing, and some be to nothing asked.

    Args:
        asked: As of `questions_of`.
        raw: `params.inputResponses`.

    Raises:
        AnswersMalformed: Says which key is at fault.
    """
    if raw is None:
        return
    answers = as_object(raw)
    if answers is None:
        raise AnswersMalformed("Invalid params: inputResponses must be an object")
    for key, method in asked.items():
        if key in answers and not fits(method, answers[key]):
            raise AnswersMalformed(f"Invalid params: inputResponses[{key!r}] is no answer to {method}")


def fits(method: str, raw: Raw) -> bool:
    """Whether this has the shape of an answer to such a question.

    Spec: 2026-07-28 schema, ElicitResult, CreateMessageResult, ListRootsResult.
    """
    answer = as_object(raw)
    if answer is None:
        return False
    if method == "elicitation/create":
        return text_at(answer, "action") in ("accept", "decline", "cancel") and _is(
            answer, "content", b"{", optional=True
        )
    if method == "sampling/createMessage":
        return _is(answer, "role", b'"') and _is(answer, "model", b'"') and _is(answer, "content", b"{[")
    if method == "roots/list":
        return _is(answer, "roots", b"[")
    return True


def _is(members: Members, name: str, starts: bytes, *, optional: bool = False) -> bool:
    raw = members.get(name)
    if raw is None or bytes(raw) == b"null":
        return optional
    return bytes(raw)[:1] in [starts[i : i + 1] for i in range(len(starts))]


def _canonical(raw: Raw) -> bytes:
    """The same bytes for the same value: a client may write its retry in another order. Large ones must be the same."""
    if len(memoryview(raw)) > MAX_CANONICAL_BYTES:
        return bytes(raw)
    try:
        return msgspec.json.encode(msgspec.json.decode(bytes(raw)), order="deterministic")
    except (msgspec.DecodeError, RecursionError, ValueError):
        return bytes(raw)

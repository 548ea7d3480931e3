"""How does a question of the handshake era become part of an `input_required` result, and its answer an answer?

Spec: 2026-07-28 basic/patterns/mrtr; 2025-11-25 client/sampling, client/elicitation, client/roots.
"""

import re
from typing import Any

import msgspec
from msgspec import Raw

from proxy.protocol.ids import Id, text_at
from proxy.protocol.jsontext import Members, as_object, encode, parse_array
from proxy.protocol.translate_to_modern import meta_of

SAMPLING = "sampling/createMessage"
ELICITATION = "elicitation/create"
ROOTS = "roots/list"

QUESTIONS = frozenset({SAMPLING, ELICITATION, ROOTS})
"""What a server may ask its client."""

MAX_URL_ELICITATIONS = 16
"""Addresses that one error may name. Ours: an honest server names one."""

_KEY = re.compile(r"[ -~]{1,64}")
_NONE: Members = {}


class Declared(msgspec.Struct, frozen=True):
    """What a client can be asked.

    Attributes:
        forms: To fill in a form.
        urls: To open an address.
        sampling: For a message of its model.
        tools: The same, with tools.
        roots: For its roots.
    """

    forms: bool = False
    urls: bool = False
    sampling: bool = False
    tools: bool = False
    roots: bool = False

    @property
    def anything(self) -> bool:
        """Whether there is anything at all that it can be asked."""
        return self != _NOTHING


_NOTHING = Declared()


def read_declared(capabilities: Members) -> Declared:
    """What these capabilities, of either era, say that a client can be asked.

    Spec: 2025-11-25 client/elicitation, Capabilities: an empty object means forms only.
    """
    elicitation = as_object(capabilities.get("elicitation"))
    sampling = as_object(capabilities.get("sampling"))
    modes = elicitation if elicitation is not None else _NONE
    return Declared(
        forms=elicitation is not None and ("form" in modes or "url" not in modes),
        urls="url" in modes,
        sampling=sampling is not None,
        tools=sampling is not None and "tools" in sampling,
        roots=as_object(capabilities.get("roots")) is not None,
    )


def lacking(method: str, params: Members, declared: Declared) -> dict[str, Any]:
    """What a client would have to declare to be asked this, as `ClientCapabilities`; empty if nothing."""
    if method == ROOTS:
        return {} if declared.roots else {"roots": {}}
    if method == SAMPLING:
        if declared.sampling and (declared.tools or not params.keys() & {"tools", "toolChoice"}):
            return {}
        return {"sampling": {"tools": {}} if declared.sampling else {}}
    mode = text_at(params, "mode") or "form"
    if mode == "url":
        return {} if declared.urls else {"elicitation": {"url": {}}}
    return {} if declared.forms else {"elicitation": {"form": {}}}


def key_of(child_key: Id) -> str | None:
    """The key that a question goes by: the id that its server gave it, if that is a short text; None if it is not.

    Both are names that the server chose. So a server that names its questions gets its own names through.
    """
    return child_key if isinstance(child_key, str) and _KEY.fullmatch(child_key) else None


def input_request(method: str, params: Members) -> Raw:
    """A question without what only a request of the handshake era has: token, task and elicitation id."""
    meta = {name: raw for name, raw in (as_object(params.get("_meta")) or {}).items() if name != "progressToken"}
    left_out = {"_meta", "task"} | ({"elicitationId"} if method == ELICITATION else set())
    kept = {name: raw for name, raw in params.items() if name not in left_out}
    return Raw(encode({"method": method, "params": {**kept, "_meta": meta} if meta else kept}))


def url_elicitations(error: Raw) -> list[Raw]:
    """The addresses that error -32042 names, as questions; none if it does not name them legally.

    Spec: 2025-11-25 client/elicitation, URL Elicitation Required Error.
    """
    data = as_object((as_object(error) or _NONE).get("data")) or _NONE
    listed = bytes(data.get("elicitations", b""))
    asked: list[Raw] = []
    for element in parse_array(listed) if listed.startswith(b"[") else ():
        params = as_object(Raw(element)) or _NONE
        if text_at(params, "url") is None or text_at(params, "message") is None:
            return []
        asked.append(input_request(ELICITATION, {**params, "mode": Raw(b'"url"')}))
    return asked if len(asked) <= MAX_URL_ELICITATIONS else []


def input_required(requests: dict[str, Raw], *, state: str, info: Raw | None) -> Raw:
    """The result that asks the client these questions. Spec: 2026-07-28 basic/patterns/mrtr, InputRequiredResult."""
    result: dict[str, Any] = {"resultType": "input_required", "inputRequests": requests, "requestState": state}
    return Raw(encode({**result, **meta_of({}, info)}))


def read_responses(raw: Raw | None) -> Members | None:
    """The answers that a request brings, by their keys; None if they are no object of objects."""
    if raw is None:
        return {}
    responses = as_object(raw)
    if responses is None or any(not bytes(answer).startswith(b"{") for answer in responses.values()):
        return None
    return responses


def legacy_answer(raw: Raw) -> Raw:
    """An answer as a server of the handshake era reads it: not all of them take null for what is left out."""
    answer = as_object(raw) or _NONE
    if bytes(answer.get("content", b"")) != b"null":
        return raw
    return Raw(encode({name: value for name, value in answer.items() if name != "content"}))


def is_accepted(raw: Raw) -> bool:
    """Whether the answer to an elicitation says that the user agreed."""
    return text_at(as_object(raw) or _NONE, "action") == "accept"


def declined(method: str) -> Members:
    """The response to a call that can't go on because its user did not agree."""
    text = "The user did not agree to what this request needs"
    if method != "tools/call":
        return {"error": Raw(encode({"code": -32603, "message": text}))}
    content = [{"type": "text", "text": text}]
    return {"result": Raw(encode({"content": content, "isError": True}))}

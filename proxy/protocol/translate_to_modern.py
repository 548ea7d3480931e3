"""How does a server of the handshake era read as one of 2026-07-28?

Requests on their way down lose the envelope; results and errors on their way up gain what every result of the new
revision has. Only what must change is touched: the rest of every message stays the bytes it was.

Spec: 2026-07-28 basic, Results, Error handling.
"""

from typing import Any

from msgspec import Raw

from proxy.protocol.envelope import LOG_LEVELS, PREFIX, RETRIED_METHODS, SUBSCRIPTION_KEY
from proxy.protocol.ids import decode_id, text_at
from proxy.protocol.jsontext import Members, as_object, encode, parse_array

SERVER_INFO_KEY = f"{PREFIX}serverInfo"

CACHEABLE_METHODS = frozenset(
    {
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
    }
)
"""Those whose results say for how long they hold. Spec: 2026-07-28 server/utilities/caching."""

CHANGES = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}
"""The list changes, and what a listen calls them."""

URL_ELICITATION_REQUIRED = -32042
MISSING_CAPABILITY = -32021

_NOT_FOUND = -32002
_INVALID_PARAMS = -32602
_INTERNAL_ERROR = -32603
NO_HOLD = {"ttlMs": Raw(b"0"), "cacheScope": Raw(b'"private"')}
COMPLETE = Raw(b'"complete"')


# ---- requests, on their way to the server


def legacy_params(method: str, params: Members, meta: Members) -> Members:
    """The params of a request without what only 2026-07-28 has.

    Args:
        method: Of the request.
        params: As they came.
        meta: Their `_meta`, with the progress token it is to have.
    """
    left_out = {"_meta"}
    if method in RETRIED_METHODS:
        left_out |= {"inputResponses", "requestState"}
    if method == "tools/call":
        left_out.add("task")  # would make the call a task of the handshake era, which nobody could ask for
    kept = {name: raw for name, raw in params.items() if name not in left_out}
    kept_meta = {name: raw for name, raw in meta.items() if not name.startswith(PREFIX)}
    return {**kept, "_meta": Raw(encode(kept_meta))} if kept_meta else kept


# ---- results and errors, on their way to the client


def modern_response(response: Members, method: str, info: Raw | None) -> Members:
    """The members of a server's response as a response of 2026-07-28; the id is left to its receiver.

    A result that is no object, or an error that is none, becomes an error.
    """
    if "result" in response:
        result = modern_result(method, response["result"], info)
        if result is not None:
            return {**response, "result": result}
    elif "error" in response:
        return {**response, "error": modern_error(response["error"])}
    return {"error": error_object(_INTERNAL_ERROR, "The server's answer could not be used")}


def modern_result(method: str, raw: Raw, info: Raw | None) -> Raw | None:
    """A result with the members that every result of 2026-07-28 has; None if it is no object.

    `ttlMs` 0 and `private`: what the handshake era says about changes ends with the connection. Spec: 2026-07-28
    basic, Results; server/utilities/caching.
    """
    members = as_object(raw)
    if members is None:
        return None
    if method == "tools/list" and "tools" in members:
        members["tools"] = _without_execution(members["tools"])
    hold = NO_HOLD if method in CACHEABLE_METHODS else {}
    return Raw(encode({**members, "resultType": COMPLETE, **hold, **meta_of(members, info)}))


def modern_error(raw: Raw) -> Raw:
    """An error as 2026-07-28 allows it.

    Spec: 2026-07-28 basic, Error handling: -32002 and -32042 are reserved and not emitted any more; -32020 to -32099
    mean what the revision says and nothing else, so those of a server that does not know it become -32603.
    """
    members = as_object(raw)
    code = error_code(raw)
    if members is None or code is None:
        return error_object(_INTERNAL_ERROR, "The server's answer could not be used")
    if text_at(members, "message") is None:
        members["message"] = Raw(b'""')
    if code == _NOT_FOUND:
        return Raw(encode({**members, "code": _INVALID_PARAMS}))
    if -32099 <= code <= -32020:
        return Raw(encode({"code": _INTERNAL_ERROR, "message": members["message"], "data": raw}))
    return Raw(encode(members))


def is_failure(response: Members) -> bool:
    """Whether this says that the request could not be carried out: an error, or a tool's result that is one."""
    if "result" not in response:
        return True
    return bytes((as_object(response["result"]) or {}).get("isError", b"")) == b"true"


def missing_capability(required: dict[str, Any], cause: Members) -> Raw:
    """The error for a call that needed what its client has not declared.

    Args:
        required: What it would have to declare, as `ClientCapabilities`.
        cause: The response that the server gave, for those who look closer.

    Spec: 2026-07-28 basic, Client capabilities.
    """
    data: dict[str, Any] = {"requiredCapabilities": required}
    data |= {name: cause[name] for name in ("result", "error") if name in cause}
    return error_object(MISSING_CAPABILITY, "Missing required client capability", data)


def error_object(code: int, message: str, data: Any = None) -> Raw:
    """An error of ours."""
    error: dict[str, Any] = {"code": code, "message": message}
    return Raw(encode(error if data is None else {**error, "data": data}))


def error_code(raw: Raw | None) -> int | None:
    """The code of an error object."""
    code = (as_object(raw) or {}).get("code")
    value = decode_id(code) if code is not None else None
    return value if isinstance(value, int) else None


# ---- notifications


def for_listen(notification: Members, listen_id: int) -> bytes:
    """A notification with the mark of the listen that it is for, on one line. Spec: 2026-07-28 basic/patterns/subs."""
    params = as_object(notification.get("params")) or {}
    meta = {**(as_object(params.get("_meta")) or {}), SUBSCRIPTION_KEY: Raw(b"%d" % listen_id)}
    return encode({**notification, "params": {**params, "_meta": meta}})


def with_token(notification: Members, token: int) -> bytes:
    """A progress notification under another token, on one line."""
    params = as_object(notification.get("params")) or {}
    return encode({**notification, "params": {**params, "progressToken": token}})


def log_level_of(notification: Members) -> str | None:
    """How severe a log message is; None if it does not say so legally."""
    params = as_object(notification.get("params")) or {}
    level = text_at(params, "level")
    return level if level in LOG_LEVELS else None


def meta_of(members: Members, info: Raw | None) -> dict[str, Any]:
    meta = as_object(members.get("_meta")) or {}
    if info is not None:
        meta.setdefault(SERVER_INFO_KEY, info)
    return {"_meta": meta} if meta or "_meta" in members else {}


def _without_execution(tools: Raw) -> Raw:
    """Tools without what they say about tasks of the handshake era."""
    data = bytes(tools)
    if b'"execution"' not in data or not data.startswith(b"["):
        return tools
    kept: list[Any] = []
    for element in parse_array(data):
        tool = as_object(Raw(element))
        if tool is None or "execution" not in tool:
            kept.append(Raw(element))
        else:
            kept.append({name: raw for name, raw in tool.items() if name != "execution"})
    return Raw(encode(kept))

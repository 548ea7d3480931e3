"""Is this a request, a notification or a response, and is it valid?

One parse, just deep enough to route; everything else stays the bytes it was. What a client sends is checked
strictly (its second reader is a child with a parser of its own); what a child writes is taken as it is as long as it
can be routed.

Spec: 2025-11-25 basic, Messages; JSON-RPC 2.0.
"""

import msgspec
from msgspec import Raw

from proxy.errors import NotJson, NotJsonRpc, TooDeep
from proxy.protocol.framing import OversizedLine, one_line
from proxy.protocol.ids import Id, decode_id
from proxy.protocol.jsontext import (
    Members,
    check_utf8,
    encode,
    parse_array,
    parse_members,
    refuse_duplicates,
)

ENVELOPE_KEY = "io.modelcontextprotocol/protocolVersion"
"""In a request's `params._meta` since 2026-07-28; its presence is what makes a request a modern one."""

_VERSION = b'"2.0"'


def _by_casefold(*names: str) -> dict[str, str]:
    return {name.casefold(): name for name in names}


_ACTED_ON = _by_casefold("jsonrpc", "id", "method", "params", "result", "error")
_ACTED_ON_IN_PARAMS = _by_casefold("_meta", "requestId", "progressToken", "protocolVersion")
_ACTED_ON_IN_META = _by_casefold("progressToken", ENVELOPE_KEY)
_ORDINARY = frozenset(
    {
        "jsonrpc",
        "id",
        "method",
        "params",
        "result",
        "error",
        "name",
        "arguments",
        "uri",
        "_meta",
        "progressToken",
        ENVELOPE_KEY,
        "io.modelcontextprotocol/clientCapabilities",
        "io.modelcontextprotocol/clientInfo",
    }
)
"""Names that look like no other; most messages have only these."""


class Request(msgspec.Struct, frozen=True):
    """A call with an id, from either side."""

    id: Id
    raw_id: Raw
    method: str
    members: Members
    progress_token: Id | None = None
    envelope: tuple[Members, Members] | None = None
    """`params` and `_meta` of a request that carries the modern envelope."""

    @property
    def is_enveloped(self) -> bool:
        """Whether it carries the modern envelope."""
        return self.envelope is not None

    def encode(self, *, id: int) -> bytes:
        """This request on one line, under another id, every other member untouched."""
        return one_line(encode({**self.members, "id": Raw(b"%d" % id)}))

    @property
    def size_bytes(self) -> int:
        """What its members take, nearly the length of its text."""
        return _size(self.members)


class Notification(msgspec.Struct, frozen=True):
    """A message nobody answers."""

    method: str
    members: Members
    subject: Id | None = None
    """`params.progressToken` of a progress notification, `params.requestId` of a cancellation, else None."""
    is_enveloped: bool = False

    def encode(self) -> bytes:
        """This notification on one line."""
        return one_line(encode(self.members))

    def encode_about(self, request_id: int) -> bytes:
        """This cancellation on one line, naming the request by the id that the other side knows."""
        params = parse_members(bytes(self.members["params"]))
        params["requestId"] = Raw(b"%d" % request_id)
        return one_line(encode({**self.members, "params": params}))

    @property
    def size_bytes(self) -> int:
        """What its members take, nearly the length of its text."""
        return _size(self.members)


class Response(msgspec.Struct, frozen=True):
    """A result or an error."""

    id: Id | None
    members: Members

    @property
    def is_error(self) -> bool:
        """Whether it carries an error instead of a result."""
        return "error" in self.members

    def encode(self, *, raw_id: Raw) -> bytes:
        """This response on one line, under the id that its receiver used."""
        return one_line(encode({**self.members, "id": raw_id}))

    @property
    def size_bytes(self) -> int:
        """What its members take, nearly the length of its text."""
        return _size(self.members)


def _size(members: Members) -> int:
    return sum(len(name) + memoryview(raw).nbytes for name, raw in members.items())


Message = Request | Notification | Response

MAX_BATCH = 1000
"""Messages in one body. Ours: the spec sets no limit; a million of them would fit into 16 MiB and hold up everybody."""


class BadLine(msgspec.Struct, frozen=True):
    """A line of a child that is no message."""

    reason: str
    """`oversized`, `not_utf8`, `not_json` or `not_jsonrpc`."""
    size_bytes: int
    ends: bytes
    """The beginning and the end of the line, where the id of the call it answers may be read."""


def parse_client_message(data: bytes) -> Message:
    """Parse one message of a client, strictly.

    Raises:
        NotJson: If it is not valid JSON in UTF-8.
        NotJsonRpc: If it is not a JSON-RPC 2.0 message, has an illegal id, or names a member twice (also in another
            case) that the bridge or a child would act on.
        TooDeep: If the parser can't follow its nesting.
    """
    members = parse_members(data)
    refuse_lookalikes(members, _ACTED_ON)
    refuse_duplicates(data, members)
    if not _is_version_2(members):
        raise NotJsonRpc
    if "method" in members and ("result" in members or "error" in members):
        raise NotJsonRpc  # a request to one parser, an answer to another
    message = _classify(members, *_client_params(members))
    if message is None or (isinstance(message, Response) and message.id is None):
        raise NotJsonRpc  # a null id names no request, so nobody could be told
    return message


def parse_client_batch(data: bytes) -> list[Message]:
    """Parse the messages of a 2025-03-26 batch.

    Raises like `parse_client_message`, and NotJsonRpc if it is empty or has more than `MAX_BATCH` messages.
    """
    elements = parse_array(data)
    if not elements:
        raise NotJsonRpc("Invalid Request: an empty batch")
    if len(elements) > MAX_BATCH:
        raise NotJsonRpc(f"Invalid Request: a batch of more than {MAX_BATCH} messages")
    return [parse_client_message(element) for element in elements]


def readable_id(data: bytes) -> Raw | None:
    """The id of a message that was refused, if there is exactly one and it is legal."""
    try:
        members = parse_members(data)
        refuse_duplicates(data, members)
    except (NotJson, NotJsonRpc, TooDeep):
        return None
    raw_id = members.get("id")
    return raw_id if raw_id is not None and decode_id(raw_id) is not None else None


def is_batch(data: bytes) -> bool:
    """Whether this JSON text is an array."""
    return data.lstrip(b" \t\r\n").startswith(b"[")


class _ProgressParams(msgspec.Struct):
    progressToken: int | str


class _Progress(msgspec.Struct):
    jsonrpc: str
    method: str
    params: _ProgressParams
    id: msgspec.UnsetType | Raw = msgspec.UNSET


_decode_progress = msgspec.json.Decoder(_Progress).decode


def progress_token_of(line: bytes) -> Id | None:
    """The token of a line that is a plain progress notification; None for anything else, which may still be one.

    The short way for the one message that comes in thousands: one parse, no members.
    """
    if b'"notifications/progress"' not in line[:80]:
        return None
    try:
        progress = _decode_progress(line)
        check_utf8(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, NotJson):
        return None
    is_plain = (
        progress.method == "notifications/progress" and progress.jsonrpc == "2.0" and progress.id is msgspec.UNSET
    )
    return progress.params.progressToken if is_plain else None


def parse_child_line(line: bytes | OversizedLine) -> list[Message | BadLine]:
    """Parse one line of a child: a message, a 2025-03-26 batch of them, or a bad line. Never raises.

    Noise before a JSON object on the same line is cut off: a child that prints a prompt or a progress dot without a
    newline still gets its message through.
    """
    if isinstance(line, OversizedLine):
        return [BadLine("oversized", line.size_bytes, line.head + b" " + line.tail)]
    try:
        if is_batch(line):
            elements = parse_array(line)
            if not 0 < len(elements) <= MAX_BATCH:
                return [_bad("not_jsonrpc", line)]
            return [_element(element) for element in elements]
        return [_child_message(line)]
    except (NotJson, NotJsonRpc) as fault:  # the second, too: a date begins like a number
        start = line.find(b"{")
        if start > 0:
            rest = _after_noise(line[start:])
            if rest is not None:
                return [rest]
        if isinstance(fault, NotJsonRpc):
            return [_bad("not_jsonrpc", line)]
        return [_bad("not_json" if _is_utf8(line) else "not_utf8", line)]
    except TooDeep:
        return [_bad("not_jsonrpc", line)]


def _element(data: bytes) -> Message | BadLine:
    """One message of a batch: a bad one leaves the others as they are."""
    try:
        return _child_message(data)
    except NotJsonRpc:
        return _bad("not_jsonrpc", data)


def _after_noise(text: bytes) -> Message | None:
    for candidate in (text, text[max(text.find(b'{"jsonrpc"'), 0) :]):
        try:
            message = _child_message(candidate)
        except (NotJson, NotJsonRpc, TooDeep):
            continue
        return None if isinstance(message, BadLine) else message
    return None


def _child_message(data: bytes) -> Message | BadLine:
    members = parse_members(data)
    if not _is_version_2(members):
        return _bad("not_jsonrpc", data)
    return _classify(members, None, None) or _bad("not_jsonrpc", data)


def _is_version_2(members: Members) -> bool:
    raw = members.get("jsonrpc")
    return raw is not None and (bytes(raw) == _VERSION or decode_id(raw) == "2.0")


def _classify(members: Members, token: Id | None, envelope: tuple[Members, Members] | None) -> Message | None:
    """Which of the three it is; None if it is none of them or its id is illegal."""
    raw_id = members.get("id")
    raw_method = members.get("method")
    if raw_method is not None:
        method = decode_id(raw_method)
        if not isinstance(method, str):
            return None
        if raw_id is None:
            return Notification(method, members, _subject(method, members), envelope is not None)
        request_id = decode_id(raw_id)
        if request_id is None:
            return None
        # A copy: the id outlives the message, whose bytes it would otherwise keep.
        return Request(request_id, raw_id.copy(), method, members, token, envelope)
    if raw_id is None or ("result" in members) == ("error" in members):
        return None
    response_id = decode_id(raw_id)
    if response_id is None and bytes(raw_id) != b"null":
        return None
    return Response(response_id, members)


def _client_params(members: Members) -> tuple[Id | None, tuple[Members, Members] | None]:
    """The progress token that a client's message asks for; `params` and `_meta` if it carries the modern envelope."""
    raw = members.get("params")
    if raw is None:
        return None, None
    data = bytes(raw)
    if not data.startswith(b"{"):
        if data.startswith(b"[") or data == b"null":
            return None, None
        raise NotJsonRpc("Invalid Request: params must be an object")
    params = parse_members(data)
    refuse_lookalikes(params, _ACTED_ON_IN_PARAMS)
    refuse_duplicates(data, params)
    raw_meta = params.get("_meta")
    if raw_meta is None or not bytes(raw_meta).startswith(b"{"):
        return None, None
    meta = parse_members(bytes(raw_meta))
    refuse_lookalikes(meta, _ACTED_ON_IN_META)
    refuse_duplicates(bytes(raw_meta), meta)
    token = meta.get("progressToken")
    return (decode_id(token) if token is not None else None), ((params, meta) if ENVELOPE_KEY in meta else None)


def _subject(method: str, members: Members) -> Id | None:
    """What a progress or cancellation notification is about."""
    name = {"notifications/progress": "progressToken", "notifications/cancelled": "requestId"}.get(method)
    params = members.get("params")
    if name is None or params is None or not bytes(params).startswith(b"{"):
        return None
    value = parse_members(bytes(params)).get(name)
    return decode_id(value) if value is not None else None


def refuse_lookalikes(members: Members, acted_on: dict[str, str]) -> None:
    """Raises NotJsonRpc for a member that a case-insensitive parser (Go's, for one) would read as one of ours."""
    if members.keys() <= _ORDINARY:
        return
    for name in members:
        if acted_on.get(name.casefold(), name) != name:
            raise NotJsonRpc("Invalid Request: a member is spelled in another case")


def _bad(reason: str, line: bytes) -> BadLine:
    ends = line if len(line) <= 8192 else line[:4096] + b" " + line[-4096:]
    return BadLine(reason, len(line), ends)


def _is_utf8(line: bytes) -> bool:
    try:
        check_utf8(line)
    except NotJson:
        return False
    return True


def refusal(raw_id: Raw, *, code: int, message: str) -> bytes:
    """An error in answer to a request of a child, on one line."""
    return encode({"jsonrpc": "2.0", "id": raw_id, "error": {"code": code, "message": message}})


def pong(raw_id: Raw) -> bytes:
    """The answer to a ping. Spec: 2025-11-25 basic/utilities/ping."""
    return encode({"jsonrpc": "2.0", "id": raw_id, "result": {}})


def cancellation(request_id: int, *, reason: str) -> bytes:
    """A cancellation of ours. Spec: 2025-11-25 basic/utilities/cancellation."""
    return encode(
        {
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": {"requestId": request_id, "reason": reason},
        }
    )

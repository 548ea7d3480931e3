"""What is a request, a notification, a response?

Parsed just deep enough to route; everything else stays the bytes it was. `client_messages` reads what clients send,
`child_lines` what children write.

Spec: 2025-11-25 basic, Messages; JSON-RPC 2.0.
"""

import msgspec
from msgspec import Raw

from proxy.protocol.framing import one_line
from proxy.protocol.ids import Id, decode_id
from proxy.protocol.jsontext import Members, encode, parse_members

ENVELOPE_KEY = "io.modelcontextprotocol/protocolVersion"
"""In a request's `params._meta` since 2026-07-28; its presence is what makes a request a modern one."""

_VERSION = b'"2.0"'


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


def is_batch(data: bytes) -> bool:
    """Whether this JSON text is an array."""
    return data.lstrip(b" \t\r\n").startswith(b"[")


def is_version_2(members: Members) -> bool:
    raw = members.get("jsonrpc")
    return raw is not None and (bytes(raw) == _VERSION or decode_id(raw) == "2.0")


def classify(members: Members, token: Id | None, envelope: tuple[Members, Members] | None) -> Message | None:
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


def _subject(method: str, members: Members) -> Id | None:
    """What a progress or cancellation notification is about."""
    name = {"notifications/progress": "progressToken", "notifications/cancelled": "requestId"}.get(method)
    params = members.get("params")
    if name is None or params is None or not bytes(params).startswith(b"{"):
        return None
    value = parse_members(bytes(params)).get(name)
    return decode_id(value) if value is not None else None


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

"""What does a client say?

It is checked strictly: its second reader is a child with a parser of its own.
"""

from msgspec import Raw

from proxy.errors import NotJson, NotJsonRpc, TooDeep
from proxy.protocol.ids import Id, decode_id
from proxy.protocol.jsontext import Members, parse_array, parse_members, refuse_duplicates
from proxy.protocol.messages import ENVELOPE_KEY, MAX_BATCH, Message, Response, classify, is_version_2


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
    if not is_version_2(members):
        raise NotJsonRpc
    if "method" in members and ("result" in members or "error" in members):
        raise NotJsonRpc  # a request to one parser, an answer to another
    message = classify(members, *_client_params(members))
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


def refuse_lookalikes(members: Members, acted_on: dict[str, str]) -> None:
    """Raises NotJsonRpc for a member that a case-insensitive parser (Go's, for one) would read as one of ours."""
    if members.keys() <= _ORDINARY:
        return
    for name in members:
        if acted_on.get(name.casefold(), name) != name:
            raise NotJsonRpc("Invalid Request: a member is spelled in another case")

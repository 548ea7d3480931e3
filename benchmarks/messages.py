"""What is asked, and is this the answer to it?

Ids begin at 1 in every session, as with real clients; each call carries a token that no other call of the run has.
Everything is compact JSON: the light child and the floor look for members by name.
"""

import json
import secrets
from typing import Any

PROTOCOL_VERSION = "2025-11-25"
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'


_ENVELOPE = (
    b'{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},'
    b'"io.modelcontextprotocol/clientInfo":{"name":"benchmark","version":"1"}}'
)


class WrongAnswer(Exception):
    """An answer did not come, or is not the one to this call."""


def new_tag() -> str:
    """The beginning of the tokens of one session."""
    return secrets.token_hex(4)


def initialize(request_id: int) -> bytes:
    """The request that begins a session."""
    client = {"name": "benchmark", "version": "1"}
    params = {"protocolVersion": PROTOCOL_VERSION, "capabilities": {}, "clientInfo": client}
    message = {"jsonrpc": "2.0", "id": request_id, "method": "initialize", "params": params}
    return json.dumps(message, separators=(",", ":")).encode()


def call(
    request_id: int, tool: str, text: str, *, count: int | None = None, progress_token: str | None = None
) -> bytes:
    """A call of one of the child's tools."""
    counted = b"" if count is None else b',"count":%d' % count
    meta = b"" if progress_token is None else b',"_meta":{"progressToken":"%b"}' % progress_token.encode()
    return b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%b","arguments":{"text":"%b"%b}%b}}' % (
        request_id,
        tool.encode(),
        text.encode(),
        counted,
        meta,
    )


def call_without_session(request_id: int, tool: str, text: str) -> bytes:
    """The same call in revision 2026-07-28, in which each request says all of itself."""
    return call(request_id, tool, text)[:-2] + b',"_meta":%b}}' % _ENVELOPE


def check_initialized(reply: bytes, request_id: int) -> None:
    """Raises WrongAnswer unless this is the InitializeResult of that request."""
    message = _decode(reply)
    if message.get("id") != request_id or "protocolVersion" not in message.get("result", {}):
        raise WrongAnswer(f"no InitializeResult: {_shown(reply)}")


def check_text(reply: bytes, request_id: int, text: str) -> None:
    """Raises WrongAnswer unless this is the result of that call, and says `text`."""
    usual = b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"%b"}],"isError":false}}' % (
        request_id,
        text.encode(),
    )
    if reply == usual:  # as the light child writes it; a bridge that keeps the bytes gets by without a parser here
        return
    message = _decode(reply)
    content = message.get("result", {}).get("content") or [{}]
    if message.get("id") != request_id or content[0].get("text") != text:
        raise WrongAnswer(f"not the answer to call {request_id}: {_shown(reply)}")


def check_progress(messages: list[bytes], request_id: int, token: str, count: int) -> None:
    """Raises WrongAnswer unless these are all notifications, in order, and then the result."""
    if len(messages) != count + 1:
        raise WrongAnswer(f"{len(messages) - 1} of {count} notifications came")
    for expected, message in enumerate(messages[:-1], 1):
        params = _decode(message).get("params", {})
        if params.get("progress") != expected or params.get("progressToken") != token:
            raise WrongAnswer(f"notification {expected} is {_shown(message)}")
    check_text(messages[-1], request_id, token)


def _decode(reply: bytes) -> dict[str, Any]:
    try:
        message = json.loads(reply)
    except ValueError as exc:
        raise WrongAnswer(f"no JSON: {_shown(reply)}") from exc
    if not isinstance(message, dict):
        raise WrongAnswer(f"no object: {_shown(reply)}")
    return message


def _shown(reply: bytes) -> str:
    return f"{len(reply)} bytes {reply[:120]!r}"

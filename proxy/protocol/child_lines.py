"""What does a line of a child say?

It is taken as it is, as long as it can be routed.
"""

import msgspec
from msgspec import Raw

from proxy.errors import NotJson, NotJsonRpc, TooDeep
from proxy.protocol.framing import OversizedLine
from proxy.protocol.ids import Id
from proxy.protocol.jsontext import check_utf8, parse_array, parse_members
from proxy.protocol.messages import MAX_BATCH, Message, classify, is_batch, is_version_2


class BadLine(msgspec.Struct, frozen=True):
    """A line of a child that is no message."""

    reason: str
    """`oversized`, `not_utf8`, `not_json` or `not_jsonrpc`."""
    size_bytes: int
    ends: bytes
    """The beginning and the end of the line, where the id of the call it answers may be read."""


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
    if not is_version_2(members):
        return _bad("not_jsonrpc", data)
    return classify(members, None, None) or _bad("not_jsonrpc", data)


def _bad(reason: str, line: bytes) -> BadLine:
    ends = line if len(line) <= 8192 else line[:4096] + b" " + line[-4096:]
    return BadLine(reason, len(line), ends)


def _is_utf8(line: bytes) -> bool:
    try:
        check_utf8(line)
    except NotJson:
        return False
    return True

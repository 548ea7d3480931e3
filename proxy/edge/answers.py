"""Which status and which JSON-RPC body for which error?"""

import json
import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

import anyio
import msgspec
from msgspec import Raw
from starlette.types import Message, Send

from proxy import errors
from proxy.errors import ProxyError
from proxy.observe import Counts

logger = logging.getLogger(__name__)

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
SESSION_NOT_FOUND = -32001
REQUEST_CANCELLED = -32800
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022

ALLOW = b"GET, POST, DELETE, OPTIONS"
RETRY_AFTER_SECONDS = b"2"

Header = tuple[bytes, bytes]


class Refusal(NamedTuple):
    """How an error leaves the house."""

    status: int
    code: int
    headers: tuple[Header, ...] = ()


CLOSE = ((b"connection", b"close"),)
"""The rest of the body is not read, so nothing can follow it."""

_FULL = Refusal(503, INTERNAL_ERROR, ((b"retry-after", RETRY_AFTER_SECONDS),))

REFUSALS: dict[type[ProxyError], Refusal] = {
    ProxyError: Refusal(500, INTERNAL_ERROR),
    errors.NotJson: Refusal(400, PARSE_ERROR),
    errors.NotJsonRpc: Refusal(400, INVALID_REQUEST),
    errors.TooDeep: Refusal(400, INVALID_REQUEST),
    errors.BatchRefused: Refusal(400, INVALID_REQUEST),
    errors.MethodNotAllowed: Refusal(405, INVALID_REQUEST, ((b"allow", ALLOW),)),
    errors.PostNotAllowed: Refusal(405, INVALID_REQUEST, ((b"allow", b"POST"),)),
    errors.ModernMethodNotAllowed: Refusal(405, INVALID_REQUEST, ((b"allow", b"POST"),)),
    errors.NotAcceptable: Refusal(406, INVALID_REQUEST),
    errors.UnsupportedMediaType: Refusal(415, INVALID_REQUEST),
    errors.BadHttp: Refusal(400, INVALID_REQUEST),
    errors.HeadTooLarge: Refusal(431, INVALID_REQUEST),
    errors.HeadStalled: Refusal(408, INVALID_REQUEST),
    errors.BodyTooLarge: Refusal(413, INVALID_REQUEST, CLOSE),
    errors.BodyStalled: Refusal(408, INVALID_REQUEST, CLOSE),
    errors.OriginRefused: Refusal(403, INVALID_REQUEST),
    errors.HostRefused: Refusal(421, INVALID_REQUEST),
    errors.ServerUnknown: Refusal(404, INVALID_REQUEST),
    errors.VersionUnsupported: Refusal(400, INVALID_REQUEST),
    errors.SessionMissing: Refusal(400, INVALID_REQUEST),
    errors.SessionNeeded: Refusal(200, METHOD_NOT_FOUND),
    errors.SessionNotFound: Refusal(404, SESSION_NOT_FOUND),
    errors.AlreadyInitialized: Refusal(400, INVALID_REQUEST),
    errors.DuplicateId: Refusal(400, INVALID_REQUEST),
    errors.CallCancelled: Refusal(200, REQUEST_CANCELLED),
    errors.ToolUnknown: Refusal(200, INVALID_PARAMS),
    errors.ModernToolUnknown: Refusal(400, INVALID_PARAMS),
    errors.EnvelopeMalformed: Refusal(400, INVALID_PARAMS),
    errors.HeaderMismatch: Refusal(400, HEADER_MISMATCH),
    errors.RevisionUnsupported: Refusal(400, UNSUPPORTED_VERSION),
    errors.CapabilityMissing: Refusal(400, MISSING_CAPABILITY),
    errors.MethodNotFound: Refusal(404, METHOD_NOT_FOUND),
    errors.StateRefused: Refusal(400, INVALID_PARAMS),
    errors.AnswersMalformed: Refusal(400, INVALID_PARAMS),
    errors.TaskUnknown: Refusal(400, INVALID_PARAMS),
    errors.ChildStartFailed: Refusal(502, INTERNAL_ERROR),
    errors.ChildStartTimedOut: Refusal(504, INTERNAL_ERROR),
    errors.ChildExited: Refusal(500, INTERNAL_ERROR),
    errors.ChildOverMemory: Refusal(500, INTERNAL_ERROR),
    errors.AnswerUnusable: Refusal(500, INTERNAL_ERROR),
    errors.CallTimedOut: Refusal(504, INTERNAL_ERROR),
    errors.ChildNotReading: Refusal(504, INTERNAL_ERROR),
    errors.SessionEnded: Refusal(500, INTERNAL_ERROR),
    errors.Stopped: Refusal(500, INTERNAL_ERROR),
    errors.EventsGone: Refusal(500, INTERNAL_ERROR),
    errors.TooManySessions: _FULL,
    errors.TooManyCalls: _FULL,
    errors.TooManyStreams: _FULL,
    errors.TooManyConnections: _FULL,
    errors.TooManyUploads: _FULL._replace(headers=(*_FULL.headers, *CLOSE)),
    errors.TooManyListens: _FULL,
    errors.TooManyContinuations: _FULL,
    errors.ChildRestarting: _FULL,
    errors.OutOfResources: _FULL,
    errors.CircuitOpen: _FULL,
    errors.StreamOverflow: Refusal(500, INTERNAL_ERROR),
    errors.Draining: _FULL,
}
"""Every error that a client can meet; a test asserts that none is missing."""

MODERN_STATUS = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    METHOD_NOT_FOUND: 404,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    MISSING_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
}
"""Status of what a 2026-07-28 child answers with, by the code of its error. Spec: basic/transports/streamable-http."""


def status_of(code: int | None) -> int:
    """The status of a modern child's answer: 200 for a result, and for errors that have none of their own."""
    return MODERN_STATUS.get(code, 200) if code is not None else 200


_NO_ID = Raw(b"null")


def error_body(error: ProxyError, raw_id: Raw | None) -> bytes:
    """The JSON-RPC error object, on one line."""
    shown: dict[str, Any] = {"code": REFUSALS[type(error)].code, "message": str(error)}
    if error.data is not None:
        shown["data"] = Raw(json.dumps(error.data).encode())  # not msgspec: a client's word may hold a lone surrogate
    return msgspec.json.encode({"jsonrpc": "2.0", "id": raw_id if raw_id is not None else _NO_ID, "error": shown})


def count_refusal(counts: Counts, error: ProxyError) -> None:
    """Let an operator see that clients are refused for what they send; what is ours is counted where it is raised."""
    status = REFUSALS[type(error)].status
    if status < 500:
        counts.add(f"refused.http_{status}")


async def send_error(send: Send, error: ProxyError, raw_id: Raw | None = None) -> None:
    """Answer the HTTP request with an error."""
    refusal = REFUSALS[type(error)]
    headers = refusal.headers
    if error.retry_after_seconds is not None:
        others = [header for header in headers if header[0] != b"retry-after"]
        headers = (*others, (b"retry-after", b"%d" % error.retry_after_seconds))
    await send_json(send, refusal.status, error_body(error, raw_id), headers)


SMALL_BYTES = 16 * 1024
"""A server has room for so little and does not wait for the reader. Nearly every answer is smaller."""
MIDDLING_BYTES = 1024 * 1024
"""So much is written in one piece: a piece costs a fifth of a millisecond."""
PIECE_BYTES = 256 * 1024
"""Larger answers are written in such pieces, each with a time of its own: a slow reader goes on as long as it reads."""


async def send_json_in_time(
    send: Send, status: int, body: bytes, headers: Iterable[Header] = (), *, timeout_seconds: float
) -> None:
    """Answer the HTTP request with a JSON body of any size; waits until the client has taken all but the last of it.

    A client that takes nothing for `timeout_seconds` is left with half a response.
    """
    if len(body) <= SMALL_BYTES:
        await send_json(send, status, body, headers)
        return
    view = memoryview(body)
    size = PIECE_BYTES if len(body) > MIDDLING_BYTES else MIDDLING_BYTES
    await send(_json_head(status, len(body), headers))
    for start in range(0, len(body), size):
        piece = body if size >= len(body) else bytes(view[start : start + size])
        more = start + size < len(body)
        with anyio.move_on_after(timeout_seconds) as scope:
            await send({"type": "http.response.body", "body": piece, "more_body": more})
        if scope.cancelled_caught:
            logger.warning("answer of a slow reader cut", extra={"bytes": len(body), "sent": start})
            return


async def send_json(send: Send, status: int, body: bytes, headers: Iterable[Header] = ()) -> None:
    """Answer the HTTP request with a JSON body."""
    await send(_json_head(status, len(body), headers))
    await send({"type": "http.response.body", "body": body})


def _json_head(status: int, length: int, headers: Iterable[Header]) -> Message:
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % length), *headers],
    }


async def send_empty(send: Send, status: int, headers: Iterable[Header] = ()) -> None:
    """Answer the HTTP request without a body. A 204 has no length either: RFC 9110 8.6."""
    length = [] if status == 204 else [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": [*length, *headers]})
    await send({"type": "http.response.body", "body": b""})

"""Which era does this request belong to, and who serves it?

A raw ASGI endpoint: a framework request object would cost more than the rest of the way.
"""

import anyio
import anyio.to_thread
from starlette.types import Receive, Scope, Send

from proxy.edge.answers import send_empty, send_error
from proxy.edge.endpoint import LegacyEndpoint
from proxy.edge.modern import ModernEndpoint
from proxy.edge.requests import check_post_headers, read_headers
from proxy.edge.uploads import ClientGone, Uploads
from proxy.errors import ClientFault, MethodNotAllowed, ModernMethodNotAllowed, ProxyError, TooDeep, VersionUnsupported
from proxy.protocol.eras import era_of, is_modern_header
from proxy.protocol.headers import VERSION_HEADER
from proxy.protocol.jsontext import depth_exceeds
from proxy.protocol.messages import (
    Message,
    Request,
    is_batch,
    parse_client_batch,
    parse_client_message,
    readable_id,
)

_PARSE_IN_THREAD_BYTES = 512 * 1024
"""Larger bodies are parsed in a thread: every step of it is short, all of them together would hold up the loop."""


class McpEndpoint:
    """The ASGI application behind `/mcp`.

    Args:
        legacy: Serves the revisions with a handshake.
        modern: Serves 2026-07-28; None if that is switched off.
        uploads: Reads bodies.
        max_json_depth: Deepest nesting of a body.
    """

    def __init__(
        self, *, legacy: LegacyEndpoint, modern: ModernEndpoint | None, uploads: Uploads, max_json_depth: int
    ) -> None:
        self._legacy = legacy
        self._modern = modern
        self._uploads = uploads
        self._max_json_depth = max_json_depth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        method = scope["method"]
        try:
            if method == "POST":
                await self._post(scope, receive, send)
            elif method in ("GET", "DELETE"):
                headers = read_headers(scope)
                if self._modern is not None and is_modern_header(headers.get(VERSION_HEADER)):
                    raise ModernMethodNotAllowed
                serve = self._legacy.get if method == "GET" else self._legacy.delete
                await serve(headers, scope, receive, send)
            elif method == "OPTIONS":
                await send_empty(send, 204, [(b"allow", b"GET, POST, DELETE, OPTIONS")])
            else:
                raise MethodNotAllowed
        except ProxyError as error:
            await send_error(send, error)
        except ClientGone:
            return

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = read_headers(scope)
        body = b""
        try:
            try:
                check_post_headers(headers)
            finally:  # also when it is refused: the refusal carries the request's id
                body = await self._uploads.read(receive, headers)
            if len(body) > _PARSE_IN_THREAD_BYTES:
                parsed = await anyio.to_thread.run_sync(self._parse, body)
            else:
                parsed = self._parse(body)
        except ClientFault as error:
            large = len(body) > _PARSE_IN_THREAD_BYTES
            found = await anyio.to_thread.run_sync(readable_id, body) if large else readable_id(body)
            await send_error(send, error, found)
            return
        raw_id = parsed.raw_id if isinstance(parsed, Request) else None
        try:
            if era_of(parsed, headers.get(VERSION_HEADER)) == "legacy":
                await self._legacy.post(parsed, headers, scope, receive, send)
            elif self._modern is not None:
                await self._modern.post(parsed, headers, scope, receive, send)
            else:  # its client then falls back to a handshake
                raise VersionUnsupported("Bad Request: this server needs a session; begin with initialize")
        except ProxyError as error:
            await send_error(send, error, raw_id)

    def _parse(self, body: bytes) -> Message | list[Message]:
        """Raises ClientFault if the body is no message, or nested too deeply."""
        parsed: Message | list[Message] = (
            list(parse_client_batch(body)) if is_batch(body) else parse_client_message(body)
        )
        if depth_exceeds(body, self._max_json_depth):
            raise TooDeep
        return parsed

"""Which era does this request belong to, and who serves it?

A raw ASGI endpoint: a framework request object would cost more than the rest of the way.
"""

from msgspec import Raw
from starlette.types import Receive, Scope, Send

from proxy.edge.answers import count_refusal, send_empty, send_error
from proxy.edge.endpoint import LegacyEndpoint
from proxy.edge.inbox import Inbox, Refused
from proxy.edge.modern import ModernEndpoint
from proxy.edge.requests import check_post_headers, read_headers, refuse_repeated
from proxy.edge.sessionless import SessionlessEndpoint
from proxy.edge.uploads import ClientGone
from proxy.errors import (
    MethodNotAllowed,
    ModernMethodNotAllowed,
    PostNotAllowed,
    ProxyError,
    VersionUnsupported,
)
from proxy.observe import Counts
from proxy.protocol.eras import era_of, is_modern_header
from proxy.protocol.headers import VERSION_HEADER
from proxy.protocol.messages import Request


class McpEndpoint:
    """The ASGI application behind `/mcp`.

    Args:
        legacy: Serves the revisions with a handshake, in sessions or without.
        modern: Serves 2026-07-28; None if that is switched off.
        inbox: Reads what is posted.
        counts: What an operator may see.
    """

    def __init__(
        self,
        *,
        legacy: LegacyEndpoint | SessionlessEndpoint,
        modern: ModernEndpoint | None,
        inbox: Inbox,
        counts: Counts,
    ) -> None:
        self._legacy = legacy
        self._modern = modern
        self._inbox = inbox
        self._counts = counts

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
                refuse_repeated(headers, scope)
                serve = self._legacy.get if method == "GET" else self._legacy.delete
                await serve(headers, scope, receive, send)
            elif method == "OPTIONS":
                allowed = b"GET, POST, DELETE, OPTIONS" if self._legacy.has_sessions else b"POST, OPTIONS"
                await send_empty(send, 204, [(b"allow", allowed)])
            else:
                raise MethodNotAllowed if self._legacy.has_sessions else PostNotAllowed
        except ProxyError as error:
            await self._refuse(send, error)
        except ClientGone:
            return

    async def _refuse(self, send: Send, error: ProxyError, raw_id: Raw | None = None) -> None:
        count_refusal(self._counts, error)
        await send_error(send, error, raw_id)

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = read_headers(scope)
        try:
            parsed = await self._inbox.read(receive, headers, check_post_headers)
        except Refused as refused:
            await self._refuse(send, refused.error, refused.raw_id)
            return
        raw_id = parsed.raw_id if isinstance(parsed, Request) else None
        try:
            if era_of(parsed, headers.get(VERSION_HEADER)) == "legacy":
                refuse_repeated(headers, scope)
                await self._legacy.post(parsed, headers, scope, receive, send)
            elif self._modern is not None:
                await self._modern.post(parsed, headers, scope, receive, send)
            else:  # its client then falls back to a handshake
                raise VersionUnsupported("Bad Request: this server needs a session; begin with initialize")
        except ProxyError as error:
            await self._refuse(send, error, raw_id)

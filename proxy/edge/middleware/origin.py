"""Does this request come from a page or by a name that may talk to us?

Spec: 2025-11-25 basic/transports, Security Warning: servers MUST validate Origin on all connections; an invalid one
gets 403. Host is checked against DNS rebinding.
"""

import ipaddress
from collections.abc import Collection
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.edge.answers import count_refusal, send_error
from proxy.errors import BadHttp, HostRefused, OriginRefused, ProxyError
from proxy.observe import Counts

LOOPBACK_ORIGIN = r"https?://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?"
_HOST_BYTES, _ORIGIN_BYTES = 512, 1024
"""No name is longer; what is remembered of those that came is bounded by it."""

EXPOSED_HEADERS = ("Mcp-Session-Id", "MCP-Protocol-Version", "WWW-Authenticate", "Retry-After")


def is_loopback_name(host: str) -> bool:
    """Whether a host name or address, without port, is this machine itself."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class OriginGuard:
    """Refuses foreign Origins and Hosts, and answers CORS for the allowed ones.

    Args:
        app: What is behind it.
        allowed_origins: Origins besides loopback ones; `*` allows all.
        allowed_hosts: Host names (with or without port) that are right; empty means that any is, unless
            `loopback_hosts_only`; `*` allows all.
        loopback_hosts_only: Whether Host must be a loopback name or in `allowed_hosts`: for a listener on loopback,
            which no other name leads to but by rebinding.
        exempt_paths: Paths that anybody may ask for, whatever the Host and Origin.
        counts: What an operator may see.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_origins: Collection[str] = (),
        allowed_hosts: Collection[str] = (),
        loopback_hosts_only: bool = False,
        exempt_paths: Collection[str] = (),
        counts: Counts | None = None,
    ) -> None:
        self._app = app
        self._counts = counts or Counts()
        self._origins = {origin.lower().rstrip("/") for origin in allowed_origins}
        self._hosts = {host.lower() for host in allowed_hosts}
        self._loopback_hosts_only = loopback_hosts_only
        self._exempt = frozenset(exempt_paths)
        self._with_cors = CORSMiddleware(
            app,
            allow_origins=list(self._origins),
            allow_origin_regex=LOOPBACK_ORIGIN,
            allow_methods=["GET", "POST", "DELETE", "OPTIONS"],
            allow_headers=["*"],  # answered with the list that was asked for: Mcp-Param-* has no fixed names
            expose_headers=EXPOSED_HEADERS,
            max_age=600,
        )
        self._host_is_right = lru_cache(maxsize=256)(self._judge_host)
        self._origin_is_right = lru_cache(maxsize=256)(self._judge_origin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or refuse with 400, 421 or 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host_is_right, origin_is_right, has_origin, hosts = True, True, False, 0
        for name, value in scope["headers"]:
            if name == b"host":
                hosts += 1
                host_is_right = len(value) <= _HOST_BYTES and self._host_is_right(value)
            elif name == b"origin":
                has_origin = True
                origin_is_right = origin_is_right and len(value) <= _ORIGIN_BYTES and self._origin_is_right(value)
        if not hosts:
            host_is_right = not (self._hosts or self._loopback_hosts_only)
        if hosts != 1 and (hosts or scope["http_version"] == "1.1") and not self._is_exempt(scope):
            await self._refuse(send, BadHttp("Bad Request: exactly one Host header is needed"))  # RFC 9112 3.2: MUST
        elif (host_is_right and origin_is_right) or self._is_exempt(scope):
            await (self._with_cors if has_origin else self._app)(scope, receive, send)
        elif not host_is_right:
            await self._refuse(send, HostRefused())
        else:
            await self._refuse(send, OriginRefused())

    async def _refuse(self, send: Send, error: ProxyError) -> None:
        count_refusal(self._counts, error)
        await send_error(send, error)

    def _is_exempt(self, scope: Scope) -> bool:
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        return path in self._exempt

    def _judge_host(self, value: bytes) -> bool:
        host = value.decode("latin-1").strip().lower()
        try:
            name = urlsplit(f"//{host}").hostname if host and not set(host) & set("/?#@\\ \t") else None
        except ValueError:  # a bracket that is not closed
            return False
        if name is None:
            return not (self._hosts or self._loopback_hosts_only)
        if "*" in self._hosts or host in self._hosts or name in self._hosts or f"[{name}]" in self._hosts:
            return True
        if self._loopback_hosts_only:
            return is_loopback_name(name)
        return not self._hosts

    def _judge_origin(self, value: bytes) -> bool:
        origin = value.decode("latin-1").strip().lower()
        if "*" in self._origins or origin in self._origins:
            return True
        try:
            parts = urlsplit(origin)
            name = parts.hostname
            parts.port  # noqa: B018 (raises for a port that is none)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and name is not None and is_loopback_name(name)

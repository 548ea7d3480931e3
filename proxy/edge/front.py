"""Which requests need no router?

Nearly all are for one of a few fixed paths. Matching those before the router, and leaving out the two layers of
exception handling around it, saves a tenth of the CPU time of a call.
"""

import logging
from collections.abc import Collection
from contextlib import suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.edge.answers import send_error
from proxy.errors import ProxyError

logger = logging.getLogger(__name__)


class Front:
    """Hands requests for some paths straight to the endpoint; every other goes through the application.

    Args:
        app: The application, which routes the same paths to the same endpoint: under a prefix it is asked.
        endpoint: What is behind the paths.
        paths: Matched as they are.
    """

    def __init__(self, app: ASGIApp, *, endpoint: ASGIApp, paths: Collection[str]) -> None:
        self._app = app
        self._endpoint = endpoint
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. A bug of ours is logged, and its client told no more than that it is one."""
        if scope["type"] != "http" or scope["path"] not in self._paths or scope.get("root_path"):
            await self._app(scope, receive, send)
            return
        try:
            await self._endpoint(scope, receive, send)
        except Exception:
            logger.exception("request failed")
            with suppress(Exception):  # refused by the server if the response had begun
                await send_error(send, ProxyError())

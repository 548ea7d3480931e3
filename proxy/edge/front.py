"""Which requests need no router?

Nearly all are for one of a few fixed paths. Matching those before the router, and leaving out the two layers of
exception handling around it, saves a tenth of the CPU time of a call.
"""

import logging
from collections.abc import Callable
from contextlib import suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.edge.answers import send_error
from proxy.errors import ProxyError

logger = logging.getLogger(__name__)


class Front:
    """Hands requests for a server straight to its endpoint; every other goes through the application.

    Args:
        app: The application.
        find: The endpoint that a request is for, if it is for a server.
    """

    def __init__(self, app: ASGIApp, *, find: Callable[[Scope], ASGIApp | None]) -> None:
        self._app = app
        self._find = find

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. A bug of ours is logged, and its client told no more than that it is one."""
        endpoint = self._find(scope) if scope["type"] == "http" else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        try:
            await endpoint(scope, receive, send)
        except Exception:
            logger.exception("request failed")
            with suppress(Exception):  # refused by the server if the response had begun
                await send_error(send, ProxyError())

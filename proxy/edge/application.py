"""What is served beside the paths of the servers, and what is said where nothing is?"""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from proxy.edge.answers import error_body
from proxy.edge.directory import Directory
from proxy.edge.health import Health
from proxy.edge.legacy_sse import Endpoint
from proxy.errors import ProxyError, ServerUnknown

HEALTH_PATHS = ("/health", "/healthz", "/readyz")

NOT_FOUND = {"error": "Not Found", "hint": "GET /servers lists what is served here, and where"}


def application(directory: Directory, health: Health, *, legacy_sse: bool) -> Starlette:
    """Everything but the servers themselves, which are found before it is asked.

    Args:
        directory: The servers.
        health: Tells how they are.
        legacy_sse: Whether to serve the transport of 2024-11-05.
    """

    async def plain_error(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)  # registered for nothing else
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        if exc.status_code == 404 and directory.is_for_a_server(path):
            return Response(error_body(ServerUnknown(), None), 404, media_type="application/json")
        body = NOT_FOUND if exc.status_code == 404 else {"error": exc.detail}
        return JSONResponse(body, exc.status_code, headers=exc.headers)

    app = Starlette(
        routes=[
            *(_legacy_sse_routes(directory) if legacy_sse else ()),
            *(Route(path, health.servers, methods=["GET"]) for path in ("/servers", "/servers/")),
            Route("/health", health.health, methods=["GET"]),
            Route("/healthz", health.health, methods=["GET"]),
            Route("/readyz", health.ready, methods=["GET"]),
        ],
        # JSON, also under /.well-known: clients that look for OAuth metadata parse what they get.
        exception_handlers={HTTPException: plain_error, Exception: _own_fault},
    )
    app.router.redirect_slashes = False
    return app


def _legacy_sse_routes(directory: Directory) -> list[BaseRoute]:
    """For the default server, whichever it is at the time, if it has sessions."""

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        server = directory.default_server
        await (server.legacy_sse.stream if server and server.legacy_sse else _not_there)(scope, receive, send)

    async def messages(scope: Scope, receive: Receive, send: Send) -> None:
        server = directory.default_server
        await (server.legacy_sse.messages if server and server.legacy_sse else _not_there)(scope, receive, send)

    return [
        *(Route(path, endpoint=Endpoint(stream)) for path in ("/sse", "/sse/")),
        *(Route(path, endpoint=Endpoint(messages)) for path in ("/messages", "/messages/")),
    ]


async def _not_there(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse(NOT_FOUND, 404)(scope, receive, send)


async def _own_fault(_: Request, __: Exception) -> Response:
    """A bug of ours. Starlette logs the exception; the client is told nothing of it."""
    return Response(error_body(ProxyError(), None), 500, media_type="application/json")

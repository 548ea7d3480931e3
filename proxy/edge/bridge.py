"""How are the parts put together?"""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from proxy.edge.answers import error_body
from proxy.edge.front import Front
from proxy.edge.health import Health
from proxy.edge.legacy_sse import Endpoint
from proxy.edge.middleware.origin import OriginGuard, is_loopback_name
from proxy.edge.presence import Presence
from proxy.edge.served import Served, Shared
from proxy.edge.shutdown import Shutdown
from proxy.edge.uploads import Uploads
from proxy.errors import ProxyError
from proxy.observe import Counts
from proxy.sessions.places import Places
from proxy.settings import Settings

HEALTH_PATHS = ("/health", "/healthz", "/readyz")


class Bridge:
    """One stdio server, served as streamable HTTP.

    Nothing happens before `run`: no process, no task, no file. Several bridges live in one process.

        bridge = Bridge(Settings(command="uvx mcp-server-fetch"))
        # in the host's lifespan:  async with bridge.run(): yield
        # in the host's routes:    Mount("/tools", app=bridge.asgi)      -> /tools/mcp, /tools/health

    Args:
        settings: What to serve and how. `host` and `port` are the daemon's and not looked at here.
        is_daemon: Whether the listener is our own: then, bound to loopback, it refuses foreign Host names. A host
            application knows its names itself (`allowed_host`).
    """

    def __init__(self, settings: Settings, *, is_daemon: bool = False) -> None:
        self.settings = settings
        self.counts = Counts()
        self.marker = secrets.token_hex(16)
        self.places = Places(max_children=settings.max_children)
        self._shutdown = Shutdown(self._wind_down)
        self._presence = Presence(on_tick=self._shutdown.look)
        self._uploads = _uploads(settings, self.counts)
        shared = Shared(
            marker=self.marker,
            places=self.places,
            counts=self.counts,
            presence=self._presence,
            uploads=self._uploads,
            shutdown=self._shutdown,
            is_local=is_daemon and is_loopback_name(settings.host),
        )
        self.server = Served(settings.server_name, settings, shared)
        self._tasks: TaskGroup | None = None
        self.asgi: ASGIApp = self._build(is_daemon)
        """The ASGI application. It has no lifespan of its own; `run` is the life."""

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve while the block is open. On the way out every session ends and every child is gone.

        The end waits for the children, at most the ladder's graces and a few seconds. Enter it in the task that
        leaves it, and again only after that.
        """
        if self._tasks is not None:
            raise RuntimeError("this bridge is already running")
        async with self.server.run(), anyio.create_task_group() as tasks:
            self._tasks = tasks
            self._shutdown.rearm()
            self._presence.started(tasks)
            tasks.start_soon(self._uploads.watch)
            try:
                yield
            finally:
                self._tasks = None
                self._presence.stopped()
                self._shutdown.begin()
                tasks.cancel_scope.cancel()

    async def drain(self) -> None:
        """Refuse new work, let calls in flight finish, end every session, wait for the children.

        Takes at most `drain_timeout_seconds`: the part of it that the ladder may need is kept for it.
        """
        settings = self.settings
        ladder_seconds = settings.stdin_grace_seconds + settings.term_grace_seconds
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._kill_after, settings.drain_timeout_seconds)
            grace_seconds = max(0.0, settings.drain_timeout_seconds - ladder_seconds)
            await self.server.drain(grace_seconds)
            tasks.cancel_scope.cancel()

    @property
    def was_cut(self) -> bool:
        """Whether an end had to cut a call off or kill a child."""
        return self.server.was_cut

    def end_now(self, reason: str) -> None:
        """End everything, and kill every child: whoever asks does not want to wait for the ladder."""
        self.server.end_all(reason)
        self.places.kill_all()

    async def _kill_after(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.places.kill_all()

    def _wind_down(self) -> None:
        """The server around us is about to stop, and waits for open responses: a GET's end now, others in their time.

        Then it leaves `run`.
        """
        self.server.end_listens()
        if self._tasks is not None:
            self._tasks.start_soon(self.drain)

    def _build(self, is_daemon: bool) -> ASGIApp:
        settings = self.settings
        server = self.server
        health = Health(server, self.places, self.counts, lambda: self._tasks is not None, time.monotonic())
        path = settings.path.rstrip("/")
        name = server.name
        paths = (path or "/", f"{path}/", f"/servers/{name}/mcp", f"/servers/{name}/mcp/", f"{path}/{name}")
        app = Starlette(
            routes=[
                *(Route(each, endpoint=server.endpoint) for each in dict.fromkeys(paths)),
                *(self._legacy_sse_routes() if settings.legacy_sse else ()),
                Route("/health", health.health, methods=["GET"]),
                Route("/healthz", health.health, methods=["GET"]),
                Route("/readyz", health.ready, methods=["GET"]),
            ],
            # JSON, also under /.well-known: clients that look for OAuth metadata parse what they get.
            exception_handlers={HTTPException: _plain_error, Exception: _own_fault},
        )
        app.router.redirect_slashes = False
        return OriginGuard(
            Front(app, endpoint=server.endpoint, paths=paths),
            allowed_origins=settings.allowed_origin,
            allowed_hosts=settings.allowed_host,
            loopback_hosts_only=is_daemon and is_loopback_name(settings.host),
            exempt_paths=HEALTH_PATHS,
        )

    def _legacy_sse_routes(self) -> list[BaseRoute]:
        legacy_sse = self.server.legacy_sse
        return [
            Route(path, endpoint=Endpoint(serve))
            for serve, paths in (
                (legacy_sse.stream, ("/sse", "/sse/")),
                (legacy_sse.messages, ("/messages", "/messages/")),
            )
            for path in paths
        ]


def create_app(settings: Settings) -> Starlette:
    """The bridge as an application with a lifespan of its own, for any ASGI server."""
    bridge = Bridge(settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with bridge.run():
            yield

    app = Starlette(lifespan=lifespan)
    app.mount("/", bridge.asgi)
    return app


def _uploads(settings: Settings, counts: Counts) -> Uploads:
    return Uploads(
        max_body_bytes=settings.max_body_bytes,
        max_size_bytes=max(settings.max_uploads_size_bytes, settings.max_body_bytes),
        stall_timeout_seconds=settings.upload_stall_timeout_seconds,
        min_rate_bytes=settings.min_upload_rate_bytes,
        counts=counts,
    )


async def _plain_error(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)  # registered for nothing else
    return JSONResponse({"error": exc.detail}, exc.status_code, headers=exc.headers)


async def _own_fault(_: Request, __: Exception) -> Response:
    """A bug of ours. Starlette logs the exception; the client is told nothing of it."""
    return Response(error_body(ProxyError(), None), 500, media_type="application/json")

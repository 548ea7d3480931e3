"""How are the parts put together?"""

import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from proxy.child.spec import ChildSpec, child_environment
from proxy.edge.answers import error_body
from proxy.edge.dispatch import McpEndpoint
from proxy.edge.endpoint import EdgeLimits, LegacyEndpoint
from proxy.edge.front import Front
from proxy.edge.health import Health
from proxy.edge.inbox import Inbox
from proxy.edge.isolation import Isolation
from proxy.edge.legacy_sse import Endpoint, LegacySse
from proxy.edge.middleware.origin import OriginGuard, is_loopback_name
from proxy.edge.modern import ModernEdgeLimits, ModernEndpoint
from proxy.edge.presence import Presence
from proxy.edge.uploads import Uploads
from proxy.errors import ProxyError
from proxy.observe import Counts
from proxy.protocol.versions import LEGACY_VERSIONS
from proxy.sessions.era import ServerEra
from proxy.sessions.limits import SessionLimits
from proxy.sessions.manager import SessionManager
from proxy.sessions.modern.limits import ModernLimits
from proxy.sessions.modern.serving import ModernServing
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
        self.spec = child_spec(settings)
        self.places = Places(max_children=settings.max_children)
        self.manager = SessionManager(
            spec=self.spec,
            limits=_session_limits(settings),
            counts=self.counts,
            max_sessions=settings.max_sessions,
            places=self.places,
            era=ServerEra(settings.child_era),
        )
        self.modern = ModernServing(
            spec=self.spec,
            limits=_modern_limits(settings),
            counts=self.counts,
            places=self.places,
            era=self.manager.era,
            starts=self.manager.starts,
        )
        self.isolation = Isolation(settings.modern_isolation, is_local=is_daemon and is_loopback_name(settings.host))
        self._presence = Presence()
        self._uploads = _uploads(settings, self.counts)
        self._shutdown = anyio.Event()
        self._is_running = False
        self.asgi: ASGIApp = self._build(is_daemon)
        """The ASGI application. It has no lifespan of its own; `run` is the life."""

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve while the block is open. On the way out every session ends and every child is gone.

        The end waits for the children, at most the ladder's graces and a few seconds. Enter it once, in the task that
        leaves it.
        """
        if self._is_running:
            raise RuntimeError("this bridge is already running")
        async with self.manager.run(), self.modern.run(), anyio.create_task_group() as tasks:
            self._presence.started(tasks)
            tasks.start_soon(self._uploads.watch)
            tasks.start_soon(self._end_listens_on_shutdown)
            self._is_running = True
            try:
                yield
            finally:
                self._is_running = False
                self._presence.stopped()
                self._shutdown.set()
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
            async with anyio.create_task_group() as drains:
                drains.start_soon(self.manager.drain, grace_seconds)
                drains.start_soon(self.modern.drain, grace_seconds)
            tasks.cancel_scope.cancel()

    @property
    def was_cut(self) -> bool:
        """Whether an end had to cut a call off or kill a child."""
        return self.manager.was_cut or self.modern.pool.cut > 0

    def end_now(self, reason: str) -> None:
        """End everything, and kill every child: whoever asks does not want to wait for the ladder."""
        self.manager.end_all(reason)
        self.modern.pool.end_all(reason)
        self.places.kill_all()

    async def _kill_after(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.places.kill_all()

    async def _end_listens_on_shutdown(self) -> None:
        """The server around us is about to stop and waits for open responses: those without a call end at once."""
        await self._shutdown.wait()
        self.manager.end_listens()
        self.modern.end_listens()

    def _build(self, is_daemon: bool) -> ASGIApp:
        settings = self.settings
        inbox = Inbox(uploads=self._uploads, max_json_depth=settings.max_json_depth)
        endpoint = McpEndpoint(
            legacy=LegacyEndpoint(self.manager, self._presence, _edge_limits(settings), self._shutdown),
            modern=self._modern_endpoint(),
            inbox=inbox,
        )
        health = Health(
            settings.server_name,
            self.spec,
            self.manager,
            self.modern,
            self.places,
            self.counts,
            lambda: self._is_running,
            time.monotonic(),
        )
        path = settings.path.rstrip("/")
        name = settings.server_name
        paths = (path or "/", f"{path}/", f"/servers/{name}/mcp", f"/servers/{name}/mcp/", f"{path}/{name}")
        app = Starlette(
            routes=[
                *(Route(each, endpoint=endpoint) for each in dict.fromkeys(paths)),
                *(self._legacy_sse_routes(inbox) if settings.legacy_sse else ()),
                Route("/health", health.health, methods=["GET"]),
                Route("/healthz", health.health, methods=["GET"]),
                Route("/readyz", health.ready, methods=["GET"]),
            ],
            # JSON, also under /.well-known: clients that look for OAuth metadata parse what they get.
            exception_handlers={HTTPException: _plain_error, Exception: _own_fault},
        )
        app.router.redirect_slashes = False
        return OriginGuard(
            Front(app, endpoint=endpoint, paths=paths),
            allowed_origins=settings.allowed_origin,
            allowed_hosts=settings.allowed_host,
            loopback_hosts_only=is_daemon and is_loopback_name(settings.host),
            exempt_paths=HEALTH_PATHS,
        )

    def _legacy_sse_routes(self, inbox: Inbox) -> list[BaseRoute]:
        legacy_sse = LegacySse(self.manager, inbox, _edge_limits(self.settings), self._shutdown)
        return [
            Route(path, endpoint=Endpoint(serve))
            for serve, paths in (
                (legacy_sse.stream, ("/sse", "/sse/")),
                (legacy_sse.messages, ("/messages", "/messages/")),
            )
            for path in paths
        ]

    def _modern_endpoint(self) -> ModernEndpoint | None:
        """None if the operator offers handshake revisions only."""
        settings = self.settings
        if settings.protocol_version in LEGACY_VERSIONS:
            return None
        limits = ModernEdgeLimits(
            commit_after_seconds=settings.modern_commit_after_seconds,
            ping_interval_seconds=settings.ping_interval_seconds,
            slow_reader_timeout_seconds=settings.slow_reader_timeout_seconds,
            drain_timeout_seconds=settings.drain_timeout_seconds,
        )
        return ModernEndpoint(self.modern, self._presence, self.isolation, limits, self._shutdown)


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


def child_spec(settings: Settings) -> ChildSpec:
    """What to run for these settings, in the environment that this process has now."""
    return ChildSpec(
        argv=settings.server_argv,
        env=child_environment(os.environ, extra=settings.env, pass_env=settings.pass_env, marker=secrets.token_hex(16)),
        cwd=str(settings.cwd) if settings.cwd is not None else None,
        max_line_bytes=settings.max_line_bytes,
        stdin_grace_seconds=settings.stdin_grace_seconds,
        term_grace_seconds=settings.term_grace_seconds,
    )


def _session_limits(settings: Settings) -> SessionLimits:
    return SessionLimits(
        idle_timeout_seconds=settings.idle_timeout_seconds,
        unused_timeout_seconds=settings.unused_timeout_seconds,
        session_age_seconds=settings.session_age_seconds,
        call_timeout_seconds=settings.call_timeout_seconds,
        call_timeout_total_seconds=settings.call_timeout_total_seconds,
        place_timeout_seconds=settings.place_timeout_seconds,
        server_request_timeout_seconds=settings.server_request_timeout_seconds,
        stdin_stall_timeout_seconds=settings.stdin_stall_timeout_seconds,
        slow_reader_timeout_seconds=settings.slow_reader_timeout_seconds,
        stream_backlog_bytes=settings.stream_backlog_bytes,
        replay_events=settings.replay_events,
        replay_size_bytes=settings.replay_size_bytes,
        replay_age_seconds=settings.replay_age_seconds,
        waiting_messages=settings.waiting_messages,
        waiting_size_bytes=settings.waiting_size_bytes,
        max_calls_per_child=settings.max_calls_per_child,
        max_get_streams=settings.max_get_streams,
    )


def _modern_limits(settings: Settings) -> ModernLimits:
    return ModernLimits(
        call_timeout_seconds=settings.call_timeout_seconds,
        call_timeout_total_seconds=settings.call_timeout_total_seconds,
        continuation_timeout_seconds=settings.continuation_timeout_seconds,
        idle_timeout_seconds=settings.idle_timeout_seconds,
        lease_wait_seconds=settings.lease_wait_seconds,
        max_calls_per_child=settings.max_calls_per_child,
        max_continuations=settings.max_continuations,
        max_listens=settings.max_listens,
        place_timeout_seconds=settings.place_timeout_seconds,
        probe_timeout_seconds=settings.probe_timeout_seconds,
        server_request_timeout_seconds=settings.server_request_timeout_seconds,
        start_timeout_seconds=settings.start_timeout_seconds,
        stdin_stall_timeout_seconds=settings.stdin_stall_timeout_seconds,
        stream_backlog_bytes=settings.stream_backlog_bytes,
    )


def _edge_limits(settings: Settings) -> EdgeLimits:
    return EdgeLimits(
        commit_after_seconds=settings.commit_after_seconds,
        ping_interval_seconds=settings.ping_interval_seconds,
        slow_reader_timeout_seconds=settings.slow_reader_timeout_seconds,
        start_timeout_seconds=settings.start_timeout_seconds,
        drain_timeout_seconds=settings.drain_timeout_seconds,
        stream_backlog_bytes=settings.stream_backlog_bytes,
        reconnect_delay_seconds=settings.reconnect_delay_seconds,
        close_stream_after_seconds=settings.close_stream_after_seconds,
        newest_version=settings.protocol_version,
    )


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

"""How are the parts put together?"""

import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus
from starlette.applications import Starlette
from starlette.types import ASGIApp

from proxy.config.file import read_config
from proxy.config.servers import Servers, is_same_server, needs_restart, servers_of, with_file
from proxy.edge.application import HEALTH_PATHS, application
from proxy.edge.directory import Directory
from proxy.edge.front import Front
from proxy.edge.health import Health
from proxy.edge.middleware.origin import OriginGuard, is_loopback_name
from proxy.edge.presence import Presence
from proxy.edge.served import Served, Shared
from proxy.edge.shutdown import Shutdown
from proxy.edge.uploads import Uploads
from proxy.observe import Counts
from proxy.sessions.house import House
from proxy.settings import Settings

logger = logging.getLogger(__name__)


class Bridge:
    """Stdio servers, served as streamable HTTP.

    Nothing happens before `run`, no process and no task; a config file is read at once. Several bridges live in one
    process.

        bridge = Bridge(Settings(command="uvx mcp-server-fetch"))
        # in the host's lifespan:  async with bridge.run(): yield
        # in the host's routes:    Mount("/tools", app=bridge.asgi)      -> /tools/mcp, /tools/health

    Args:
        settings: What to serve and how. `host` and `port` are the daemon's and not looked at here.
        is_daemon: Whether the listener is our own: then, bound to loopback, it refuses foreign Host names. A host
            application knows its names itself (`allowed_host`).

    Attributes:
        on_child_exit: Told the return code of a child whose exit is to end everything; for the daemon to set.

    Raises:
        ValueError: If a server has `on_child_exit="exit"` and this is no daemon: a host is not ours to stop.
    """

    def __init__(self, settings: Settings, *, is_daemon: bool = False) -> None:
        settings, servers = read_servers(settings)
        self.settings = settings
        self.counts = Counts()
        self.on_child_exit: Callable[[int], None] = lambda _: None
        self._is_daemon = is_daemon
        self.marker = secrets.token_hex(16)
        self.places = House(max_children=settings.max_children, counts=self.counts)
        self._shutdown = Shutdown(self._wind_down)
        self._presence = Presence(on_tick=self._shutdown.look)
        self._uploads = _uploads(settings, self.counts)
        self._shared = Shared(
            marker=self.marker,
            house=self.places,
            counts=self.counts,
            presence=self._presence,
            uploads=self._uploads,
            shutdown=self._shutdown,
            is_local=is_daemon and is_loopback_name(settings.host),
            on_child_exit=lambda returncode: self.on_child_exit(returncode),
        )
        self.directory = Directory(settings.path)
        self.warnings = servers.warnings
        self._replace(servers)
        self._was_cut = False
        self._retiring: set[Served] = set()
        self._tasks: TaskGroup | None = None
        health = Health(self.directory, self.places, self.counts, lambda: self._tasks is not None, time.monotonic())
        self.asgi: ASGIApp = OriginGuard(
            Front(application(self.directory, health, legacy_sse=settings.legacy_sse), find=self.directory.find),
            allowed_origins=settings.allowed_origin,
            allowed_hosts=settings.allowed_host,
            loopback_hosts_only=is_daemon and is_loopback_name(settings.host),
            exempt_paths=HEALTH_PATHS,
            counts=self.counts,
        )
        """The ASGI application. It has no lifespan of its own; `run` is the life."""

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve while the block is open. On the way out every session ends and every child is gone.

        The end waits for the children of one server after the other, at most the ladder's graces and a few seconds for
        each; after `drain`, which ends all at once, none is left. Enter it in the task that
        leaves it, and again only after that.
        """
        if self._tasks is not None:
            raise RuntimeError("this bridge is already running")
        async with AsyncExitStack() as servers:
            for server in self.directory.servers.values():
                await servers.enter_async_context(server.run())
            async with anyio.create_task_group() as tasks:
                try:
                    self._tasks = tasks
                    self._shutdown.rearm()
                    self._presence.started(tasks)
                    tasks.start_soon(self._uploads.watch)
                    tasks.start_soon(self.places.memory.run)
                    yield
                finally:
                    self._tasks = None
                    self._presence.stopped()
                    self._shutdown.begin()
                    tasks.cancel_scope.cancel()

    async def _own(self, server: Served, *, task_status: TaskStatus[None]) -> None:
        """Own one server that came later, until it is gone again or everything ends."""
        async with server.run():
            task_status.started()
            await server.retired.wait()

    async def _retire(self, server: Served, reason: str) -> None:
        """Let a server that is in the directory no more finish what is open."""
        try:
            await server.drain(self._grace_seconds, reason)
            logger.info("server retired", extra={"server": server.name})
        except Exception:  # of one server; in this task group it would end all others
            logger.exception("server retired badly", extra={"server": server.name})
        finally:
            self._was_cut |= server.was_cut
            self._retiring.discard(server)
            server.retired.set()

    # ---- which servers there are

    @property
    def server(self) -> Served:
        """The server at the path.

        Raises:
            LookupError: If none of several is.
        """
        server = self.directory.default_server
        if server is None:
            raise LookupError("none of the servers is the default")
        return server

    async def reload(self, settings: Settings) -> None:
        """Serve what these settings name from now on.

        Servers whose settings are the same keep their sessions and children. Those that are gone or changed finish
        their open calls in the background; new sessions begin on the new ones. Settings of the listener stay as they
        are.

        Raises:
            ConfigError: If the file can't be used; everything stays as it was.
        """
        settings, servers = await anyio.to_thread.run_sync(read_servers, settings)
        for warning in servers.warnings:
            logger.warning("%s", warning)
        if changed := needs_restart(self.settings, settings):
            logger.warning("not taken over before a restart: %s", ", ".join(changed))
        before = set(self.directory.servers)
        added, gone = self._replace(servers)
        if self._tasks is not None:
            self._retiring.update(gone)
            for server in gone:
                is_there = server.name in self.directory.servers
                reason = "its configuration has changed" if is_there else "its server was removed"
                self._tasks.start_soon(self._retire, server, reason)
            for server in added:
                await self._tasks.start(self._own, server)
        names = {server.name for server in gone}
        logger.info(
            "servers read again",
            extra={
                "added": sorted(set(servers.by_name) - before) or "none",
                "removed": sorted(names - set(servers.by_name)) or "none",
                "changed": sorted(names & set(servers.by_name)) or "none",
            },
        )

    def _replace(self, servers: Servers) -> tuple[list[Served], list[Served]]:
        """Put new ones into the directory, keep those that are the same; returns the new, and those that are gone."""
        if not self._is_daemon and any(each.on_child_exit == "exit" for each in servers.by_name.values()):
            raise ValueError("on_child_exit='exit' is for the daemon: an embedded bridge can't stop its host")
        before = self.directory.servers
        kept = {
            name: before[name]
            for name, settings in servers.by_name.items()
            if name in before and is_same_server(before[name].settings, settings)
        }
        added = [Served(name, settings, self._shared) for name, settings in servers.by_name.items() if name not in kept]
        default = servers.default
        if default is None and self.directory.default in servers.by_name:
            default = self.directory.default  # it has sessions there; that it is alone no more is no reason to end them
            logger.warning(
                "still at the path, where it was alone; after a restart only as --default-server",
                extra={"server": default},
            )
        self.directory.replace({**kept, **{server.name: server for server in added}}, default)
        return added, [server for name, server in before.items() if kept.get(name) is not server]

    # ---- the end

    def _all(self) -> list[Served]:
        """Those that are served, and those that finish what is open."""
        return [*self.directory.servers.values(), *self._retiring]

    async def drain(self) -> None:
        """Refuse new work, let calls in flight finish, end every session, wait for the children.

        Takes at most `drain_timeout_seconds`: the part of it that the ladder may need is kept for it.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._kill_after, self.settings.drain_timeout_seconds)
            async with anyio.create_task_group() as drains:
                for server in self._all():
                    drains.start_soon(server.drain, self._grace_seconds)
            tasks.cancel_scope.cancel()

    @property
    def _grace_seconds(self) -> float:
        settings = self.settings
        return max(0.0, settings.drain_timeout_seconds - settings.stdin_grace_seconds - settings.term_grace_seconds)

    @property
    def was_cut(self) -> bool:
        """Whether an end had to cut a call off or kill a child."""
        return self._was_cut or any(server.was_cut for server in self._all())

    def end_now(self, reason: str) -> None:
        """End everything, and kill every child: whoever asks does not want to wait for the ladder."""
        for server in self._all():
            server.end_all(reason)
        self.places.kill_all()

    async def _kill_after(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.places.kill_all()

    def _wind_down(self) -> None:
        """The server around us is about to stop, and waits for open responses: a GET's end now, others in their time.

        Then it leaves `run`.
        """
        for server in self._all():
            server.end_listens()
        if self._tasks is not None:
            self._tasks.start_soon(self.drain)


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


def read_servers(settings: Settings) -> tuple[Settings, Servers]:
    """The servers that these settings name, the file read now; and the settings with those that stand in the file.

    Raises:
        ConfigError: If the file can't be used.
    """
    file = read_config(settings.config, os.environ) if settings.config is not None else None
    settings = with_file(settings, file)
    return settings, servers_of(settings, file)

"""How does the daemon run and stop?

uvicorn on SIGTERM would refuse new connections and cut streams. So the signals are ours: the first drains the bridge
with the listener open (new work gets 503), then lets uvicorn exit; the second ends everything at once.
"""

import asyncio
import contextlib
import errno
import json
import logging
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import uvicorn
from anyio.abc import TaskStatus

from proxy.child.death import has_pidfds
from proxy.child.spec import ProgramNotFound, find_program
from proxy.child.watch import OrphanReaper, become_subreaper, guarded
from proxy.config.file import ConfigError
from proxy.config.watch import Stamp, changes, stamp_of
from proxy.descriptors import connections_within_limits
from proxy.edge.bridge import Bridge
from proxy.edge.directory import path_of
from proxy.edge.middleware.origin import is_loopback_name
from proxy.errors import ProxyError
from proxy.http1 import Http1Limits, Http1Protocol
from proxy.listener import Door, listen
from proxy.memory import share_one_heap
from proxy.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 1
"""After a drain nothing is left to wait for; connections that don't close by then are cut."""
REAP_SECONDS = 1.0
"""How often the dead among adopted processes are looked for."""


def serve(settings: Settings, *, load: Callable[[], Settings]) -> int:
    """Run the daemon until a signal; returns the process's exit code: 0 after a clean drain, else 1.

    With `--on-child-exit exit` also until a child exits; then its code is returned, 128 + n for signal n.

    Args:
        settings: What to serve.
        load: Gives the settings anew, the file read again.
    """
    share_one_heap()
    stamp = stamp_of(settings.config) if settings.config is not None else None  # before it is read
    try:
        bridge = Bridge(settings, is_daemon=True)
        _look_for_programs(bridge)
        listeners = listen(settings.host, settings.port, dead_peer_seconds=settings.dead_peer_timeout_seconds)
    except ConfigError as exc:
        sys.stderr.write(f"mcp-proxy: {exc}\n")
        return 2
    except ProgramNotFound as exc:
        sys.stderr.write(f"mcp-proxy: the server can't be started: {exc}\n")
        return 1
    except OSError as exc:
        hint = "; choose another with --port or MCP_PROXY_PORT" if exc.errno == errno.EADDRINUSE else ""
        sys.stderr.write(f"mcp-proxy: can't listen on {settings.host}:{settings.port}: {exc.strerror}{hint}\n")
        return 1
    with contextlib.ExitStack() as opened, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        for listener in listeners:
            opened.enter_context(listener)
        try:
            return runner.run(_Daemon(bridge, listeners, load, stamp).run())
        except Exception:  # what was started is ended by now
            logger.exception("the daemon has failed")
            return 1


def _look_for_programs(bridge: Bridge) -> None:
    """Say which servers can't be started. Raises ProgramNotFound if none can."""
    missing: list[tuple[str, ProgramNotFound]] = []
    servers = bridge.directory.servers
    for name, server in servers.items():
        try:
            find_program(server.spec.argv, env=server.spec.env, cwd=server.spec.cwd)
        except ProgramNotFound as exc:
            missing.append((name, exc))
    if len(missing) == len(servers):
        raise missing[0][1]
    for name, fault in missing:
        logger.error("server can't be started: %s", fault, extra={"server": name})


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Daemon:
    """One run of the daemon, from the first announcement to the last child."""

    def __init__(
        self, bridge: Bridge, listeners: list[socket.socket], load: Callable[[], Settings], stamp: Stamp
    ) -> None:
        settings = bridge.settings
        self._stamp = stamp
        self._bridge = bridge
        self._load = load
        self._listeners = listeners
        self._stopping = anyio.Event()
        self._reloading = anyio.Lock()
        self._served = anyio.Event()
        self._signals = 0
        self._child_exit: int | None = None
        bridge.on_child_exit = self._child_exited
        self._server = _Server(
            uvicorn.Config(
                bridge.asgi,
                http=Http1Protocol,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=CLOSE_SECONDS,
                ws="none",
                proxy_headers=False,  # nothing here looks at the address of the peer
            )
        )
        self._limits = Http1Limits(
            max_header_bytes=settings.max_header_bytes,
            header_timeout_seconds=settings.header_timeout_seconds,
            keep_alive_timeout_seconds=settings.keep_alive_timeout_seconds,
            slow_reader_timeout_seconds=settings.slow_reader_timeout_seconds,
        )
        self._door = Door(
            self._server.server_state.connections,
            self._make_protocol,
            max_connections=connections_within_limits(settings.max_connections, max_children=settings.max_children),
            counts=bridge.counts,
        )

    def _make_protocol(self, refusal: ProxyError | None) -> Http1Protocol:
        return Http1Protocol(
            limits=self._limits,
            counts=self._bridge.counts,
            refusal=refusal,
            config=self._server.config,
            server_state=self._server.server_state,
            app_state={},
        )

    async def run(self) -> int:
        """Serve until a signal, drain, and return the exit code."""
        bridge = self._bridge
        with guarded(bridge.marker) as guardian:
            bridge.places.watch = guardian
            reaper = OrphanReaper(bridge.places.pids) if become_subreaper() else None
            await self._run(reaper)
        if self._child_exit is not None and self._signals < 2:
            return self._child_exit
        return 1 if self._signals > 1 or bridge.was_cut else 0

    async def _run(self, reaper: OrphanReaper | None) -> None:
        async with self._bridge.run(), anyio.create_task_group() as tasks:
            if reaper is not None:
                tasks.start_soon(_reap_orphans, reaper)
            await tasks.start(self._obey_signals)
            tasks.start_soon(self._serve)
            await self._server.is_up.wait()
            if self._bridge.settings.watch and self._bridge.settings.config is not None:
                tasks.start_soon(self._watch, self._bridge.settings.config)
            async with anyio.create_task_group() as open_door:  # during the drain, too: who comes then is told
                open_door.start_soon(self._door.run, self._listeners)
                self._announce()
                await self._stopping.wait()
                await self._bridge.drain()
                open_door.cancel_scope.cancel()
            for listener in self._listeners:
                listener.close()
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it now cuts what has had its time
            self._server.should_exit = True
            await self._served.wait()
            tasks.cancel_scope.cancel()

    async def _serve(self) -> None:
        await self._server.serve([])  # the door is ours
        self._served.set()

    async def _obey_signals(self, *, task_status: TaskStatus[None]) -> None:
        ours = [signal.SIGTERM, signal.SIGINT]
        # It reads the config file again, or says that the terminal is closed, which nohup has the daemon ignore. The
        # default action would leave the children behind.
        if self._bridge.settings.config is not None or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            ours.append(signal.SIGHUP)
        try:
            with anyio.open_signal_receiver(*ours) as signals:
                async with anyio.create_task_group() as reloads:  # a slow disk must not keep a SIGTERM waiting
                    task_status.started()
                    async for signum in signals:
                        if signum == signal.SIGHUP and self._bridge.settings.config is not None:
                            reloads.start_soon(self._reload)
                        else:
                            self._stop(signum)
        finally:
            for each in ours:  # the last moments are no time to die of one; nothing is started in them
                signal.signal(each, signal.SIG_IGN)

    def _child_exited(self, returncode: int) -> None:
        """Stop as that child has, unless we stop already. A shell calls the end by signal n 128 + n."""
        if not self._stopping.is_set():
            self._child_exit = 128 - returncode if returncode < 0 else returncode
            self._stopping.set()

    def _stop(self, signum: int) -> None:
        self._signals += 1
        logger.info("stopping", extra={"signal": signal.Signals(signum).name, "nth": self._signals})
        self._stopping.set()
        if self._signals > 1:
            self._bridge.end_now("second signal")
            self._server.force_exit = True

    async def _reload(self) -> None:
        """Serve what the config file names now; a file that can't be used leaves everything as it is."""
        try:
            async with self._reloading:  # one after the other, or an older file could win
                if self._stopping.is_set():
                    return
                settings = await anyio.to_thread.run_sync(self._load)
                await self._bridge.reload(settings)
        except SettingsError as error:
            logger.error("config file not taken over: %s", "; ".join(error.faults))
        except ConfigError as error:
            logger.error("config file not taken over: %s", error)
        except Exception:  # it would end the daemon
            logger.exception("config file not taken over")

    async def _watch(self, path: Path) -> None:
        async for _ in changes(path, self._stamp):
            await self._reload()

    def _announce(self) -> None:
        settings, directory = self._bridge.settings, self._bridge.directory
        for warning in self._bridge.warnings:
            logger.warning("%s", warning)
        addresses = [listener.getsockname()[:2] for listener in self._listeners]
        roots = [f"http://{f'[{host}]' if ':' in host else host}:{port}" for host, port in addresses]
        if sys.platform != "linux":
            logger.warning("not Linux: deaths of children are found by polling, vanished clients later")
        elif not has_pidfds():
            logger.warning("no pidfds, as in some sandboxes: deaths of children are found by polling")
        if not all(is_loopback_name(host) for host, _ in addresses):
            logger.warning("listening without authentication: whoever reaches this address can use the server")
        if any(server.gives_each_request_a_process for server in directory.servers.values()):
            logger.info(
                "clients of 2026-07-28 get a process for each request; with --modern-isolation shared they share one, "
                "which is warm and keeps its state"
            )
        for name, server in directory.servers.items():
            for limit, means in server.spec.limits.report().items():
                logger.info("limit of each child: %s: %s", limit, means, extra={"server": name})
        if any(server.gives_each_session_a_process for server in directory.servers.values()):
            logger.warning(
                "isolation is shared, but on an address that strangers reach each session gets a process of its own: "
                "without authentication nobody can be told from anybody"
            )
        for root in roots:
            if directory.default is not None:
                logger.info("serving %s%s", root, settings.path, extra={"server": directory.default})
            for name in directory.servers:
                if name != directory.default or len(directory.servers) > 1:
                    logger.info("serving %s%s", root, path_of(name), extra={"server": name})
        if settings.demo:
            with contextlib.suppress(OSError):  # nobody reads it
                sys.stderr.write(lesson(roots[0] + settings.path))


async def _reap_orphans(reaper: OrphanReaper) -> None:
    while True:
        await anyio.sleep(REAP_SECONDS)
        try:
            reaper.reap()
        except Exception:  # it would end the daemon
            logger.exception("orphans not reaped")


def lesson(url: str) -> str:
    """What to do with the URL: a request to paste into a shell, a configuration to paste into a client."""
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "curl", "version": "1"},
        },
    }
    command = "mcp-proxy" if shutil.which("mcp-proxy") else sys.argv[0]
    client = {"mcpServers": {"demo": {"type": "http", "url": url}}}
    return f"""
  The demo server is at   {url}

  Say hello:
    curl -i {url} -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' \\
      -d '{json.dumps(hello)}'

  Paste into a client's configuration:
    {json.dumps(client)}

  Serve your own:         {command} --command "uvx mcp-server-fetch"        (uvx comes with: pip install uv)
  Stop with Ctrl-C.

"""


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop

"""How does the daemon run and stop?

uvicorn on SIGTERM would refuse new connections and cut streams. So the signals are ours: the first drains the bridge
with the listener open (new work gets 503), then lets uvicorn exit; the second ends everything at once.
"""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import uvicorn
from anyio.abc import TaskStatus

from proxy.announce import announce, missing_programs, warn_of_missing_programs
from proxy.child.watch import OrphanReaper, become_subreaper, guarded
from proxy.config.file import ConfigError
from proxy.config.watch import Stamp, changes, stamp_of
from proxy.descriptors import connections_within_limits
from proxy.edge.bridge import Bridge
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

GOES_ON = "what was served is served on"


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
        missing = missing_programs(bridge.directory)
        if len(missing) == len(bridge.directory.servers):
            for warning in bridge.warnings:  # one of them may be the cause
                sys.stderr.write(f"mcp-proxy: warning: {warning}\n")
            for name, fault in missing.items():
                sys.stderr.write(f"mcp-proxy: server {name!r} can't be started: {fault}\n")
            return 1
        listeners = listen(settings.host, settings.port, dead_peer_seconds=settings.dead_peer_timeout_seconds)
    except ConfigError as exc:
        sys.stderr.write(f"mcp-proxy: {exc}\n")
        return 2
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
                announce(self._bridge, [listener.getsockname()[:2] for listener in self._listeners])
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
                warn_of_missing_programs(self._bridge.directory)
        except SettingsError as error:
            logger.error("config file not taken over: %s; %s", "; ".join(error.faults), GOES_ON)
        except ConfigError as error:
            logger.error("config file not taken over: %s; %s", error, GOES_ON)
        except Exception:  # it would end the daemon
            logger.exception("config file not taken over")

    async def _watch(self, path: Path) -> None:
        async for _ in changes(path, self._stamp):
            await self._reload()


async def _reap_orphans(reaper: OrphanReaper) -> None:
    while True:
        await anyio.sleep(REAP_SECONDS)
        try:
            reaper.reap()
        except Exception:  # it would end the daemon
            logger.exception("orphans not reaped")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop

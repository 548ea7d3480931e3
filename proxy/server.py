"""How does the daemon run and stop?

uvicorn on SIGTERM would refuse new connections and cut streams. So the signals are ours: the first drains the bridge
with the listener open (new work gets 503), then lets uvicorn exit; the second ends everything at once.
"""

import asyncio
import contextlib
import errno
import json
import logging
import re
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import anyio
import uvicorn
from anyio.abc import TaskStatus
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from proxy.child.spec import ProgramNotFound, find_program
from proxy.child.watch import OrphanReaper, become_subreaper, guarded
from proxy.edge.bridge import Bridge
from proxy.edge.middleware.origin import is_loopback_name
from proxy.settings import Settings

logger = logging.getLogger(__name__)

_OFFER_OF_HTTP2 = re.compile(rb"\r\nupgrade:(?=[ \t]*h2c[ \t]*\r\n)", re.IGNORECASE)

KEEP_ALIVE_SECONDS = 75
"""An idle connection is kept longer than common gateways reuse one (60 s), so that they never meet a closed one."""
CLOSE_SECONDS = 1
"""After a drain nothing is left to wait for; connections that don't close by then are cut."""
REAP_SECONDS = 1.0
"""How often the dead among adopted processes are looked for."""
BACKLOG = 2048
TCP_PROBE_SECONDS = 15
UNSENT_BYTES = 128 * 1024
"""What the kernel keeps of a response beyond what is on its way. Left alone it keeps up to 4 MB: memory, and so coarse
a view of the client that one which reads 40 KB a second would seem not to read for half a minute."""


def serve(settings: Settings) -> int:
    """Run the daemon until a signal; returns the process's exit code: 0 after a clean drain, else 1."""
    bridge = Bridge(settings, is_daemon=True)
    try:
        spec = bridge.server.spec
        find_program(spec.argv, env=spec.env, cwd=spec.cwd)
        listener = listen(settings.host, settings.port, dead_peer_seconds=settings.dead_peer_timeout_seconds)
    except ProgramNotFound as exc:
        sys.stderr.write(f"mcp-proxy: the server can't be started: {exc}\n")
        return 1
    except OSError as exc:
        hint = "; choose another with --port or MCP_PROXY_PORT" if exc.errno == errno.EADDRINUSE else ""
        sys.stderr.write(f"mcp-proxy: can't listen on {settings.host}:{settings.port}: {exc.strerror}{hint}\n")
        return 1
    with listener, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_Daemon(bridge, listener).run())


def listen(host: str, port: int, *, dead_peer_seconds: float) -> socket.socket:
    """A listening socket whose accepted connections notice a peer that is gone, and one that is slow.

    Keep-alive finds one that is silent, TCP_USER_TIMEOUT one that takes nothing; accepted sockets inherit both, and the
    bound on what waits in the kernel.

    Raises:
        OSError: If the address can't be had.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        probes = min(127, max(1, int(dead_peer_seconds // TCP_PROBE_SECONDS) - 1))  # 127 is the kernel's most
        for name, value in (
            ("TCP_KEEPIDLE", TCP_PROBE_SECONDS),
            ("TCP_KEEPINTVL", TCP_PROBE_SECONDS),
            ("TCP_KEEPCNT", probes),
            ("TCP_USER_TIMEOUT", int(dead_peer_seconds * 1000)),
            ("TCP_NOTSENT_LOWAT", UNSENT_BYTES),
        ):
            if hasattr(socket, name):
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


class Http1Protocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, deaf to offers of HTTP/2.

    Java's HttpClient offers `Upgrade: h2c` with every plaintext request; the parser would stop there and lose the body.
    Spec: RFC 9110 7.8: a server MAY ignore a received Upgrade header field.
    """

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        if b"h2c" in data:
            data = _OFFER_OF_HTTP2.sub(b"\r\nX-Ignored:", data)
        super().data_received(data)


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

    def __init__(self, bridge: Bridge, listener: socket.socket) -> None:
        self._bridge = bridge
        self._listener = listener
        self._stopping = anyio.Event()
        self._served = anyio.Event()
        self._signals = 0
        self._server = _Server(
            uvicorn.Config(
                bridge.asgi,
                http=Http1Protocol,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=CLOSE_SECONDS,
                ws="none",
                proxy_headers=False,  # nothing here looks at the address of the peer
            )
        )

    async def run(self) -> int:
        """Serve until a signal, drain, and return the exit code."""
        bridge = self._bridge
        with guarded(bridge.marker) as guardian:
            bridge.places.watch = guardian
            reaper = OrphanReaper(bridge.places.pids) if become_subreaper() else None
            await self._run(reaper)
        return 1 if self._signals > 1 or bridge.was_cut else 0

    async def _run(self, reaper: OrphanReaper | None) -> None:
        async with self._bridge.run(), anyio.create_task_group() as tasks:
            if reaper is not None:
                tasks.start_soon(_reap_orphans, reaper)
            tasks.start_soon(self._serve)
            await self._server.is_up.wait()
            await tasks.start(self._obey_signals)
            self._announce()
            await self._stopping.wait()
            await self._bridge.drain()
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it now cuts what has had its time
            self._server.should_exit = True
            await self._served.wait()
            tasks.cancel_scope.cancel()

    async def _serve(self) -> None:
        await self._server.serve([self._listener])
        self._served.set()

    async def _obey_signals(self, *, task_status: TaskStatus[None]) -> None:
        # SIGHUP: the terminal is closed. Its default action would leave the children behind.
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for signum in signals:
                self._signals += 1
                logger.info("stopping", extra={"signal": signal.Signals(signum).name, "nth": self._signals})
                self._stopping.set()
                if self._signals > 1:
                    self._bridge.end_now("second signal")
                    self._server.force_exit = True

    def _announce(self) -> None:
        settings = self._bridge.settings
        host, port = self._listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{port}{settings.path}"
        if sys.platform != "linux":
            logger.warning("not Linux: deaths of children are found by polling, vanished clients later")
        if not is_loopback_name(host):
            logger.warning("listening without authentication: whoever reaches this address can use the server")
        logger.info("serving %s", url, extra={"server": settings.server_name})
        if settings.demo:
            sys.stderr.write(lesson(url))


async def _reap_orphans(reaper: OrphanReaper) -> None:
    while True:
        await anyio.sleep(REAP_SECONDS)
        reaper.reap()


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

"""What is measured, how is it started, and what does its process use?

Every process has a session (setsid) of its own. Linux shares the CPUs out between sessions (sched_autogroup): children
in the session of this client would get one share together, those of the bridge one each. On a busy machine that alone
made 20 direct starts more than twice as slow, and the bridge look faster than no bridge at all.
"""

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.client import HttpLane, Lane, PipeLane, begin_session

PROXY = "mcp-proxy"
DIRECT = "direct stdio"
FLOOR = "Starlette floor"
TICKING = "mcp-proxy with a ticker"
POOLED = "mcp-proxy with a pool"
SEVERAL = "mcp-proxy with three servers"
"""One that is well, one that crashes at its start, one that floods its stdout."""
WELL, CRASHING, FLOODING = "well", "crashing", "flooding"

POOL_SIZE = 20

START_SECONDS = 20.0
STOP_SECONDS = 15.0

_HERE = Path(__file__).parent
LIGHT_CHILD = (sys.executable, "-I", "-S", str(_HERE / "child.py"))
FLOODING_CHILD = (sys.executable, "-I", "-S", str(_HERE / "flooding_child.py"))
CRASHING_CHILD = (sys.executable, "-I", "-S", "-c", "raise SystemExit(3)")
SDK_CHILD = (sys.executable, "-I", str(_HERE / "sdk_child.py"))


class StartFailed(Exception):
    """A server under measurement did not begin to listen."""


@dataclass(frozen=True)
class Running:
    """A system that can be called now.

    Attributes:
        name: One of `PROXY`, `DIRECT`, `FLOOR`, `TICKING`, `POOLED` and `SEVERAL`.
        child: What a session runs.
        port: Where it listens; None for direct stdio.
        pid: The server process, without its children; None for direct stdio.
    """

    name: str
    child: Sequence[str]
    port: int | None = None
    pid: int | None = None

    def connect(self) -> Lane:
        """A connection of its own, or a child of its own; nothing has been said on it."""
        return PipeLane(self.child) if self.port is None else HttpLane(self.port)

    def connect_to(self, server: str) -> Lane:
        """The same to one of several servers."""
        assert self.port is not None  # stdio has one
        return HttpLane(self.port, f"/servers/{server}/mcp")

    @contextmanager
    def sessions(self, count: int, *, server: str = "") -> Iterator[list[Lane]]:
        """Initialized sessions, ended on the way out."""
        with ExitStack() as stack:
            lanes = []
            for _ in range(count):
                lane = self.connect_to(server) if server else self.connect()
                stack.callback(lane.close)
                begin_session(lane)
                lanes.append(lane)
            yield lanes

    @contextmanager
    def clients(self, count: int) -> Iterator[list[Lane]]:
        """Connections for echoes without a session, closed on the way out."""
        assert self.port is not None  # stdio has no such thing
        with ExitStack() as stack:
            lanes: list[Lane] = []
            for _ in range(count):
                lane = HttpLane(self.port)
                stack.callback(lane.close)
                lane.without_session("echo")
                lanes.append(lane)
            yield lanes

    def stalls(self) -> dict[str, float]:
        """How long the loop was held up since it was last asked: see `ticking.py`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stalls", timeout=10) as response:
            noted: dict[str, float] = json.load(response)
        return noted

    def ready(self) -> int:
        """How many children of its pool are ready."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=10) as response:
            servers = json.load(response)["servers"]
        return int(servers["default"]["pool"]["ready"])

    def children(self) -> int:
        """How many processes of its server there are."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=10) as response:
            return int(json.load(response)["children"])

    def cpu_seconds(self) -> float:
        """User and system time of the server process alone."""
        assert self.pid is not None  # not asked for direct stdio
        if psutil.LINUX:  # clock_getcpuclockid(3): nanoseconds, where /proc has 10 ms
            return time.clock_gettime(~self.pid << 3 | 2)
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system

    def memory_bytes(self) -> int:
        """Resident memory of the server process alone."""
        return int(psutil.Process(self.pid).memory_info().rss)


@contextmanager
def started(names: Sequence[str], child: Sequence[str] = LIGHT_CHILD) -> Iterator[list[Running]]:
    """Start these systems; on the way out they are stopped, and whatever they have started is gone."""
    with ExitStack() as stack:
        yield [stack.enter_context(_start(name, child)) for name in names]


@contextmanager
def _start(name: str, child: Sequence[str]) -> Iterator[Running]:
    if name == DIRECT:
        yield Running(name, child)
        return
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            _argv(name, port, child, Path(folder)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            if not _listens(process, port):
                log.seek(0)
                raise StartFailed(f"{name} does not listen: {log.read()[-2000:].decode(errors='replace')}")
            yield Running(name, child, port, process.pid)
        finally:
            _stop(process)


def _argv(name: str, port: int, child: Sequence[str], folder: Path) -> list[str]:
    if name == FLOOR:
        return [sys.executable, "-m", "benchmarks.floor", str(port)]
    if name == TICKING:
        return [sys.executable, "-m", "benchmarks.ticking", str(port), *child]
    if name == SEVERAL:
        return [sys.executable, "-m", "proxy", "--port", str(port), "--config", str(_config(folder, child))]
    flags = ["--pool-size", str(POOL_SIZE)] if name == POOLED else []
    return [sys.executable, "-m", "proxy", "--port", str(port), *flags, "--", *child]


def _config(folder: Path, child: Sequence[str]) -> Path:
    servers = {WELL: child, CRASHING: CRASHING_CHILD, FLOODING: FLOODING_CHILD}
    path = folder / "servers.json"
    entries = {name: {"command": argv[0], "args": argv[1:]} for name, argv in servers.items()}
    path.write_text(json.dumps({"mcpServers": entries}))
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(process: "subprocess.Popen[bytes]", port: int) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return True
    return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM; after a while SIGKILL, to it and to those of its children that are left."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()  # psutil sees by its start time that it is still the same process

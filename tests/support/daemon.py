"""A real daemon for a test: started as a user would, ended by SIGTERM, and looked after in between."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

START_SECONDS = 20.0
STOP_SECONDS = 20.0

_SERVING = re.compile(r"serving.*?(http://\S+)")


class Daemon:
    """A running daemon.

    Attributes:
        url: Of the MCP endpoint.
        stderr_lines: What it has logged so far; a thread reads on.
        returncode: Its exit code, once the `with` block is left or `stop` was called.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.url = ""
        self.stderr_lines: list[str] = []
        self._serving = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def base_url(self) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    @property
    def returncode(self) -> int | None:
        return self.process.returncode

    @property
    def log(self) -> str:
        """All that it has logged."""
        return "\n".join(self.stderr_lines)

    def wait_until_serving(self) -> None:
        """Raises AssertionError with what it said if it does not serve in time."""
        if not self._serving.wait(START_SECONDS) or not self.url:
            raise AssertionError(f"the daemon does not serve:\n{self.log}")

    def signal(self, signum: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal."""
        self.process.send_signal(signum)

    def wait(self, timeout: float = STOP_SECONDS) -> int:
        """Wait for its end; returns its exit code. Raises AssertionError with its log if it does not end."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the daemon did not end within {timeout} s:\n{self.log}") from None
        self._reader.join(5)
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.stderr_lines.append(line.rstrip("\n"))
            found = None if self.url else _SERVING.search(line)
            if found:
                self.url = found[1]
                self._serving.set()
        self._serving.set()


@contextmanager
def running_daemon(
    *args: str, env: Mapping[str, str] | None = None, descriptors: int | None = None
) -> Iterator[Daemon]:
    """Start `mcp-proxy` with these arguments on a free port of loopback; SIGTERM it on the way out.

    Args:
        args: Flags, and the child's command after `--`.
        env: Variables beside those that we have; `MCP_PROXY_*` of ours are not passed on.
        descriptors: How many it may have; as many as we if not given.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MCP_PROXY_")}
    limited = ["/bin/sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh"] if descriptors is not None else []
    process = start([*limited, sys.executable, "-m", "proxy", "--port", "0", *args], {**inherited, **(env or {})})
    with looked_after(process) as daemon:
        yield daemon


@contextmanager
def looked_after(process: "subprocess.Popen[str]") -> Iterator[Daemon]:
    """A daemon that was started somehow, once it serves; SIGTERM it on the way out."""
    daemon = Daemon(process)
    try:
        daemon.wait_until_serving()
        yield daemon
    finally:
        if process.poll() is None:
            daemon.signal()
        daemon.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def start(argv: Sequence[str], env: Mapping[str, str]) -> "subprocess.Popen[str]":
    """Start a program whose stderr will be read."""
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=dict(env),
    )

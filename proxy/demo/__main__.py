"""Run the demo server on stdin and stdout: `python -m proxy.demo`."""

import signal
import sys
from types import FrameType

from proxy.demo.server import DemoServer
from proxy.demo.wire import ClientGone, LineWriter, log, read_lines


def main() -> int:
    """Serve until stdin ends, a signal comes, or nobody reads stdout; give the exit status.

    Calls that still wait are dropped: their threads are daemons, and nobody could get their answers.

    Spec: 2025-11-25 basic/lifecycle, Shutdown, stdio.
    """
    writer = LineWriter(sys.stdout.fileno())
    server = DemoServer(writer)
    try:
        # Handlers, not the default action: as process 1 of a container only a handler makes a signal end us.
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, _stop)
        if sys.stdin.isatty():
            log("this speaks JSON-RPC on stdin and stdout; start it from an MCP client. Ctrl-D ends it.")
        for line in read_lines(sys.stdin.buffer):
            server.receive(line)
        _ignore_signals()
    except (_Stopped, ClientGone):
        _ignore_signals()
    writer.close()
    return 0


class _Stopped(BaseException):
    """A signal asked us to stop. Not an Exception: no handler of a request may take it for its own."""


def _stop(signum: int, frame: FrameType | None) -> None:
    _ignore_signals()
    raise _Stopped


def _ignore_signals() -> None:
    # We are ending already; a second signal must not break into that.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())

"""However much a child writes at once, everybody else has a turn soon."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint

from proxy.child.link import PipeLink
from proxy.child.pipes import PIPE_BYTES, widen
from proxy.observe import Counts
from proxy.sessions.exchange import Exchange
from proxy.sessions.limits import SessionLimits
from proxy.sessions.modern.limits import ModernLimits
from proxy.sessions.modern.mux import Mux

LONGEST_TURN_SECONDS = 0.05
"""Of CPU, which a busy machine does not change. Looking at all lines of a read at once takes 0.05 to 1.7 s."""

FLOODS = [
    b"{\n",
    b"{}\n",
    b"\n",
    b"noise\n",
    b'{"jsonrpc":"2.0","method":"a"}\n',
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}\n',
    b'{"jsonrpc":"2.0","id":1,"result":{}}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n',
]


def exchange() -> Exchange:
    return Exchange(limits=SessionLimits(), counts=Counts(), clock=time.monotonic, tag="test")


def mux() -> Mux:
    return Mux(limits=ModernLimits(), counts=Counts(), clock=time.monotonic, tag="test")


@contextmanager
def full_pipe(data: bytes) -> Iterator[int]:
    """The end that is read, of a pipe that is full of this and closed."""
    read, write = os.pipe()
    try:
        widen(write)
        os.set_blocking(write, False)
        os.write(write, data * (PIPE_BYTES // len(data)))
    finally:
        os.close(write)
    yield read


async def longest_turn(is_over: Callable[[], bool]) -> float:
    """The most CPU seconds between two turns of ours."""
    longest = 0.0
    with anyio.fail_after(30):
        while not is_over():
            began = time.thread_time()
            await checkpoint()
            longest = max(longest, time.thread_time() - began)
    return longest


@pytest.mark.parametrize("line", FLOODS, ids=lambda line: line.decode()[:40].strip())
@pytest.mark.parametrize("reader", [exchange, mux])
async def test_a_flood_on_stdout_holds_up_nobody(reader: Callable[[], Exchange | Mux], line: bytes) -> None:
    closed: list[bool] = []
    stdin_read, stdin_write = os.pipe()
    with ExitStack() as stack:
        stack.callback(os.close, stdin_read)
        link = PipeLink(
            stdin_fd=stdin_write,
            stdout_fd=stack.enter_context(full_pipe(line)),
            max_line_bytes=1 << 20,
            on_lines=lambda _: None,
            on_closed=partial(closed.append, True),
        )
        stack.callback(link.close)
        tables = reader()
        tables.attach(link)
        link.deliver_to(tables.received)

        assert await longest_turn(lambda: bool(closed)) < LONGEST_TURN_SECONDS

"""What of a child's stderr is kept and logged, with real pipes."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.child.pipes import PIPE_BYTES, widen
from proxy.child.stderr import BURST_LINES, MAX_LINE_BYTES, TAIL_LINES, StderrDrain

LONGEST_TURN_SECONDS = 0.1
"""Of CPU, which a busy machine does not change. Looking at all lines of one read took a second."""


@contextmanager
def drained(data: bytes) -> Iterator[StderrDrain]:
    """What a dead child has left in its pipe, read at once."""
    read, write = os.pipe()
    widen(write)
    os.write(write, data)
    os.close(write)
    drain = StderrDrain(read, who={"pid": 1, "server": "tools"})
    try:
        drain.drain()
        yield drain
    finally:
        drain.close()


async def test_lines_are_logged_and_the_last_ones_kept_in_order(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lines = [f"line {number}" for number in range(TAIL_LINES + 5)]

    with drained("\n".join(lines).encode()) as drain:
        assert drain.tail == lines[-TAIL_LINES:]
    assert [record.message for record in caplog.records] == lines


async def test_of_a_flood_the_beginning_is_logged_the_end_kept_and_the_rest_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    lines = [f"line {number}" for number in range(BURST_LINES + 1000)]

    with drained("\n".join([*lines, ""]).encode()) as drain:
        assert drain.tail == lines[-TAIL_LINES:]
    logged = [record for record in caplog.records if record.message.startswith("line ")]
    assert [record.message for record in logged] == lines[: len(logged)]
    assert BURST_LINES <= len(logged) <= BURST_LINES + 10
    left_out = [vars(record)["lines"] for record in caplog.records if record.message == "stderr lines left out"]
    assert sum(left_out) == len(lines) - len(logged)


@pytest.mark.parametrize("line", [b"\n", b"x\n", b"x" * 3 * MAX_LINE_BYTES + b"\n", b"x"])
async def test_a_flood_holds_up_nobody(line: bytes) -> None:
    began = time.thread_time()
    with drained(line * (PIPE_BYTES // len(line))) as drain:
        assert time.thread_time() - began < LONGEST_TURN_SECONDS
        assert len(drain.tail) <= TAIL_LINES
        assert all(len(text) <= MAX_LINE_BYTES for text in drain.tail)

"""What does it cost when a child plays with its pipes?"""

from collections.abc import Iterator

import anyio
import pytest

from tests.e2e.serving import serving
from tests.faults.measures import MIB, cost_to
from tests.faults.outcomes import INTERNAL_ERROR, QUICK_SECONDS, assert_over
from tests.faults.unharmed import faulty_session
from tests.support.daemon import Daemon
from tests.support.mcp import (
    call,
    error_of,
    request,
    until,
    until_gone,
)

PING = request(7, "ping")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving() as daemon:
        yield daemon


@pytest.mark.parametrize("line", [100, 100_000_000], ids=["a million lines", "one line"])
async def test_100_mb_on_stderr_hold_up_nobody_and_fill_no_log(daemon: Daemon, line: int) -> None:
    """Always drained; the log is held to a rate, a line of it to a length, and nothing is kept."""
    async with faulty_session(daemon) as (client, _):
        logged = len(daemon.stderr_lines)
        with cost_to(daemon.pid) as cost:
            assert await client.result(1, "stderr", bytes=100_000_000, line=line) == {}

        async def is_logged() -> bool:
            return any("xxx" in text for text in daemon.stderr_lines[logged:])

        await until(is_logged, "some of it in the log")
        assert len(daemon.stderr_lines) - logged < 5_000
        assert max(map(len, daemon.stderr_lines[logged:])) < 3_000
        assert cost.peak_bytes < 8 * MIB


@pytest.mark.parametrize("tool", ["close-stdout", "close-stdin"])
async def test_a_child_that_closes_a_pipe_and_lives_on_is_ended(daemon: Daemon, tool: str) -> None:
    """It has shut us out: its calls fail instead of waiting for ever, though nothing more is sent to it."""
    async with faulty_session(daemon) as (client, pid), anyio.create_task_group() as tasks:
        (held,) = await client.hold(tasks, call("x", "hold"))
        assert await client.result(1, tool) == {"pid": pid}
        with anyio.fail_after(QUICK_SECONDS):
            assert error_of(await held.response()) == (500, INTERNAL_ERROR, "x")

        await assert_over(client)
        await until_gone(pid)

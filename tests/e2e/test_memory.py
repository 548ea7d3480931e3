"""After a burst of large payloads the daemon is about as small as before."""

import sys
from functools import partial

import anyio
import psutil
import pytest

from tests.e2e.serving import serving
from tests.support.mcp import call, open_session, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the C library of other systems is not asked")

SIZE = 6_000_000
CALLS = 6


async def test_what_a_burst_took_is_given_back() -> None:
    """Bodies of this size are parsed in threads, and threads have heaps of their own."""
    with serving("--place-timeout", "60s") as daemon:
        process = psutil.Process(daemon.pid)
        async with open_session(daemon.url) as client:
            before = process.memory_info().rss
            async with anyio.create_task_group() as tasks:
                for number in range(CALLS):
                    tasks.start_soon(partial(client.post, call(number, "echo", text="x" * SIZE), seconds=90))

            async def is_small() -> bool:
                return bool(process.memory_info().rss - before < 2 * SIZE)

            await until(is_small, "the memory is given back")

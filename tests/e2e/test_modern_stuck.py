"""A shared child that reads nothing any more is replaced: its clients have no other to go to."""

import os
import signal

from tests.e2e.serving import serving_modern
from tests.support.mcp import until
from tests.support.modern import modern_client, tool


async def test_a_shared_child_that_stops_reading_is_replaced() -> None:
    with serving_modern("--stdin-stall-timeout", "1s", "--max-body", "16MiB") as daemon:
        async with modern_client(daemon.url) as client:
            stopped = (await client.call(1, "pid"))["pid"]
            os.kill(stopped, signal.SIGSTOP)
            try:
                failed = await client.answer(tool(2, "echo", text="x" * 4_000_000))
                assert (failed["id"], failed["error"]["code"]) == (2, -32603)

                async def is_served() -> bool:
                    answer = await client.answer(tool(3, "pid"))
                    return "result" in answer and answer["result"]["structuredContent"]["pid"] != stopped

                await until(is_served, "a new child serves")
            finally:
                os.kill(stopped, signal.SIGCONT)

"""A child that asks in a loop and reads nothing: what waits for it is bounded, and nobody else notices."""

import sys

import psutil

from tests.support.daemon import running_daemon
from tests.support.mcp import call, connected, health, open_session, until, until_empty

NAGGING = r"""
import json, os, sys
for line in sys.stdin.buffer:
    message = json.loads(line)
    if message.get("method") == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "n", "version": "1"}}
    else:
        result = {}
    if "id" in message:
        os.write(1, json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode() + b"\n")
    if message.get("method") == "tools/call":
        request = {"jsonrpc": "2.0", "id": 1, "method": message["params"]["name"]}
        block = (json.dumps(request).encode() + b"\n") * 1000
        while True:
            os.write(1, block)
"""
FLAGS = ("--stream-backlog", "1MiB", "--stdin-grace", "0.3s", "--term-grace", "0.3s")
REPLIES = 60_000
"""Of 1 kB each: far more than the limit has room for."""


async def test_a_child_that_asks_in_a_loop_and_reads_nothing_does_not_fill_our_memory() -> None:
    """Design: slow readers, bounded by bytes. Not reading such a child would stop it for good."""
    with running_daemon(*FLAGS, "--", sys.executable, "-I", "-S", "-c", NAGGING) as daemon:
        async with connected(daemon.url) as client, open_session(daemon.url) as other:
            process = psutil.Process(daemon.pid)
            nagged = await client.another()
            await other.answer({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
            before = process.memory_info().rss

            await nagged.answer(call(1, "ping"))

            async def is_over_the_limit() -> bool:
                counts = (await health(client))["counts"]
                return bool(counts.get("dropped.reply_child_does_not_read", 0) > REPLIES)

            await until(is_over_the_limit, "the child has been refused often", seconds=60)
            await other.answer({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
            assert process.memory_info().rss - before < 20_000_000
            await nagged.delete()
            await other.delete()
            await until_empty(client)
    assert daemon.returncode == 0
    assert "Traceback" not in daemon.log

"""How often does the official Python client ask again, after a stream of its has ended?

The twin of reconnects.mjs: the same job, the same report.
"""

import json
import sys
import warnings
from typing import Any

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

Json = dict[str, Any]


async def play(job: Json, ending: Json, played: Json) -> None:
    seen: list[str] = []

    async def count(request: httpx2.Request) -> None:
        body = await request.aread()
        seen.append(f"{request.method} {json.loads(body).get('method', '') if body else ''}".strip())

    timeout = httpx2.Timeout(30, read=300)
    async with httpx2.AsyncClient(event_hooks={"request": [count]}, timeout=timeout, trust_env=False) as http:
        async with Client(streamable_http_client(job["url"], http_client=http), mode="legacy") as client:
            outcome = ""
            for call in ending["calls"]:
                try:
                    await client.call_tool(call["tool"], call["arguments"])
                    outcome = "result"
                except (MCPError, ValueError, RuntimeError):
                    outcome = "error"
            before = len(seen)
            await anyio.sleep(job["seconds"])
            played[ending["name"]] = {"outcome": outcome, "requests": seen[before:]}


async def main() -> None:
    job = json.loads(sys.stdin.read())
    played: Json = {}
    async with anyio.create_task_group() as tasks:
        for ending in job["endings"]:
            tasks.start_soon(play, job, ending, played)
    sys.stdout.write(json.dumps(played))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    anyio.run(main)

"""What do many clients of the official Python package see of one process that all share?

The twin of sharing.mjs: the same job, the same report.
"""

import json
import sys
import warnings
from typing import Any

import anyio
from mcp import Client, types
from mcp.client.session import IncomingMessage

Json = dict[str, Any]

COUNTER = "demo://counter"


async def play(job: Json, number: int, played: Json) -> None:
    seen: Json = {"logs": [], "totals": [], "updates": 0}
    updated = anyio.Event()

    async def hear(message: IncomingMessage) -> None:
        if isinstance(message, types.LoggingMessageNotification):
            seen["logs"].append(message.params.data)
        elif isinstance(message, types.ResourceUpdatedNotification):
            seen["updates"] += 1
            updated.set()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen["totals"].append(total)

    info = types.Implementation(name=f"client {number}", version="1")
    async with Client(job["url"], mode="legacy", client_info=info, message_handler=hear) as client:
        await client.session.set_logging_level("info" if number % 2 else "error")
        if number % 2:
            await client.session.subscribe_resource(COUNTER)
        seen["echo"] = text_of(await client.call_tool("echo", {"text": f"client {number}"}))
        seen["slow"] = text_of(
            await client.call_tool("slow", {"steps": 2 + number, "seconds": 0.001}, progress_callback=note)
        )
        seen["cancelled"] = await is_cancelled(client)
        await client.call_tool("log", {"level": "info", "text": f"client {number}"})
        await client.call_tool("touch", {})
        if number % 2:
            with anyio.move_on_after(30):
                await updated.wait()
    played[str(number)] = seen


async def is_cancelled(client: Client) -> bool:
    async def abort(progress: float, total: float | None, message: str | None) -> None:
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        await client.call_tool("slow", {"steps": 1000, "seconds": 0.05}, progress_callback=abort)
    return bool(tasks.cancel_scope.cancelled_caught)


def text_of(result: Any) -> str:
    text = result.content[0].text
    assert isinstance(text, str)
    return text


async def main() -> None:
    job = json.loads(sys.stdin.read())
    played: Json = {}
    async with anyio.create_task_group() as tasks:
        for number in job["numbers"]:
            tasks.start_soon(play, job, number, played)
    sys.stdout.write(json.dumps(played))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    anyio.run(main)

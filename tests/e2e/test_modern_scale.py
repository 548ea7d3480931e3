"""Many clients of 2026-07-28 on one child: each gets its own, and nothing is left of those that have gone."""

import socket
from contextlib import ExitStack, aclosing
from typing import Any

import anyio

from tests.e2e.serving import serving_modern
from tests.support.daemon import Daemon
from tests.support.light import LightClient, light_client, posted
from tests.support.mcp import PATIENCE_SECONDS, until
from tests.support.modern import ALL, SUBSCRIPTION, Json, modern, retry, tool

CLIENTS = 200
CANCELLED = 10_000
AT_ONCE = 250

MANY_SECONDS = 6 * PATIENCE_SECONDS
"""For many clients at once on a busy machine."""


async def one_client(port: int, nth: int) -> None:
    """Says what all others say, under the same names, but for its number; everything that comes back has that number.

    Raises AssertionError if it gets anything that is another's.
    """
    async with light_client(port) as client:
        echoed = await client.result(tool(1, "echo", nth=nth))
        assert echoed["structuredContent"] == {"echo": {"nth": nth}}

        steps = nth % 5 + 1
        counting = tool(1, "progress", meta={"progressToken": 1}, count=steps)
        *told, answer = [each async for each in client.messages(counting)]
        assert [(each["params"]["progressToken"], each["params"]["progress"]) for each in told] == [
            (1, step) for step in range(1, steps + 1)
        ]
        assert (answer["id"], answer["result"]["structuredContent"]) == (1, {"count": steps})

        message = tool(1, "ask-elicit", capabilities=ALL, message=f"Who is {nth}?")
        asked = await client.result(message)
        assert asked["inputRequests"]["name"]["params"]["message"] == f"Who is {nth}?"
        answers = {"name": {"action": "accept", "content": {"name": str(nth)}}}
        done = await client.result(retry(message, 1, asked, answers))
        assert done["structuredContent"] == {"rounds": [answers]}

        uri = f"note://{nth}"
        async with light_client(port) as listener, aclosing(listener.messages(listen(uri))) as messages:
            assert (await anext(messages))["params"]["notifications"] == {"resourceSubscriptions": [uri]}
            await client.result(tool(1, "touch", uri=uri))
            changed = (await anext(messages))["params"]
            assert (changed["uri"], changed["_meta"][SUBSCRIPTION]) == (uri, 1)


def listen(uri: str) -> Json:
    return modern(1, "subscriptions/listen", {"notifications": {"resourceSubscriptions": [uri]}})


async def test_clients_that_use_the_same_names_each_get_their_own() -> None:
    """SC-16, D.2: ids, progress tokens, subscriptions and states of 200 clients at once."""
    with serving_modern("--max-continuations", "256") as daemon:
        async with light_client(daemon.port) as client:
            with anyio.fail_after(MANY_SECONDS):
                async with anyio.create_task_group() as tasks:
                    for nth in range(CLIENTS):
                        tasks.start_soon(one_client, daemon.port, nth)

            assert (await client.result(tool(1, "faults")))["structuredContent"] == {"faults": []}
            await until_empty(client)
            assert (await client.result(tool(1, "open")))["structuredContent"]["listens"] == []


async def test_calls_that_are_cancelled_leave_nothing_and_the_child_is_told_of_each() -> None:
    """HM-07, SC-08: ten thousand, by closing the connection."""
    with serving_modern("--max-calls-per-child", str(AT_ONCE)) as daemon:
        async with light_client(daemon.port) as client:
            await client.result(tool(1, "echo"))
            tasks_before = (await client.health())["tasks"]
            for first in range(0, CANCELLED, AT_ONCE):
                await begin_and_leave(daemon, client, range(first, first + AT_ONCE))

            told = (await client.result(tool(1, "told")))["structuredContent"]["told"]
            assert sorted(each["key"] for each in told) == list(range(CANCELLED))
            assert all(each["known"] for each in told)
            assert (await client.result(tool(1, "faults")))["structuredContent"] == {"faults": []}
            await until_empty(client)

            async def are_gone() -> bool:
                return bool((await client.health())["tasks"] <= tasks_before)

            await until(are_gone, "no task is left")


async def begin_and_leave(daemon: Daemon, client: LightClient, keys: range) -> None:
    """Begin calls, each on a connection of its own, and close the connections once the child has them all."""
    with ExitStack() as stack:
        for key in keys:  # not asyncio's connections: they cost more than all the rest
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port)))
            connection.sendall(posted(tool(1, "hold", meta={"progressToken": 1}, key=key)))
        await until_in_flight(client, len(keys))
    await until_in_flight(client, 0)


async def until_in_flight(client: LightClient, count: int) -> None:
    async def is_so() -> bool:
        return bool((await client.health())["modern"]["calls_in_flight"] == count)

    await until(is_so, f"{count} calls in flight", seconds=MANY_SECONDS)


async def until_empty(client: LightClient) -> None:
    """Wait until every table is empty."""
    shown: dict[str, Any] = {}

    async def is_so() -> bool:
        shown.update((await client.health())["modern"])
        return not any(value for name, value in shown.items() if name != "children")

    await until(is_so, f"empty tables: {shown}")
    assert shown["children"] == 1

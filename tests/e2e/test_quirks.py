"""What an operator can hide: capabilities from a server, tools from clients."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.serving import serving, serving_modern
from tests.support.daemon import Daemon
from tests.support.mcp import call, connected, health, notification, open_session, request
from tests.support.modern import ALL, modern, modern_client, tool

RULES = ("--deny-tool", "p?d", "--deny-tool", "sl*", "--strip-capability", "roots")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving(*RULES) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def modern_daemon() -> Iterator[Daemon]:
    with serving_modern(*RULES) as daemon:
        yield daemon


def refusal_of(response: Any) -> tuple[int, int, str]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["message"]


async def test_a_server_is_not_told_of_a_capability(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        initialize = json.loads((await client.seen())[0])

        assert initialize["params"]["capabilities"] == {"sampling": {}, "elicitation": {}}


async def test_a_tool_that_is_denied_is_unknown_and_the_server_not_asked(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        assert refusal_of(await client.post(call(7, "pid"))) == (200, -32602, "Unknown tool: pid")
        assert await client.result(8, "echo", a=1) == {"echo": {"a": 1}}
        assert not any(b'"pid"' in line for line in await client.seen())
        assert (await health(client))["counts"]["refused.tool"] >= 1
        assert (await client.answer(request(9, "tools/list")))["result"]["tools"][0]["name"] == "echo"


@pytest.mark.parametrize("params", [{"name": ["pid"]}, ["pid", {}]])
async def test_a_call_without_a_proper_name_never_reaches_the_server(daemon: Daemon, params: Any) -> None:
    async with open_session(daemon.url) as client:
        refused = await client.post({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params})
        assert refusal_of(refused) == (200, -32602, "Invalid params: name")
        assert not any(b'"pid"' in line for line in await client.seen())


async def test_a_call_without_an_id_never_reaches_the_server(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        assert (await client.post(notification("tools/call", {"name": "pid", "arguments": {}}))).status_code == 202
        assert not any(b'"pid"' in line for line in await client.seen())
        assert (await health(client))["counts"]["dropped.tool_call_without_id"] >= 1


async def test_in_a_batch_only_that_call_is_refused(daemon: Daemon) -> None:
    async with open_session(daemon.url, version="2025-03-26") as client:
        batch = [call(1, "echo", a=1), call(2, "sleep", seconds=60), call(3, "echo", a=3)]
        async with client.stream(batch) as events:
            answers = {answer["id"]: answer for answer in await events.read_to_end()}
        assert answers[2]["error"]["code"] == -32602
        assert answers[1]["result"] == {"echo": {"a": 1}} and answers[3]["result"] == {"echo": {"a": 3}}


async def test_a_tool_that_is_denied_is_on_no_list_of_either_era(modern_daemon: Daemon) -> None:
    async with open_session(modern_daemon.url) as client, modern_client(modern_daemon.url) as other:
        legacy = await names_of(lambda cursor: client.answer(request(1, "tools/list", cursor)))
        new = await names_of(lambda cursor: other.answer(modern(1, "tools/list", cursor)))

        for names in (legacy, new):
            assert "echo" in names
            assert not {"pid", "sleep"} & set(names)


async def names_of(ask: Any) -> list[str]:
    """Of all pages."""
    names: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        result = (await ask(cursor))["result"]
        names += [each["name"] for each in result["tools"]]
        if "nextCursor" not in result:
            return names
        cursor = {"cursor": result["nextCursor"]}


async def test_a_client_without_a_session_meets_the_same_rules(modern_daemon: Daemon) -> None:
    async with modern_client(modern_daemon.url) as client:
        for _ in range(2):  # with a child that has to be started, and with one that is there
            assert refusal_of(await client.post(tool(1, "pid"))) == (400, -32602, "Unknown tool: pid")
            assert await client.call(2, "echo", text="x")
        seen = await client.call(3, "seen", capabilities=ALL)
        assert not any('"pid"' in line for line in seen["lines"])
        told = json.loads(seen["lines"][-1])["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]
        assert "roots" not in told and "sampling" in told


async def test_only_what_is_allowed_is_there() -> None:
    with serving("--allow-tool", "ec*", "--legacy-sse") as daemon:
        async with open_session(daemon.url) as client, connected(daemon.url) as _:
            assert await client.result(1, "echo", a=1) == {"echo": {"a": 1}}
            assert refusal_of(await client.post(call(2, "seen"))) == (200, -32602, "Unknown tool: seen")

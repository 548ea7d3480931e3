"""What a client of 2026-07-28 is told when its server crashes, hangs, says nonsense or can't be started."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from tests.e2e.serving import serving_modern
from tests.faults.raw import raw_connection
from tests.support.daemon import Daemon, running_daemon
from tests.support.mcp import until, until_gone
from tests.support.modern import Json, ModernClient, headers_of, modern, modern_client, tool

QUICK = ("--call-timeout", "0.5s", "--modern-commit-after", "0.2s", "--ping-interval", "0.1s")
EMPTY = {"calls_in_flight": 0, "listens": 0, "leases": 0, "continuations": 0, "tasks": 0}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving_modern("--stream-backlog", "2MiB", "--stdin-stall-timeout", "0.5s") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def quick() -> Iterator[Daemon]:
    """Calls have half a second, responses begin soon, and the child takes its time for `server/discover`."""
    with serving_modern(*QUICK, modes=("late-discover=0.4",)) as daemon:
        yield daemon


@asynccontextmanager
async def connected(daemon: Daemon) -> AsyncIterator[ModernClient]:
    """A client; afterwards the next one is served, the child has no fault to tell of, and nothing is left."""
    async with modern_client(daemon.url) as client:
        yield client

        async def is_served() -> bool:
            return (await client.post(tool("?", "echo"))).status_code == 200

        await until(is_served, "the next one is served")
        assert (await client.call("?", "faults"))["faults"] == []
        assert (await report(client))["modern"] == {"children": 1, **EMPTY}


async def report(client: ModernClient) -> Json:
    shown: Json = (await client.http.get(client.url.replace("/mcp", "/health"))).json()
    return shown


async def failure(client: ModernClient, message: Json) -> tuple[int, int, Any]:
    """Status, code and id of what a request gets."""
    response = await client.post(message)
    return response.status_code, response.json()["error"]["code"], response.json()["id"]


# ---- the child dies


async def test_a_crash_in_mid_call_is_500_and_the_next_call_has_a_new_process(daemon: Daemon) -> None:
    """D.2 step 11, SC-11."""
    async with connected(daemon) as client:
        before = (await client.call(1, "pid"))["pid"]

        assert await failure(client, tool("x", "exit", code=3)) == (500, -32603, "x")
        await until_gone(before)
        assert (await client.call(1, "pid"))["pid"] != before


async def test_every_call_in_flight_is_told(daemon: Daemon) -> None:
    async with connected(daemon) as client:
        told: list[tuple[int, int, Any]] = []

        async def hold(id_: int | str) -> None:
            told.append(await failure(client, tool(id_, "hold")))

        async with anyio.create_task_group() as tasks:
            for id_ in (1, "1", 1, 0):
                tasks.start_soon(hold, id_)

            async def are_held() -> bool:
                return len((await client.call("?", "open"))["calls"]) == 4

            await until(are_held, "four calls at the child")
            os.kill((await client.call("?", "pid"))["pid"], signal.SIGKILL)

    assert sorted(told, key=repr) == [(500, -32603, "1"), (500, -32603, 0), (500, -32603, 1), (500, -32603, 1)]


async def test_a_response_that_has_begun_ends_with_an_error(daemon: Daemon) -> None:
    """D.2 step 11: nothing is silently cut off."""
    progress = '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$ID,"progress":1}}\n'
    async with connected(daemon) as client:
        async with client.stream(tool("s", "write", meta={"progressToken": 1}, text=progress)) as events:
            assert (await events.next())["method"] == "notifications/progress"
            assert events.response.status_code == 200
            assert (await client.post(tool(1, "exit"))).status_code == 500
            (answer,) = await events.read_to_end()

    assert (answer["id"], answer["error"]["code"]) == ("s", -32603)


async def test_an_answer_before_a_death_arrives(daemon: Daemon) -> None:
    async with connected(daemon) as client:
        assert (await client.post(tool(1, "exit-after", code=1))).status_code == 200


@pytest.mark.parametrize(
    "text",
    [
        '{"jsonrpc":"2.0","id":$ID,"result":{"n":NaN}}\n',
        '{"jsonrpc":"2.0","id":$ID,"result":{}\n',
        '{"id":$ID,"result":{}}\n',
        '{"jsonrpc":"2.0","id":$ID,"result":{},"error":{}}\n',
        '{"jsonrpc":"2.0","id":$ID,"result":' + "[" * 2000 + "]" * 2000 + "}\n",
    ],
    ids=range(5),
)
async def test_an_answer_that_can_not_be_used_is_500(daemon: Daemon, text: str) -> None:
    async with connected(daemon) as client:
        assert await failure(client, tool("b", "write", text=text)) == (500, -32603, "b")


async def test_noise_and_what_is_nobodys_cost_nothing(daemon: Daemon) -> None:
    text = "\n\r\n \nnoise\n[]\n{}\nnull\n" + "".join(
        json.dumps(each) + "\n"
        for each in (
            {"jsonrpc": "2.0", "id": 10**9, "result": {}},
            {"jsonrpc": "2.0", "id": "1", "result": {}},
            {"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": ""}},
            {"jsonrpc": "2.0", "id": 1, "method": "roots/list"},
            {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "?"}},
        )
    )
    async with connected(daemon) as client:
        response = await client.post(tool(1, "write", text=text + '{"jsonrpc":"2.0","id":$ID,"result":{}}\n'))

    assert (response.status_code, response.json()["result"]) == (200, {})


async def test_only_the_first_of_two_answers_counts(daemon: Daemon) -> None:
    async with connected(daemon) as client:
        assert await client.call(1, "twice") == {"answer": 1}


# ---- the child hangs


async def test_a_call_whose_time_is_up_is_504_and_the_child_is_told(quick: Daemon) -> None:
    """SC-14."""
    async with connected(quick) as client:
        before = len((await client.call(1, "told"))["told"])
        messages = await client.messages(tool("late", "hold", key="slow"))
        after = (await client.call(1, "told"))["told"][before:]

    assert [(each["id"], each["error"]["code"]) for each in messages] == [("late", -32603)]
    assert [(each["known"], each["key"]) for each in after] == [(True, "slow")]


async def test_its_status_is_504_while_there_is_one() -> None:
    with serving_modern("--call-timeout", "0.3s") as daemon:
        async with connected(daemon) as client:
            assert await failure(client, tool(0, "late", key="x")) == (504, -32603, 0)


async def test_a_silent_call_is_answered_with_a_stream_in_time(quick: Daemon) -> None:
    """Design part 4: so that nothing on the way gives up."""
    async with connected(quick) as client, client.stream(tool(1, "sleep", seconds=0.4)) as events:
        assert events.kind == "text/event-stream"
        await events.comment()
        (answer,) = await events.read_to_end()

    assert answer["result"]["structuredContent"] == {"slept": True}


async def test_server_discover_never_is(quick: Daemon) -> None:
    """Its client reads the status: a child that does not answer is no older server."""
    async with connected(quick) as client:
        response = await client.post(modern(1, "server/discover"))

    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")


async def test_a_child_that_does_not_read_is_504(daemon: Daemon) -> None:
    async with connected(daemon) as client:
        pid = (await client.call(1, "pid"))["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            assert await failure(client, tool("big", "echo", text="x" * 1_000_000)) == (504, -32603, "big")
        finally:
            os.kill(pid, signal.SIGCONT)


# ---- the child can't be started

BROKEN = (sys.executable, "-I", "-S", "-c", "import sys; sys.exit('secret')")


async def test_a_server_that_can_not_be_started_is_502_for_a_probe_too() -> None:
    """HM-35: never 200 or 4xx, which a client would take for an older server."""
    with running_daemon("--place-timeout", "0.2s", "--", *BROKEN) as daemon:
        async with modern_client(daemon.url) as client:
            statuses = []
            for method in ("server/discover", "tools/list", "subscriptions/listen"):
                response = await client.post(modern(7, method, {"notifications": {}}))
                answer = response.json()
                assert (answer["error"]["code"], answer["id"]) == (-32603, 7)
                assert "secret" not in response.text and "exit" not in response.text
                statuses.append(response.status_code)
            assert statuses == [502] * 3

            async def is_left_alone() -> bool:
                again = await client.post(modern(7, "server/discover"))
                return again.status_code == 503 and "retry-after" in again.headers

            await until(is_left_alone, "the server is not tried again for a while")
            assert (await report(client))["children"] == 0


async def test_a_server_that_does_not_answer_at_its_start_is_504() -> None:
    flags = ("--probe-timeout", "0.1s", "--start-timeout", "0.3s")
    with running_daemon(*flags, "--", sys.executable, "-c", "import sys; sys.stdin.read()") as daemon:
        async with modern_client(daemon.url) as client:
            assert await failure(client, modern("d", "server/discover")) == (504, -32603, "d")

            async def are_gone() -> bool:
                return bool((await report(client))["children"] == 0)

            await until(are_gone, "no process is left")


# ---- the client


async def test_a_client_that_does_not_read_loses_its_stream_and_harms_nobody(daemon: Daemon) -> None:
    """Design part 4: a shared child is never left unread."""
    message = tool(1, "progress", meta={"progressToken": "slow"}, count=100_000)
    body = json.dumps(message).encode()
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers_of(message).items())
    head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
    async with connected(daemon) as client, raw_connection(daemon) as slow:
        before = (await report(client))["counts"].get("cut.slow_reader", 0)
        await slow.send(head.encode() + body)

        async def is_cut() -> bool:
            assert await client.call(2, "echo", n=1) == {"echo": {"n": 1}}
            return bool((await report(client))["counts"].get("cut.slow_reader", 0) == before + 1)

        await until(is_cut, "its stream is ended")
        answer = await slow.read_until(b"0\r\n\r\n")

    assert b"notifications/progress" in answer
    assert b'"result"' not in answer


async def test_a_client_that_reads_gets_a_burst_in_order(daemon: Daemon) -> None:
    """Larger than the backlog by far: it is for what waits."""
    async with connected(daemon) as client:
        *told, answer = await client.messages(tool(1, "progress", meta={"progressToken": 0}, count=400))

    assert [each["params"]["progress"] for each in told] == list(range(1, 401))
    assert answer["result"]["structuredContent"] == {"count": 400}

"""What a client of the 2024-11-05 transport gets: one stream for everything, and a place to POST to."""

import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from mcp import ClientSession
from mcp.client.sse import sse_client

from tests.e2e.serving import serving
from tests.support.daemon import Daemon
from tests.support.mcp import (
    PATIENCE_SECONDS,
    Client,
    call,
    connected,
    encode,
    error_of,
    hello,
    notification,
    request,
    until_empty,
)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving("--legacy-sse", "--max-body", "64KiB") as daemon:
        yield daemon


class Stream:
    """A client's one stream."""

    def __init__(self, http: httpx.AsyncClient, response: httpx.Response, base_url: str) -> None:
        self.response = response
        self.endpoint = ""
        self._http = http
        self._base_url = base_url
        self._lines = response.aiter_lines()

    async def event(self) -> tuple[str, str]:
        """The next event: its kind and its data."""
        kind = ""
        with anyio.fail_after(PATIENCE_SECONDS):
            async for line in self._lines:
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    return kind, line.removeprefix("data: ")
        raise anyio.EndOfStream

    async def message(self) -> dict[str, Any]:
        """The next message."""
        kind, data = await self.event()
        assert kind == "message"
        parsed: dict[str, Any] = json.loads(data)
        return parsed

    async def post(self, body: Any, path: str | None = None) -> httpx.Response:
        """POST to where the stream said."""
        content = body if isinstance(body, bytes) else encode(body)
        headers = {"content-type": "application/json"}
        with anyio.fail_after(PATIENCE_SECONDS):
            return await self._http.post(self._base_url + (path or self.endpoint), content=content, headers=headers)

    async def open(self) -> None:
        """Shake hands."""
        assert (await self.post(hello(version="2024-11-05"))).status_code == 202
        assert (await self.message())["result"]["protocolVersion"] == "2024-11-05"
        assert (await self.post(notification("notifications/initialized"))).status_code == 202


@asynccontextmanager
async def streaming(daemon: Daemon) -> AsyncIterator[Stream]:
    async with (
        httpx.AsyncClient(timeout=None, trust_env=False) as http,
        http.stream("GET", daemon.base_url + "/sse", headers={"accept": "text/event-stream"}) as response,
    ):
        stream = Stream(http, response, daemon.base_url)
        kind, stream.endpoint = await stream.event()
        assert kind == "endpoint"
        yield stream


async def test_the_first_event_says_where_to_post_and_answers_come_on_the_stream(daemon: Daemon) -> None:
    """HL-38."""
    async with streaming(daemon) as stream:
        assert stream.endpoint.startswith("/messages/?session_id=")
        await stream.open()

        assert (await stream.post(call(7, "echo", x=1))).status_code == 202
        assert await stream.message() == {"jsonrpc": "2.0", "id": 7, "result": {"echo": {"x": 1}}}


async def test_progress_questions_and_their_answers_go_both_ways(daemon: Daemon) -> None:
    async with streaming(daemon) as stream:
        await stream.open()

        await stream.post(call("p", "progress", token="t", count=2))
        assert [(await stream.message()).get("method") for _ in range(3)] == [*["notifications/progress"] * 2, None]
        await stream.post(call("q", "ask", id="mine", method="roots/list"))
        asked = await stream.message()
        assert asked["method"] == "roots/list"
        await stream.post({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}})
        assert json.loads((await stream.message())["result"]["answer"])["result"] == {"roots": []}


async def test_two_clients_using_the_same_ids_get_their_own_answers(daemon: Daemon) -> None:
    async with streaming(daemon) as one, streaming(daemon) as other:
        await one.open()
        await other.open()

        await one.post(call(1, "echo", who="one"))
        await other.post(call(1, "echo", who="other"))

        assert (await one.message())["result"] == {"echo": {"who": "one"}}
        assert (await other.message())["result"] == {"echo": {"who": "other"}}


async def test_the_official_client_is_served(daemon: Daemon) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with sse_client(daemon.base_url + "/sse") as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            assert [tool.name for tool in (await session.list_tools()).tools] == ["echo"]


async def test_wrong_requests_are_refused_and_cost_the_client_nothing(daemon: Daemon) -> None:
    async with streaming(daemon) as stream:
        early = await stream.post(request(1, "ping"))
        await stream.open()

        assert error_of(early) == (400, -32600, 1)
        assert error_of(await stream.post(request(2, "ping"), "/messages/")) == (400, -32600, 2)
        assert error_of(await stream.post(request(3, "ping"), "/messages/?session_id=none")) == (404, -32001, 3)
        assert error_of(await stream.post(b"{")) == (400, -32700, None)
        assert error_of(await stream.post([request(4, "ping")]))[:2] == (400, -32600)
        assert error_of(await stream.post(hello(5))) == (400, -32600, 5)
        assert error_of(await stream.post(call(6, "echo", x="x" * 70_000)))[0] == 413
        await stream.post(request(7, "ping"))
        assert await stream.message() == {"jsonrpc": "2.0", "id": 7, "result": {}}


async def test_other_methods_are_405(daemon: Daemon) -> None:
    async with connected(daemon.url) as client:
        on_stream = await client.http.post(daemon.base_url + "/sse")
        on_messages = await client.http.get(daemon.base_url + "/messages/")

    assert on_stream.status_code == 405
    assert (on_messages.status_code, on_messages.headers["allow"]) == (405, "POST")


async def test_a_foreign_origin_is_refused(daemon: Daemon) -> None:
    """HL-02."""
    async with connected(daemon.url) as client:
        response = await client.http.get(daemon.base_url + "/sse", headers={"origin": "http://evil.example"})

    assert response.status_code == 403


async def test_the_end_of_the_stream_is_the_end_of_the_session_and_its_child(daemon: Daemon) -> None:
    async with streaming(daemon) as stream:
        await stream.open()
        endpoint = stream.endpoint

    async with connected(daemon.url) as client:
        await until_empty(client)
        gone = await client.http.post(
            daemon.base_url + endpoint, content=encode(request(1, "ping")), headers={"content-type": "application/json"}
        )
        assert error_of(gone) == (404, -32001, 1)


async def test_a_child_that_dies_ends_the_stream_after_the_error(daemon: Daemon) -> None:
    async with streaming(daemon) as stream:
        await stream.open()
        await stream.post(call(1, "exit", code=3))

        failed = await stream.message()
        assert (failed["id"], failed["error"]["code"]) == (1, -32603)
        with pytest.raises(anyio.EndOfStream):
            await stream.message()


async def test_a_child_that_does_not_start_is_an_error_on_the_stream() -> None:
    with serving("--legacy-sse", modes=("exit-on-initialize=3",)) as daemon:
        async with streaming(daemon) as stream:
            assert (await stream.post(hello(1))).status_code == 202
            failed = await stream.message()
            assert (failed["id"], failed["error"]["code"]) == (1, -32603)
            with pytest.raises(anyio.EndOfStream):
                await stream.message()


async def test_sigterm_lets_a_call_on_the_stream_finish(daemon: Daemon) -> None:
    with serving("--legacy-sse") as draining:
        async with streaming(draining) as stream:
            await stream.open()
            await stream.post(call(1, "sleep", seconds=1))
            draining.signal(signal.SIGTERM)

            assert (await stream.message())["result"] == {"slept": True}
        assert draining.wait() == 0


async def test_the_paths_are_not_there_unless_asked_for() -> None:
    with serving() as daemon:
        async with connected(daemon.url) as client:
            assert (await client.http.get(daemon.base_url + "/sse")).status_code == 404
            assert isinstance(client, Client)

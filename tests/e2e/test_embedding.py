"""A bridge in somebody else's service: beside another, under another server, and when the host fails."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from proxy import Bridge, Settings, create_app
from tests.e2e.serving import CHILD
from tests.support.mcp import (
    ACCEPT,
    Client,
    call,
    children_of,
    error_of,
    hello,
    notification,
    open_session,
    until,
    until_gone,
)
from tests.support.modern import headers_of, tool

SHORT: dict[str, Any] = {"argv": CHILD, "stdin_grace_seconds": 0.3, "term_grace_seconds": 0.3}


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """The block leaves no process behind."""
    before = set(children_of(os.getpid()))
    yield
    await until_gone(*(set(children_of(os.getpid())) - before))


@pytest.fixture
def no_death_by_sigterm() -> Iterator[None]:
    """uvicorn, when it has ended, raises the signal again that it was ended by."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, before)


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """uvicorn in this process, ended by SIGTERM; yields its URL."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.serve([listener]))
            await until(lambda: _is(server.started), "it serves")
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                signal.raise_signal(signal.SIGTERM)
                await asyncio.wait([serving], timeout=15)
                assert serving.done(), "uvicorn waits for a response of ours"


async def _is(value: bool) -> bool:
    return value


def host(**mounts: Bridge) -> Starlette:
    """A service with bridges under these prefixes, and a route of its own."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for bridge in mounts.values():
                await stack.enter_async_context(bridge.run())
            yield

    async def index(_: Any) -> PlainTextResponse:
        return PlainTextResponse("the host's own")

    routes = [Route("/", index), *(Mount(f"/{prefix}", app=bridge.asgi) for prefix, bridge in mounts.items())]
    return Starlette(routes=routes, lifespan=lifespan)


# ---- two bridges


async def test_two_bridges_share_nothing_but_the_process(no_death_by_sigterm: None) -> None:
    """Design part 2, embedding: sessions, settings, limits, counts and environments are each one's own."""
    one = Bridge(Settings(**SHORT, env={"WHO": "one"}, max_sessions=1, place_timeout_seconds=0.05))
    two = Bridge(Settings(**SHORT, env={"WHO": "two"}, max_body_bytes=2048, server_name="other"))
    async with nothing_left(), served(host(one=one, two=two)) as url:
        async with open_session(f"{url}/one/mcp") as first, open_session(f"{url}/two/mcp") as second:
            assert (await first.http.get(url)).text == "the host's own"
            strangers = [await _as(first, second).post(call(1, "echo")), await _as(second, first).post(call(1, "echo"))]
            assert [error_of(each) for each in strangers] == [(404, -32001, 1)] * 2

            full = await Client(first.http, first.url).post(hello(2))
            assert error_of(full) == (503, -32603, 2)
            await second.another()
            assert (await second.post(call(3, "echo", text="x" * 4096))).status_code == 413
            assert (await first.result(3, "echo", text="x" * 4096))["echo"]["text"]

            who = [(await client.result(4, "env"))["env"]["WHO"] for client in (first, second)]
            assert who == ["one", "two"]
            named = await Client(first.http, f"{url}/two/servers/other/mcp").post(hello(5))
            unnamed = await Client(first.http, f"{url}/one/servers/other/mcp").post(hello(5))
            assert (named.status_code, unnamed.status_code) == (200, 404)

            reports = [(await first.http.get(f"{url}/{name}/health")).json() for name in ("one", "two")]
            assert [(each["sessions"], each["children"]) for each in reports] == [(1, 1), (3, 3)]
            assert reports[0]["counts"].get("refused.too_many_sessions") == 1
            assert "refused.too_many_sessions" not in reports[1]["counts"]

            pid = await first.pid()
            await first.delete()
            await until_gone(pid)
            assert (await second.result(6, "echo", text="still here"))["echo"] == {"text": "still here"}


def _as(client: Client, other: Client) -> Client:
    """With the session of another, at the same place as before."""
    stranger = Client(client.http, client.url)
    stranger.session_id, stranger.version = other.session_id, other.version
    return stranger


async def test_one_bridge_ends_and_the_other_goes_on() -> None:
    one, two = Bridge(Settings(**SHORT)), Bridge(Settings(**SHORT))
    async with nothing_left(), two.run(), _local(two) as second:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(one.asgi), timeout=None) as http:
            async with one.run():
                first = await Client(http, "http://host/mcp").open()
                pid = await first.pid()
            await until_gone(pid)

            assert error_of(await first.post(call(2, "echo"))) == (404, -32001, 2)
            assert (await second.result(1, "echo", text="hello"))["echo"] == {"text": "hello"}


@asynccontextmanager
async def _local(bridge: Bridge) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(bridge.asgi), timeout=None) as http:
        yield await Client(http, "http://host/mcp").open()


# ---- one server after the other


async def test_streams_end_with_the_server_that_carries_them_and_the_next_one_streams(
    no_death_by_sigterm: None,
) -> None:
    """The library that writes the streams has a flag for the whole process; the first server would end all others."""
    bridge = Bridge(Settings(**SHORT, drain_timeout_seconds=60))
    app = host(tools=bridge)
    for _ in range(3):  # the library meets uvicorn when the first stream opens: only the second sets its flag
        async with nothing_left(), served(app) as url, open_session(f"{url}/tools/mcp") as client:
            modern = tool(1, "echo")
            assert (await client.http.post(client.url, json=modern, headers=headers_of(modern))).status_code == 200
            async with client.listen() as events:
                line = '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n'
                answer = '{"jsonrpc":"2.0","id":$ID,"result":{}}\n'
                for number in range(3):
                    assert (await client.answer(call(number, "write", text=line + answer)))["result"] == {}
                    assert (await events.next())["method"] == "notifications/tools/list_changed"
                signal.raise_signal(signal.SIGTERM)
                assert await events.read_to_end() == []


async def test_a_call_that_never_ends_does_not_keep_the_server_for_ever(no_death_by_sigterm: None) -> None:
    """uvicorn waits for open responses without a limit; `--drain-timeout` is ours."""
    bridge = Bridge(Settings(**SHORT, drain_timeout_seconds=1))
    async with nothing_left(), served(host(tools=bridge)) as url, open_session(f"{url}/tools/mcp") as client:
        async with anyio.create_task_group() as tasks:
            (held,) = await client.hold(tasks, call(1, "hold"))
            signal.raise_signal(signal.SIGTERM)
            assert error_of(await held.response()) == (500, -32603, 1)


def test_an_application_can_be_run_again_and_again() -> None:
    """As the tests of a service do."""
    app = create_app(Settings(**SHORT))
    legacy, modern = hello(1), tool(2, "echo")
    for _ in range(2):
        with TestClient(app) as client:
            assert client.get("/readyz").status_code == 200
            for message, headers in ((legacy, {"accept": ACCEPT}), (modern, headers_of(modern))):
                answer = client.post("/mcp", json=message, headers=headers)
                assert answer.status_code == 200, answer.text


async def test_a_bridge_that_runs_is_not_run_a_second_time() -> None:
    bridge = Bridge(Settings(**SHORT))
    async with bridge.run(), _local(bridge) as client:
        with pytest.raises(RuntimeError):
            async with bridge.run():
                raise AssertionError("it runs twice")

        assert (await client.result(1, "echo", text="hello"))["echo"] == {"text": "hello"}


async def test_a_bridge_that_does_not_run_says_so() -> None:
    bridge = Bridge(Settings(**SHORT))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(bridge.asgi), timeout=None) as http:
        ready = await http.get("http://host/readyz")
        refused = await Client(http, "http://host/mcp").post(hello(1))

    assert (ready.status_code, ready.json()["reason"]) == (503, "not running")
    assert error_of(refused) == (503, -32603, 1)


# ---- a host that fails


class HostFailed(Exception):
    """What goes wrong in a host."""


@pytest.mark.parametrize("moment", ["before", "inside", "after"])
async def test_a_host_that_fails_leaves_no_child(moment: str) -> None:
    """Before ours begins, with ours open, and when ours has ended."""
    bridge = Bridge(Settings(**SHORT))

    async def live() -> None:
        if moment == "before":
            raise HostFailed
        async with bridge.run(), _local(bridge) as client:
            (await client.another()) and await client.post(notification("notifications/initialized"))
            assert children_of(os.getpid())
            if moment == "inside":
                raise HostFailed
        raise HostFailed

    async with nothing_left():
        with pytest.raises((HostFailed, ExceptionGroup)) as raised:
            await live()

    assert moment == "inside" or raised.type is HostFailed
    assert bridge.places.taken == 0
    async with bridge.run(), _local(bridge) as client:  # and it can be tried again
        assert (await client.result(1, "echo", text="hello"))["echo"] == {"text": "hello"}


async def test_a_lifespan_that_fails_at_its_start_lets_nothing_begin(caplog: pytest.LogCaptureFixture) -> None:
    bridge = Bridge(Settings(**SHORT))

    async def fail() -> None:
        raise HostFailed

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with bridge.run():
            await fail()
            yield

    app = Starlette(routes=[Mount("/tools", app=bridge.asgi)], lifespan=lifespan)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, port=0))
    async with nothing_left():
        with pytest.raises(SystemExit):
            await server.serve()

    assert "HostFailed" in caplog.text
    assert bridge.places.taken == 0

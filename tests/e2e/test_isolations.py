"""The table of `ISOLATION.md`, cell by cell: who shares a process with whom, what a listen and what a task does."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
import httpx
import pytest

from proxy import Bridge, Settings
from tests.e2e.serving import MODERN_PROGRAM
from tests.support.asgi import Response
from tests.support.mcp import Client, call, error_of, hello, notification, request, until
from tests.support.modern import ALL, PREFIX, Json, ModernClient, headers_of, modern, retry, tool

URL = "http://127.0.0.1/mcp"
TASKS: Json = {"extensions": {f"{PREFIX}tasks": {}}}


class Cell(NamedTuple):
    """One cell of the table.

    Attributes:
        pids: Who serves the first and the second call of Ann, then those of Bob: the same letter is the same process.
        listens: Whether a client that listens hears of a change.
        tasks: Whether a task that a call has begun can be asked for by another request.
    """

    isolation: str
    client: str
    child: str
    pids: str
    listens: bool
    tasks: bool


TABLE = [
    Cell("session", "legacy", "legacy", pids="aabb", listens=True, tasks=False),
    Cell("session", "legacy", "modern", pids="aabb", listens=True, tasks=False),
    Cell("session", "modern", "legacy", pids="aaaa", listens=True, tasks=False),
    Cell("session", "modern", "modern", pids="aaaa", listens=True, tasks=True),
    Cell("shared", "legacy", "legacy", pids="aaaa", listens=True, tasks=False),
    Cell("shared", "legacy", "modern", pids="aaaa", listens=True, tasks=False),
    Cell("shared", "modern", "legacy", pids="aaaa", listens=True, tasks=False),
    Cell("shared", "modern", "modern", pids="aaaa", listens=True, tasks=True),
    Cell("request", "legacy", "legacy", pids="abcd", listens=False, tasks=False),
    Cell("request", "legacy", "modern", pids="abcd", listens=False, tasks=False),
    Cell("request", "modern", "legacy", pids="abcd", listens=False, tasks=False),
    Cell("request", "modern", "modern", pids="abcd", listens=False, tasks=True),
]


class Legacy:
    """A client of the handshake revisions, with or without a session."""

    def __init__(self, running: Bridge, http: httpx.AsyncClient) -> None:
        self._running = running
        self._client = Client(http, URL)

    async def open(self) -> "Legacy":
        response = await self._client.post(hello())
        self._client.session_id = response.headers.get("mcp-session-id")
        self._client.version = "2025-11-25"
        assert (await self._client.post(notification("notifications/initialized"))).status_code == 202
        return self

    async def pid(self) -> int:
        found: int = (await self._client.result(1, "pid"))["structuredContent"]["pid"]
        return found

    async def hears_of_a_change(self) -> bool:
        headers = {"accept": "text/event-stream", "mcp-protocol-version": "2025-11-25"}
        response = Response("GET", {**headers, "mcp-session-id": self._client.session_id or ""})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(response.serve, self._running.asgi)
            if self._client.session_id is None:
                await response.until_over()
                assert (response.status, response.headers["allow"]) == (405, "POST")
                return False
            await self._client.result(2, "add-tool", name="new")
            await response.until(b"notifications/tools/list_changed")
            response.leave()
        return True

    async def has_tasks(self) -> bool:
        begun = await self._client.answer(call(3, "task"))
        assert begun["result"]["structuredContent"] == {"task": False}
        assert error_of(await self._client.post(request(4, "tasks/get", {"taskId": "t"}))) == (200, -32601, 4)
        return False

    async def leave(self) -> None:
        assert (await self._client.delete()).status_code == (405 if self._client.session_id is None else 200)


class Modern:
    """A client of 2026-07-28, on this machine."""

    def __init__(self, running: Bridge, http: httpx.AsyncClient) -> None:
        self._running = running
        self._client = ModernClient(http, URL)

    async def open(self) -> "Modern":
        return self

    async def pid(self) -> int:
        found: int = (await self._client.call(1, "pid"))["pid"]
        return found

    async def hears_of_a_change(self) -> bool:
        offered = (await self._client.result(modern(1, "server/discover")))["capabilities"]
        message = modern("l", "subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        response = Response("POST", headers_of(message), json.dumps(message).encode())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(response.serve, self._running.asgi)
            await response.until(b"notifications/subscriptions/acknowledged")
            if not offered["tools"]["listChanged"]:
                await response.until_over()
                assert b'"notifications":{}' in response.body and b'"resultType":"complete"' in response.body
                return False
            assert b'"notifications":{"toolsListChanged":true}' in response.body
            await self._client.call(2, "add-tool", name="new")
            await response.until(b"notifications/tools/list_changed")
            response.leave()
        return True

    async def has_tasks(self) -> bool:
        begun = await self._client.result(tool(3, "task", capabilities=TASKS))
        if begun["resultType"] != "task":
            return False
        asked = modern(4, "tasks/get", {"taskId": begun["taskId"]}, capabilities=TASKS)
        assert (await self._client.result(asked))["taskId"] == begun["taskId"]
        return True

    async def leave(self) -> None:
        pass


@asynccontextmanager
async def bridge(isolation: str, *modes: str, **more: Any) -> AsyncIterator[tuple[Bridge, httpx.AsyncClient]]:
    """One on loopback: everybody is this machine's user."""
    settings: Any = {"isolation": isolation, "argv": (sys.executable, "-I", "-S", MODERN_PROGRAM, *modes)}
    short: Any = {"stdin_grace_seconds": 0.3, "idle_timeout_seconds": 1, "continuation_timeout_seconds": 1}
    running = Bridge(Settings(**settings, **{**short, **more}, allowed_host=("host",)), is_daemon=True)
    async with running.run(), httpx.AsyncClient(transport=httpx.ASGITransport(running.asgi), timeout=None) as http:
        yield running, http


def name(cell: Cell) -> str:
    return f"{cell.isolation}, a {cell.client} client, a {cell.child} child"


@pytest.mark.parametrize("cell", TABLE, ids=name)
async def test_each_cell_of_the_table_is_as_it_is_written(cell: Cell) -> None:
    make = Legacy if cell.client == "legacy" else Modern
    async with bridge(cell.isolation, f"{cell.child}-only") as (running, http):
        ann, bob = await make(running, http).open(), await make(running, http).open()
        pids = [await ann.pid(), await ann.pid(), await bob.pid(), await bob.pid()]

        assert "".join("abcd"[list(dict.fromkeys(pids)).index(pid)] for pid in pids) == cell.pids
        assert await ann.hears_of_a_change() is cell.listens
        assert await ann.has_tasks() is cell.tasks

        for client in (ann, bob):
            await client.leave()

        async def is_nothing_left() -> bool:
            return running.places.taken == 0

        await until(is_nothing_left, "no process is left")


@pytest.mark.parametrize("isolation", sorted({cell.isolation for cell in TABLE}))
async def test_clients_of_two_eras_share_no_process(isolation: str) -> None:
    """The era is a property of a process, whatever it could speak."""
    async with bridge(isolation, "dual") as (running, http):
        legacy, recent = await Legacy(running, http).open(), await Modern(running, http).open()

        assert await legacy.pid() != await recent.pid()


@pytest.mark.parametrize("child", ["legacy", "modern"])
@pytest.mark.parametrize("make", [Legacy, Modern])
async def test_where_servers_keep_no_state_one_process_serves_one_call_after_the_other(
    make: type[Legacy | Modern], child: str
) -> None:
    async with bridge("request", f"{child}-only", reuse_children=True) as (running, http):
        ann, bob = await make(running, http).open(), await make(running, http).open()
        pid = await ann.pid()

        assert [await bob.pid(), await ann.pid(), await bob.pid()] == [pid] * 3

        async def is_nothing_left() -> bool:
            return running.places.taken == 0

        await until(is_nothing_left, "what is idle has ended")


@pytest.mark.parametrize("child", ["legacy", "modern"])
async def test_a_process_that_may_be_busy_or_has_a_task_serves_no_other_call(child: str) -> None:
    limits = {"call_timeout_seconds": 0.3, "idle_timeout_seconds": 60, "max_reused_children": 1}
    async with bridge("request", f"{child}-only", reuse_children=True, **limits) as (running, http):
        client = ModernClient(http, URL)
        pid = (await client.call(1, "pid"))["pid"]
        late = await client.post(tool(2, "hold"))
        other = (await client.call(3, "pid"))["pid"]
        began = await client.result(tool(4, "task", capabilities={**ALL, **TASKS}))
        if began["resultType"] == "task":
            assert (await client.call(5, "pid"))["pid"] != other

        assert late.status_code == 504
        assert other != pid
        assert len(running.server.kept) == 1


async def test_a_call_that_has_asked_its_client_gives_its_process_back_when_it_is_done() -> None:
    async with bridge("request", "legacy-only", reuse_children=True, idle_timeout_seconds=60) as (running, http):
        client = ModernClient(http, URL)

        async def is_kept() -> bool:
            return len(running.server.kept) == 1

        pid = (await client.call(1, "pid", capabilities=ALL))["pid"]
        await until(is_kept, "its turn is over")
        message = tool(2, "ask-n", capabilities=ALL, rounds=1)
        asked = await client.result(message)
        assert len(running.server.kept) == 0
        (question,) = asked["inputRequests"]
        done = await client.result(retry(message, 3, asked, {question: {"action": "decline"}}))

        await until(is_kept, "its turn is over")
        assert done["resultType"] == "complete"
        assert (await client.call(4, "pid", capabilities=ALL))["pid"] == pid
        assert (await client.call(5, "pid"))["pid"] != pid  # it was told what its client can do

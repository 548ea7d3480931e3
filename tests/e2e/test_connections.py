"""What may connections cost? In time, in number, in bytes that are under way, and in descriptors."""

import contextlib
import json
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import psutil
import pytest

from tests.e2e.serving import serving
from tests.support.daemon import Daemon
from tests.support.mcp import (
    Client,
    call,
    connected,
    error_of,
    health,
    hello,
    open_session,
    request,
    until,
    until_empty,
)
from tests.support.raw import HEALTH, Raw, head, only_answer, raw

IDLE = 2000
MIB = 1 << 20
INVALID_REQUEST, INTERNAL_ERROR = -32600, -32603


@pytest.fixture(scope="module")
def impatient() -> Iterator[Daemon]:
    times = ("--header-timeout", "0.5s", "--keep-alive-timeout", "1s", "--upload-stall-timeout", "0.5s")
    with serving(*times, "--max-header", "4KiB", "--min-upload-rate", "8") as daemon:
        yield daemon
    assert [line for line in daemon.stderr_lines if " ERROR " in line] == []


def descriptors_of(daemon: Daemon) -> int:
    return psutil.Process(daemon.pid).num_fds()


@contextlib.contextmanager
def sockets(daemon: Daemon, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that say nothing."""
    with contextlib.ExitStack() as opened:
        yield [
            opened.enter_context(socket.create_connection(("127.0.0.1", daemon.port), timeout=20)) for _ in range(count)
        ]


@asynccontextmanager
async def raws(daemon: Daemon, count: int, *pieces: bytes) -> AsyncIterator[list[Raw]]:
    """So many connections on which this has been sent."""
    async with contextlib.AsyncExitStack() as opened:
        yield [await opened.enter_async_context(raw(daemon, *pieces)) for _ in range(count)]


# ---- time


async def test_a_head_that_does_not_come_is_408(impatient: Daemon) -> None:
    """--header-timeout. However busily a client sends it."""
    assert (await only_answer(impatient, b"POST /mcp HTTP/1.1\r\nHost: local")).error == (408, INVALID_REQUEST, None)
    async with raw(impatient, b"GET / HTTP/1.1\r\n") as connection, anyio.create_task_group() as tasks:

        async def trickle() -> None:
            for _ in range(1000):
                await connection.send(b"X: y\r\n")
                await anyio.sleep(0.02)

        tasks.start_soon(trickle)
        assert (await connection.next()).status == 408
        tasks.cancel_scope.cancel()


async def test_a_connection_that_says_nothing_is_closed(impatient: Daemon) -> None:
    """--keep-alive-timeout, from its beginning and after an answer."""
    async with raw(impatient) as silent, raw(impatient, b"\r\n\r\n") as blank, raw(impatient, HEALTH) as answered:
        assert (await answered.next()).status == 200
        for each in (silent, blank, answered):
            assert await each.until_closed() == b""


async def test_a_body_that_does_not_come_is_408(impatient: Daemon) -> None:
    """--upload-stall-timeout. It is read so far, and no further."""
    for body in (b"", b"x", b"x" * 200_000):
        answer = await only_answer(impatient, head("Content-Length: 1000000") + body)

        assert answer.error == (408, INVALID_REQUEST, None)


async def test_a_body_that_comes_slowly_and_steadily_is_served(impatient: Daemon) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    async with raw(impatient, head(f"Content-Length: {len(body)}")) as connection:
        for start in range(0, len(body), 5):  # 1.2 s in all
            await connection.send(body[start : start + 5])
            await anyio.sleep(0.15)

        assert (await connection.next()).error == (400, INVALID_REQUEST, 1)


async def test_a_head_that_is_too_large_is_431(impatient: Daemon) -> None:
    """--max-header. In one piece, in many, and without end."""
    line = b"X-A: " + b"a" * 95
    whole = head(*[line] * 40)

    for pieces in ([whole], [whole[at : at + 100] for at in range(0, len(whole), 100)], [b"GET /", b"x" * 100_000]):
        assert (await only_answer(impatient, *pieces)).error == (431, INVALID_REQUEST, None)
    async with raw(impatient, head(*[line] * 30, "Content-Length: 0")) as connection:
        assert (await connection.next()).status == 400  # served: there is nothing in it


async def test_40_uploads_that_stand_still_hold_no_more_memory_than_is_allowed() -> None:
    """--max-uploads-size. Others are served meanwhile, small bodies and large ones."""
    flags = ("--max-body", "8MiB", "--max-uploads-size", "16MiB", "--upload-stall-timeout", "10m")
    with serving(*flags) as daemon:
        async with open_session(daemon.url) as client:
            before = psutil.Process(daemon.pid).memory_info().rss
            async with raws(daemon, 40, head(f"Content-Length: {8 * MIB}") + b"x" * (4 * MIB)):

                async def are_refused() -> bool:
                    return bool((await health(client))["counts"].get("refused.too_many_uploads", 0) >= 36)

                await until(are_refused, "the end of those that are too many")
                assert psutil.Process(daemon.pid).memory_info().rss - before < 48 * MIB
                assert (await client.post(call(1, "echo"))).status_code == 200

                async def is_served() -> bool:
                    return (await client.post(call(2, "echo", text="x" * 5 * MIB))).status_code == 200

                await until(is_served, "a large body, once one has stood still for a second")
            await client.delete()
            await until_empty(client)


# ---- number


async def test_thousands_of_idle_connections_hurt_nobody() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, IDLE + 500)), hard))
    with serving() as daemon:
        async with open_session(daemon.url) as client:
            process = psutil.Process(daemon.pid)
            descriptors, memory = descriptors_of(daemon), process.memory_info().rss
            with sockets(daemon, IDLE) as idle:
                for each in idle[::2]:
                    each.sendall(b"GET /health HT")  # in the middle of a head

                async def are_in() -> bool:
                    return descriptors_of(daemon) >= descriptors + IDLE

                await until(are_in, "all of them")
                pid = await client.pid()
                assert await (await client.another()).pid() != pid
                assert process.memory_info().rss - memory < IDLE * 32 * 1024
                busy = sum(process.cpu_times()[:2])
                await anyio.sleep(1)
                assert sum(process.cpu_times()[:2]) - busy < 0.3
                for each in idle[:50:2]:
                    each.sendall(b"TP/1.1\r\nHost: localhost\r\n\r\n")
                    assert each.recv(20).startswith(b"HTTP/1.1 200 OK")

            async def are_gone() -> bool:
                return descriptors_of(daemon) < descriptors + 20

            await until(are_gone, "their descriptors")
            assert await client.pid() == pid
    assert [line for line in daemon.stderr_lines if " ERROR " in line] == []


async def test_a_connection_too_many_is_503_and_idle_ones_make_room() -> None:
    """--max-connections. Those that are in use stay, whoever comes."""
    with serving("--max-connections", "16", "--max-get-streams", "100") as daemon:
        async with open_session(daemon.url) as client:
            get = head(f"Mcp-Session-Id: {client.session_id}", first="GET /mcp HTTP/1.1")
            async with (
                raws(daemon, 8, get) as streams,
                raws(daemon, 7, HEALTH) as idle,
                contextlib.AsyncExitStack() as newcomers,
            ):
                for each in (*streams, *idle):
                    assert (await each.next()).status == 200
                let_in: list[Raw] = []

                async def all_are_in() -> bool:
                    async with contextlib.AsyncExitStack() as this:
                        connection = await this.enter_async_context(raw(daemon, get))
                        if (await connection.next()).status == 200:
                            let_in.append(connection)
                            newcomers.push_async_exit(this.pop_all())
                    return len(let_in) == 8

                await until(all_are_in, "the places of all that say nothing, once they have done so for a second")
                assert [await each.until_closed() for each in idle] == [b""] * 7
                refused = await only_answer(daemon)  # it need not even ask
                assert refused.error == (503, INTERNAL_ERROR, None)
                assert int(refused.headers["retry-after"]) > 0

            async def is_served() -> bool:
                async with raw(daemon, HEALTH) as connection:
                    return (await connection.next()).status == 200

            await until(is_served, "room, when they have gone")
            counts = (await health(client))["counts"]
            assert counts["closed.idle_connection"] >= 7
            assert counts["refused.too_many_connections"] >= 1
    assert 1 <= daemon.log.count("too many connections") <= 3  # in ten seconds one, not one for each


async def test_uploads_that_stand_still_keep_nobody_out() -> None:
    """As many as there may be connections: a health check is answered all the same, or the pod would be killed."""
    with serving("--max-connections", "16", "--upload-stall-timeout", "10m") as daemon:
        async with raws(daemon, 16, head("Content-Length: 1000") + b"x"):
            counts: dict[str, int] = {}

            async def is_served() -> bool:
                async with raw(daemon, HEALTH) as connection:
                    answer = await connection.next()
                    counts.update(json.loads(answer.body).get("counts", {}))
                    return answer.status == 200

            await until(is_served, "room, when one of them has stood still for a second")
            assert counts["closed.idle_connection"] >= 1


# ---- descriptors


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Variables with which the daemon runs on one event loop or the other."""
    if request.param == "uvloop":
        return {}
    (tmp_path / "uvloop.py").write_text("raise ImportError('not here')\n")
    return {"PYTHONPATH": str(tmp_path)}


async def test_a_flood_of_connections_leaves_children_what_they_need(loop: dict[str, str]) -> None:
    """200 connections, 128 descriptors: six sessions begin and end all the while."""
    with serving(env=loop, descriptors=128) as daemon:
        async with connected(daemon.url) as client:
            baseline = descriptors_of(daemon)
            with sockets(daemon, 200):

                async def is_let_in() -> bool:
                    try:
                        return (await client.http.get(f"{daemon.base_url}/readyz")).status_code == 200
                    except httpx.TransportError:
                        return False

                await until(is_let_in, "room, when the others have said nothing for a second")
                others = [await client.another() for _ in range(6)]
                for other in others:
                    assert (await other.delete()).status_code == 200
            await until_empty(client)

            async def are_gone() -> bool:
                return descriptors_of(daemon) <= baseline + 2

            await until(are_gone, "all descriptors")
    assert daemon.returncode == 0
    assert not any(" ERROR " in line for line in daemon.stderr_lines), daemon.log
    assert len(daemon.stderr_lines) < 60


async def test_out_of_descriptors_new_work_is_refused_and_old_work_goes_on(loop: dict[str, str]) -> None:
    """Sessions take all there are. Those who connect then wait, and are served when there are some again."""
    with serving(env=loop, descriptors=96) as daemon:
        async with open_session(daemon.url) as client:
            refusal: httpx.Response | None = None
            others: list[Client] = []
            while refusal is None:
                other = Client(client.http, client.url)
                response = await other.post(hello())
                if response.status_code == 200:
                    other.session_id = response.headers["mcp-session-id"]
                    others.append(other)
                else:
                    refusal = response
            assert error_of(refusal) == (503, INTERNAL_ERROR, "init")
            assert int(refusal.headers["retry-after"]) > 0
            assert len(others) > 5

            async with raws(daemon, 12, HEALTH) as waiting:

                async def do_wait() -> bool:
                    return "connections not accepted" in daemon.log

                await until(do_wait, "the end of the last descriptor")
                assert await client.answer(request(1, "ping")) == {"jsonrpc": "2.0", "id": 1, "result": {}}
                for other in others:
                    assert (await other.delete()).status_code == 200
                for each in waiting:
                    assert (await each.next()).status == 200
            await client.another()
            await client.delete()
    assert daemon.returncode == 0
    assert not any(" ERROR " in line for line in daemon.stderr_lines), daemon.log
    assert 1 <= daemon.log.count("connections not accepted") <= 3  # in ten seconds one, not one for each try

"""A bridge under a server that is not uvicorn, as far as ASGI allows."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest

from tests.e2e.serving import CHILD
from tests.support.daemon import Daemon, looked_after, start
from tests.support.mcp import Client, call, error_of, open_session, until_gone
from tests.support.modern import ModernClient, tool

HOST = str(Path(__file__).parents[1] / "programs" / "hypercorn_host.py")


@contextmanager
def hypercorn(*flags: str) -> Iterator[Daemon]:
    with looked_after(start([sys.executable, HOST, *flags, "--", *CHILD], dict(os.environ))) as host:
        yield host


@pytest.mark.parametrize("http2", [False, True])
async def test_both_eras_and_streams_are_served_over_http_1_and_2(http2: bool) -> None:
    """Spec: RFC 9113 8.2.2: nothing of HTTP/1.1's connection belongs into a response of HTTP/2."""
    with hypercorn("--drain") as host:
        async with httpx.AsyncClient(http1=not http2, http2=http2, timeout=None, trust_env=False) as http:
            client = await Client(http, host.url).open()
            assert (await client.result(1, "echo", text="hello"))["echo"] == {"text": "hello"}
            assert (await client.result(2, "blob", size=1_000_000))["blob"] == "x" * 1_000_000
            async with client.stream(call(3, "progress", token="t", count=50)) as events:
                assert events.response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
                assert ("connection" in events.response.headers) is not http2
                *steps, answer = await events.read_to_end()
            assert (len(steps), answer["result"]) == (50, {"count": 50})
            assert (await ModernClient(http, host.url).result(tool(4, "echo", text="new")))["echo"] == {"text": "new"}
            async with client.listen() as listening, client.listen() as another:
                assert (listening.response.status_code, another.response.status_code) == (200, 200)
            await client.delete()

    assert "Traceback" not in host.log, host.log


async def test_a_host_that_drains_the_bridge_first_ends_in_peace() -> None:
    """Streams end, calls get their time, nothing is left, and nobody complains."""
    with hypercorn("--drain") as host:
        async with open_session(host.url) as client, client.listen() as events, anyio.create_task_group() as tasks:
            pid = await client.pid()
            (held,) = await client.hold(tasks, call(1, "hold"))
            host.signal()

            assert await events.read_to_end() == []
            failure = (await held.response()).text
            assert '"code":-32603' in failure
            assert await anyio.to_thread.run_sync(host.wait) == 0
        await until_gone(pid)

    assert "Traceback" not in host.log, host.log


async def test_a_host_that_does_not_is_ended_all_the_same() -> None:
    """hypercorn cuts what is open after its own time, in its own words; none of them are about us."""
    with hypercorn() as host:
        async with open_session(host.url) as client, client.listen() as events:
            pid = await client.pid()
            host.signal()

            assert await events.read_to_end() == []
            await anyio.to_thread.run_sync(host.wait)
        await until_gone(pid)

    package = str(Path(__file__).parents[2] / "proxy")
    assert package not in host.log, host.log


async def test_a_new_call_is_refused_while_the_bridge_drains() -> None:
    with hypercorn("--drain") as host:
        async with open_session(host.url) as client, anyio.create_task_group() as tasks:
            (held,) = await client.hold(tasks, call(1, "hold"))
            host.signal()
            with anyio.fail_after(10):
                while (refused := await client.post(call(2, "echo"))).status_code == 200:
                    pass
            assert error_of(refused)[0] == 503
            await held.response()

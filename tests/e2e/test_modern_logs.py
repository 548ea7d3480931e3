"""Log messages of a shared child: it does not say what for, so they go where nobody else can be meant."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from tests.e2e.serving import serving_modern
from tests.support.daemon import Daemon
from tests.support.mcp import until
from tests.support.modern import PREFIX, Json, ModernClient, modern_client, tool


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving_modern() as daemon:
        yield daemon


def wanting(level: str | None) -> Json:
    return {} if level is None else {f"{PREFIX}logLevel": level}


@asynccontextmanager
async def held(client: ModernClient, level: str | None) -> AsyncIterator[list[Json]]:
    """A call that is open in the block; what its response had on it is known afterwards."""
    messages: list[Json] = []

    async def hold() -> None:
        messages.extend(await client.messages(tool(1, "hold", meta=wanting(level), key="held")))

    async def is_held() -> bool:
        return any(each["name"] == "hold" for each in (await client.call("?", "open"))["calls"])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await until(is_held, "the call at the child")
        yield messages
        await client.call("?", "release", key="held")


async def log(client: ModernClient, wanted: str | None, **arguments: Any) -> list[Any]:
    """What a call of `log` is told before its answer."""
    *told, answer = await client.messages(tool("log", "log", meta=wanting(wanted), text="hi", **arguments))
    assert answer["id"] == "log"
    return [(each["method"], each["params"]["level"], each["params"]["data"]) for each in told]


async def test_the_call_that_asks_for_logs_gets_them(daemon: Daemon) -> None:
    """HM-26: on its own response, before its answer."""
    async with modern_client(daemon.url) as client:
        assert await log(client, "info", level="error") == [("notifications/message", "error", "hi")]
        async with held(client, None) as other:
            assert await log(client, "debug", level="debug") == [("notifications/message", "debug", "hi")]

    assert len(other) == 1


@pytest.mark.parametrize(("wanted", "level"), [(None, "emergency"), ("error", "warning"), ("emergency", "alert")])
async def test_nobody_gets_what_it_has_not_asked_for(daemon: Daemon, wanted: str | None, level: str) -> None:
    """HM-26: also if the child says it nevertheless."""
    async with modern_client(daemon.url) as client:
        assert await log(client, wanted, level=level, stray=True) == []


async def test_nobody_gets_what_may_be_anothers(daemon: Daemon) -> None:
    """D.2 step 6."""
    async with modern_client(daemon.url) as client:
        before = (await client.http.get(daemon.base_url + "/health")).json()["counts"]
        async with held(client, "info") as other:
            assert await log(client, "info") == []
        after = (await client.http.get(daemon.base_url + "/health")).json()["counts"]

        assert len(other) == 1
        dropped = "dropped.log_of_no_certain_call"
        assert after[dropped] == before.get(dropped, 0) + 1
        assert await log(client, "info") == [("notifications/message", "info", "hi")]


async def test_a_call_that_is_gone_asks_for_nothing(daemon: Daemon) -> None:
    async with modern_client(daemon.url) as client:
        async with client.stream(tool(1, "write", meta={**wanting("debug"), "progressToken": 1}, text=PROGRESS)):
            assert await log(client, "info") == []

        async def is_told() -> bool:
            return not (await client.call("?", "open"))["calls"]

        await until(is_told, "the child is told that it is gone")
        assert await log(client, "info") == [("notifications/message", "info", "hi")]


PROGRESS = '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$ID,"progress":1}}\n'

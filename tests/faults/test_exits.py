"""What does it cost when a child exits, or has to be made to?"""

import os
import signal
from collections.abc import Iterator

import anyio
import pytest

from tests.e2e.serving import serving
from tests.faults.family import fork_family
from tests.faults.outcomes import INTERNAL_ERROR, QUICK_SECONDS, assert_over, failure_of
from tests.faults.unharmed import faulty_session
from tests.support.daemon import Daemon
from tests.support.mcp import (
    Client,
    call,
    error_of,
    request,
    until_counts,
    until_gone,
)

PING = request(7, "ping")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving() as daemon:
        yield daemon


@pytest.mark.parametrize("code", [0, 1, 7])
async def test_a_child_that_exits_during_a_call_fails_it_with_500(daemon: Daemon, code: int) -> None:
    """Design part 3: no 200 from a dead child, whatever its code."""
    async with faulty_session(daemon) as (client, _):
        with anyio.fail_after(QUICK_SECONDS):
            response = await client.post(call("x", "exit", code=code))

        assert error_of(response) == (500, INTERNAL_ERROR, "x")
        assert f"code {code}" in response.json()["error"]["message"]
        await assert_over(client)


async def test_every_open_call_of_a_dead_child_fails_with_its_own_id(daemon: Daemon) -> None:
    """JSON for what had not begun, an event for what had; GET streams end."""
    async with faulty_session(daemon) as (client, pid), anyio.create_task_group() as tasks:
        async with client.listen() as listening, client.stream(call(1, "ask", id="q", method="roots/list")) as events:
            await events.next()
            helds = await client.hold(tasks, call(2, "hold"), call("2", "hold"))
            os.kill(pid, signal.SIGKILL)

            assert [failure_of(message) for message in await events.read_to_end()] == [(1, INTERNAL_ERROR)]
            assert error_of(await helds[0].response()) == (500, INTERNAL_ERROR, 2)
            assert error_of(await helds[1].response()) == (500, INTERNAL_ERROR, "2")
            assert await listening.read_to_end() == []
        await assert_over(client)


async def test_a_child_that_answers_and_exits_has_answered(daemon: Daemon) -> None:
    """Design part 4: stdout is read to its end before calls fail."""
    async with faulty_session(daemon) as (client, pid):
        assert await client.result(1, "exit-after", code=3) == {"pid": pid}
        await until_gone(pid)
        await until_counts(client, sessions=1, children=1)
        await assert_over(client)


async def test_a_last_line_without_a_newline_counts(daemon: Daemon) -> None:
    """The end of the stream ends the line."""
    async with faulty_session(daemon) as (client, _):
        answer = '{"jsonrpc":"2.0","id":$ID,"result":{"last":true}}'

        response = await client.post(call("x", "exit", say=answer))
        assert response.json() == {"jsonrpc": "2.0", "id": "x", "result": {"last": True}}


@pytest.mark.parametrize("half", ['{"jsonrpc":"2.0","id":$ID,"result":{"la', "{", "garbage"])
async def test_half_a_line_and_an_exit_fail_the_call(daemon: Daemon, half: str) -> None:
    async with faulty_session(daemon) as (client, _):
        with anyio.fail_after(QUICK_SECONDS):
            assert error_of(await client.post(call("x", "exit", say=half))) == (500, INTERNAL_ERROR, "x")


async def test_a_child_that_dies_between_calls_ends_its_session(daemon: Daemon) -> None:
    """Design part 5: 404 afterwards, the client starts over; its GET stream ends."""
    async with faulty_session(daemon) as (client, pid):
        async with client.listen() as listening:
            os.kill(pid, signal.SIGKILL)
            assert await listening.read_to_end() == []
        await assert_over(client)
        again = await Client(client.http, client.url).open()
        assert (await again.answer(PING))["result"] == {}
        await again.delete()


async def test_grandchildren_die_when_their_child_has_died(daemon: Daemon) -> None:
    """They hold the pipes: the death is learnt from the process, not from the end of file."""
    async with faulty_session(daemon) as (client, pid):
        family = await fork_family(client, pid)
        with anyio.fail_after(QUICK_SECONDS):
            assert error_of(await client.post(call("x", "exit"))) == (500, INTERNAL_ERROR, "x")

        await until_gone(*family)


async def test_grandchildren_die_with_the_session(daemon: Daemon) -> None:
    """SC-19: signals go to the group, and to whoever has left it."""
    async with faulty_session(daemon) as (client, pid):
        family = await fork_family(client, pid)
        assert (await client.delete()).status_code == 200

        await until_gone(pid, *family)


async def test_a_child_that_ignores_sigterm_is_killed(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/lifecycle, Shutdown, stdio."""
    async with faulty_session(daemon) as (client, pid):
        await client.result(1, "ignore-sigterm")
        await client.delete()

        await until_gone(pid)

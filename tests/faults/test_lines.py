"""What does a line cost that is no message?"""

import json
from collections.abc import Iterator

import anyio
import pytest

from tests.e2e.serving import serving
from tests.faults.outcomes import INTERNAL_ERROR, QUICK_SECONDS, failure_of
from tests.faults.unharmed import faulty_session
from tests.support.daemon import Daemon
from tests.support.mcp import (
    call,
    error_of,
    health,
    notification,
)

LOG = notification("notifications/message", {"level": "info", "data": "hello"})


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving("--max-line", "64KiB") as daemon:
        yield daemon


async def test_garbage_between_messages_costs_nothing_else(daemon: Daemon) -> None:
    """Design part 5, bad lines: counted, logged once per burst."""
    garbage = (
        "Server started on stdio!\n\n   \n\r\n"
        + '{"half": \n[]\n[1]\n1\nnull\n"text"\n{}\n{"jsonrpc":"2.0"}\n'
        + '{"jsonrpc":"1.0","method":"x"}\n{"jsonrpc":"2.0","id":{},"method":"x"}\n'
        + '\xff\xfe\x00\n{"jsonrpc":"2.0","method":"\xff"}\n'
        + '{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}\n'
        + '{"jsonrpc":"2.0","id":99999,"result":{}}\n{"jsonrpc":"2.0","id":"$ID","result":{}}\n'
    )
    answer = '{"jsonrpc":"2.0","id":$ID,"result":{"ok":1}}\n'
    async with faulty_session(daemon) as (client, _):
        before = (await health(client))["counts"]
        async with client.stream(call("x", "write", latin1=garbage + answer)) as events:
            assert events.kind == "application/json"
            assert json.loads(await events.body()) == {"jsonrpc": "2.0", "id": "x", "result": {"ok": 1}}

        after = (await health(client))["counts"]
        grown = {name: after[name] - before.get(name, 0) for name in after}
        assert grown["bad_line.not_utf8"] == 2
        assert grown["bad_line.not_json"] >= 2
        assert grown["bad_line.not_jsonrpc"] >= 8


async def test_words_before_a_message_on_its_line_are_cut_off(daemon: Daemon) -> None:
    """Ours: a prompt or a progress dot without a newline."""
    async with faulty_session(daemon) as (client, _):
        text = 'Loading {0} ... {"jsonrpc":"2.0","id":$ID,"result":{"ok":1}}\n'

        assert (await client.answer(call("x", "write", text=text)))["result"] == {"ok": 1}


@pytest.mark.parametrize(
    "answer",
    [
        '{"jsonrpc":"2.0","id":$ID,"result":"\xff"}\n',
        '{"jsonrpc":"2.0","id":$ID,"result":{"cut\n',
        '{"jsonrpc":"2.0","id":$ID,"result":NaN}\n',
        '{"jsonrpc":"2.0","result":' + '"' + "x" * 70_000 + '"' + ',"id":$ID}\n',
    ],
)
async def test_an_answer_that_cannot_be_used_fails_its_call_at_once(daemon: Daemon, answer: str) -> None:
    """Design part 5, bad lines: -32603 instead of waiting for ever. The session goes on."""
    async with faulty_session(daemon) as (client, _):
        with anyio.fail_after(QUICK_SECONDS):
            assert error_of(await client.post(call("x", "write", latin1=answer))) == (500, INTERNAL_ERROR, "x")

        assert await client.result("x", "echo") == {"echo": {}}


async def test_an_unusable_answer_ends_a_stream_with_the_error(daemon: Daemon) -> None:
    async with faulty_session(daemon) as (client, _):
        bad = json.dumps(LOG) + '\n{"jsonrpc":"2.0","id":$ID,"result":"\xff"}\n'
        async with client.stream(call("x", "write", latin1=bad)) as events:
            log, failure = await events.read_to_end()

        assert (log, failure_of(failure)) == (LOG, ("x", INTERNAL_ERROR))


async def test_a_bad_line_that_is_no_answer_fails_no_call(daemon: Daemon) -> None:
    """A notification that can't be read may hold any id; the call it names will be answered."""
    async with faulty_session(daemon) as (client, _):
        log = '{"jsonrpc":"2.0","method":"notifications/message","params":{"data":{"id":$ID,"name":"\xff"}}}\n'
        answer = '{"jsonrpc":"2.0","id":$ID,"result":{"ok":1}}\n'

        assert (await client.answer(call("x", "write", latin1=log + answer)))["result"] == {"ok": 1}


async def test_a_line_over_the_limit_costs_nobody_else_anything(daemon: Daemon) -> None:
    """--max-line."""
    async with faulty_session(daemon) as (client, _), anyio.create_task_group() as tasks:
        (held,) = await client.hold(tasks, call(1, "hold"))
        with anyio.fail_after(QUICK_SECONDS):
            refused = await client.post(call("x", "blob", size=1_000_000))

        assert error_of(refused) == (500, INTERNAL_ERROR, "x")
        assert len((await client.result("x", "blob", size=60_000))["blob"]) == 60_000
        await client.result(2, "release")
        assert (await held.response()).json()["result"] == {"released": True}


async def test_answers_to_no_call_are_swallowed(daemon: Daemon) -> None:
    """Answered twice, answered before it was asked."""
    async with faulty_session(daemon) as (client, _):
        twice = '{"jsonrpc":"2.0","id":$ID,"result":{"n":1}}\n{"jsonrpc":"2.0","id":$ID,"result":{"n":2}}\n'
        early = '{"jsonrpc":"2.0","id":1000,"result":{}}\n'

        assert (await client.answer(call("x", "write", text=early + twice)))["result"] == {"n": 1}
        assert await client.result("x", "echo") == {"echo": {}}

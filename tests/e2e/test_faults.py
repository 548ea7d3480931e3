"""What does a faulty child cost, and whom?

Each test says which status and which error its client gets, that another session has not noticed, and that nothing is
left behind.
"""

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.e2e.serving import CHILD, serving
from tests.support.children import is_alive
from tests.support.daemon import Daemon, running_daemon
from tests.support.mcp import (
    Client,
    call,
    children_of,
    connected,
    error_of,
    health,
    hello,
    kind_of,
    notification,
    open_session,
    request,
    until,
    until_counts,
    until_empty,
    until_gone,
)

INTERNAL_ERROR = -32603
PING = request(7, "ping")
LOG = notification("notifications/message", {"level": "info", "data": "hello"})
QUICK_SECONDS = 2.0
"""An end that is seen, not waited for: far from every time-out, and generous to a busy machine."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving("--max-line", "64KiB") as daemon:
        yield daemon


@asynccontextmanager
async def neighbours(daemon: Daemon) -> AsyncIterator[tuple[Client, int]]:
    """A client and its child. Afterwards: a neighbour has not noticed, and nothing is left of either."""
    async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
        pid = await client.pid()
        neighbour = await client.another()
        try:
            neighbours_pid = await neighbour.pid()
            (held,) = await neighbour.hold(tasks, call(1, "hold"))
            yield client, pid
            assert await neighbour.pid() == neighbours_pid
            await neighbour.result(2, "release")
            assert (await held.response()).json()["result"] == {"released": True}
        finally:
            deleted = [(await each.delete()).status_code for each in (neighbour, client)]
        assert deleted in ([200, 200], [200, 404])
        await until_gone(pid, neighbours_pid)
        await until_empty(client)


async def assert_over(client: Client) -> None:
    """The session has ended with its child."""
    assert error_of(await client.post(PING)) == (404, -32001, 7)


def failure_of(message: dict[str, object]) -> tuple[object, object]:
    """Id and code of an error that came as an event."""
    error = message["error"]
    assert isinstance(error, dict) and error["message"]
    return message["id"], error["code"]


# ---- it exits


@pytest.mark.parametrize("code", [0, 1, 7])
async def test_a_child_that_exits_during_a_call_fails_it_with_500(daemon: Daemon, code: int) -> None:
    """Design part 3: no 200 from a dead child, whatever its code."""
    async with neighbours(daemon) as (client, _):
        with anyio.fail_after(QUICK_SECONDS):
            response = await client.post(call("x", "exit", code=code))

        assert error_of(response) == (500, INTERNAL_ERROR, "x")
        assert f"code {code}" in response.json()["error"]["message"]
        await assert_over(client)


async def test_every_open_call_of_a_dead_child_fails_with_its_own_id(daemon: Daemon) -> None:
    """JSON for what had not begun, an event for what had; GET streams end."""
    async with neighbours(daemon) as (client, pid), anyio.create_task_group() as tasks:
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
    async with neighbours(daemon) as (client, pid):
        assert await client.result(1, "exit-after", code=3) == {"pid": pid}
        await until_gone(pid)
        await until_counts(client, sessions=1, children=1)
        await assert_over(client)


async def test_a_last_line_without_a_newline_counts(daemon: Daemon) -> None:
    """The end of the stream ends the line."""
    async with neighbours(daemon) as (client, _):
        answer = '{"jsonrpc":"2.0","id":$ID,"result":{"last":true}}'

        response = await client.post(call("x", "exit", say=answer))
        assert response.json() == {"jsonrpc": "2.0", "id": "x", "result": {"last": True}}


@pytest.mark.parametrize("half", ['{"jsonrpc":"2.0","id":$ID,"result":{"la', "{", "garbage"])
async def test_half_a_line_and_an_exit_fail_the_call(daemon: Daemon, half: str) -> None:
    async with neighbours(daemon) as (client, _):
        with anyio.fail_after(QUICK_SECONDS):
            assert error_of(await client.post(call("x", "exit", say=half))) == (500, INTERNAL_ERROR, "x")


async def test_a_child_that_dies_between_calls_ends_its_session(daemon: Daemon) -> None:
    """Design part 5: 404 afterwards, the client starts over; its GET stream ends."""
    async with neighbours(daemon) as (client, pid):
        async with client.listen() as listening:
            os.kill(pid, signal.SIGKILL)
            assert await listening.read_to_end() == []
        await assert_over(client)
        again = await Client(client.http, client.url).open()
        assert (await again.answer(PING))["result"] == {}
        await again.delete()


async def test_grandchildren_die_when_their_child_has_died(daemon: Daemon) -> None:
    """They hold the pipes: the death is learnt from the process, not from the end of file."""
    async with neighbours(daemon) as (client, _):
        pids = (await client.result(1, "fork", count=3))["pids"]
        with anyio.fail_after(QUICK_SECONDS):
            assert error_of(await client.post(call("x", "exit"))) == (500, INTERNAL_ERROR, "x")

        await until_gone(*pids)


@pytest.mark.parametrize("stubborn", [False, True])
async def test_grandchildren_in_the_group_die_with_the_session(daemon: Daemon, stubborn: bool) -> None:
    """SC-19: signals go to the group."""
    async with neighbours(daemon) as (client, pid):
        pids = (await client.result(1, "fork", count=3, stubborn=stubborn))["pids"]
        assert all(map(is_alive, pids))
        assert (await client.delete()).status_code == 200

        await until_gone(pid, *pids)


async def test_a_child_that_ignores_sigterm_is_killed(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/lifecycle, Shutdown, stdio."""
    async with neighbours(daemon) as (client, pid):
        await client.result(1, "ignore-sigterm")
        await client.delete()

        await until_gone(pid)


# ---- it does not answer


async def test_a_call_that_is_not_answered_in_time_is_504_and_the_child_is_told() -> None:
    """--call-timeout. Design part 3. The session goes on."""
    with serving("--call-timeout", "0.5s") as daemon:
        async with neighbours_of_quick_calls(daemon) as client:
            assert error_of(await client.post(call("x", "hold"))) == (504, INTERNAL_ERROR, "x")

            messages = [json.loads(line) for line in await client.seen()]
            (child_id,) = [each["id"] for each in messages if (each.get("params") or {}).get("name") == "hold"]
            assert messages[-1]["method"] == "notifications/cancelled"
            assert messages[-1]["params"]["requestId"] == child_id
            assert await client.result("x", "echo") == {"echo": {}}
            # A late answer finds nobody.
            await client.result(2, "release")


async def test_a_stream_whose_call_is_not_answered_in_time_ends_with_the_error() -> None:
    with serving("--call-timeout", "0.5s") as daemon:
        async with neighbours_of_quick_calls(daemon) as client:
            async with client.stream(call("x", "ask", id="q", method="roots/list")) as events:
                await events.next()

                assert [failure_of(each) for each in await events.read_to_end()] == [("x", INTERNAL_ERROR)]


@asynccontextmanager
async def neighbours_of_quick_calls(daemon: Daemon) -> AsyncIterator[Client]:
    """As `neighbours`, where calls have no time to be held."""
    async with open_session(daemon.url) as client:
        neighbour = await client.another()
        pids = (await client.pid(), await neighbour.pid())
        yield client
        assert await neighbour.pid() == pids[1]
        assert {(await each.delete()).status_code for each in (client, neighbour)} == {200}
        await until_gone(*pids)
        await until_empty(client)


async def test_a_child_that_has_stopped_reading_times_out_its_calls() -> None:
    """Design part 3: 504 when its stdin was not read. Its session can still be ended."""
    with serving("--stdin-stall-timeout", "0.5s") as daemon:
        async with neighbours(daemon) as (client, _):
            await client.result(1, "stop-reading")
            fills_the_pipe = call(2, "echo", text="x" * 1_000_000)

            assert error_of(await client.post(fills_the_pipe)) == (504, INTERNAL_ERROR, 2)
            assert (await client.delete()).status_code == 200


# ---- it says what is no message


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
    async with neighbours(daemon) as (client, _):
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
    async with neighbours(daemon) as (client, _):
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
    async with neighbours(daemon) as (client, _):
        with anyio.fail_after(QUICK_SECONDS):
            assert error_of(await client.post(call("x", "write", latin1=answer))) == (500, INTERNAL_ERROR, "x")

        assert await client.result("x", "echo") == {"echo": {}}


async def test_an_unusable_answer_ends_a_stream_with_the_error(daemon: Daemon) -> None:
    async with neighbours(daemon) as (client, _):
        bad = json.dumps(LOG) + '\n{"jsonrpc":"2.0","id":$ID,"result":"\xff"}\n'
        async with client.stream(call("x", "write", latin1=bad)) as events:
            log, failure = await events.read_to_end()

        assert (log, failure_of(failure)) == (LOG, ("x", INTERNAL_ERROR))


async def test_a_bad_line_that_is_no_answer_fails_no_call(daemon: Daemon) -> None:
    """A notification that can't be read may hold any id; the call it names will be answered."""
    async with neighbours(daemon) as (client, _):
        log = '{"jsonrpc":"2.0","method":"notifications/message","params":{"data":{"id":$ID,"name":"\xff"}}}\n'
        answer = '{"jsonrpc":"2.0","id":$ID,"result":{"ok":1}}\n'

        assert (await client.answer(call("x", "write", latin1=log + answer)))["result"] == {"ok": 1}


async def test_a_line_over_the_limit_costs_nobody_else_anything(daemon: Daemon) -> None:
    """--max-line."""
    async with neighbours(daemon) as (client, _), anyio.create_task_group() as tasks:
        (held,) = await client.hold(tasks, call(1, "hold"))
        with anyio.fail_after(QUICK_SECONDS):
            refused = await client.post(call("x", "blob", size=1_000_000))

        assert error_of(refused) == (500, INTERNAL_ERROR, "x")
        assert len((await client.result("x", "blob", size=60_000))["blob"]) == 60_000
        await client.result(2, "release")
        assert (await held.response()).json()["result"] == {"released": True}


async def test_answers_to_no_call_are_swallowed(daemon: Daemon) -> None:
    """Answered twice, answered before it was asked."""
    async with neighbours(daemon) as (client, _):
        twice = '{"jsonrpc":"2.0","id":$ID,"result":{"n":1}}\n{"jsonrpc":"2.0","id":$ID,"result":{"n":2}}\n'
        early = '{"jsonrpc":"2.0","id":1000,"result":{}}\n'

        assert (await client.answer(call("x", "write", text=early + twice)))["result"] == {"n": 1}
        assert await client.result("x", "echo") == {"echo": {}}


# ---- it plays with its pipes


async def test_100_mb_on_stderr_hold_up_nobody_and_fill_no_log(daemon: Daemon) -> None:
    """Always drained; the log is held to a rate."""
    async with neighbours(daemon) as (client, _):
        logged = len(daemon.stderr_lines)

        assert await client.result(1, "stderr", bytes=100_000_000) == {}
        assert len(daemon.stderr_lines) - logged < 5_000


@pytest.mark.parametrize("tool", ["close-stdout", "close-stdin"])
async def test_a_child_that_closes_a_pipe_and_lives_on_is_ended(daemon: Daemon, tool: str) -> None:
    """It has shut us out: its calls fail instead of waiting for ever."""
    async with neighbours(daemon) as (client, pid):
        assert await client.result(1, tool) == {"pid": pid}
        with anyio.fail_after(QUICK_SECONDS):
            response = await client.post(call("x", "hold"))

        # The end may be seen before the next call comes, or because of it.
        assert error_of(response) in [(500, INTERNAL_ERROR, "x"), (404, -32001, "x")]
        await assert_over(client)
        await until_gone(pid)


# ---- it does not start


async def assert_nothing_left(daemon: Daemon, client: Client) -> None:
    await until_empty(client)

    async def has_none() -> bool:
        return not children_of(daemon.pid)

    await until(has_none, "no child of the daemon")


async def test_a_program_that_cannot_be_executed_is_502(tmp_path: Path) -> None:
    """Design part 3: at once, and no word of where it is."""
    program = tmp_path / "broken-server"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    with running_daemon("--", str(program)) as daemon:
        async with connected(daemon.url) as client:
            with anyio.fail_after(QUICK_SECONDS):
                response = await client.post(hello("x"))

            assert error_of(response) == (502, INTERNAL_ERROR, "x")
            assert str(tmp_path) not in response.text and "broken-server" not in response.text
            assert "mcp-session-id" not in response.headers
            assert (await client.http.get(daemon.base_url + "/readyz")).status_code == 503
            await assert_nothing_left(daemon, client)


@pytest.mark.parametrize("mode", ["exit=3", "exit-on-initialize=3"])
async def test_a_child_that_dies_during_initialize_is_502_at_once(mode: str) -> None:
    """Design part 3: its stderr is for the log only."""
    with serving(modes=("stderr=the password is swordfish", mode)) as daemon:
        async with connected(daemon.url) as client:
            with anyio.fail_after(QUICK_SECONDS):
                response = await client.post(hello("x"))

            assert error_of(response) == (502, INTERNAL_ERROR, "x")
            assert "swordfish" not in response.text and "code 3" in response.text
            assert "swordfish" in daemon.log
            assert (await client.http.get(daemon.base_url + "/readyz")).status_code == 503
            assert (await client.http.get(daemon.base_url + "/health")).status_code == 200
            await assert_nothing_left(daemon, client)


async def test_a_child_that_never_answers_initialize_is_504() -> None:
    """--start-timeout. Its grandchild goes with it."""
    with serving("--start-timeout", "0.5s", modes=("mute", "grandchild")) as daemon:
        async with connected(daemon.url) as client, anyio.create_task_group() as tasks:
            later = client.begin(tasks, hello("x"))
            await until_counts(client, sessions=1, children=1)
            (pid,) = children_of(daemon.pid)

            async def has_forked() -> bool:
                return bool(children_of(pid))

            await until(has_forked, "the grandchild")
            grandchildren = children_of(pid)

            assert error_of(await later.response()) == (504, INTERNAL_ERROR, "x")
            await assert_nothing_left(daemon, client)
            await until_gone(pid, *grandchildren)


async def test_a_child_that_answers_initialize_late_is_waited_for() -> None:
    """No timer begins that response: its status must be able to say that the child did not start."""
    with serving("--commit-after", "0.1s", modes=("late=0.5",)) as daemon:
        async with connected(daemon.url) as client:
            response = await client.post(hello("x"))

            assert (response.status_code, kind_of(response)) == (200, "application/json")
            assert response.headers["mcp-session-id"]


async def test_an_error_in_answer_to_initialize_is_passed_on_and_ends_the_child() -> None:
    """D.1 step 1: as it came, no session."""
    with serving(modes=("initialize-error",)) as daemon:
        async with connected(daemon.url) as client:
            response = await client.post(hello("x"))

            assert response.status_code == 200
            assert response.json() == {"jsonrpc": "2.0", "id": "x", "error": {"code": -32000, "message": "not today"}}
            assert "mcp-session-id" not in response.headers
            await assert_nothing_left(daemon, client)


async def test_initialize_cannot_be_cancelled() -> None:
    """Spec: 2025-11-25 basic/utilities/cancellation: MUST NOT. Nobody has a session to do it in."""
    with serving(modes=("late=0.5",)) as daemon:
        async with connected(daemon.url) as client, anyio.create_task_group() as tasks:
            later = client.begin(tasks, hello("x"))
            await until_counts(client, sessions=1, children=1)
            cancel = notification("notifications/cancelled", {"requestId": "x"})
            assert error_of(await client.post(cancel))[0] == 400

            response = await later.response()
            assert response.json()["id"] == "x" and "result" in response.json()
            client.session_id = response.headers["mcp-session-id"]
            assert (await client.post(cancel)).status_code == 202  # finished: ignored
            assert not any(b"cancelled" in line for line in await client.seen())


async def test_a_revision_nobody_knows_is_the_clients_business() -> None:
    """Spec: 2025-11-25 basic/lifecycle: a client that can't live with the answer disconnects."""
    with serving(modes=("version=2099-01-01",)) as daemon:
        async with connected(daemon.url) as client:
            response = await client.post(hello("x"))

            assert response.json()["result"]["protocolVersion"] == "2099-01-01"
            client.session_id = response.headers["mcp-session-id"]
            assert (await client.answer(PING))["result"] == {}


async def test_a_failed_start_costs_a_running_session_nothing(tmp_path: Path) -> None:
    """A command that works once."""
    script = tmp_path / "once"
    script.write_text('#!/bin/sh\nmkdir "$1" 2>/dev/null || exit 9\nshift\nexec "$@"\n')
    script.chmod(0o755)
    with running_daemon("--", str(script), str(tmp_path / "mark"), *CHILD) as daemon:
        async with open_session(daemon.url) as client:
            refused = await Client(client.http, client.url).post(hello("x"))

            assert error_of(refused) == (502, INTERNAL_ERROR, "x")
            assert (await client.answer(PING))["result"] == {}
            await until_counts(client, sessions=1, children=1)

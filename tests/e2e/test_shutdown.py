"""How does the daemon end, and what is left?"""

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.e2e.serving import CHILD, serving
from tests.support.children import is_alive
from tests.support.daemon import Daemon
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
    speak,
    until,
    until_counts,
    until_gone,
)


async def ended(daemon: Daemon, seconds: float = 10.0) -> int:
    """Its exit code; the loop goes on while it ends."""
    return await anyio.to_thread.run_sync(daemon.wait, seconds)


async def until_draining(client: Client) -> None:
    async def is_draining() -> bool:
        return bool((await health(client))["status"] == "draining")

    await until(is_draining, "the daemon drains")


@asynccontextmanager
async def all_gone(daemon: Daemon) -> AsyncIterator[None]:
    """What the daemon has started before the block is gone after it."""
    before = children_of(daemon.pid)
    assert before
    yield
    assert not [pid for pid in before if is_alive(pid)]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_lets_a_call_in_flight_finish_and_new_work_is_503(signum: signal.Signals) -> None:
    """Design parts 2 and 3: answers that calls in flight need go on; exit 0."""
    with serving() as daemon:
        async with open_session(daemon.url) as client, all_gone(daemon):
            async with client.stream(call(1, "ask", id="q", method="roots/list")) as events:
                ask = await events.next()
                daemon.signal(signum)
                await until_draining(client)

                refused_call = await client.post(call(2, "echo"))
                refused_session = await Client(client.http, client.url).post(hello(3))
                ready = await client.http.get(daemon.base_url + "/readyz")
                connection = await speak(daemon.base_url, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                accepted = await client.post({"jsonrpc": "2.0", "id": ask["id"], "result": {"roots": []}})
                (answer,) = await events.read_to_end()

            assert error_of(refused_call) == (503, -32603, 2)
            assert error_of(refused_session) == (503, -32603, 3)
            assert int(refused_call.headers["retry-after"]) > 0 and int(refused_session.headers["retry-after"]) > 0
            assert ready.status_code == 503
            assert connection.startswith(b"HTTP/1.1 200 ")  # the listener is open
            assert accepted.status_code == 202
            assert answer["id"] == 1 and "result" in answer
            assert await ended(daemon) == 0


async def test_a_call_in_flight_can_be_cancelled_while_the_daemon_drains() -> None:
    """Design part 3: cancellations go on."""
    with serving() as daemon:
        async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
            (held,) = await client.hold(tasks, call(1, "hold"))
            daemon.signal()
            await until_draining(client)
            await client.post(notification("notifications/cancelled", {"requestId": 1}))

            assert error_of(await held.response()) == (200, -32800, 1)
            assert await ended(daemon) == 0


async def test_a_call_that_does_not_end_is_cut_within_the_drain_limit() -> None:
    """--drain-timeout, the ladder included. Exit 1: something was cut off."""
    with serving("--drain-timeout", "1s") as daemon:
        async with open_session(daemon.url) as client, all_gone(daemon), anyio.create_task_group() as tasks:
            (held,) = await client.hold(tasks, call(1, "hold"))
            daemon.signal()

            assert error_of(await held.response()) == (500, -32603, 1)
            assert await ended(daemon, 5) == 1


async def test_an_open_stream_that_is_cut_ends_with_the_error() -> None:
    with serving("--drain-timeout", "1s") as daemon:
        async with open_session(daemon.url) as client:
            async with client.stream(call(1, "ask", id="q", method="roots/list")) as events:
                await events.next()
                daemon.signal()
                (failure,) = await events.read_to_end()

            assert (failure["id"], failure["error"]["code"]) == (1, -32603)
            assert await ended(daemon, 5) == 1


async def test_a_second_signal_ends_everything_at_once() -> None:
    """Design part 2, exit codes: 1. Neither the drain nor the ladder is waited for."""
    flags = ("--drain-timeout", "60s", "--stdin-grace", "20s", "--term-grace", "20s")
    with serving(*flags, modes=("ignore-sigterm",)) as daemon:
        async with open_session(daemon.url) as client, all_gone(daemon), anyio.create_task_group() as tasks:
            (held,) = await client.hold(tasks, call(1, "hold"))
            daemon.signal()
            await until_draining(client)
            assert not held.has_arrived
            daemon.signal()

            assert error_of(await held.response()) == (500, -32603, 1)
            assert await ended(daemon, 5) == 1


async def test_no_signal_is_the_death_of_it_whenever_it_comes() -> None:
    """From the first one to its last moment. Design part 2, exit codes."""
    with serving() as daemon:
        async with open_session(daemon.url):
            while daemon.process.poll() is None:
                daemon.signal()
                await anyio.sleep(0.002)

        assert await ended(daemon) == 1


async def test_idle_sessions_do_not_hold_it_up() -> None:
    """Exit 0; GET streams end, children are gone."""
    with serving("--drain-timeout", "30s") as daemon:
        async with open_session(daemon.url) as client:
            for _ in range(3):
                await client.another()
            async with all_gone(daemon), client.listen() as events:
                await until_counts(client, sessions=4, children=4)
                daemon.signal()

                assert await events.read_to_end() == []
                assert await ended(daemon, 10) == 0


async def test_a_child_that_must_be_killed_makes_it_exit_1() -> None:
    """Design part 2, exit codes. Its grandchildren go with it."""
    with serving() as daemon:
        async with open_session(daemon.url) as client, all_gone(daemon):
            pids = (await client.result(1, "fork", count=2, stubborn=True))["pids"]
            pid = (await client.result(2, "ignore-sigterm"))["pid"]
            daemon.signal()

            assert await ended(daemon) == 1
            await until_gone(pid, *pids)


async def test_a_session_that_is_still_starting_is_cut() -> None:
    """Its client is told, its child ends."""
    with serving("--drain-timeout", "1s", modes=("mute",)) as daemon:
        async with connected(daemon.url) as client, anyio.create_task_group() as tasks:
            starting = client.begin(tasks, hello(1))
            await until_counts(client, sessions=1, children=1)
            async with all_gone(daemon):
                daemon.signal()

                assert error_of(await starting.response()) == (503, -32603, 1)
                assert await ended(daemon, 5) == 1


async def test_a_daemon_without_sessions_ends_at_once() -> None:
    with serving("--drain-timeout", "60s") as daemon:
        daemon.signal()

        assert await ended(daemon, 5) == 0


async def test_what_it_says_last_is_not_a_traceback() -> None:
    """The log of an orderly end has no exception in it."""
    with serving() as daemon:
        async with open_session(daemon.url) as client, client.listen() as events:
            assert (await client.answer(request(1, "ping")))["result"] == {}
            daemon.signal()
            await events.read_to_end()
            await ended(daemon)

        assert "Traceback" not in daemon.log and "ERROR" not in daemon.log.upper(), daemon.log


# ---- it does not even start


async def proxy(*argv: str) -> tuple[int, str]:
    """Exit code and stderr of a daemon that is expected not to serve."""
    with anyio.fail_after(20):
        process = await anyio.run_process([sys.executable, "-m", "proxy", "--port", "0", *argv], check=False)
    return process.returncode, process.stderr.decode()


async def test_a_missing_command_is_named_with_where_it_was_looked_for() -> None:
    """Design part 2, exit codes: 1, no server could start."""
    code, said = await proxy("--", "no-such-program-at-all", "--flag")

    assert code == 1
    assert "no-such-program-at-all" in said and "PATH" in said and "/usr/bin" in said
    assert "Traceback" not in said


async def test_a_missing_path_is_named(tmp_path: Path) -> None:
    path = tmp_path / "not-here"
    code, said = await proxy("--", str(path))

    assert (code, str(path) in said, "Traceback" in said) == (1, True, False)


async def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    path = tmp_path / "plain.txt"
    path.write_text("text")
    code, said = await proxy("--", str(path))

    assert (code, str(path) in said, "executable" in said) == (1, True, True)


async def test_a_port_that_is_taken_is_named() -> None:
    with serving() as daemon:
        with anyio.fail_after(20):
            argv = [sys.executable, "-m", "proxy", "--port", str(daemon.port), "--", *CHILD]
            process = await anyio.run_process(argv, check=False)

        assert process.returncode == 1
        assert str(daemon.port) in process.stderr.decode() and "Traceback" not in process.stderr.decode()
        async with connected(daemon.url) as client:
            assert kind_of(await client.http.get(daemon.base_url + "/health")) == "application/json"

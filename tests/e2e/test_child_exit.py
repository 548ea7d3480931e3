"""What does the exit of a child end: its session, nothing, or the daemon?"""

import json
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from proxy.edge.bridge import Bridge
from proxy.settings import Settings
from tests.e2e.serving import serving, serving_modern
from tests.support.daemon import Daemon
from tests.support.mcp import (
    Client,
    call,
    connected,
    error_of,
    health,
    hello,
    notification,
    open_session,
    request,
    until_empty,
    until_gone,
)
from tests.support.modern import modern_client, tool


@pytest.fixture(scope="module")
def more_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("modes") / "more"


@pytest.fixture(scope="module")
def daemon(more_file: Path) -> Iterator[Daemon]:
    """One whose sessions outlive their children."""
    with serving("--on-child-exit", "respawn", "--max-respawns", "2", modes=(f"more={more_file}",)) as daemon:
        yield daemon


@pytest.fixture
def more(more_file: Path) -> Iterator[Callable[[str], None]]:
    """Gives modes to the children that start from now on."""

    def write(modes: str) -> None:
        more_file.write_text(modes)

    yield write
    more_file.unlink()


@asynccontextmanager
async def listening_session(url: str) -> AsyncIterator[Client]:
    """A session with a stream for what belongs to no call, so that answers are plain JSON."""
    async with open_session(url) as client, client.listen():
        yield client
        await client.delete()


async def kill_child(client: Client) -> int:
    """End the session's child from outside; returns its process id."""
    pid = await client.pid()
    os.kill(pid, signal.SIGKILL)
    await until_gone(pid)
    return pid


def read(lines: list[bytes]) -> list[tuple[str, Any]]:
    """Method and params of each message."""
    return [(message["method"], message.get("params")) for message in map(json.loads, lines) if "method" in message]


# ---- respawn


async def test_with_respawn_a_session_goes_on_with_a_child_that_is_told_what_the_last_one_knew(daemon: Daemon) -> None:
    """Design part 5, Children: the handshake, the log level and the subscriptions, once each, in this order."""
    async with listening_session(daemon.url) as client:
        for uri in ("x://1", "x://2", "x://1", "x://3"):
            await client.answer(request(1, "resources/subscribe", {"uri": uri}))
        await client.answer(request(2, "resources/unsubscribe", {"uri": "x://2"}))
        await client.answer(request(3, "logging/setLevel", {"level": "error"}))
        await client.answer(request(4, "logging/setLevel", {"level": "debug"}))
        first = json.loads((await client.seen())[0])["params"]
        before = await kill_child(client)

        told = read(await client.seen())
        assert [method for method, _ in told] == [
            "initialize",
            "notifications/initialized",
            "logging/setLevel",
            "resources/subscribe",
            "resources/subscribe",
        ]
        assert told[0][1] == first
        assert [params for _, params in told[2:]] == [{"level": "debug"}, {"uri": "x://1"}, {"uri": "x://3"}]
        assert await client.pid() != before
        shown = await health(client)
        counts, children = shown["counts"], shown["servers"]["default"]["children"]
        assert "dropped.answer_to_no_call" not in counts, counts  # the answers to all that are nobody's
        assert children["respawned"] >= 1 and children["crashed"] >= 1, children


async def test_with_respawn_calls_at_the_dead_child_fail_at_once_and_the_next_ones_wait(daemon: Daemon) -> None:
    async with listening_session(daemon.url) as client, anyio.create_task_group() as tasks:
        pid = await client.pid()
        held = await client.hold(tasks, call(1, "hold"), call("one", "hold"))
        os.kill(pid, signal.SIGKILL)

        for later, id_ in zip(held, (1, "one"), strict=True):
            assert error_of(await later.response()) == (500, -32603, id_)
        answers = [client.begin(tasks, call(id_, "echo", n=id_)) for id_ in range(5)]
        for id_, later in enumerate(answers):
            assert (await later.response()).json()["result"] == {"echo": {"n": id_}}


async def test_with_respawn_the_client_hears_that_lists_and_resources_may_have_changed(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client, client.listen() as listener:
        await client.answer(request(1, "resources/subscribe", {"uri": "x://1"}))
        await kill_child(client)

        heard = [await listener.next(), await listener.next()]
        assert [(each["method"], each.get("params")) for each in heard] == [
            ("notifications/tools/list_changed", None),  # the only list that the child tells the changes of
            ("notifications/resources/updated", {"uri": "x://1"}),
        ]
        assert await client.result(2, "echo", a=1) == {"echo": {"a": 1}}
        await client.delete()


async def test_with_respawn_a_question_of_the_dead_child_is_taken_back_and_its_answer_dropped(daemon: Daemon) -> None:
    async with listening_session(daemon.url) as client:
        pid = await client.pid()
        async with client.stream(call(1, "ask", id="q", method="roots/list")) as events:
            asked = await events.next()
            os.kill(pid, signal.SIGKILL)
            taken_back, failed = await events.read_to_end()
        assert taken_back["method"] == "notifications/cancelled"
        assert taken_back["params"]["requestId"] == asked["id"]
        assert (failed["id"], failed["error"]["code"]) == (1, -32603)
        answer = {"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}}
        assert (await client.post(answer)).status_code == 202
        assert not any(b"roots" in line for line in (await client.seen())[1:])


async def test_with_respawn_what_is_told_meanwhile_follows_the_handshake(
    daemon: Daemon, more: Callable[[str], None]
) -> None:
    async with listening_session(daemon.url) as client:
        more("late=0.5")
        await kill_child(client)
        told = notification("notifications/roots/list_changed")
        assert (await client.post(told)).status_code == 202

        methods = [method for method, _ in read(await client.seen())]
        assert methods == ["initialize", "notifications/initialized", "notifications/roots/list_changed"]


@pytest.mark.parametrize("mode", ["agree=2025-06-18", "initialize-error"])
async def test_a_child_that_shakes_hands_otherwise_ends_the_session(
    daemon: Daemon, more: Callable[[str], None], mode: str
) -> None:
    async with listening_session(daemon.url) as client:
        more(mode)
        await kill_child(client)

        assert error_of(await client.post(call(1, "echo")))[:2] == (404, -32001)
        await until_empty(client)


async def test_children_that_die_one_after_the_other_end_the_session(
    daemon: Daemon, more: Callable[[str], None]
) -> None:
    async with listening_session(daemon.url) as client:
        started = daemon.log.count("child started")
        more("exit=3")
        await kill_child(client)

        assert error_of(await client.post(call(1, "echo")))[:2] == (404, -32001)
        await until_empty(client)
        assert (await health(client))["counts"]["ended.respawned_in_vain"] == 1
        assert daemon.log.count("child started") - started == 2


async def test_a_session_may_end_while_its_child_is_being_replaced(daemon: Daemon, more: Callable[[str], None]) -> None:
    async with listening_session(daemon.url) as client, anyio.create_task_group() as tasks:
        more("mute")
        await kill_child(client)
        waiting = client.begin(tasks, call(1, "echo"))
        assert (await client.delete()).status_code == 200

        assert error_of(await waiting.response())[:2] == (404, -32001)
        await until_empty(client)


async def test_a_child_that_dies_before_it_is_ready_is_no_matter_of_respawn(daemon: Daemon) -> None:
    async with connected(daemon.url) as client:
        assert error_of(await client.post(hello(1, exit_on_initialize="3"))) == (502, -32603, 1)
        await until_empty(client)


# ---- exit


def end_of(daemon: Daemon) -> int:
    return daemon.wait()


@pytest.mark.parametrize(("arguments", "code"), [({"code": 7}, 7), ({"code": 0}, 0)])
async def test_with_exit_the_daemon_ends_with_the_code_of_its_child(arguments: dict[str, int], code: int) -> None:
    """Design part 2, exit codes."""
    with serving("--on-child-exit", "exit") as daemon:
        async with open_session(daemon.url) as client, open_session(daemon.url):
            assert error_of(await client.post(call(1, "exit", **arguments)))[:2] == (500, -32603)
        assert await anyio.to_thread.run_sync(end_of, daemon) == code


async def test_with_exit_the_signal_that_ended_a_child_is_the_daemons_code() -> None:
    with serving("--on-child-exit", "exit") as daemon:
        async with open_session(daemon.url) as client:
            await kill_child(client)
        assert await anyio.to_thread.run_sync(end_of, daemon) == 128 + signal.SIGKILL


async def test_with_exit_a_child_that_never_became_ready_ends_the_daemon() -> None:
    with serving("--on-child-exit", "exit") as daemon:
        async with connected(daemon.url) as client:
            assert error_of(await client.post(hello(1, exit_on_initialize="3"))) == (502, -32603, 1)
        assert await anyio.to_thread.run_sync(end_of, daemon) == 3
    assert re.search(r"everything ends with it.* server=default pid=\d+ returncode=3", daemon.log)


async def test_with_exit_a_child_that_was_ended_is_none_that_has_exited() -> None:
    with serving("--on-child-exit", "exit") as daemon:
        async with open_session(daemon.url) as client, open_session(daemon.url) as other:
            pid = await client.pid()
            assert (await client.delete()).status_code == 200
            await until_gone(pid)
            assert await other.result(1, "echo", a=1) == {"echo": {"a": 1}}
    assert daemon.returncode == 0


async def test_with_exit_a_shared_child_ends_the_daemon_too() -> None:
    with serving_modern("--on-child-exit", "exit") as daemon:
        async with modern_client(daemon.url) as client:
            await client.call(1, "pid")
            response = await client.post(tool(2, "exit", code=5))
            assert response.status_code == 500
        assert await anyio.to_thread.run_sync(end_of, daemon) == 5


def test_an_embedded_bridge_refuses_to_stop_its_host() -> None:
    with pytest.raises(ValueError, match="on_child_exit"):
        Bridge(Settings(demo=True, on_child_exit="exit"))

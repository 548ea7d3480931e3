"""A client that never begins anew goes on in a session that has ended, if the operator wants that."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.e2e.serving import serving, serving_modern
from tests.support.daemon import Daemon
from tests.support.mcp import (
    Client,
    call,
    connected,
    error_of,
    health,
    notification,
    open_session,
    request,
    until,
    until_gone,
)


@pytest.fixture(scope="module")
def more_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("modes") / "more"


@pytest.fixture(scope="module")
def daemon(more_file: Path) -> Iterator[Daemon]:
    flags = ("--recover-sessions", "--max-recoverable-sessions", "3", "--max-failed-starts", "1000")
    with serving(*flags, modes=(f"more={more_file}",)) as daemon:
        yield daemon


@pytest.fixture
def more(more_file: Path) -> Iterator[Callable[[str], None]]:
    """Gives modes to the children that start from now on."""

    def write(modes: str) -> None:
        more_file.write_text(modes)

    yield write
    more_file.unlink()


async def end_of(client: Client) -> int:
    """End the session from outside, by the death of its child; returns that one's process id."""
    pid = await client.pid()
    others = (await health(client))["sessions"] - 1
    os.kill(pid, signal.SIGKILL)
    await until_gone(pid)

    async def has_ended() -> bool:
        return bool((await health(client))["sessions"] == others)

    await until(has_ended, "the session has ended")
    return pid


def methods(lines: list[bytes]) -> list[tuple[str, Any]]:
    return [(message["method"], message.get("params")) for message in map(json.loads, lines)]


async def test_a_request_in_a_session_that_has_ended_gets_a_child_that_knows_what_the_last_one_knew(
    daemon: Daemon,
) -> None:
    async with open_session(daemon.url) as client:
        await client.answer(request(1, "resources/subscribe", {"uri": "x://1"}))
        await client.answer(request(1, "logging/setLevel", {"level": "error"}))  # ids may be used again
        initialize = json.loads((await client.seen())[0])["params"]
        pid = await end_of(client)

        async with client.stream(call(2, "pid")) as events:
            *changes, answer = await events.read_to_end()

        assert answer["result"]["pid"] != pid
        assert [each["method"] for each in changes] == [
            "notifications/tools/list_changed",
            "notifications/resources/updated",
        ]
        assert methods(await client.seen())[:4] == [
            ("initialize", initialize),
            ("notifications/initialized", None),
            ("logging/setLevel", {"level": "error"}),
            ("resources/subscribe", {"uri": "x://1"}),
        ]
        counts = (await health(client))["counts"]
        assert counts["recovered.session"] >= 1
        assert client.session_id is not None and client.session_id not in daemon.log
        await client.delete()


async def test_a_session_may_be_recovered_again_and_again(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client, client.listen():
        for number in range(3):
            await end_of(client)
            assert (await client.post(call(number, "echo", n=number))).status_code == 200
        assert len((await client.seen())[0]) > 0
        await client.delete()


async def test_requests_that_come_at_the_same_time_share_one_start(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
        await end_of(client)
        started = daemon.log.count("child started")
        later = [client.begin(tasks, call(number, "echo", n=number)) for number in range(8)]

        for each in later:
            assert (await each.response()).status_code == 200
        assert daemon.log.count("child started") == started + 1
        await client.delete()


async def test_a_get_lives_again_and_a_notification_does_not(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        await end_of(client)
        assert error_of(await client.post(notification("notifications/cancelled", {"requestId": 1})))[:2] == (
            404,
            -32001,
        )
        async with client.listen() as events:
            assert events.response.status_code == 200
            assert (await events.next())["method"] == "notifications/tools/list_changed"
        assert await client.result(1, "echo", a=1) == {"echo": {"a": 1}}
        await client.delete()


async def test_a_session_that_its_client_has_ended_stays_ended(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client, open_session(daemon.url) as other:
        assert (await client.delete()).status_code == 200
        assert error_of(await client.post(call(1, "echo")))[:2] == (404, -32001)
        await end_of(other)
        assert error_of(await other.delete())[:2] == (404, -32001)
        assert error_of(await other.post(call(1, "echo")))[:2] == (404, -32001)


async def test_only_so_many_are_remembered(daemon: Daemon) -> None:
    async with connected(daemon.url) as http:
        clients = [await Client(http.http, daemon.url).open() for _ in range(4)]
        for client in clients:
            await end_of(client)

        assert error_of(await clients[0].post(call(1, "echo")))[:2] == (404, -32001)
        for client in clients[1:]:
            assert (await client.post(call(1, "echo"))).status_code == 200
            await client.delete()


async def test_a_start_that_fails_says_so_and_may_be_tried_again(daemon: Daemon, more: Callable[[str], None]) -> None:
    async with open_session(daemon.url) as client:
        await end_of(client)
        more("exit=3")
        assert error_of(await client.post(call(1, "echo"))) == (502, -32603, 1)
        more("")
        assert (await client.post(call(1, "echo"))).status_code == 200
        await client.delete()


@pytest.mark.parametrize("mode", ["agree=2025-06-18", "initialize-error"])
async def test_a_server_that_shakes_hands_otherwise_is_not_gone_on_with(
    daemon: Daemon, more: Callable[[str], None], mode: str
) -> None:
    async with open_session(daemon.url) as client:
        await end_of(client)
        more(mode)
        assert error_of(await client.post(call(1, "echo")))[:2] == (404, -32001)


async def test_a_session_that_was_idle_lives_again_with_a_server_of_the_other_era_too() -> None:
    with serving_modern("--recover-sessions", "--idle-timeout", "0.5s", modes=("modern-only",)) as daemon:
        async with open_session(daemon.url) as client:
            first = (await client.result(1, "pid"))["structuredContent"]["pid"]
            await until_gone(first)

            async with client.stream(call(2, "pid")) as events:
                *_, answer = await events.read_to_end()

            assert answer["result"]["structuredContent"]["pid"] != first


async def test_without_the_setting_an_ended_session_is_404() -> None:
    with serving() as daemon:
        async with open_session(daemon.url) as client:
            await end_of(client)
            assert error_of(await client.post(call(1, "echo")))[:2] == (404, -32001)


async def test_a_session_lives_on_when_the_last_process_of_it_is_gone_at_last() -> None:
    """The ladder of one that does not want to end takes longer than the start of the next."""
    flags = ("--recover-sessions", "--idle-timeout", "0.4s", "--stdin-grace", "0.5s", "--term-grace", "0.5s")
    with serving(*flags, modes=("ignore-sigterm", "grandchild")) as daemon:
        async with open_session(daemon.url) as client:
            first = await client.pid()

            async def is_over() -> bool:
                return bool((await health(client))["sessions"] == 0)

            await until(is_over, "the session has ended")
            async with client.listen() as _:
                second = await client.pid()
                assert second != first

                async def is_alone() -> bool:
                    return bool((await health(client))["children"] == 1)

                await until(is_alone, "the first one and its own are gone")
                assert await client.pid() == second


async def pid_of(client: Client) -> int:
    """The process id of its child; what comes before the answer is left unread."""
    async with client.stream(call("pid?", "pid")) as events:
        if events.kind == "application/json":
            answer = json.loads(await events.body())
        else:
            *_, answer = await events.read_to_end()
    return int(answer["result"]["pid"])


async def test_sessions_that_shared_a_process_share_the_next() -> None:
    with serving("--isolation", "shared", "--recover-sessions") as daemon:
        async with open_session(daemon.url) as one, open_session(daemon.url) as other:
            pid = await pid_of(one)
            assert await pid_of(other) == pid
            os.kill(pid, signal.SIGKILL)

            async def are_over() -> bool:
                return bool((await health(one))["sessions"] == 0)

            await until(are_over, "both sessions have ended")
            again = await pid_of(one)
            assert again != pid
            assert await pid_of(other) == again

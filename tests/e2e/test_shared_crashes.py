"""Sessions that share a process, when it dies, takes too much, or has tools that nobody may call."""

import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

from tests.e2e.serving import serving
from tests.support.daemon import running_daemon
from tests.support.mcp import Client, call, error_of, health, open_session, request, until, until_gone

GREEDY = (sys.executable, "-I", "-S", str(Path(__file__).parents[1] / "programs" / "greedy.py"))
SHARED = ("--isolation", "shared")


async def kill(client: Client) -> int:
    pid = await client.pid()
    os.kill(pid, signal.SIGKILL)
    await until_gone(pid)
    return pid


async def test_with_respawn_every_session_goes_on_with_the_next_process() -> None:
    with serving(*SHARED, "--on-child-exit", "respawn") as daemon:
        async with (
            open_session(daemon.url) as one,
            open_session(daemon.url) as two,
            one.listen(),
            two.listen(),
            anyio.create_task_group() as tasks,
        ):
            assert await one.pid() == await two.pid()
            await one.answer(request(1, "resources/subscribe", {"uri": "x://1"}))
            held = await two.hold(tasks, call(1, "hold"))
            pid = await kill(one)

            assert error_of(await held[0].response()) == (500, -32603, 1)
            assert await one.pid() == await two.pid() != pid
            assert await two.result(2, "echo", a=1) == {"echo": {"a": 1}}
            shown = await health(one)
            assert shown["sessions"] == 2
            children = shown["servers"]["default"]["children"]
            assert (children["started"], children["respawned"], children["crashed"]) == (2, 1, 1)


async def test_sessions_that_have_ended_together_live_again_together() -> None:
    with serving(*SHARED, "--recover-sessions") as daemon:
        async with open_session(daemon.url) as one, open_session(daemon.url) as two:
            pid = await kill(one)

            async def have_ended() -> bool:
                return bool((await health(one))["sessions"] == 0)

            await until(have_ended, "both have ended")
            for client in (one, two):
                async with client.stream(call(1, "pid")) as events:
                    answers = await events.read_to_end()
                assert not answers or answers[-1]["result"]["pid"] != pid
            assert (await health(one))["counts"]["recovered.session"] == 2


async def test_with_exit_the_daemon_ends_with_the_process_that_all_share() -> None:
    with serving(*SHARED, "--on-child-exit", "exit") as daemon:
        async with open_session(daemon.url) as one, open_session(daemon.url):
            assert (await one.post(call(1, "exit", code=4))).status_code == 500
        assert await anyio.to_thread.run_sync(daemon.wait) == 4


async def test_a_tool_that_is_denied_is_unknown_to_those_who_share_too() -> None:
    with serving(*SHARED, "--deny-tool", "pid") as daemon:
        async with open_session(daemon.url) as one:
            response = await one.post(call(1, "pid"))
            assert (response.status_code, response.json()["error"]["code"]) == (200, -32602)
            assert await one.result(2, "echo", a=1) == {"echo": {"a": 1}}


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_a_shared_process_over_its_memory_says_so_to_everybody() -> None:
    with running_daemon(*SHARED, "--child-memory", "100MiB", "--", *GREEDY) as daemon:
        async with open_session(daemon.url) as one, open_session(daemon.url) as two:
            response = await one.post(call(1, "eat"), seconds=60)
            assert error_of(response) == (500, -32603, 1)
            assert "memory" in response.json()["error"]["message"]
            assert error_of(await two.post(call(2, "pid")))[:2] == (404, -32001)

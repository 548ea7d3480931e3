"""The daemon with --pool-size: what clients and operators see of children that are ready before anybody comes."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.e2e.serving import CHILD, serving
from tests.support.daemon import Daemon, running_daemon
from tests.support.mcp import ACCEPT, Client, children_of, connected, health, hello, open_session, until, until_gone
from tests.support.modern import modern_client

GRACES = ("--stdin-grace", "0.3s", "--term-grace", "0.3s")


async def pool_of(client: Client, server: str = "default") -> dict[str, Any]:
    pool: dict[str, Any] = (await health(client))["servers"][server]["pool"]
    return pool


async def until_ready(client: Client, count: int, server: str = "default") -> None:
    async def is_so() -> bool:
        ready: bool = (await pool_of(client, server))["ready"] == count
        return ready

    await until(is_so, f"{count} are ready")


async def until_logged(daemon: Daemon, text: str) -> None:
    async def is_so() -> bool:
        return text in daemon.log

    await until(is_so, f"{text!r} is in the log")


async def is_ready(client: Client, base_url: str) -> tuple[int, str]:
    answer = await client.http.get(base_url + "/readyz")
    return answer.status_code, answer.json().get("reason", "")


async def test_a_client_with_less_patience_than_the_server_needs_is_served_once_the_pool_is_warm() -> None:
    """And before that, /readyz keeps clients away."""
    slow = (
        "import runpy, sys, time; time.sleep(3); sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], None, '__main__')"
    )
    argv = (sys.executable, "-I", "-S", "-c", slow, CHILD[-1])
    with running_daemon(*GRACES, "--pool-size", "2", "--", *argv) as daemon:
        async with connected(daemon.url) as client:
            assert await is_ready(client, daemon.base_url) == (
                503,
                "server default: no child of its pool is ready yet",
            )
            await until_ready(client, 2)
            assert await is_ready(client, daemon.base_url) == (200, "")

            with anyio.fail_after(2):
                async with open_session(daemon.url) as served:
                    assert (await served.result(1, "echo", text="hello"))["echo"] == {"text": "hello"}

            report = await health(client)
            assert report["counts"]["pool.hit"] == 1
            assert (await pool_of(client))["misses"] == 0


async def test_a_child_sees_a_ping_before_anything_else_and_its_client_sees_nothing_of_it() -> None:
    with serving("--pool-size", "1") as daemon:
        async with connected(daemon.url) as client:
            await until_ready(client, 1)
        async with open_session(daemon.url) as client:
            methods = [json.loads(line)["method"] for line in await client.seen()]

    assert methods == ["ping", "initialize", "notifications/initialized"]


async def test_what_a_child_says_on_stderr_before_anybody_comes_is_in_the_log() -> None:
    with serving("--pool-size", "1", modes=("stderr=up and running",)) as daemon:
        await until_logged(daemon, "up and running")


async def test_sigterm_ends_those_that_nobody_has_used() -> None:
    with serving("--pool-size", "3") as daemon:
        async with connected(daemon.url) as client:
            await until_ready(client, 3)
        pids = children_of(daemon.pid)

        daemon.signal(signal.SIGTERM)

        assert daemon.wait() == 0
        await until_gone(*pids)


async def test_sigkill_of_the_daemon_ends_those_that_nobody_has_used() -> None:
    with serving("--pool-size", "3") as daemon:
        async with connected(daemon.url) as client:
            await until_ready(client, 3)
        pids = children_of(daemon.pid)

        daemon.signal(signal.SIGKILL)
        daemon.wait()

        await until_gone(*pids)


async def test_a_reload_keeps_the_pool_of_a_server_that_is_the_same(tmp_path: Path) -> None:
    def write(**pools: int) -> None:
        servers = {
            name: {"command": CHILD[0], "args": list(CHILD[1:]), "mcp_proxy": {"pool_size": size}}
            for name, size in pools.items()
        }
        (tmp_path / "c.json").write_text(json.dumps({"mcpServers": servers}))

    async def pids_of(name: str, count: int) -> set[int]:
        """Those that were ready are handed out; they are looked at by the session that each is in then."""
        url = f"{daemon.base_url}/servers/{name}/mcp"
        pids = set()
        for _ in range(count):
            async with open_session(url) as client:
                pids.add(await client.pid())
        return pids

    write(same=1, other=2)
    with running_daemon(*GRACES, "--config", str(tmp_path / "c.json")) as daemon:
        async with connected(daemon.url) as client:
            await until_ready(client, 1, "same")
            await until_ready(client, 2, "other")
            before = set(children_of(daemon.pid))

            write(same=1, other=1)
            daemon.signal(signal.SIGHUP)
            await until_logged(daemon, "servers read again")
            await until_ready(client, 1, "other")

            assert await pids_of("same", 1) <= before
            assert not await pids_of("other", 1) & before
            assert (await health(client))["counts"]["pool.hit"] == 2


async def test_the_policy_to_exit_with_a_child_is_not_meant_for_one_that_was_only_ready() -> None:
    with serving("--pool-size", "1", "--on-child-exit", "exit") as daemon:
        async with connected(daemon.url) as client:
            await until_ready(client, 1)
            async with open_session(daemon.url) as served:
                first = await served.pid()
                await until_ready(client, 1)
                (ready,) = {pid for pid in children_of(daemon.pid) if b"child.py" in command_of(pid)} - {first}

                os.kill(ready, signal.SIGKILL)

                await until_gone(ready)
                await until_ready(client, 1)
                assert await served.pid() == first


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize("isolation", ["request", "shared"])
async def test_clients_without_sessions_get_children_that_are_ready(isolation: str) -> None:
    modern = Path(CHILD[-1]).with_name("modern.py")
    argv = (sys.executable, "-I", "-S", str(modern))
    flags = ("--pool-size", "2", "--modern-isolation", isolation, "--child-era", "modern")
    with running_daemon(*GRACES, *flags, "--", *argv, "modern-only") as daemon:
        async with connected(daemon.url) as client:
            await until_ready(client, 2)
            async with modern_client(daemon.url) as modern_one:
                await modern_one.call(1, "pid")

            assert (await health(client))["counts"]["pool.hit"] >= 1


async def test_where_sessions_share_a_child_that_is_ready_and_one_of_its_own_is_once_somebody_needs_it() -> None:
    """A client that comes through a gateway shares with nobody."""
    headers = {"accept": ACCEPT, "x-forwarded-for": "192.0.2.1"}
    with serving("--pool-size", "1", "--isolation", "shared") as daemon:
        async with connected(daemon.url) as client:

            async def is_warm() -> bool:
                return await is_ready(client, daemon.base_url) == (200, "")

            await until(is_warm, "it is ready for sessions")
            (first,) = children_of(daemon.pid)
            async with open_session(daemon.url) as served:
                assert await served.pid() == first
            os.kill(first, signal.SIGKILL)

            async def is_replaced() -> bool:
                return bool(await is_warm() and {*children_of(daemon.pid)} - {first})

            await until(is_replaced, "another one is ready though nobody has asked")

            assert (await client.http.post(daemon.url, json=hello(), headers=headers)).status_code == 200
            await until_ready(client, 1)
            assert (await client.http.post(daemon.url, json=hello(), headers=headers)).status_code == 200

            assert (await pool_of(client))["hits"] == 1

"""A child that takes more than it may is ended, with all that it has started; nobody else notices."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from tests.e2e.serving import serving_modern
from tests.support.daemon import Daemon, running_daemon
from tests.support.mcp import (
    call,
    children_of,
    connected,
    end_processes,
    error_of,
    health,
    open_session,
    until,
    until_gone,
)
from tests.support.modern import modern_client, tool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, prlimit(2) and affinity")

GREEDY = (sys.executable, "-I", "-S", str(Path(__file__).parents[1] / "programs" / "greedy.py"))
LIMITS = ("--child-memory", "120MiB", "--child-open-files", "99", "--child-cpu", "1")
MIB = 1 << 20


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    graces = ("--stdin-grace", "0.3s", "--term-grace", "0.3s")
    with running_daemon(*graces, *LIMITS, "--", *GREEDY) as daemon:
        yield daemon


@pytest.mark.parametrize("arguments", [{}, {"stray": True}], ids=["itself", "a process that has left it"])
async def test_a_child_that_takes_memory_without_end_is_ended_alone(daemon: Daemon, arguments: dict[str, bool]) -> None:
    proxy = psutil.Process(daemon.pid)
    async with open_session(daemon.url) as client, open_session(daemon.url) as other:
        pid = await client.pid()
        children = set(children_of(daemon.pid))
        counted = (await health(client))["counts"].get("ended.child_memory", 0)
        before = proxy.memory_info().rss

        response = await client.post(call(1, "eat", **arguments), seconds=60)

        assert error_of(response) == (500, -32603, 1)
        assert "memory" in response.json()["error"]["message"]
        assert error_of(await client.post(call(2, "echo")))[:2] == (404, -32001)
        assert await other.result(1, "echo", a=1) == {"echo": {"a": 1}}
        shown = await health(client)
        assert shown["counts"]["ended.child_memory"] == counted + 1
        assert shown["servers"]["default"]["children"]["over_memory"] == counted + 1
        assert "more memory than it may" in daemon.log
        assert proxy.memory_info().rss - before < 20 * MIB
        await until_gone(pid)

        async def only_others_are_left() -> bool:
            return set(children_of(daemon.pid)) <= children - {pid}

        await until(only_others_are_left, "all that it had started is gone")
        await other.delete()


async def test_processes_that_share_their_memory_are_not_over_it_together(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        pids = (await client.result(1, "share", bytes=30 * MIB, count=6))["pids"]
        taken = sum(psutil.Process(pid).memory_info().rss for pid in pids)
        assert taken > 120 * MIB
        for number in range(8):  # looks at them go on meanwhile
            await anyio.sleep(0.1)
            assert await client.result(number, "echo", a=number) == {"echo": {"a": number}}
        await client.delete()
        await until_gone(*pids)


async def test_the_kernel_is_told_of_the_other_limits(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        assert await client.result(1, "limits") == {"files": [99, 99], "cpus": 1}
        shown = (await health(client))["servers"]["default"]["limits"]
        assert set(shown) == {"memory", "open_files", "cpu"}
        for limit, means in shown.items():
            assert f"limit of each child: {limit}: {means}" in daemon.log
        await client.delete()


async def test_what_multiplies_dies_whole_with_its_session(daemon: Daemon) -> None:
    """Fifty of them, half outside the group, and one that is replaced whenever it is told to end."""
    before = set(children_of(daemon.pid))
    async with open_session(daemon.url) as client:
        for number in range(5):
            await client.result(number, "breed", count=5)
        pids = (await client.result(9, "share", bytes=1, count=25))["pids"]
        pid = await client.pid()

        assert (await client.delete()).status_code == 200

        await until_gone(pid, *pids)

        async def none_is_left() -> bool:
            return not carriers_of(daemon) and set(children_of(daemon.pid)) <= before

        try:
            await until(none_is_left, "all of them are gone")
        finally:
            end_processes(*carriers_of(daemon))


def carriers_of(daemon: Daemon) -> list[int]:
    """The living processes of its children's program."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if GREEDY[-1] in (process.info["cmdline"] or ())
        and process.info["status"] != psutil.STATUS_ZOMBIE
        and process.pid != daemon.pid
        and "proxy" not in process.info["cmdline"]
    ]


async def health_of(daemon: Daemon) -> Any:
    async with connected(daemon.url) as client:
        return await health(client)


async def test_a_shared_child_over_its_limit_fails_its_calls_and_the_next_one_serves() -> None:
    with running_daemon("--child-memory", "120MiB", "--", *GREEDY) as daemon:
        async with modern_client(daemon.url) as client:
            first = (await client.result(tool(1, "pid")))["pid"]
            response = await client.post(tool(2, "eat"))
            assert response.status_code == 500
            assert "memory" in response.json()["error"]["message"]
            assert (await client.result(tool(3, "pid")))["pid"] != first


async def test_a_shared_child_is_replaced_after_so_many_calls_and_finishes_those_that_it_has() -> None:
    with serving_modern("--child-max-calls", "3") as daemon:
        async with modern_client(daemon.url) as client, anyio.create_task_group() as tasks:
            late = []

            async def sleep() -> None:
                late.append(await client.call(9, "sleep", seconds=1.5))

            first = await client.call(1, "pid")
            tasks.start_soon(sleep)

            async def is_sleeping() -> bool:
                return bool((await health_of(daemon))["calls_in_flight"])

            await until(is_sleeping, "a call is in flight")
            pids = [(await client.call(number, "pid"))["pid"] for number in range(3)]

            assert pids[0] == first["pid"]
            assert pids[1] == pids[2] != pids[0]
        assert len(late) == 1

        async def is_gone() -> bool:
            return bool((await health_of(daemon))["children"] == 1)

        await until(is_gone, "the first child is gone")
        assert (await health_of(daemon))["counts"]["retired.worn_child"] >= 1

"""What happens when the daemon has no descriptor left?

New work is refused with a status that says "later", old work goes on, and recovery is complete. What the listener does
then is tested with the hostile clients.
"""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from tests.e2e.serving import serving
from tests.faults.outcomes import INTERNAL_ERROR
from tests.faults.unharmed import faulty_session
from tests.support.children import is_alive
from tests.support.daemon import Daemon
from tests.support.mcp import Client, call, children_of, error_of, health, hello, request, until, until_gone

DESCRIPTORS_OF_A_START = 8
"""Three pipes and the one by which exec reports: with so many more, a child can be started."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving() as daemon:
        yield daemon


@contextmanager
def few_descriptors(daemon: Daemon, *, left: int) -> Iterator[None]:
    """So many can still be opened while the block is open."""
    before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    opened = {int(name) for name in os.listdir(f"/proc/{daemon.pid}/fd")}
    free = (number for number in range(max(opened) + left + 1) if number not in opened)
    lowest = [next(free) for _ in range(left)] if left else []
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (max(lowest, default=-1) + 1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)


def descriptors_and_processes(daemon: Daemon) -> tuple[int, int]:
    return len(list(Path(f"/proc/{daemon.pid}/fd").iterdir())), len(children_of(daemon.pid))


async def test_a_session_that_cannot_have_its_pipes_is_503_and_old_ones_go_on(daemon: Daemon) -> None:
    """With none left, and with nearly enough: what was opened on the way is closed again."""
    async with faulty_session(daemon) as (client, _), anyio.create_task_group() as tasks:
        (held,) = await client.hold(tasks, call("held", "hold"))
        nobody = Client(client.http, client.url)
        assert (await client.answer(request(1, "ping")))["result"] == {}  # every connection that is needed is open
        before = descriptors_and_processes(daemon)
        for left in range(DESCRIPTORS_OF_A_START):
            with few_descriptors(daemon, left=left):
                refused = await nobody.post(hello(left))

                assert error_of(refused) == (503, INTERNAL_ERROR, left)
                assert int(refused.headers["retry-after"]) > 0
                assert "mcp-session-id" not in refused.headers
                assert await client.result(2, "echo", n=left) == {"echo": {"n": left}}
                assert descriptors_and_processes(daemon) == before
        await client.result(3, "release")
        assert (await held.response()).json()["result"] == {"released": True}

        again = await nobody.open()
        assert await again.result(1, "echo") == {"echo": {}}
        assert (await again.delete()).status_code == 200
        ready = await client.http.get(daemon.base_url + "/readyz")
        assert ready.status_code == 200


@pytest.mark.parametrize("how", ["delete", "exit"])
async def test_a_session_that_ends_meanwhile_leaves_nothing_behind(daemon: Daemon, how: str) -> None:
    """Nobody can look for what has left its group until there are descriptors again; then somebody does."""
    async with faulty_session(daemon) as (client, pid):
        other = await client.another()
        strays: list[int] = []
        for stubborn in (False, True):
            strays += (await client.result("fork", "fork", count=2, stray=True, stubborn=stubborn))["pids"]
        with few_descriptors(daemon, left=0):
            if how == "delete":
                assert (await client.delete()).status_code == 200
            else:
                assert error_of(await client.post(call("x", "exit"))) == (500, INTERNAL_ERROR, "x")

            async def has_looked_in_vain() -> bool:
                return f"looking again pid={pid}" in daemon.log

            await until(has_looked_in_vain, "a look that failed")
            assert not is_alive(pid) and all(map(is_alive, strays))
            assert await other.result(1, "echo") == {"echo": {}}
            shown = await health(other)
            assert (shown["sessions"], shown["children"]) == (2, 3)  # it has its place until all is gone

        await until_gone(*strays)
        assert (await other.delete()).status_code == 200

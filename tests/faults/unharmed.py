"""Whatever happens: nobody else notices, and nothing of it is left."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

import anyio

from tests.faults.raw import raw_connection
from tests.support.children import is_alive
from tests.support.daemon import Daemon
from tests.support.mcp import Client, Message, children_of, open_session, until

NEIGHBOUR = Path(__file__).parents[1] / "programs" / "neighbour.py"

MEDIAN_SECONDS = 0.5
SLOWEST_SECONDS = 3.0
"""What a neighbour may have to wait for an answer that takes a millisecond. Generous to a busy machine, and far below
every time-out: who waits for the fault of another waits longer."""

START_SECONDS = 20.0
GONE_SECONDS = 20.0
"""After this, what is left is left for good."""

_warm: WeakSet[Daemon] = WeakSet()


@asynccontextmanager
async def nothing_left(daemon: Daemon) -> AsyncIterator[None]:
    """After the block everything is as it was before.

    Once the block's own connections are closed, the daemon has no session, call, child, task or descriptor that it did
    not have before, and no exception is in its log.
    """
    before = await holdings(daemon)
    yield
    now: dict[str, Any] = {}

    async def is_as_before() -> bool:
        now.update(await holdings(daemon))
        return now == before

    try:
        await until(is_as_before, "", seconds=GONE_SECONDS)
    except AssertionError:
        raise AssertionError(f"something is left: {now}, before it was {before}") from None
    assert "Traceback" not in daemon.log, daemon.log


@asynccontextmanager
async def unharmed(daemon: Daemon, *, holds_a_call: bool = True) -> AsyncIterator[None]:
    """A fault happens in the block. A neighbour is served all the while, and afterwards there is `nothing_left`.

    The neighbour is a client in a process of its own with a session of its own: all its answers are right and come in
    time, a call that it left open is answered at last (`holds_a_call`; not where calls have a time limit), and its
    server is still the same. Of all processes that the daemon or a server of it has started none is alive.
    """
    await _warm_up(daemon)
    async with nothing_left(daemon):
        async with _neighbour(daemon, holds_a_call=holds_a_call) as (marker, pid):
            others = carriers(marker) - {pid}  # left by a test that has failed
            yield

        async def are_gone() -> bool:
            return carriers(marker) <= others

        await until(are_gone, "every process that was started is gone", seconds=GONE_SECONDS)


@asynccontextmanager
async def faulty_session(daemon: Daemon, *, holds_a_call: bool = True) -> AsyncIterator[tuple[Client, int]]:
    """A client and its child, to whom something happens in the block, `unharmed` all others; the session ends there."""
    async with unharmed(daemon, holds_a_call=holds_a_call), open_session(daemon.url) as client:
        try:
            yield client, await client.pid()
        finally:
            status = (await client.delete()).status_code
        assert status in (200, 404)


async def holdings(daemon: Daemon) -> dict[str, Any]:
    """What the daemon has that it might lose track of. Asked on a connection that it has closed when this returns."""
    async with raw_connection(daemon) as raw:
        await raw.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        shown: Message = json.loads((await raw.read_to_end()).partition(b"\r\n\r\n")[2])
        return {
            **{name: shown[name] for name in ("sessions", "children", "calls_in_flight", "tasks")},
            "descriptors": descriptors(daemon.pid),
            "processes": children_of(daemon.pid),
        }


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def carriers(marker: str) -> set[int]:
    """The living processes that were started below the daemon with this marker."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                is_one = f"MCP_PROXY_CHILD_OF={marker}".encode() in (entry / "environ").read_bytes()
            except OSError:
                continue
            if is_one and is_alive(int(entry.name)):
                found.add(int(entry.name))
    return found


async def _warm_up(daemon: Daemon) -> None:
    """Let the daemon do once what it does only once: the first stream begins a task that stays."""
    if daemon in _warm:
        return
    before = await holdings(daemon)
    async with open_session(daemon.url) as client:
        async with client.listen():
            await client.delete()
    _warm.add(daemon)

    async def is_at_rest() -> bool:
        now = await holdings(daemon)
        is_over = all(now[name] == before[name] for name in ("sessions", "children", "processes"))
        return is_over and now == await holdings(daemon)

    await until(is_at_rest, "the daemon at rest")


@asynccontextmanager
async def _neighbour(daemon: Daemon, *, holds_a_call: bool) -> AsyncIterator[tuple[str, int]]:
    """Lets it be served; yields the marker that all processes below the daemon carry, and its server's process id."""
    argv = [sys.executable, "-I", "-S", str(NEIGHBOUR), str(daemon.port), *(["hold"] if holds_a_call else [])]
    async with await anyio.open_process(argv) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        try:
            with anyio.fail_after(START_SECONDS):
                server = json.loads(await process.stdout.receive())
            yield server["marker"].partition(".")[0], server["pid"]
        except BaseException:
            process.kill()
            raise
        with anyio.fail_after(START_SECONDS):
            await process.stdin.aclose()
            figures = b"".join([part async for part in process.stdout])
            said = b"".join([part async for part in process.stderr]).decode()
            await process.wait()
    assert process.returncode == 0, f"the neighbour was harmed:\n{said}"
    in_time = json.loads(figures)
    assert in_time["median_seconds"] < MEDIAN_SECONDS, in_time
    assert in_time["slowest_seconds"] < SLOWEST_SECONDS, in_time

"""What do 1,000 clients cost that come, and are never heard of again?"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from tests.e2e.serving import CHILD
from tests.faults.raw import Raw, head, post, raw_connection
from tests.faults.unharmed import descriptors, unharmed
from tests.support.daemon import Daemon, running_daemon
from tests.support.mcp import (
    Client,
    call,
    children_of,
    connected,
    error_of,
    health,
    hello,
    notification,
    request,
    until,
)

LIGHT = str(Path(__file__).parents[1] / "programs" / "light.sh")
CROWD = 1000
MAX_SESSIONS = 100
MAX_CHILDREN = 120
"""Those included that are being ended."""
DESCRIPTORS_OF_A_CHILD = 6
"""Three pipes, a pidfd, the connection of its client, and one that is being opened."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    limits = ("--max-sessions", str(MAX_SESSIONS), "--max-children", str(MAX_CHILDREN))
    flags = (*limits, "--unused-timeout", "1s", "--idle-timeout", "1s")
    with running_daemon(*flags, "--place-timeout", "60s", "--", "/bin/sh", LIGHT, *CHILD) as daemon:
        yield daemon


def light_hello(number: int) -> dict[str, object]:
    """An `initialize` that starts a server of a millisecond."""
    message = hello(number)
    message["params"]["clientInfo"]["name"] = "light"
    return message


async def come_and_vanish(daemon: Daemon, number: int) -> str:
    """Begin a session, leave it in one of four states, and return its id: nobody says goodbye."""
    nobody = Client(None, daemon.url)  # type: ignore[arg-type]  # only names the session in the heads of requests
    async with raw_connection(daemon) as raw:
        await raw.send(post(nobody, light_hello(number)))
        answer = await raw.read_until(b"}}")
        found = re.search(rb"\r\nmcp-session-id: (\S+)\r\n", answer)
        assert answer.startswith(b"HTTP/1.1 200 ") and b'"id":%d,' % number in answer and found is not None, answer
        nobody.session_id = found[1].decode()
        await (leave_unused, leave_used, leave_with_a_call, leave_listening)[number % 4](raw, nobody)
    return nobody.session_id


async def leave_unused(_: Raw, __: Client) -> None:
    """Nothing follows `initialize`."""


async def leave_used(raw: Raw, nobody: Client) -> None:
    """The handshake is complete."""
    await raw.send(post(nobody, notification("notifications/initialized")))
    await raw.read_until(b"HTTP/1.1 202 ")


async def leave_with_a_call(raw: Raw, nobody: Client) -> None:
    """In the middle of a call that is never answered."""
    await leave_used(raw, nobody)
    await raw.send(post(nobody, call("left", "hold")))


async def leave_listening(raw: Raw, nobody: Client) -> None:
    """With a GET stream."""
    await raw.send(head("GET", nobody, "Accept: text/event-stream"))
    await raw.read_until(b"HTTP/1.1 200 ")


async def test_1000_abandoned_sessions_expire_within_the_bounds_and_are_counted(daemon: Daemon) -> None:
    """--max-sessions, --max-children, --unused-timeout, --idle-timeout. The neighbour's session is one of them."""
    most: Counter[str] = Counter()
    ids: list[str] = []
    async with unharmed(daemon), connected(daemon.url) as client:
        rest = descriptors(daemon.pid)

        async def crowd(first: int) -> None:
            for number in range(first, CROWD, MAX_SESSIONS):
                session_id = await come_and_vanish(daemon, number)
                ids.append(session_id)

        async def watch() -> None:
            while len(ids) < CROWD:
                shown = await health(client)
                now = Counter(sessions=shown["sessions"], children=shown["children"])
                now["processes"] = len(children_of(daemon.pid))
                now["descriptors"] = descriptors(daemon.pid) - rest
                for name, number in now.items():
                    most[name] = max(most[name], number)
                await anyio.sleep(0.1)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            for first in range(MAX_SESSIONS):
                tasks.start_soon(crowd, first)

        async def have_expired() -> bool:
            return bool((await health(client))["sessions"] == 1)

        await until(have_expired, "the end of all but the neighbour's")
        assert len(set(ids)) == CROWD
        assert most["sessions"] <= MAX_SESSIONS
        assert max(most["children"], most["processes"]) <= MAX_CHILDREN
        assert most["descriptors"] <= DESCRIPTORS_OF_A_CHILD * MAX_CHILDREN
        counts = (await health(client))["counts"]
        assert counts["expired.unused_session"] == CROWD // 4
        assert counts["expired.idle_session"] == CROWD * 3 // 4
        client.session_id = ids[7]
        assert error_of(await client.post(request(7, "ping"))) == (404, -32001, 7)

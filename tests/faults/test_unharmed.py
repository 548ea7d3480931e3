"""Does the watch over all other tests here see what it is to see?"""

import os
import signal
import socket
from collections.abc import Iterator

import anyio
import pytest

from tests.e2e.serving import serving
from tests.faults import unharmed as watch
from tests.faults.unharmed import nothing_left, unharmed
from tests.support.daemon import Daemon
from tests.support.mcp import children_of, open_session


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving() as daemon:
        yield daemon


async def test_a_session_that_is_left_is_seen(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "GONE_SECONDS", 0.3)
    with pytest.raises(AssertionError, match="something is left: {'sessions': 1, .*, before it was {'sessions': 0, "):
        async with nothing_left(daemon), open_session(daemon.url):
            pass


async def test_a_connection_that_is_left_is_seen(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "GONE_SECONDS", 0.3)
    with socket.socket() as connection:
        with pytest.raises(AssertionError, match="something is left"):
            async with nothing_left(daemon):
                connection.connect(("127.0.0.1", daemon.port))


async def test_a_neighbour_that_loses_its_server_is_seen(daemon: Daemon) -> None:
    with pytest.raises(AssertionError, match="the neighbour was harmed"):
        async with unharmed(daemon):
            os.kill(max(children_of(daemon.pid)), signal.SIGKILL)  # the youngest


async def test_a_neighbour_that_has_to_wait_is_seen(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SLOWEST_SECONDS", 0.3)
    with pytest.raises(AssertionError, match="slowest_seconds"):
        async with unharmed(daemon):
            daemon.signal(signal.SIGSTOP)
            await anyio.sleep(0.6)
            daemon.signal(signal.SIGCONT)


async def test_a_process_that_is_left_is_seen(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has left its group; its server lives on, so nobody looks for it."""
    monkeypatch.setattr(watch, "GONE_SECONDS", 0.3)
    with pytest.raises(AssertionError, match="every process"):
        async with unharmed(daemon):
            async with open_session(daemon.url) as left:
                await left.result(1, "fork", count=1, stray=True)

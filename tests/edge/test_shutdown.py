"""How the streams of a bridge learn that the server around it is about to stop."""

import signal
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from proxy.edge import shutdown as module
from proxy.edge.shutdown import Shutdown


class Server:
    """As far as uvicorn can be known from its signal handler."""

    should_exit = False

    def handle_exit(self, *_: object) -> None:
        self.should_exit = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    server = Server()
    before = signal.signal(signal.SIGTERM, server.handle_exit)
    yield server
    signal.signal(signal.SIGTERM, before)


async def test_it_begins_when_the_server_is_asked_to_stop_while_a_stream_is_open(server: Server) -> None:
    begun: list[int] = []
    shutdown = Shutdown(lambda: begun.append(1))

    with shutdown.watched(), shutdown.watched():
        await anyio.sleep(0.03)
        assert not begun
        signal.raise_signal(signal.SIGTERM)
        with anyio.fail_after(5):
            await shutdown.begun.wait()

    shutdown.begin()
    assert begun == [1]


async def test_it_begins_anew_with_the_next_run(server: Server) -> None:
    """Another server may carry it then, and the first has nothing to say."""
    begun: list[int] = []
    shutdown = Shutdown(lambda: begun.append(1))
    shutdown.begin()

    shutdown.rearm()

    with shutdown.watched():
        await anyio.sleep(0.03)
        assert not shutdown.begun.is_set()
    shutdown.begin()
    assert begun == [1, 1]


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, lambda *_: None, {}.get])
async def test_other_handlers_say_nothing(handler: Any) -> None:
    before = signal.signal(signal.SIGTERM, handler)
    try:
        shutdown = Shutdown(lambda: None)
        shutdown.look()
        assert not shutdown.begun.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)

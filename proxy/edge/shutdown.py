"""Is the HTTP server around us about to stop?

It waits for open responses, some of which would never end, and tells the lifespan only after the last. ASGI has no
word for the time before. uvicorn can be asked: its signal handlers are methods of the server that is being stopped.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio

POLL_SECONDS = 0.5
"""How often the server is asked while a stream is open."""


class Shutdown:
    """The end of one run of a bridge, as its open streams learn of it.

    Args:
        on_begin: Called once when it begins.
    """

    def __init__(self, on_begin: Callable[[], None]) -> None:
        self._on_begin = on_begin
        self._begun = anyio.Event()
        self._streams = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def begun(self) -> anyio.Event:
        """Set when it begins."""
        return self._begun

    def rearm(self) -> None:
        """The bridge runs, perhaps not for the first time."""
        self._begun = anyio.Event()

    def begin(self) -> None:
        """The bridge, or the server around it, is about to stop. Does nothing the second time."""
        if not self._begun.is_set():
            self._begun.set()
            self._on_begin()

    def look(self) -> None:
        """Ask the server."""
        if not self._begun.is_set() and _is_server_stopping():
            self.begin()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A stream is open: ask the server now and then."""
        self._streams += 1
        if self._timer is None:
            self._look_and_go_on()
        try:
            yield
        finally:
            self._streams -= 1
            if not self._streams and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _look_and_go_on(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(POLL_SECONDS, self._look_and_go_on)
        self.look()


def _is_server_stopping() -> bool:
    """Whether the uvicorn that has the signals of this process is being stopped; False if there is none."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True

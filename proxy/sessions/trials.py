"""Does a server start when no client has a say in it?

A client can make a child exit by what it says, and nobody comes to a server of which it is known that it does not
start. So it is found out here, by starts of our own: one at a time, when `Starts` wants one.
"""

import logging
from collections.abc import Awaitable, Callable

import anyio

from proxy.errors import ChildFault, ProxyError, SessionEnded
from proxy.protocol.sessionless import handshake
from proxy.sessions.handshakes import answer_of_child
from proxy.sessions.places import Places
from proxy.sessions.session import Session
from proxy.sessions.starts import Starts
from proxy.version import __version__

logger = logging.getLogger(__name__)


class Trials:
    """Starts children for nobody, shakes hands with each, and ends it.

    Args:
        starts: Says when, and is told how it went.
        open_ahead: Begins a session that is nobody's, on a place that there is.
        places: Room for its process.
        version: The revision to ask for.
        start_timeout_seconds: From its start to the end of its handshake.
        place_timeout_seconds: How long to wait for room.
    """

    def __init__(
        self,
        starts: Starts,
        *,
        open_ahead: Callable[[], Awaitable[Session]],
        places: Places,
        version: str,
        start_timeout_seconds: float,
        place_timeout_seconds: float,
    ) -> None:
        self._starts = starts
        self._open_ahead = open_ahead
        self._places = places
        self._version = version
        self._start_timeout_seconds = start_timeout_seconds
        self._place_timeout_seconds = place_timeout_seconds

    async def run(self) -> None:
        """Try for ever, whenever that is wanted."""
        while True:
            wanted = anyio.Event()
            self._starts.on_failed = wanted.set
            due = self._starts.trial_in_seconds
            if due is not None and due <= 0:
                failed: bool | None = None
                try:
                    failed = await self._fails()
                except Exception:  # in this task group it would end everything
                    logger.exception("trial failed badly")
                self._starts.tried(failed=failed)
                continue
            with anyio.move_on_after(due):
                await wanted.wait()

    async def _fails(self) -> bool | None:
        """Whether a child does not become ready; None if there is no room for one."""
        with anyio.move_on_after(self._place_timeout_seconds):
            while not self._places.has_room:
                await self._places.changed(1.0)
        if not self._places.has_room:
            return None
        try:
            session = await self._open_ahead()
        except ProxyError as error:
            return True if isinstance(error, ChildFault) else None
        try:
            with anyio.move_on_after(self._start_timeout_seconds):
                await answer_of_child(session, handshake(self._version, __version__))
                return False  # an error is an answer, too
            session.start_timed_out()
            return True
        except ProxyError as error:
            return True if isinstance(error, ChildFault) else None
        finally:
            session.end("a trial", SessionEnded())

"""Which start of a child does a client wait for that shares it with others?"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from proxy.errors import Draining, ProxyError
from proxy.protocol.envelope import ModernRequest
from proxy.sessions.era import ServerEra
from proxy.sessions.modern.processes import Processes
from proxy.sessions.modern.ready import Ready

logger = logging.getLogger(__name__)

StartKey = tuple[str, bytes | None, int]
"""What is started: one for a group and what its clients can do, and which of those."""


class JointStarts:
    """The starts of one server's children that go on for all who can share them.

    Args:
        start: Starts one, and makes it ready.
        processes: Own what is started, and this.
        ready: Those that are ready.
        era: What is known of the server.
    """

    def __init__(
        self,
        *,
        start: Callable[[str, bytes, ModernRequest], Coroutine[Any, Any, object]],
        processes: Processes,
        ready: Ready,
        era: ServerEra,
    ) -> None:
        self._start = start
        self._processes = processes
        self._ready = ready
        self._era = era
        self._going_on: dict[StartKey, asyncio.Future[None]] = {}

    async def start(self, group: str, capabilities: bytes, request: ModernRequest, *, spare: bool) -> None:
        """Start one more child for a group, or wait for the start that is going on.

        It goes on when its clients leave: others may come.

        Args:
            group: Whose it will be.
            capabilities: What its clients can do.
            request: The first for it.
            spare: Whether there is one already, which is taken.

        Raises:
            Draining: If no new ones begin.
            ProxyError: What the start has raised.
        """
        if not self._processes.can_start:
            raise Draining
        kind = None if self._era.speaks_modern is not False else capabilities
        number = self._ready.count(group, kind) if spare else 0
        while spare and (group, kind, number) in self._going_on:  # each that waits for a turn starts one for itself
            number += 1
        key = (group, kind, number)
        future = self._going_on.get(key)
        if future is None:
            future = self._going_on[key] = asyncio.get_running_loop().create_future()
            future.add_done_callback(_looked_at)
            self._processes.start_soon(self._run, key, future, capabilities, request)
        await asyncio.shield(future)

    async def _run(
        self, key: StartKey, future: "asyncio.Future[None]", capabilities: bytes, request: ModernRequest
    ) -> None:
        outcome: Exception | None = Draining()
        try:
            await self._start(key[0], capabilities, request)
            outcome = None
        except Exception as exc:
            if not isinstance(exc, ProxyError):
                logger.exception("start failed")
            outcome = exc
        finally:
            del self._going_on[key]
            if not future.done():
                if outcome is None:
                    future.set_result(None)
                else:
                    future.set_exception(outcome if isinstance(outcome, ProxyError) else ProxyError())


def _looked_at(future: "asyncio.Future[None]") -> None:
    """Nobody may be left who waits for a start that failed; that is no fault."""
    if not future.cancelled():
        future.exception()

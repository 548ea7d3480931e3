"""Is the client of a held request still there, and has it waited long enough?

ASGI tells of a disconnect only to somebody who waits for it. A task for each request would cost more than most
requests take, so one shared timer looks at those that are held for longer than a moment.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup
from starlette.types import Receive

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

TICK_SECONDS = 0.05
"""How often held requests are looked at, and the age from which on their connection is watched."""


class Held:
    """One HTTP request whose response has not begun."""

    __slots__ = ("commit_at", "on_commit", "on_gone", "receive", "scope", "since")

    def __init__(
        self,
        receive: Receive,
        since: float,
        commit_at: float | None,
        on_commit: Callable[[], None],
        on_gone: Callable[[], None],
    ) -> None:
        self.receive = receive
        self.since = since
        self.commit_at = commit_at
        self.on_commit = on_commit
        self.on_gone = on_gone
        self.scope: anyio.CancelScope | None = None  # of the task that watches its connection


class Presence:
    """Watches held requests. Used between `started` and `stopped`, which `Bridge.run` calls.

    Args:
        on_tick: Called now and then while a request is held.
    """

    def __init__(self, on_tick: Callable[[], None]) -> None:
        self._on_tick = on_tick
        self._held: dict[Held, None] = {}  # oldest first
        self._tasks: TaskGroup | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._quiet_ticks = 0

    def started(self, tasks: TaskGroup) -> None:
        """Watch from now on, with tasks of this group."""
        self._tasks = tasks

    def stopped(self) -> None:
        """Watch no longer."""
        self._tasks = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hold(
        self,
        receive: Receive,
        *,
        commit_after_seconds: float | None,
        on_commit: Callable[[], None],
        on_gone: Callable[[], None],
    ) -> Held:
        """Watch a request until `release`.

        Args:
            receive: The request's ASGI `receive`; nobody else may wait on it meanwhile.
            commit_after_seconds: When to call `on_commit`, once; None for never.
            on_commit: Called when the response should begin although there is nothing to say.
            on_gone: Called when the client has closed the connection.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        commit_at = None if commit_after_seconds is None else now + commit_after_seconds
        held = Held(receive, now, commit_at, on_commit, on_gone)
        self._held[held] = None
        self._quiet_ticks = 0
        if self._timer is None and self._tasks is not None:
            self._timer = loop.call_later(TICK_SECONDS, self._tick)
        return held

    def release(self, held: Held) -> None:
        """The response begins, or the request is given up."""
        del self._held[held]
        if held.scope is not None:
            held.scope.cancel()

    async def unless_gone(self, receive: Receive, do: Callable[[], Awaitable[Result]]) -> Result | None:
        """What comes of it; None if the client has left meanwhile: then it is given up."""
        result: Result | None = None
        with anyio.CancelScope() as scope:
            held = self.hold(receive, commit_after_seconds=None, on_commit=_nothing, on_gone=scope.cancel)
            try:
                result = await do()
            finally:
                self.release(held)
        return result

    def _tick(self) -> None:
        tasks = self._tasks
        if tasks is None:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        try:
            for held in list(self._held):
                if now - held.since < TICK_SECONDS:
                    break
                self._look(held, now, tasks)
            self._on_tick()
        except Exception:  # a bug; the timer must go on for all others
            logger.exception("held requests not looked at")
        self._quiet_ticks += 1
        # Runs on for a while after the last request: starting the timer for each would cost more than it saves.
        self._timer = loop.call_later(TICK_SECONDS, self._tick) if self._held or self._quiet_ticks < 20 else None

    def _look(self, held: Held, now: float, tasks: TaskGroup) -> None:
        if held.scope is None:
            held.scope = anyio.CancelScope()
            tasks.start_soon(self._watch, held)
        if held.commit_at is not None and now >= held.commit_at:
            held.commit_at = None
            try:
                held.on_commit()
            except Exception:
                logger.exception("response not begun")

    async def _watch(self, held: Held) -> None:
        assert held.scope is not None  # set before this task starts
        try:
            with held.scope:
                try:
                    while (await held.receive())["type"] != "http.disconnect":
                        pass
                except Exception:
                    logger.exception("watching a connection failed")
                held.on_gone()
        except Exception:  # of one request; in this task group it would end all others
            logger.exception("end of a connection not taken")


def _nothing() -> None:
    return None

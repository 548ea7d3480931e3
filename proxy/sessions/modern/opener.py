"""How does a process that has said nothing yet come to serve clients without sessions?

It is asked which era it speaks, if that is not known, and what it shows is remembered for its server.
"""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

import anyio

from proxy.errors import ChildStartFailed, ChildStartTimedOut, ProxyError, SessionEnded
from proxy.observe import Counts
from proxy.protocol.envelope import ModernRequest
from proxy.sessions.era import ServerEra
from proxy.sessions.modern.child import SharedChild
from proxy.sessions.modern.handshake import shake_hands
from proxy.sessions.modern.limits import ModernLimits
from proxy.sessions.modern.opening import Discovery, Finding


class Spawn(Protocol):
    """Starts processes."""

    async def __call__(
        self, group: str | None, started: list[SharedChild], *, may_be_warm: bool = False
    ) -> SharedChild:
        """A process that has said nothing but that it lives, or that it is modern if it is known that it should be.

        Args:
            group: Whose it will be.
            started: It is added to these.
            may_be_warm: Whether one will do that was started before.
        """


class Opener:
    """Opens the processes of one server.

    Args:
        spawn: Starts a process, and adds it to the list.
        start_soon: Runs something beside.
        limits: Bounds of each.
        counts: What an operator may see.
        era: What is known of the server.
        on_late: Gets a process that has proved itself when another serves already.
        is_ending: Whether no more are wanted.
    """

    def __init__(
        self,
        *,
        spawn: Spawn,
        start_soon: Callable[[Callable[[], Coroutine[Any, Any, None]]], None],
        limits: ModernLimits,
        counts: Counts,
        era: ServerEra,
        on_late: Callable[[SharedChild], None],
        is_ending: Callable[[], bool],
    ) -> None:
        self._spawn = spawn
        self._start_soon = start_soon
        self._limits = limits
        self._counts = counts
        self._era = era
        self._on_late = on_late
        self._is_ending = is_ending
        self._is_silent = False  # a process has not answered the first question yet, and another has shaken hands

    async def open(
        self, group: str | None, capabilities: bytes, request: ModernRequest, started: list[SharedChild]
    ) -> SharedChild:
        """A process that serves, for clients that can do this.

        Waits for room, for the process to start, and for what it shows of itself.

        Args:
            group: Whose it will be.
            capabilities: What it is told that its clients can do, if it has to be told.
            request: The first one for it.
            started: Gets every process that was started on the way; the caller ends those that it does not want.

        Raises:
            ChildStartFailed, ChildStartTimedOut: If none serves. And as `spawn`.
        """
        era, limits = self._era, self._limits
        if era.speaks_modern is False or (era.speaks_modern is None and self._is_silent):
            child = await self._spawn(group, started, may_be_warm=True)
            return await self._shake(child, capabilities, request, started)
        is_known = era.speaks_modern is True
        child = await self._spawn(group, started, may_be_warm=True)
        if child.is_discovered:
            return child
        discovery = Discovery(child)
        finding = await discovery.finding(
            seconds=limits.start_timeout_seconds if is_known else limits.probe_timeout_seconds
        )
        if finding is Finding.MODERN:
            era.learned_modern(True, finding.value)
            return child
        if finding is Finding.NO_COMMON_REVISION:
            raise ChildStartFailed("The server speaks no revision that is spoken here")
        if finding is Finding.NOT_MODERN:
            return await self._shake(child, capabilities, request, started, learned=finding.value)
        if is_known and era.configured == "modern":
            raise ChildStartTimedOut if finding is Finding.SILENT else ChildStartFailed
        if finding is Finding.GONE:
            if is_known:  # it crashes, which says nothing about its era
                raise ChildStartFailed
            return await self._shake(
                await self._spawn(group, started), capabilities, request, started, learned=finding.value
            )
        return await self._race(child, discovery, capabilities, request, started)

    async def _race(
        self,
        silent: SharedChild,
        discovery: Discovery,
        capabilities: bytes,
        request: ModernRequest,
        started: list[SharedChild],
    ) -> SharedChild:
        """One process is silent: a second gets `initialize` beside it, and whichever proves itself decides.

        Silence alone is remembered only when it has lasted as long as any start may take: a package that is still
        being downloaded is silent, too. An answer that comes late still counts.
        """
        winner: list[SharedChild] = []
        faults: list[ProxyError] = []

        async def wait_for_silent() -> None:
            finding = await discovery.finding(seconds=self._limits.start_timeout_seconds)
            if finding is Finding.MODERN:
                self._era.learned_modern(True, "answered server/discover late")
                winner.append(silent)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_silent)
            try:
                second = await self._spawn(silent.group, started)
                if await self._shakes_hands(second, capabilities, request):
                    winner.append(second)  # else the silent one is modern, and will answer
            except ProxyError as exc:
                faults.append(exc)
            if winner:
                tasks.cancel_scope.cancel()
        if not winner:
            raise faults[0] if faults else ChildStartTimedOut()
        for each in [each for each in started if each is not winner[0]]:
            if each is silent and not silent.has_ended:
                self._start_soon(partial(self._listen_for_late_answer, silent, discovery))
            else:
                each.end("another has proved itself first", SessionEnded())
        return winner[0]

    async def _listen_for_late_answer(self, silent: SharedChild, discovery: Discovery) -> None:
        self._is_silent = True
        try:
            finding = await discovery.finding(seconds=self._limits.start_timeout_seconds)
        finally:
            self._is_silent = False
        if finding is Finding.MODERN:
            self._era.learned_modern(True, "answered server/discover late")
            if silent.group is not None:
                self._on_late(silent)
                return
        elif not self._is_ending():
            self._era.learned_modern(False, f"{finding.value}, a second process answered initialize")
        silent.end("another serves in its place", SessionEnded())

    async def _shake(
        self,
        child: SharedChild,
        capabilities: bytes,
        request: ModernRequest,
        started: list[SharedChild],
        *,
        learned: str | None = None,
    ) -> SharedChild:
        """Shake hands with a process, or, if it turns out to be modern, ask a fresh one the other question."""
        if await self._shakes_hands(child, capabilities, request, learned=learned):
            return child
        child = await self._spawn(child.group, started)
        if await Discovery(child).finding(seconds=self._limits.start_timeout_seconds) is Finding.MODERN:
            return child
        raise ChildStartFailed

    async def _shakes_hands(
        self, child: SharedChild, capabilities: bytes, request: ModernRequest, *, learned: str | None = None
    ) -> bool:
        """Shake hands with a process; it is told what the clients of its group can do.

        Returns whether it did; False if its server speaks 2026-07-28 alone. Such a process can't be asked anything else
        and is ended.
        """
        era = self._era
        if era.speaks_legacy is False and era.configured == "modern":
            raise ChildStartFailed
        refused_as_modern = await shake_hands(child, capabilities, request, limits=self._limits, counts=self._counts)
        if not refused_as_modern:
            child.capabilities = capabilities
            if learned is not None:
                era.learned_modern(False, learned)
            era.learned_legacy(True, "answered initialize")
            return True
        if era.configured == "legacy":
            raise ChildStartFailed("The server speaks no revision with a handshake")
        era.learned_legacy(False, "refused initialize")
        era.learned_modern(True, "refused initialize as a revision that it does not speak")
        child.end("speaks no handshake", ChildStartFailed())
        return False

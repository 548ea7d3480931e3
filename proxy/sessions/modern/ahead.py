"""How are the processes of clients without sessions started before anybody asks for one?

A process whose server speaks 2026-07-28 has answered `server/discover` when it is handed out. One of an older server
has answered a `ping`; it shakes hands when it is known what its client can do. Either settles the era of a process
that could speak both, so these are others than those that are kept for sessions.
"""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import anyio

from proxy.sessions.era import ServerEra
from proxy.sessions.modern.child import SharedChild
from proxy.sessions.modern.opening import Discovery, Finding
from proxy.sessions.starts import Starts
from proxy.sessions.warm.kind import Kind
from proxy.sessions.warm.sessions import WAITS_AT_MOST_SECONDS


class SharedAhead(Kind[SharedChild]):
    """Processes of `Pool` that are nobody's yet.

    None is kept before the first is asked for, which also shows what the server speaks; unless the operator says it.

    Args:
        start: Starts one on a place that there is.
        opening: Since when somebody waits for one that is being started.
        era: What is known of the server.
        starts: Told how starts went.
        on_no_good: Told of one that has not answered in time, or not as it should.
    """

    name = "without session"

    def __init__(
        self,
        *,
        start: Callable[[], Coroutine[Any, Any, SharedChild]],
        opening: Callable[[], Iterable[float]],
        era: ServerEra,
        starts: Starts,
        on_no_good: Callable[[SharedChild], None],
    ) -> None:
        self.is_wanted_at_once = era.configured == "modern"
        self._start = start
        self._opening = opening
        self._era = era
        self._starts = starts
        self._on_no_good = on_no_good

    @property
    def can_start(self) -> bool:
        """Whether it is known what the server speaks."""
        return self._era.speaks_modern is not None

    @property
    def is_proof_optional(self) -> bool:
        """`server/discover` is no question that a server may fail to bear; a `ping` before the handshake may be."""
        return self._era.speaks_modern is False

    def clients_waiting(self, now: float) -> int:
        """How many wait for a process that is being started."""
        return sum(now - since < WAITS_AT_MOST_SECONDS for since in self._opening())

    def fits(self, child: SharedChild) -> bool:
        """Whether what a process was asked is what it would be asked now."""
        speaks_modern = self._era.speaks_modern
        return speaks_modern is not None and child.was_asked_to_discover is speaks_modern

    async def start(self) -> SharedChild:
        """Start one for nobody yet. Raises as `Pool.own`."""
        return await self._start()

    async def prove(self, child: SharedChild) -> bool:
        """Wait until it has shown what it has to."""
        if self._era.speaks_modern is True:
            child.was_asked_to_discover = True
            finding = await Discovery(child).finding(seconds=float("inf"))
            child.is_discovered = finding is Finding.MODERN
            return child.is_discovered
        answered = anyio.Event()
        child.ping(answered.set)
        await answered.wait()
        return True

    def judged(self, child: SharedChild, *, is_good: bool) -> None:
        """It is ready, or has not shown what it has to in time."""
        if is_good:
            self._starts.note(failed=False)
        else:
            self._starts.note_failed_ahead()
            self._on_no_good(child)

"""For how long may one child that floods its stdout hold the event loop?

A turn that is short costs the flood: more turns, each with a write to its reader. One that is long costs everybody
else: a call takes three turns of the loop. So a turn is short while anybody else has one, and else it is long.
"""

from time import perf_counter

SHORT_SECONDS = 0.0001
"""While others have calls. Ours: a call of a neighbour takes half a millisecond, and then twice that; see the measure
`neighbours` in `benchmarks`."""
LONG_SECONDS = 0.001
BUSY_SECONDS = 0.005
"""Somebody who had a turn this short a time ago may want another one."""


class Turns:
    """Shared by the links of all children on one loop."""

    def __init__(self) -> None:
        self._messages = 0

    def message(self) -> None:
        """Something ordinary has crossed some link."""
        self._messages += 1

    @property
    def messages(self) -> int:
        """How many there were."""
        return self._messages


class Flood:
    """One child that says more than there is time for."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._seen = turns.messages
        self._short_until = 0.0

    def turn_ends_at(self) -> float:
        """A turn begins now; when it is to end, by `perf_counter`."""
        now = perf_counter()
        if self._turns.messages != self._seen:
            self._seen = self._turns.messages
            self._short_until = now + BUSY_SECONDS
        return now + (SHORT_SECONDS if now < self._short_until else LONG_SECONDS)

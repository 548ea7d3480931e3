"""How long is the turn of a child that floods?"""

import pytest

from proxy.child import turns as turns_module
from proxy.child.turns import BUSY_SECONDS, LONG_SECONDS, SHORT_SECONDS, Flood, Turns


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(turns_module, "perf_counter", clock)
    return clock


def length(flood: Flood, clock: Clock) -> float:
    return round(flood.turn_ends_at() - clock.now, 9)


def test_a_turn_is_long_while_nobody_else_wants_one(clock: Clock) -> None:
    flood = Flood(Turns())

    assert [length(flood, clock) for _ in range(3)] == [LONG_SECONDS] * 3


def test_it_is_short_while_others_have_calls_and_a_moment_longer(clock: Clock) -> None:
    turns = Turns()
    flood, other = Flood(turns), Flood(turns)
    turns.message()

    assert length(flood, clock) == SHORT_SECONDS
    assert length(other, clock) == SHORT_SECONDS  # each has to see it
    clock.now += BUSY_SECONDS / 2
    assert length(flood, clock) == SHORT_SECONDS
    clock.now += BUSY_SECONDS
    assert length(flood, clock) == LONG_SECONDS


def test_what_was_before_the_child_is_nothing_to_it(clock: Clock) -> None:
    turns = Turns()
    turns.message()

    assert length(Flood(turns), clock) == LONG_SECONDS

"""When is a server that fails to start left alone, and when is it tried again?"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.errors import CircuitOpen
from proxy.observe import Counts
from proxy.sessions import backoff
from proxy.sessions.starts import Starts


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def starts_of(clock: Clock) -> Starts:
    return Starts(clock, max_failed=3, counts=Counts())


def state(starts: Starts) -> str:
    return starts.circuit


def fail(starts: Starts, times: int = 1) -> None:
    for _ in range(times):
        start = starts.begin()
        starts.note(failed=True)
        start.close()


@contextmanager
def refused() -> Iterator[None]:
    with pytest.raises(CircuitOpen) as caught:
        yield
    assert caught.value.retry_after_seconds is not None
    assert caught.value.retry_after_seconds >= 1


def open_circuit(clock: Clock) -> Starts:
    starts = starts_of(clock)
    fail(starts, 3)
    return starts


def test_starts_are_tried_until_enough_have_failed_in_a_row(clock: Clock) -> None:
    starts = starts_of(clock)
    fail(starts, 2)
    starts.note(failed=False)
    fail(starts, 2)
    assert state(starts) == "closed"

    fail(starts)

    assert state(starts) == "open"
    with refused():
        starts.begin()
    assert starts.report()["failed_in_a_row"] == 3
    assert starts.report()["next_in_seconds"] > 0


def test_when_the_time_is_over_one_start_is_let_through(clock: Clock) -> None:
    starts = open_circuit(clock)
    clock.now += backoff.LAST_SECONDS

    assert state(starts) == "half-open"
    starts.begin()
    with refused():
        starts.begin()


def test_a_start_that_is_given_up_leaves_its_turn_to_the_next(clock: Clock) -> None:
    starts = open_circuit(clock)
    clock.now += backoff.LAST_SECONDS
    starts.begin().close()

    start = starts.begin()
    with refused():
        starts.begin()
    start.close()


def test_the_end_of_an_older_start_takes_no_turn_from_the_one_that_has_it(clock: Clock) -> None:
    starts = starts_of(clock)
    older = starts.begin()
    fail(starts, 3)
    clock.now += backoff.LAST_SECONDS
    starts.begin()

    older.close()

    with refused():
        starts.begin()


def test_a_success_closes_it_and_a_failure_opens_it_for_longer(clock: Clock) -> None:
    starts = open_circuit(clock)
    first = starts.report()["next_in_seconds"]
    for _ in range(2):  # twice: chance makes half of each wait
        clock.now += backoff.LAST_SECONDS
        fail(starts)
    assert starts.report()["next_in_seconds"] > first
    clock.now += backoff.LAST_SECONDS

    starts.begin()
    starts.note(failed=False)

    assert state(starts) == "closed"
    starts.begin()
    starts.begin()


def test_no_room_for_a_process_says_nothing_about_the_server(clock: Clock) -> None:
    starts = starts_of(clock)
    for _ in range(10):
        starts.begin()
        starts.note_full()

    assert state(starts) == "closed"
    assert starts.last_failed


def test_while_a_child_serves_somebody_it_stays_closed(clock: Clock) -> None:
    """Ours: DECISIONS, A circuit for servers that do not start."""
    starts = starts_of(clock)
    is_serving = True
    starts.serves.append(lambda: is_serving)
    fail(starts, 10)
    assert state(starts) == "closed"

    is_serving = False

    assert state(starts) == "open"

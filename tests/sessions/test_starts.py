"""When is a server that fails to start left alone, and when is it tried again?"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.errors import CircuitOpen
from proxy.observe import Counts
from proxy.sessions import backoff
from proxy.sessions import starts as starts_module
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


def fail(starts: Starts, times: int = 1, *, may_be_clients: bool = False) -> None:
    for _ in range(times):
        starts.check()
        starts.note(failed=True, may_be_clients=may_be_clients)


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
        starts.check()
    assert starts.report()["failed_in_a_row"] == 3
    assert starts.report()["next_in_seconds"] > 0


def test_when_the_time_is_over_a_trial_is_due_and_no_client_is_let_through(clock: Clock) -> None:
    """One of them could keep it open for all by what it says, or by saying nothing."""
    starts = open_circuit(clock)
    assert starts.trial_in_seconds == pytest.approx(starts.report()["next_in_seconds"], abs=0.06)

    clock.now += backoff.LAST_SECONDS

    assert (state(starts), starts.trial_in_seconds) == ("half-open", 0)
    with refused():
        starts.check()


def test_a_trial_that_succeeds_closes_it_and_one_that_fails_opens_it_for_longer(clock: Clock) -> None:
    starts = open_circuit(clock)
    first = starts.report()["next_in_seconds"]
    for _ in range(2):  # twice: chance makes half of each wait
        clock.now += backoff.LAST_SECONDS
        starts.tried(failed=True)
    assert starts.report()["next_in_seconds"] > first
    clock.now += backoff.LAST_SECONDS

    starts.tried(failed=False)

    assert (state(starts), starts.last_failed, starts.trial_in_seconds) == ("closed", False, None)
    starts.check()


def test_what_may_be_a_clients_fault_opens_nothing_until_a_trial_fails_too(clock: Clock) -> None:
    starts = starts_of(clock)

    fail(starts, 10, may_be_clients=True)

    assert (state(starts), starts.trial_in_seconds) == ("closed", 0)
    starts.tried(failed=True)
    assert state(starts) == "open"


def test_a_trial_that_succeeds_clears_the_server_of_what_its_clients_made_fail(clock: Clock) -> None:
    starts = starts_of(clock)
    fail(starts, 2, may_be_clients=True)
    history = [starts.last_failed]

    starts.tried(failed=False)
    fail(starts, 2, may_be_clients=True)
    history.append(starts.last_failed)

    assert history == [True, False]
    assert (state(starts), starts.report()["failed_in_a_row"]) == ("closed", 2)


def test_trials_for_failing_clients_are_spaced_out(clock: Clock) -> None:
    starts = starts_of(clock)
    fail(starts, may_be_clients=True)
    starts.tried(failed=False)

    fail(starts, may_be_clients=True)

    assert starts.trial_in_seconds == starts_module.TRIAL_PAUSE_SECONDS
    clock.now += starts_module.TRIAL_PAUSE_SECONDS
    assert starts.trial_in_seconds == 0


def test_a_trial_for_which_there_is_no_room_is_made_later(clock: Clock) -> None:
    starts = starts_of(clock)
    fail(starts, 3, may_be_clients=True)

    starts.tried(failed=None)

    assert (state(starts), starts.trial_in_seconds) == ("closed", starts_module.TRIAL_PAUSE_SECONDS)


def test_no_room_for_a_process_says_nothing_about_the_server(clock: Clock) -> None:
    starts = starts_of(clock)
    for _ in range(10):
        starts.check()
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

"""How long a server that keeps failing has to wait."""

import pytest

from proxy.sessions.backoff import FIRST_SECONDS, GOOD_LIFE_SECONDS, LAST_SECONDS, Backoff


class Server:
    """Fails when it is told to, on a clock that is moved."""

    def __init__(self, jitter: float = 1.0) -> None:
        self.now = 1000.0
        self.backoff = Backoff(lambda: self.now, jitter=lambda: jitter)

    def fail(self, times: int = 1, *, lived_seconds: float = 0.0) -> float:
        """Fails so often in a row; the wait after the last one."""
        for _ in range(times):
            self.now += self.backoff.wait_seconds
            self.backoff.failed(lived_seconds)
        return self.backoff.wait_seconds


def test_nobody_waits_before_anything_has_failed() -> None:
    assert Server().backoff.wait_seconds == 0.0


def test_the_wait_doubles_up_to_its_longest() -> None:
    server = Server()
    waits = [server.fail() for _ in range(12)]

    assert waits[:4] == pytest.approx([FIRST_SECONDS, FIRST_SECONDS * 2, FIRST_SECONDS * 4, FIRST_SECONDS * 8])
    assert waits[-1] == pytest.approx(LAST_SECONDS)
    assert server.fail(1000) == pytest.approx(LAST_SECONDS)


def test_half_of_it_is_random() -> None:
    assert Server(jitter=0.0).fail(3) == pytest.approx(Server(jitter=1.0).fail(3) / 2)


def test_it_passes() -> None:
    server = Server()
    wait = server.fail()

    server.now += wait / 2
    assert server.backoff.wait_seconds == pytest.approx(wait / 2)
    server.now += wait
    assert server.backoff.wait_seconds == 0.0


def test_what_follows_a_success_or_a_good_life_is_the_first() -> None:
    server = Server()
    server.fail(5)
    server.backoff.succeeded()
    assert server.backoff.wait_seconds == 0.0
    assert server.fail() == pytest.approx(FIRST_SECONDS)

    server.fail(5)
    assert server.fail(lived_seconds=GOOD_LIFE_SECONDS) == pytest.approx(FIRST_SECONDS)


def test_failures_far_apart_do_not_follow_each_other() -> None:
    """A server of which one start in a thousand fails works: each such start is the first of its kind."""
    server = Server()
    for _ in range(20):
        assert server.fail() == pytest.approx(FIRST_SECONDS)
        server.now += GOOD_LIFE_SECONDS + FIRST_SECONDS


def test_those_that_wait_as_they_are_told_do() -> None:
    server = Server()
    for _ in range(9):
        server.fail()

    assert server.backoff.failures == 9

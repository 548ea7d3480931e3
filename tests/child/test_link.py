"""The pipes of a child as lines, above all when there are too many of them; with real pipes."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from proxy.child import turns as turns_module
from proxy.child.link import LINES_AT_ONCE, Line, PipeLink
from proxy.child.pipes import widen

FLOOD = 4 * LINES_AT_ONCE + 3


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here takes any time: after every part the turn is over."""
    monkeypatch.setattr(turns_module, "SHORT_SECONDS", 0.0)
    monkeypatch.setattr(turns_module, "LONG_SECONDS", 0.0)


class Reader:
    """Collects what a link passes on."""

    def __init__(self) -> None:
        self.parts: list[list[Line]] = []
        self.closed = 0
        self.on_part: Callable[[], None] = lambda: None

    @property
    def lines(self) -> list[Line]:
        return [line for part in self.parts for line in part]

    def take(self, lines: list[Line]) -> None:
        self.parts.append(lines)
        self.on_part()

    def close(self) -> None:
        self.closed += 1


class Child:
    """The other ends of a link's pipes."""

    def __init__(self, stdin: int, stdout: int) -> None:
        widen(stdout)
        os.set_blocking(stdin, False)
        self._stdin = os.fdopen(stdin, "rb", buffering=0)
        self._file = os.fdopen(stdout, "wb", buffering=0)

    def read(self) -> bytes | None:
        """What is there now; None if nothing is, nothing at all once there will be no more."""
        return self._stdin.read(1 << 20)

    def write(self, data: bytes) -> None:
        assert self._file.write(data) == len(data)

    def close_stdout(self) -> None:
        self._file.close()

    def close(self) -> None:
        self._file.close()
        self._stdin.close()


async def until(is_so: Callable[[], object]) -> None:
    """Let everybody have turns until this is so."""
    with anyio.fail_after(10):
        while not is_so():
            await checkpoint()


@contextmanager
def linked() -> Iterator[tuple[PipeLink, Child, Reader]]:
    """A link, the child at its other end, and who gets the lines."""
    stdin_read, stdin_write = os.pipe()
    stdout_read, stdout_write = os.pipe()
    child, reader = Child(stdin_read, stdout_write), Reader()
    link = PipeLink(
        stdin_fd=stdin_write,
        stdout_fd=stdout_read,
        max_line_bytes=65536,
        on_lines=reader.take,
        on_closed=reader.close,
    )
    try:
        yield link, child, reader
    finally:
        link.close()
        child.close()


def flood(lines: int = FLOOD, first: int = 0) -> bytes:
    return b"".join(b"%d\n" % number for number in range(first, first + lines))


def numbers(lines: int) -> list[Line]:
    return [b"%d" % number for number in range(lines)]


async def test_a_flood_is_passed_on_in_order_and_everybody_else_has_a_turn_in_between() -> None:
    with linked() as (_, child, reader):
        turns: list[int] = []
        child.write(flood() + b"the rest of")

        while len(reader.lines) < FLOOD:
            await checkpoint()
            turns.append(len(reader.lines))
        child.write(b" a line\n")
        await until(lambda: len(reader.lines) > FLOOD)

        assert reader.lines == [*numbers(FLOOD), b"the rest of a line"]
        assert max(map(len, reader.parts)) <= LINES_AT_ONCE
        assert len({seen for seen in turns if seen}) >= 5


async def test_lines_that_take_no_time_are_passed_on_in_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn is a matter of time: ten thousand cheap lines need not wait for anybody each."""
    monkeypatch.setattr(turns_module, "LONG_SECONDS", 60.0)
    with linked() as (_, child, reader):
        seen: set[int] = set()
        child.write(flood())

        while len(reader.lines) < FLOOD:
            await checkpoint()
            seen.add(len(reader.lines))

        assert seen - {0} == {FLOOD}
        assert max(map(len, reader.parts)) <= LINES_AT_ONCE


async def test_what_follows_a_flood_is_read_after_it() -> None:
    with linked() as (_, child, reader):
        child.write(flood())
        await until(lambda: reader.parts)
        child.write(flood(FLOOD, first=FLOOD))
        await until(lambda: len(reader.lines) >= 2 * FLOOD)

        assert reader.lines == numbers(2 * FLOOD)


async def test_a_pause_in_the_middle_of_a_flood_leaves_what_follows_in_the_pipe() -> None:
    with linked() as (link, child, reader):
        reader.on_part = link.pause
        child.write(flood())
        await until(lambda: len(reader.lines) == FLOOD)
        child.write(b"later\n")
        await anyio.wait_all_tasks_blocked()
        assert link.is_paused and len(reader.lines) == FLOOD

        reader.on_part = lambda: None
        link.resume()
        await until(lambda: len(reader.lines) > FLOOD)

        assert reader.lines == [*numbers(FLOOD), b"later"]


async def test_the_last_words_of_a_dead_child_are_all_there_when_they_are_asked_for() -> None:
    with linked() as (link, child, reader):
        child.write(flood())
        await until(lambda: reader.parts)
        assert len(reader.lines) < FLOOD
        child.write(b"half a line")

        link.drain()

        assert reader.lines == [*numbers(FLOOD), b"half a line"]
        await anyio.wait_all_tasks_blocked()
        assert len(reader.lines) == FLOOD + 1


async def test_the_last_words_of_a_dead_child_come_at_once_however_many() -> None:
    """So that of a flood of noise the beginning alone is looked at."""
    with linked() as (link, child, reader):
        child.write(flood())
        link.drain()

        assert reader.lines == numbers(FLOOD)
        assert len(reader.parts) <= 3


@pytest.mark.parametrize("is_drained", [False, True])
async def test_the_end_comes_once_and_after_the_last_line(is_drained: bool) -> None:
    with linked() as (link, child, reader):
        seen_at_the_end: list[int] = []
        reader.on_part = lambda: seen_at_the_end.append(reader.closed)
        child.write(flood() + b"half a line")
        child.close_stdout()
        await until(lambda: reader.parts)
        if is_drained:
            link.drain()
        await until(lambda: reader.closed)

        assert reader.lines == [*numbers(FLOOD), b"half a line"]
        assert not any(seen_at_the_end)
        await anyio.wait_all_tasks_blocked()
        assert reader.closed == 1


async def test_nothing_comes_from_a_link_that_is_closed_in_the_middle_of_a_flood() -> None:
    with linked() as (link, child, reader):
        reader.on_part = link.close
        child.write(flood())
        await until(lambda: reader.parts)
        await anyio.wait_all_tasks_blocked()

        assert reader.lines == numbers(LINES_AT_ONCE)
        assert reader.closed == 0


# ---- to the child


async def test_lines_of_one_turn_are_written_at_once_and_in_order() -> None:
    """A write, and a child that wakes up for it, cost more than all the rest of a call."""
    with linked() as (link, child, _):
        link.send(b"one")
        link.send(b"two")
        assert child.read() is None
        assert link.pending_bytes == 8

        await checkpoint()
        link.send(b"three")
        assert child.read() == b"one\ntwo\n"

        await checkpoint()
        assert child.read() == b"three\n"
        assert link.pending_bytes == 0


async def test_who_waits_for_a_line_to_be_taken_waits_for_the_write_too() -> None:
    with linked() as (link, child, _):
        link.send(b"one")
        with anyio.fail_after(5):
            await link.sent()

        assert child.read() == b"one\n"


async def test_what_was_sent_last_is_written_before_stdin_is_closed() -> None:
    with linked() as (link, child, _):
        link.send(b"one")
        link.close_stdin()

        assert child.read() == b"one\n"
        assert child.read() == b""
        await checkpoint()


async def test_nothing_is_written_once_the_link_is_closed() -> None:
    with linked() as (link, child, _):
        link.send(b"one")
        link.close()
        await checkpoint()

        assert child.read() == b""
        assert link.pending_bytes == 0

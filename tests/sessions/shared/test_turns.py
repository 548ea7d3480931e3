"""Whose call is next at a child that many sessions use."""

import asyncio
import random
from typing import Any

import anyio
import pytest

from proxy.sessions.shared.turns import Seat, Turns


def fill(seat: Seat) -> int:
    """Take places until there is none for this session; returns how many it has."""
    while seat.value:
        seat.acquire_nowait()
    return seat.taken


@pytest.mark.parametrize(("places", "most"), [(1, 1), (7, 7), (8, 7), (128, 112)])
def test_one_session_can_not_take_the_last_eighth(places: int, most: int) -> None:
    turns = Turns(places)
    greedy = turns.seat()

    assert fill(greedy) == most
    with pytest.raises(anyio.WouldBlock):
        greedy.acquire_nowait()
    others = [turns.seat() for _ in range(places)]
    assert sum(seat.value for seat in others) == (places if most < places else 0)
    assert sum(fill(seat) for seat in others) == places - most


async def test_sessions_that_wait_get_a_place_in_turn() -> None:
    turns = Turns(3)
    holder, greedy, modest = turns.seat(), turns.seat(), turns.seat()
    fill(holder)
    order: list[str] = []

    async def wait(seat: Seat, name: str) -> None:
        await seat.acquire()
        order.append(name)

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(wait, greedy, f"greedy {number}")
        await anyio.wait_all_tasks_blocked()
        for number in range(2):
            tasks.start_soon(wait, modest, f"modest {number}")
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            holder.release()
        await anyio.wait_all_tasks_blocked()
        assert order == ["greedy 0", "modest 0", "greedy 1"]
        for _ in range(3):
            greedy.release()
        assert (greedy.value, modest.value) == (0, 0)  # those that wait are first

    assert order[3:] == ["modest 1", "greedy 2", "greedy 3"]


async def acquire(seat: Seat, tasks: "dict[Seat, asyncio.Task[Any] | None]") -> None:
    tasks[seat] = asyncio.current_task()
    await seat.acquire()


async def test_a_call_that_gives_up_keeps_no_place() -> None:
    turns = Turns(1)
    holder, seat, other = turns.seat(), turns.seat(), turns.seat()
    fill(holder)

    for _ in range(3):
        with anyio.move_on_after(0.01):
            await seat.acquire()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(acquire, other, {})
        await anyio.wait_all_tasks_blocked()
        holder.release()

    assert (seat.taken, other.taken, holder.taken) == (0, 1, 0)
    other.release()
    assert seat.value == 1


@pytest.mark.parametrize("when", ["as it gets its place", "before"])
async def test_a_call_that_gives_up_in_the_same_moment_gives_the_place_on(when: str) -> None:
    turns = Turns(1)
    holder, seat, other = turns.seat(), turns.seat(), turns.seat()
    fill(holder)
    running: dict[Seat, asyncio.Task[Any] | None] = {}
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(acquire, seat, running)
            tasks.start_soon(acquire, other, running)
            await anyio.wait_all_tasks_blocked()
            task = running[seat]
            assert task is not None
            if when == "before":
                task.cancel()
            holder.release()
            task.cancel()

    assert task is not None and task.cancelled()
    assert (seat.taken, other.taken) == (0, 1)


@pytest.mark.parametrize("places", [1, 5, 16])
async def test_no_place_is_lost_and_nobody_forgotten_whatever_happens(places: int) -> None:
    chance = random.Random(places)
    turns = Turns(places)
    seats = [turns.seat() for _ in range(4)]
    most = 0

    async def call(seat: Seat) -> None:
        nonlocal most
        with anyio.move_on_after(chance.choice([0.0, 0.001, 5])):
            await seat.acquire()
            try:
                most = max(most, sum(each.taken for each in seats))
                await anyio.sleep(chance.choice([0.0, 0.001]))
            finally:
                seat.release()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(400):
                tasks.start_soon(call, chance.choice(seats))

    assert most <= places
    assert [seat.taken for seat in seats] == [0] * 4
    assert fill(turns.seat()) == places - places // 8

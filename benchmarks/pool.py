"""What is a pool worth, with a child on the Python SDK?

Everything is a ratio to the same daemon without a pool, measured in turn with it in one run: set-ups one after the
other and 20 at once from a pool that is full; a burst twice as large as the pool; and clients that come faster than
children can start. A reply that is no InitializeResult fails the measure.
"""

import selectors
import time
from collections.abc import Callable
from functools import partial
from statistics import median

from benchmarks.client import Lane
from benchmarks.measures import BURST, Plan, in_turn, set_up
from benchmarks.messages import WrongAnswer, check_initialized, initialize
from benchmarks.report import Row
from benchmarks.systems import POOL_SIZE, POOLED, PROXY, SDK_CHILD, Running, started

FILL_SECONDS = 180.0
LARGE_BURST = 2 * POOL_SIZE
ARRIVALS = 40
ARRIVALS_PER_START = 3
MOST_ROUNDS = 2


def pool(plan: Plan) -> list[Row]:
    """From a new connection to the InitializeResult, with a pool and without."""
    one = Row("initialize from a pool, p50", "x cold", aim="0.1x")
    many = Row(f"initialize from a pool of {POOL_SIZE}, {BURST} at once, the last", "x cold", aim="0.1x")
    large = Row(f"{LARGE_BURST} at once, a pool of {POOL_SIZE}, the last", "x no pool", aim="1x")
    fast = Row(f"{ARRIVALS_PER_START} clients in the time of a start, {ARRIVALS} of them, p90", "x no pool", aim="1x")
    warm_ms, cold_ms = Row("initialize from a pool, p50", "ms"), Row("initialize with a cold start, p50", "ms")
    with started((POOLED, PROXY), SDK_CHILD) as systems:
        for system in systems:
            set_up(system, 1)  # reads the child from disk
        for number in range(min(plan.rounds, MOST_ROUNDS)):
            serial = _each(systems, number, lambda each: median(_one(each) for _ in range(plan.slow_starts)))
            one.add(PROXY, serial[POOLED] / serial[PROXY])
            warm_ms.add(PROXY, serial[POOLED] * 1000)
            cold_ms.add(PROXY, serial[PROXY] * 1000)
            if not plan.with_slow_bursts:
                continue
            pace = serial[PROXY] / ARRIVALS_PER_START
            measures: list[tuple[Row, Callable[[Running], float]]] = [
                (many, partial(set_up, count=BURST)),
                (large, partial(set_up, count=LARGE_BURST)),
                (fast, partial(_arrivals, every_seconds=pace)),
            ]
            for row, measure in measures:
                times = _each(systems, number, measure)
                row.add(PROXY, times[POOLED] / times[PROXY])
    return [row for row in (one, many, large, fast, warm_ms, cold_ms) if row.figures]


def _each(systems: list[Running], number: int, measure: Callable[[Running], float]) -> dict[str, float]:
    """The figure of each, taken when the pool is full and nothing of the last one is left."""
    figures = {}
    for system in in_turn(systems, number):
        for other in systems:
            _settle(other)
        figures[system.name] = measure(system)
    return figures


def _settle(system: Running) -> None:
    deadline = time.monotonic() + FILL_SECONDS
    size = POOL_SIZE if system.name == POOLED else 0
    while (system.ready(), system.children()) != (size, size):
        if time.monotonic() > deadline:
            raise WrongAnswer("the pool was not filled in time")
        time.sleep(0.1)


def _one(system: Running) -> float:
    _settle(system)
    return set_up(system, 1)


def _arrivals(system: Running, *, every_seconds: float) -> float:
    """The 90th percentile of clients that come at this pace, whoever has been answered yet. Each stays to the end."""
    lanes: list[Lane] = []
    times: list[float] = []
    try:
        with selectors.DefaultSelector() as selector:
            first = time.perf_counter()
            while len(times) < ARRIVALS:
                now = time.perf_counter()
                if now - first > FILL_SECONDS:
                    raise WrongAnswer("not all clients were answered in time")
                due = first + len(lanes) * every_seconds
                if len(lanes) < ARRIVALS and now >= due:
                    lane = system.connect()
                    lane.send(initialize(len(lanes)))
                    selector.register(lane.fileno(), selectors.EVENT_READ, (lane, len(lanes), due))
                    lanes.append(lane)
                    continue
                wait = due - now if len(lanes) < ARRIVALS else 1.0
                for key, _ in selector.select(max(0.0, wait)):
                    lane, number, came = key.data
                    reply = lane.receive()
                    if reply is not None:
                        check_initialized(reply, number)
                        times.append(time.perf_counter() - came)
                        selector.unregister(key.fd)
        for lane in lanes:
            lane.confirm()
    finally:
        for lane in lanes:
            lane.close()
    return sorted(times)[len(times) * 9 // 10]

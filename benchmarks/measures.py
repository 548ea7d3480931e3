"""What is measured, and how?

Every measure starts its systems afresh, measures them in turn, round after round, and checks every reply. `calls`,
`setup` and so on are the names for the command line.
"""

import selectors
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TypeVar

from benchmarks.client import EXCHANGE_SECONDS, Lane, exchange
from benchmarks.load import Caller, run_calls
from benchmarks.messages import (
    WrongAnswer,
    call,
    call_without_session,
    check_initialized,
    check_progress,
    check_text,
    initialize,
    new_tag,
)
from benchmarks.report import Row
from benchmarks.systems import (
    CRASHING,
    DIRECT,
    FLOODING,
    FLOOR,
    LIGHT_CHILD,
    PROXY,
    SDK_CHILD,
    SEVERAL,
    TICKING,
    WELL,
    Running,
    started,
)

MIB = 1 << 20
PAYLOAD_BYTES = 10 * MIB
BURST = 20
NOTIFICATIONS = 10_000
MEMORY_CALLS = 10_000
MEMORY_SESSIONS = 50
PAUSE_SECONDS = 0.1
"""After a set-up: a bridge answers DELETE before the child is gone, whose end the next one should not pay for."""


@dataclass
class Plan:
    """How much is done, and what was noticed.

    Attributes:
        rounds: How often each system has its turn.
        serial_calls: One after the other, in a round.
        load_calls: From many sessions, in a round.
        starts: Set-ups one after the other, in a round; even, so that each system goes first as often.
        slow_starts: The same with a child on the Python SDK.
        payloads: Large calls each way, in a round.
        with_slow_bursts: Whether 20 Python SDK children are started at once; they take all CPUs for seconds.
        client_busy: The largest share of a load in which the client computed.
    """

    rounds: int = 5
    serial_calls: int = 1000
    load_calls: int = 5000
    starts: int = 10
    slow_starts: int = 4
    payloads: int = 3
    with_slow_bursts: bool = True
    client_busy: float = 0.0

    def load(self, callers: Sequence[Caller], calls: int) -> float:
        """Make the calls; returns the seconds."""
        load = run_calls(callers, calls)
        self.client_busy = max(self.client_busy, load.client_busy)
        return load.seconds


T = TypeVar("T")


def in_turn(systems: Sequence[T], number: int) -> Sequence[T]:
    """The order of a round: every other one backwards, so that nobody always comes after the same neighbour."""
    return systems[::-1] if number % 2 else systems


def serial(plan: Plan) -> list[Row]:
    """One session, one call after the other."""
    row = Row("serial echo, p50", "ms", aim="1.6x floor")
    with started((PROXY, DIRECT, FLOOR)) as systems, ExitStack() as stack:
        lanes = [stack.enter_context(system.sessions(1))[0] for system in systems]
        for lane in lanes:
            _echo_times(lane, plan.serial_calls // 4, first=1)
        for number in range(plan.rounds):
            first = (number + 1) * plan.serial_calls
            for system, lane in in_turn(list(zip(systems, lanes, strict=True)), number):
                row.add(system.name, median(_echo_times(lane, plan.serial_calls, first=first)) * 1000)
    return [row]


def calls(plan: Plan) -> list[Row]:
    """Many sessions with one call in flight each."""
    rows = []
    for sessions in (10, 50):
        rate = Row(f"calls a second, {sessions} sessions", "1/s", more_is_better=True, aim="0.6x floor")
        cpu = Row(f"CPU of the server per call, {sessions} sessions", "ms", aim="1.6x floor")
        rows += [rate, cpu]
        with started((PROXY, DIRECT, FLOOR)) as systems, ExitStack() as stack:
            callers = [[Caller(lane) for lane in stack.enter_context(each.sessions(sessions))] for each in systems]
            for group in callers:
                plan.load(group, plan.load_calls // 4)
            for number in range(plan.rounds):
                for system, group in in_turn(list(zip(systems, callers, strict=True)), number):
                    cpu_before = system.cpu_seconds() if system.pid else 0.0
                    rate.add(system.name, plan.load_calls / plan.load(group, plan.load_calls))
                    if system.pid:
                        cpu.add(system.name, (system.cpu_seconds() - cpu_before) / plan.load_calls * 1000)
    return rows


def without_sessions(plan: Plan) -> list[Row]:
    """Clients of 2026-07-28 that share one child, with one call in flight each."""
    clients = 10
    cpu = Row(f"CPU of the server per call, {clients} clients without sessions", "ms", aim="2x floor")
    with started((PROXY, FLOOR)) as (proxy, floor), ExitStack() as stack:
        lanes = stack.enter_context(proxy.clients(clients))
        groups = [
            (proxy, [Caller(lane, write=call_without_session) for lane in lanes]),
            (floor, [Caller(lane) for lane in stack.enter_context(floor.sessions(clients))]),
        ]
        for _, group in groups:
            plan.load(group, plan.load_calls // 4)
        for number in range(plan.rounds):
            for system, group in in_turn(groups, number):
                before = system.cpu_seconds()
                plan.load(group, plan.load_calls)
                cpu.add(system.name, (system.cpu_seconds() - before) / plan.load_calls * 1000)
    return [cpu]


def setup(plan: Plan) -> list[Row]:
    """From a new connection to the InitializeResult. For direct stdio: from starting the child."""
    rows = []
    for title, child, starts, with_burst in (
        ("light child", LIGHT_CHILD, plan.starts, True),
        ("Python SDK child", SDK_CHILD, plan.slow_starts, plan.with_slow_bursts),
    ):
        one = Row(f"set-up, {title}, p50", "ms", aim="direct + 2 ms" if child is LIGHT_CHILD else "")
        many = Row(f"set-up, {title}, {BURST} at once, the last", "ms", aim="1.05x direct")
        rows += [one, many] if with_burst else [one]
        with started((PROXY, DIRECT), child) as systems:
            for system in systems:  # its first start reads the child from disk
                set_up(system, 1)
            for number in range(plan.rounds):
                times: dict[str, list[float]] = {system.name: [] for system in systems}
                for start in range(starts):
                    for system in in_turn(systems, start):
                        times[system.name].append(set_up(system, 1) * 1000)
                for system in in_turn(systems, number):
                    one.add(system.name, median(times[system.name]))
                    if with_burst:
                        many.add(system.name, set_up(system, BURST) * 1000)
    return rows


def payload(plan: Plan) -> list[Row]:
    """10 MiB in one result, and in one argument and its result."""
    down = Row("10 MiB result", "MB/s", more_is_better=True, aim="100 MB/s")
    both = Row("10 MiB argument and result", "MB/s each way", more_is_better=True, aim="100 MB/s")
    with started((PROXY, DIRECT, FLOOR)) as systems, ExitStack() as stack:
        lanes = [stack.enter_context(system.sessions(1))[0] for system in systems]
        for number in range(plan.rounds + 1):  # the first warms up
            for system, lane in in_turn(list(zip(systems, lanes, strict=True)), number):
                rates = [_payload_rate(lane, number * plan.payloads + i + 1, "echo") for i in range(plan.payloads)]
                if number:
                    both.add(system.name, median(rates))
            for system, lane in in_turn(list(zip(systems, lanes, strict=True)), number):
                if system.name == FLOOR:
                    continue
                rates = [_payload_rate(lane, number * plan.payloads + i + 1, "blob") for i in range(plan.payloads)]
                if number:
                    down.add(system.name, median(rates))
    return [down, both]


def stalls(plan: Plan) -> list[Row]:
    """The longest time for which a payload holds up the event loop, and with it everybody else."""
    rows = []
    with started((TICKING,)) as (system,), system.sessions(1) as (lane,):
        for title, tool in (("10 MiB result", "blob"), ("10 MiB argument and result", "echo")):
            row = Row(f"longest stall, {title}", "ms", aim="50 ms")
            rows.append(row)
            for number in range(plan.rounds * plan.payloads + 1):  # the first warms up
                system.stalls()
                _payload_rate(lane, 1_000 * len(rows) + number, tool)
                if number:
                    row.add(PROXY, system.stalls()["late_ms"])
    return rows


def progress(plan: Plan) -> list[Row]:
    """10,000 notifications in one call: all of them, in order, before the result."""
    row = Row(f"{NOTIFICATIONS:,} progress notifications", "1/s", more_is_better=True, aim="300,000/s")
    with started((PROXY, DIRECT)) as systems, ExitStack() as stack:
        lanes = [stack.enter_context(system.sessions(1))[0] for system in systems]
        for number in range(plan.rounds + 1):  # the first warms up
            for system, lane in in_turn(list(zip(systems, lanes, strict=True)), number):
                token = f"{new_tag()}-progress"
                message = call(number + 1, "progress", token, count=NOTIFICATIONS, progress_token=token)
                began = time.perf_counter()
                reply = exchange(lane, message)
                seconds = time.perf_counter() - began
                check_progress(lane.messages(reply), number + 1, token, NOTIFICATIONS)
                if number:
                    row.add(system.name, NOTIFICATIONS / seconds)
    return [row]


def memory(plan: Plan) -> list[Row]:
    """Resident memory of the server process, its children apart. Systems are started afresh in every round."""
    rest = Row("memory at rest", "MB", aim="60 MB")
    each = Row("memory per session", "KB", aim="60 KB")
    growth = Row(f"memory growth over {MEMORY_CALLS:,} calls", "KB", aim="none")
    for _ in range(min(plan.rounds, 3)):
        with started((PROXY, FLOOR)) as systems:
            for system in systems:
                rest.add(system.name, system.memory_bytes() / 1e6)
                with system.sessions(4) as lanes:
                    callers = [Caller(lane) for lane in lanes]
                    plan.load(callers, MEMORY_CALLS // 4)
                    before = system.memory_bytes()
                    plan.load(callers, MEMORY_CALLS)
                    growth.add(system.name, (system.memory_bytes() - before) / 1e3)
                    if system.name == PROXY:
                        each.add(system.name, _memory_per_session(plan, system) / 1e3)
    return [rest, each, growth]


def _memory_per_session(plan: Plan, system: Running) -> float:
    before = system.memory_bytes()
    with system.sessions(MEMORY_SESSIONS) as lanes:
        plan.load([Caller(lane) for lane in lanes], MEMORY_SESSIONS * 5)
        return (system.memory_bytes() - before) / MEMORY_SESSIONS


def neighbours(plan: Plan) -> list[Row]:
    """What a server notices of two others in the same process, of which one crashes and one floods its stdout."""
    alone = Row("serial echo beside two idle servers, p99", "ms")
    beside = Row("the same beside one that crashes and one that floods, p99", "ms", aim="2x of idle ones")
    ratio = Row("that as a multiple", "x", aim="2")
    with started((SEVERAL,)) as (system,), system.sessions(1, server=WELL) as (lane,):
        for _ in _echo_times(lane, plan.serial_calls // 4, first=1):
            pass
        for number in range(plan.rounds):
            first = (2 * number + 1) * plan.serial_calls
            idle = _p99(_echo_times(lane, plan.serial_calls, first=first))
            with system.sessions(1, server=FLOODING), _crashing_again_and_again(system):
                busy = _p99(_echo_times(lane, plan.serial_calls, first=first + plan.serial_calls))
            alone.add(PROXY, idle * 1000)
            beside.add(PROXY, busy * 1000)
            ratio.add(PROXY, busy / idle)
    return [alone, beside, ratio]


@contextmanager
def _crashing_again_and_again(system: Running) -> Iterator[None]:
    """Somebody wants a session of the server that crashes, five times a second."""
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.wait(0.2):
            lane = system.connect_to(CRASHING)
            try:
                exchange(lane, initialize(0))
            except WrongAnswer:
                continue  # 502, or 503 while its circuit is open
            finally:
                lane.close()

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield
    finally:
        is_over.set()
        asker.join()


def _p99(seconds: Iterator[float]) -> float:
    return quantiles(seconds, n=100)[98]


def _echo_times(lane: Lane, count: int, *, first: int) -> Iterator[float]:
    tag = new_tag()
    for number in range(first, first + count):
        text = f"{tag}-{number}"
        message = call(number, "echo", text)
        began = time.perf_counter()
        reply = exchange(lane, message)
        seconds = time.perf_counter() - began
        check_text(reply, number, text)
        yield seconds


def _payload_rate(lane: Lane, number: int, tool: str) -> float:
    """MB/s of one payload; sent and come back, it counts once."""
    token = new_tag() * 2
    count = PAYLOAD_BYTES // len(token)
    text = token * count
    message = call(number, "echo", text) if tool == "echo" else call(number, "blob", token, count=count)
    began = time.perf_counter()
    reply = exchange(lane, message)
    seconds = time.perf_counter() - began
    check_text(reply, number, text)
    return PAYLOAD_BYTES / 1e6 / seconds


def set_up(system: Running, count: int) -> float:
    """Seconds until all of this many new sessions have their InitializeResult."""
    lanes: list[Lane] = []
    try:
        with selectors.DefaultSelector() as selector:
            began = time.perf_counter()
            for number in range(count):
                lane = system.connect()
                lanes.append(lane)
                lane.send(initialize(number))
                selector.register(lane.fileno(), selectors.EVENT_READ, (lane, number))
            seconds = await_initialized(selector, began)
        for lane in lanes:
            lane.confirm()
            token = new_tag()
            check_text(exchange(lane, call(1, "echo", token)), 1, token)
        return seconds
    finally:
        for lane in lanes:
            lane.close()
        time.sleep(PAUSE_SECONDS)


def await_initialized(selector: selectors.BaseSelector, began: float) -> float:
    """Seconds until all of these have their InitializeResult."""
    while selector.get_map():
        if time.perf_counter() - began > EXCHANGE_SECONDS:
            raise WrongAnswer("not all sessions were set up in time")
        for key, _ in selector.select(1.0):
            lane, number = key.data
            reply = lane.receive()
            if reply is not None:
                check_initialized(reply, number)
                selector.unregister(key.fd)
    return time.perf_counter() - began


MEASURES: dict[str, Callable[[Plan], list[Row]]] = {
    "serial": serial,
    "calls": calls,
    "without-sessions": without_sessions,
    "setup": setup,
    "payload": payload,
    "stalls": stalls,
    "progress": progress,
    "memory": memory,
    "neighbours": neighbours,
}

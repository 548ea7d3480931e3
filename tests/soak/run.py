"""How does a soak run, and when was it a good one?"""

import json
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from secrets import token_hex
from typing import Any

import anyio
import httpx
import psutil

from tests.soak.gauges import SETTLED_SECONDS, Gauges
from tests.soak.ledger import Ledger
from tests.soak.modes import MODES, Mode, flags_of
from tests.soak.scenarios import Scenario
from tests.soak.stage import Site, Stage
from tests.support.children import is_alive
from tests.support.daemon import Daemon, running_daemon
from tests.support.mcp import speak

MARK = "SOAK_RUN"
"""In the environment of every child, so that what is left of them can be found wherever it went."""
PLAY_SECONDS = 60.0
"""The longest scenario takes half of that."""
SETTLE_SECONDS = 60.0
"""The longest time-out of all, that of a peer that is gone, and some patience."""


@dataclass(frozen=True)
class Plan:
    """How much of it.

    Attributes:
        seconds: How long clients come, in all.
        clients: How many at once, for all daemons together.
        seed: Of every choice; what happens at the same time is not chosen.
        max_growth_bytes: Of the memory between two rests, for each daemon.
        warm_up_share: Of the time, before the first rest. Without a warm-up nothing can be said of growth.
    """

    seconds: float = 600.0
    clients: int = 12
    seed: int = 0
    max_growth_bytes: int = 8_000_000
    warm_up_share: float = 0.5


@dataclass
class Report:
    """What came of one daemon."""

    mode: Mode
    plan: Plan
    ledger: Ledger
    gauges: Gauges
    counts: dict[str, int] = field(default_factory=dict)
    log_lines: int = 0
    exit_code: int | None = None

    @property
    def is_good(self) -> bool:
        """Whether nothing was wrong."""
        return not self.ledger.fault_count


async def soak(plan: Plan, *, tell: Callable[[str], None], modes: tuple[Mode, ...] = MODES) -> list[Report]:
    """Run it; a report for each daemon."""
    mark = token_hex(8)
    runs: list[_Run] = []
    with ExitStack() as daemons:
        for mode in modes:
            command = (*flags_of(mode), "--env", f"{MARK}={mark}", "--", *mode.child)
            runs.append(_Run(mode, plan, daemons.enter_context(running_daemon(*command)), tell))
        async with anyio.create_task_group() as tasks:
            for run in runs:
                tasks.start_soon(run.phases, max(1, plan.clients // len(runs)))
    for run in runs:
        run.look_at_the_end(mark)
    return [run.report for run in runs]


@asynccontextmanager
async def _site(daemon: Daemon) -> AsyncIterator[Site]:
    """The ways to a daemon; every connection is closed on the way out."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with AsyncExitStack() as stack:
        clients: list[httpx.AsyncClient] = []
        for options in ((), ((socket.SOL_SOCKET, socket.SO_RCVBUF, 65536),)):
            transport = httpx.AsyncHTTPTransport(limits=limits, verify=False, socket_options=options)
            client = httpx.AsyncClient(transport=transport, timeout=None, trust_env=False)
            for name in ("accept", "accept-encoding", "user-agent"):
                del client.headers[name]
            clients.append(await stack.enter_async_context(client))
        yield Site(daemon.url, daemon.port, http=clients[0], narrow=clients[1])


class _Run:
    """One daemon under its clients."""

    def __init__(self, mode: Mode, plan: Plan, daemon: Daemon, tell: Callable[[str], None]) -> None:
        self._plan = plan
        self._daemon = daemon
        self._tell = tell
        self._ledger = Ledger()
        self._gauges = Gauges(psutil.Process(daemon.pid))
        self.report = Report(mode, plan, self._ledger, self._gauges)

    async def phases(self, clients: int) -> None:
        """All that is played, with a rest behind each."""
        plan = self._plan
        for share, name in ((plan.warm_up_share, "warm-up"), (1 - plan.warm_up_share, "soak")):
            if share:
                self._tell(f"{self.report.mode.name}: {name}, {plan.seconds * share:.0f} s")
                async with _site(self._daemon) as site:
                    seed = f"{plan.seed}/{self.report.mode.name}/{name}"
                    await self.phase(site, plan.seconds * share, clients, seed)
                await self.settle(site.pids)

    async def phase(self, site: Site, seconds: float, clients: int, seed: str) -> None:
        """Let clients come for so long; waits until the last has played to its end."""
        until = time.monotonic() + seconds
        async with anyio.create_task_group() as tasks:
            watch = anyio.CancelScope()
            tasks.start_soon(self._watch, watch)
            async with anyio.create_task_group() as players:
                for number in range(clients):
                    players.start_soon(self._play, site, Random(f"{seed}/{number}"), until)
            watch.cancel()

    async def _play(self, site: Site, rng: Random, until: float) -> None:
        scenarios = [each for each in self.report.mode.scenarios if self._plan.seconds >= each.from_seconds]
        weights = [each.weight for each in scenarios]
        while time.monotonic() < until and self._daemon.returncode is None:
            (scenario,) = rng.choices(scenarios, weights)
            await self._play_one(site, rng, scenario)

    async def _play_one(self, site: Site, rng: Random, scenario: Scenario) -> None:
        began = time.monotonic()
        try:
            with anyio.fail_after(PLAY_SECONDS):
                await scenario.play(Stage(site, self._ledger, rng, scenario.name))
        except Exception as exc:
            self._ledger.wrong(scenario.name, exc)
            self._tell(self._ledger.faults[-1])
        else:
            self._ledger.done[scenario.name] += 1
        lasted = time.monotonic() - began
        self._ledger.longest[scenario.name] = max(lasted, self._ledger.longest.get(scenario.name, 0.0))

    async def _watch(self, scope: anyio.CancelScope) -> None:
        """Somebody who only looks, on a new connection each time."""
        with scope:
            while True:
                try:
                    began = time.perf_counter()
                    with anyio.fail_after(10):
                        health = await self._health()
                    self._ledger.took("/health", time.perf_counter() - began)
                    self._gauges.sample(health["sessions"], health["children"])
                except (OSError, ValueError, TimeoutError, psutil.Error) as exc:
                    self._ledger.wrong("/health", exc)
                await anyio.sleep(1)

    async def _health(self) -> dict[str, Any]:
        answer = await speak(self._daemon.base_url, b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        shown: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return shown

    async def settle(self, pids: set[int]) -> None:
        """Nobody comes any more: wait until nothing is left, then look what the daemon uses."""
        left: dict[str, int] = {}
        try:
            with anyio.fail_after(SETTLE_SECONDS):
                while not left or any(left.values()):
                    health = await self._health()
                    self.report.counts = health["counts"]
                    left = {name: health[name] for name in ("sessions", "children", "calls_in_flight")}
                    left |= {f"modern {name}": number for name, number in health["modern"].items()}
                    left["children"] -= sum(map(_pooled, health["servers"].values()))
                    await anyio.sleep(0.1)
        except TimeoutError:
            self._ledger.wrong("the end", f"something is left: {left}")
        alive = [pid for pid in pids if is_alive(pid)]
        if alive:
            self._ledger.wrong("the end", f"{len(alive)} processes of the children are alive")
        await anyio.sleep(SETTLED_SECONDS)  # closed connections are forgotten, threads go to sleep
        before, began = self._gauges.cpu_seconds(), time.monotonic()
        await anyio.sleep(SETTLED_SECONDS)
        self._gauges.rest(self._gauges.cpu_seconds() - before, time.monotonic() - began)

    def look_at_the_end(self, mark: str) -> None:
        """The daemon has ended: did it end well, and what has it said?"""
        report, ledger = self.report, self._ledger
        report.exit_code = self._daemon.returncode
        if report.exit_code != 0:
            ledger.wrong("the end", f"exit code {report.exit_code}")
        report.log_lines = len(self._daemon.stderr_lines)
        for line in self._daemon.stderr_lines:
            _, level, logger, message, *_ = [*line.split(" ", 3), "", "", "", ""]
            if logger == "proxy.child.stderr":
                continue  # what children say of themselves
            if level == "WARNING":
                ledger.warnings[re.sub(r" \w+=.*", "", message)] += 1
            elif level != "INFO":
                ledger.wrong("the log", line[:500])
        for fault in self._gauges.verdict(max_growth_bytes=self._plan.max_growth_bytes):
            ledger.wrong("the gauges", fault)
        left = _marked(mark)
        if left:
            ledger.wrong("the end", f"processes are left: {left}")


def _pooled(server: dict[str, Any]) -> int:
    """The processes of a server that wait for the next client."""
    pool: dict[str, int] = server["pool"]
    shared: int = server["shared"]["children"] if pool["size"] else 0  # kept ready, too
    return pool["ready"] + pool["being_proved"] + shared


def _marked(mark: str) -> list[int]:
    """The processes that carry the mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found

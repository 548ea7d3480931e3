"""What does a line of 64 MiB cost, and one that is nested 100,000 levels deep?

With the default limits. A line is measured beside one an eighth as long: in linear time a byte of it costs no more.
"""

from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.e2e.serving import serving
from tests.faults.measures import MIB, Cost, cost_to
from tests.faults.outcomes import INTERNAL_ERROR
from tests.faults.unharmed import faulty_session
from tests.support.daemon import Daemon
from tests.support.mcp import Client, call, error_of, health

LARGE = 64 * MIB
DEEP = 100_000
ANSWER = '{"jsonrpc":"2.0","id":$ID,"result":{"ok":1}}\n'
SLOWER_PER_BYTE = 4
"""Fresh memory costs more than memory that is used again, which makes it two; quadratic time would make it eight."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving() as daemon:
        yield daemon


async def bad_lines(client: Client) -> int:
    """How many there were so far."""
    counts: dict[str, int] = (await health(client))["counts"]
    return sum(count for name, count in counts.items() if name.startswith("bad_line."))


async def cost_of_64_mib(daemon: Daemon, send: Callable[[int], Awaitable[None]]) -> Cost:
    """What it costs that a child sends so much. A byte of it must cost no more than one of an eighth of it."""
    ratios = []
    for _ in range(3):  # a busy machine makes a measurement worse, never better
        costs = []
        for size in (LARGE // 8, LARGE - 100):
            with cost_to(daemon.pid) as cost:
                await send(size)
            costs.append(cost)
        ratios.append(costs[1].cpu_seconds / costs[0].cpu_seconds / 8)
        if ratios[-1] < SLOWER_PER_BYTE:
            return costs[1]
    raise AssertionError(f"not linear: {ratios}")


@pytest.mark.parametrize("noise", ['{"jsonrpc":', "\xff\xfe"], ids=["almost JSON", "not UTF-8"])
async def test_64_mib_of_noise_on_one_line_cost_linear_time_and_bounded_memory(daemon: Daemon, noise: str) -> None:
    async with faulty_session(daemon) as (client, _):

        async def send(size: int) -> None:
            before = await bad_lines(client)
            line = call("x", "write", latin1=noise, times=size // len(noise), last="\n" + ANSWER)
            assert (await client.answer(line, seconds=60))["result"] == {"ok": 1}
            assert await bad_lines(client) == before + 1

        cost = await cost_of_64_mib(daemon, send)
        assert cost.peak_bytes < 4 * LARGE
        assert cost.kept_bytes < LARGE


async def test_an_answer_of_64_mib_arrives_whole_in_linear_time_and_bounded_memory(daemon: Daemon) -> None:
    """--max-line: so long a line is still served."""
    async with faulty_session(daemon) as (client, _):

        async def send(size: int) -> None:
            answer = await client.answer(call("x", "blob", size=size), seconds=60)
            assert answer == {"jsonrpc": "2.0", "id": "x", "result": {"blob": "x" * size}}

        cost = await cost_of_64_mib(daemon, send)
        assert cost.peak_bytes < 4 * LARGE
        assert cost.kept_bytes < LARGE


async def test_an_answer_of_more_than_64_mib_fails_its_call_in_bounded_memory(daemon: Daemon) -> None:
    """--max-line: of what is over the limit only the ends are kept. The session goes on."""
    async with faulty_session(daemon) as (client, _):
        with cost_to(daemon.pid) as cost:
            refused = await client.post(call("x", "blob", size=2 * LARGE), seconds=60)

        assert error_of(refused) == (500, INTERNAL_ERROR, "x")
        assert cost.peak_bytes < 2 * LARGE
        assert cost.kept_bytes < LARGE
        assert await client.result("x", "echo") == {"echo": {}}


@pytest.mark.parametrize(
    "noise",
    ["[" * DEEP, "[" * DEEP + "]" * DEEP, '{"jsonrpc":"2.0","method":' + '{"a":' * DEEP],
    ids=["open", "closed", "message"],
)
async def test_a_line_nested_100_000_levels_deep_is_a_bad_line_and_no_more(daemon: Daemon, noise: str) -> None:
    async with faulty_session(daemon) as (client, _):
        before = await bad_lines(client)

        assert (await client.answer(call("x", "write", text=noise + "\n" + ANSWER)))["result"] == {"ok": 1}
        assert await bad_lines(client) - before == 1


async def test_an_answer_nested_100_000_levels_deep_fails_its_call(daemon: Daemon) -> None:
    async with faulty_session(daemon) as (client, _):
        answer = '{"jsonrpc":"2.0","id":$ID,"result":' + "[" * DEEP + "]" * DEEP + "}\n"

        assert error_of(await client.post(call("x", "write", text=answer))) == (500, INTERNAL_ERROR, "x")
        assert await client.result("x", "echo") == {"echo": {}}

"""What does a client cost that reads slowly, or not at all, and what does it lose?"""

import re
from collections.abc import Iterator

import anyio
import pytest

from tests.e2e.serving import serving
from tests.faults.measures import MIB, cost_to
from tests.faults.raw import Raw, body_of, head, post, raw_connection
from tests.faults.unharmed import faulty_session
from tests.support.daemon import Daemon
from tests.support.mcp import Client, call, health, until

FLOOD = 100_000
BURST = 30_000
PROGRESS = (
    '{"jsonrpc":"2.0","method":"notifications/progress",'
    '"params":{"progressToken":"t","progress":1,"message":"$FILL"}}\n'
)
LIST_CHANGED = '{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"pad":"$FILL"}}\n'
ANSWER = '{"jsonrpc":"2.0","id":$ID,"result":{"done":true}}\n'
SLOW_READER_SECONDS = 2.0
BOUND_BYTES = 32 * MIB
"""Of the 50 MB of a flood: the backlog of 8 MiB, a piece that is being written, and what Python needs around them."""


FLAGS = ("--slow-reader-timeout", f"{SLOW_READER_SECONDS}s", "--dead-peer-timeout", "20s")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving(*FLAGS) as daemon:
        yield daemon


async def count(client: Client, name: str) -> int:
    """How often something was counted."""
    number: int = (await health(client))["counts"].get(name, 0)
    return number


async def until_counted(client: Client, name: str, number: int) -> None:
    """Wait until something was counted so often."""

    async def is_so() -> bool:
        return await count(client, name) >= number

    await until(is_so, f"{name} {number} times")


async def until_answered(client: Client, *, others: int) -> None:
    """Wait until only so many calls are in flight."""

    async def is_so() -> bool:
        return bool((await health(client))["calls_in_flight"] == others)

    await until(is_so, f"{others} calls in flight", seconds=30)


def flood(text: str) -> dict[str, object]:
    """A call in which the child says this 100,000 times, half a kilobyte each, and then answers."""
    return call("slow", "write", token="t", text=text, fill=400, times=FLOOD, last=ANSWER)


async def come_back(client: Client, stalled: Raw) -> list[dict[str, object]]:
    """What is left of a stream for a client that has read its first event only."""
    first = re.search(rb"\r\nid: (\d+-0)\r\n", await stalled.read_until(b"retry: "))
    assert first is not None, stalled.got
    async with client.listen({"last-event-id": first[1].decode()}) as events:
        assert events.response.status_code == 200
        return await events.read_to_end()


async def test_a_flood_to_a_stalled_reader_waits_in_the_child(daemon: Daemon) -> None:
    """Design part 4: nobody else needs the child, so it is not read, for the slow reader's time; then the stream ends,
    and the answer is kept for a client that comes back."""
    async with faulty_session(daemon) as (client, _), raw_connection(daemon) as stalled:
        before = await count(client, "cut.slow_reader")
        with cost_to(daemon.pid) as cost:
            await stalled.send(post(client, flood(PROGRESS)))
            await until_counted(client, "cut.slow_reader", before + 1)
            await until_answered(client, others=1)

        assert cost.peak_bytes < BOUND_BYTES
        left = await come_back(client, stalled)
        assert left[-1] == {"jsonrpc": "2.0", "id": "slow", "result": {"done": True}}
        assert len(left) <= 1001
        assert await client.result(2, "echo") == {"echo": {}}


async def test_a_flood_to_a_stalled_reader_holds_up_no_other_call(daemon: Daemon) -> None:
    """Design part 4: another call waits for the child, so the stream over its backlog is ended at once."""
    async with faulty_session(daemon) as (client, _), anyio.create_task_group() as tasks:
        (held,) = await client.hold(tasks, call("held", "hold"))
        async with raw_connection(daemon) as stalled:
            with cost_to(daemon.pid) as cost:
                await stalled.send(post(client, flood(PROGRESS)))
                assert await client.result(2, "echo") == {"echo": {}}
                await until_answered(client, others=2)

            assert cost.peak_bytes < BOUND_BYTES
            assert (await come_back(client, stalled))[-1]["id"] == "slow"
        await client.result(3, "release")
        assert (await held.response()).json()["result"] == {"released": True}


async def test_a_flood_to_a_listener_that_does_not_read_costs_the_call_nothing(daemon: Daemon) -> None:
    """The GET stream is ended; the call that caused the flood is answered."""
    async with faulty_session(daemon) as (client, _), raw_connection(daemon) as stalled:
        await stalled.send(head("GET", client, "Accept: text/event-stream"))
        await stalled.read_until(b"retry: ")
        before = await count(client, "cut.slow_reader")
        with cost_to(daemon.pid) as cost:
            answer = await client.answer(flood(LIST_CHANGED), seconds=60)

        assert answer == {"jsonrpc": "2.0", "id": "slow", "result": {"done": True}}
        assert await count(client, "cut.slow_reader") > before
        assert cost.peak_bytes < BOUND_BYTES


async def test_a_large_answer_that_nobody_reads_costs_its_own_size(daemon: Daemon) -> None:
    """It is answered; its client leaves without it."""
    size = 32 * MIB
    async with faulty_session(daemon) as (client, _):
        with cost_to(daemon.pid) as cost:
            async with raw_connection(daemon) as stalled:
                await stalled.send(post(client, call("slow", "blob", size=size)))
                await stalled.read_until(b"\r\n\r\n")
                assert stalled.got.startswith(b"HTTP/1.1 200 ")
                assert await client.result(2, "echo") == {"echo": {}}

        assert cost.peak_bytes < 4 * size


async def test_a_reader_that_is_slow_and_steady_gets_everything() -> None:
    """Design part 4: the child waits for it far longer than the slow reader's time, in which it always takes some."""
    patience_seconds, times, bytes_a_second, step_seconds = 1.5, 3_600, 600_000, 0.05
    with serving("--slow-reader-timeout", f"{patience_seconds}s", "--stream-backlog", "1MiB") as daemon:
        async with faulty_session(daemon) as (client, _), raw_connection(daemon) as slow:
            began = anyio.current_time()
            body = call("slow", "write", token="t", text=PROGRESS, fill=400, times=times, last=ANSWER)
            await slow.send(post(client, body))
            while b'"done":true' not in slow.got[-2000:]:
                more = await slow.read(int(bytes_a_second * step_seconds))
                assert more, slow.got[-200:]
                await anyio.sleep(step_seconds)

            assert anyio.current_time() - began > 1.5 * patience_seconds
            assert body_of(slow.got).count(b"notifications/progress") == times
            assert await count(client, "cut.slow_reader") == 0


async def test_a_flood_to_a_live_reader_arrives_whole_and_in_order(daemon: Daemon) -> None:
    """Design part 4: and before the result."""
    async with faulty_session(daemon) as (client, _), raw_connection(daemon) as live:
        with cost_to(daemon.pid) as cost:
            await live.send(post(client, call("live", "progress", token="t", count=BURST)))
            got = body_of(await live.read_until(b'"result":'))

        assert [int(found) for found in re.findall(rb'"progress":(\d+)\}', got)] == list(range(BURST))
        assert got.index(b'"result":') > got.rindex(b'"progress":')
        assert cost.peak_bytes < BOUND_BYTES

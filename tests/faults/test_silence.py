"""What becomes of a call that a child does not answer, or does not even read?"""

import json
from collections import Counter
from collections.abc import Iterator

import anyio
import pytest

from tests.e2e.serving import serving
from tests.faults.measures import MIB, cost_to
from tests.faults.outcomes import INTERNAL_ERROR, failure_of
from tests.faults.unharmed import faulty_session
from tests.support.daemon import Daemon
from tests.support.mcp import call, error_of, notification


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving("--call-timeout", "1.5s") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def patient() -> Iterator[Daemon]:
    with serving("--stdin-stall-timeout", "1s", "--stream-backlog", "1MiB", "--place-timeout", "20s") as daemon:
        yield daemon


async def test_a_call_that_is_not_answered_in_time_is_504_and_the_child_is_told(daemon: Daemon) -> None:
    """--call-timeout. Design part 3. The session goes on."""
    async with faulty_session(daemon, holds_a_call=False) as (client, _):
        assert error_of(await client.post(call("x", "hold"))) == (504, INTERNAL_ERROR, "x")

        messages = [json.loads(line) for line in await client.seen()]
        (child_id,) = [each["id"] for each in messages if (each.get("params") or {}).get("name") == "hold"]
        assert messages[-1]["method"] == "notifications/cancelled"
        assert messages[-1]["params"]["requestId"] == child_id
        assert await client.result("x", "echo") == {"echo": {}}
        # A late answer finds nobody.
        await client.result(2, "release")


async def test_a_stream_whose_call_is_not_answered_in_time_ends_with_the_error(daemon: Daemon) -> None:
    async with faulty_session(daemon, holds_a_call=False) as (client, _):
        async with client.stream(call("x", "ask", id="q", method="roots/list")) as events:
            await events.next()

            assert [failure_of(each) for each in await events.read_to_end()] == [("x", INTERNAL_ERROR)]


async def test_a_call_that_is_never_answered_holds_up_no_other(patient: Daemon) -> None:
    """Without a time limit it waits for ever; the end of the session ends it."""
    async with faulty_session(patient) as (client, _), anyio.create_task_group() as tasks:
        (held,) = await client.hold(tasks, call("x", "hold"))

        assert await client.result(2, "echo") == {"echo": {}}
        assert not held.has_arrived
        assert (await client.delete()).status_code == 200
        assert error_of(await held.response()) == (500, INTERNAL_ERROR, "x")


async def test_a_child_that_has_stopped_reading_times_out_its_calls(patient: Daemon) -> None:
    """Design part 3: 504 when its stdin was not read. Its session can still be ended."""
    async with faulty_session(patient) as (client, _):
        await client.result(1, "stop-reading")
        fills_the_pipe = call(2, "echo", text="x" * 1_000_000)

        assert error_of(await client.post(fills_the_pipe)) == (504, INTERNAL_ERROR, 2)
        assert (await client.delete()).status_code == 200


async def test_what_waits_for_a_child_that_does_not_read_is_bounded(patient: Daemon) -> None:
    """--stream-backlog, twice: so much is given to its pipe, so much more waits with its clients and is 504 in the end.
    The rest is 503 at once, each with its own id."""
    async with faulty_session(patient) as (client, _), anyio.create_task_group() as tasks:
        await client.result("stop", "stop-reading")
        pad = "x" * 600_000
        with cost_to(patient.pid) as cost:
            laters = [client.begin(tasks, call(number, "echo", pad=pad)) for number in range(40)]
            told = client.begin(tasks, notification("notifications/roots/list_changed", {"pad": pad}))
            answers = [error_of(await later.response()) for later in laters]

        assert sorted(id_ for *_, id_ in answers) == list(range(40))
        statuses = Counter((status, code) for status, code, _ in answers)
        assert statuses.keys() == {(504, INTERNAL_ERROR), (503, INTERNAL_ERROR)}
        assert 2 <= statuses[504, INTERNAL_ERROR] <= 5
        assert (await told.response()).status_code == 503
        assert cost.peak_bytes < 40 * MIB

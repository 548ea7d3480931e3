"""A client on a train: what does it find when it comes back, and who notices that it was away?

Spec: 2025-11-25 basic/transports, Resumability and Redelivery; Sending Messages 6.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.serving import serving
from tests.faults.outcomes import failure_of
from tests.faults.unharmed import faulty_session, unharmed
from tests.support.daemon import Daemon
from tests.support.mcp import Client, Events, Message, call, error_of, health, open_session

REPLAY_EVENTS = 60
RELEASED: Message = {"jsonrpc": "2.0", "id": "x", "result": {"released": True}}
SAID: Message = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "t", "progress": 1}}
HOLD = {"say": json.dumps(SAID) + "\n", "token": "t"}
"""For a call that begins its stream at once and is answered when another one says so."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving("--replay-events", str(REPLAY_EVENTS)) as daemon:
        yield daemon


async def resumed(client: Client, last_event_id: str) -> list[Message]:
    """What a client that comes back is told, to the end of the response."""
    async with client.listen({"last-event-id": last_event_id}) as events:
        assert (events.response.status_code, events.kind) == (200, "text/event-stream")
        return await events.read_to_end()


async def lose(client: Client, body: Message) -> Events:
    """Begin a call and lose its stream before anything was said on it."""
    async with client.stream(body) as events:
        await events.primed()
    return events


def progress_of(messages: list[Message]) -> list[Any]:
    return [message["params"]["progress"] for message in messages]


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
async def test_a_stream_is_primed_for_clients_that_know_it_and_for_no_others(daemon: Daemon, version: str) -> None:
    """HL-11: older parsers choke on empty data."""
    async with unharmed(daemon), open_session(daemon.url, version=version) as client:
        async with client.stream(call(1, "progress", token=1, count=1)) as events:
            first = await events.primed()
            if version == "2025-11-25":
                assert re.fullmatch(rb"id: \d+-0\r\nretry: 1000\r\ndata: ", first)
            else:
                assert re.match(rb"id: \d+-1\r\nevent: message\r\ndata: \{", first)
        await client.delete()


async def test_an_answer_that_came_while_the_client_was_away_waits_for_it(daemon: Daemon) -> None:
    """HL-14: the disconnect is no cancellation."""
    async with faulty_session(daemon) as (client, _):
        lost = await lose(client, call("x", "hold", **HOLD))
        await client.result(2, "release")

        assert await resumed(client, lost.last_id) == [SAID, RELEASED]
        assert not any(b"cancelled" in line for line in await client.seen())


async def test_a_client_that_is_back_in_mid_call_gets_the_rest_as_it_comes(daemon: Daemon) -> None:
    """The call that was left runs on; there is one of it."""
    async with faulty_session(daemon) as (client, _):
        lost = await lose(client, call("x", "hold", **HOLD))
        async with client.listen({"last-event-id": lost.last_id}) as again:
            assert again.response.status_code == 200
            await client.result(2, "release")

            assert await again.read_to_end() == [SAID, RELEASED]
        assert sum(b'"hold"' in line for line in await client.seen()) == 1


async def test_progress_that_was_missed_comes_in_order_and_before_the_answer(daemon: Daemon) -> None:
    async with faulty_session(daemon) as (client, _):
        async with client.stream(call(1, "progress", token=1, count=50)) as events:
            first = await events.next()

        *steps, answer = [first, *await resumed(client, events.last_id)]

        assert progress_of(steps) == list(range(50))
        assert (answer["id"], answer["result"]) == (1, {"count": 50})


async def test_a_client_can_come_back_again_and_again(daemon: Daemon) -> None:
    """Whatever it says it has, it gets what follows, the answer last."""
    async with faulty_session(daemon) as (client, _):
        async with client.stream(call(1, "progress", token=1, count=10)) as events:
            await events.read_to_end()
        stream, last = map(int, events.last_id.split("-"))

        assert last == 11
        for place in (0, 5, 9, 10):
            *steps, answer = await resumed(client, f"{stream}-{place}")
            assert (progress_of(steps), answer["id"]) == (list(range(place, 10)), 1)


async def test_when_all_was_delivered_there_is_nothing_more_to_come_back_for(daemon: Daemon) -> None:
    """Design part 3: 204. Anything else makes the TypeScript client come back for ever."""
    async with faulty_session(daemon) as (client, _):
        async with client.stream(call(1, "progress", token=1, count=2)) as events:
            await events.read_to_end()

        async with client.listen({"last-event-id": events.last_id}) as again:
            assert (again.response.status_code, await again.body()) == (204, b"")


async def test_an_event_of_nobody_opens_an_ordinary_stream(daemon: Daemon) -> None:
    """Design part 3: 200, counted."""
    async with faulty_session(daemon) as (client, _):
        for unknown in ("99-1", "x", "1-99999", "", "-1", "1-1" * 1000, "18446744073709551616-1"):
            before = (await health(client))["counts"].get("resumed.unknown", 0)
            async with client.listen({"last-event-id": unknown}) as events:
                assert events.response.status_code == 200
                await events.primed()
            assert (await health(client))["counts"]["resumed.unknown"] == before + 1


async def test_an_event_of_another_session_is_an_event_of_nobody(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/transports, Resumability 2: what another stream carried MUST NOT be replayed."""
    async with faulty_session(daemon) as (client, _):
        lost = await lose(client, call("mine", "hold", **HOLD))
        other = await client.another()
        async with other.listen({"last-event-id": lost.last_id}) as events:
            await client.result(2, "release")
            assert (await other.delete()).status_code == 200
            assert await events.read_to_end() == []

        assert [answer.get("id") for answer in await resumed(client, lost.last_id)] == [None, "mine"]


async def test_an_answer_that_is_kept_no_more_is_an_error_with_its_id(daemon: Daemon) -> None:
    """Design part 3: one error event, end; bounded by --replay-events, evictions counted."""
    async with faulty_session(daemon) as (client, _):
        lost = await lose(client, call("lost", "hold", **HOLD))
        await client.result(2, "release")
        before = (await health(client))["counts"].get("replay.evicted", 0)
        async with client.stream(call(3, "progress", token=3, count=REPLAY_EVENTS + 10)) as other:
            await other.read_to_end()

        assert [failure_of(message) for message in await resumed(client, lost.last_id)] == [("lost", -32603)]
        assert (await health(client))["counts"]["replay.evicted"] > before


async def test_a_listener_that_comes_back_is_told_what_it_missed_on_its_own_stream(daemon: Daemon) -> None:
    changed = '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n'
    async with faulty_session(daemon) as (client, _):
        async with client.listen() as events:
            await client.answer(call(1, "write", text=changed + '{"jsonrpc":"2.0","id":$ID,"result":{}}\n'))
            assert (await events.next())["method"] == "notifications/tools/list_changed"

        begin = events.last_id.partition("-")[0] + "-0"
        async with client.listen({"last-event-id": begin}) as again:
            assert (await again.next())["method"] == "notifications/tools/list_changed"


async def test_coming_back_takes_the_stream_from_a_connection_that_is_still_open(daemon: Daemon) -> None:
    async with faulty_session(daemon) as (client, _), client.stream(call("x", "hold", **HOLD)) as old:
        await old.primed()
        async with client.listen({"last-event-id": old.last_id}) as new:
            assert await old.read_to_end() == [SAID]
            await client.result(2, "release")

            assert await new.read_to_end() == [SAID, RELEASED]


async def test_a_client_that_comes_back_after_its_childs_death_finds_no_session(daemon: Daemon) -> None:
    """Design part 5: 404, and it starts over."""
    async with faulty_session(daemon) as (client, _):
        lost = await lose(client, call("x", "hold", **HOLD))
        assert error_of(await client.post(call(2, "exit"))) == (500, -32603, 2)

        async with client.listen({"last-event-id": lost.last_id}) as refused:
            assert refused.response.status_code == 404
        assert error_of(await client.post(call(3, "echo")))[:2] == (404, -32001)


async def test_a_long_call_can_be_cut_into_responses_that_a_gateway_bears() -> None:
    """HL-12: the proxy closes the connection, the client comes back with what it has (SEP-1699)."""
    with serving("--close-stream-after", "0.1s", "--reconnect-delay", "0.2s") as daemon:
        async with faulty_session(daemon, holds_a_call=False) as (client, _):
            async with client.stream(call("x", "hold", **HOLD)) as events:
                assert b"retry: 200" in await events.primed()
                assert await events.read_to_end() == [SAID]
            for _ in range(2):
                assert await resumed(client, events.last_id) == []
            await client.result(2, "release")

            assert await resumed(client, events.last_id) == [RELEASED]


async def test_every_response_says_where_its_client_is() -> None:
    """The TypeScript clients know it from the response alone: from one without an event they would never come back."""
    flags = ("--commit-after", "0.05s", "--close-stream-after", "0.1s", "--reconnect-delay", "0.1s")
    with serving(*flags) as daemon:
        async with faulty_session(daemon, holds_a_call=False) as (client, _):
            ids = [(await lose(client, call(1, "sleep", seconds=0.6))).last_id]
            answers: list[Message] = []
            while not answers:
                async with client.listen({"last-event-id": ids[-1]}) as events:
                    assert (await events._event(), await events._event()) == (
                        b": open",
                        b"id: %b\r\nretry: 100\r\ndata: " % ids[-1].encode(),
                    )
                    answers = await events.read_to_end()
                ids.append(ids[-1])

    assert len(ids) > 3
    assert [answer["id"] for answer in answers] == [1]

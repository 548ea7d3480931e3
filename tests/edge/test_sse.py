"""How a stream becomes events, and who has it when its client comes back."""

import math

import anyio
import pytest
from msgspec import Raw

from proxy.edge.sse import PING, WRITE_BYTES, _events, as_events, priming
from proxy.errors import CallCancelled
from proxy.sessions.stream import SEEN_ELSEWHERE, Ask, Failure, Item, Stream


def stream() -> Stream:
    made = Stream(
        backlog_bytes=1000,
        on_full=lambda _: None,
        on_emptied=lambda _: None,
        on_record=lambda *_: None,
        call_ids=(Raw(b"1"),),
    )
    made.begin(7)
    return made


def test_every_event_has_its_place_and_one_line_of_data() -> None:
    items: list[Item] = [b'{"a":1}', Ask(3, b'{"b":2}'), SEEN_ELSEWHERE, Failure(Raw(b'"x"'), CallCancelled())]

    events = as_events(7, 4, items).decode().split("\r\n\r\n")

    assert events[0] == 'id: 7-4\r\nevent: message\r\ndata: {"a":1}'
    assert events[1] == 'id: 7-5\r\nevent: message\r\ndata: {"b":2}'
    assert events[2].startswith('id: 7-7\r\nevent: message\r\ndata: {"jsonrpc":"2.0","id":"x","error":{"code":-32800')
    assert events[3:] == [""]


def test_a_priming_event_has_an_id_and_no_data() -> None:
    """Spec: 2025-11-25 basic/transports, Sending Messages 6."""
    assert priming(7, 9, retry_seconds=0.2) == b"id: 7-9\r\nretry: 200\r\ndata: \r\n\r\n"
    assert priming(7, retry_seconds=1.5) == b"id: 7-0\r\nretry: 1500\r\ndata: \r\n\r\n"


async def test_a_response_that_was_replaced_gives_the_stream_up_wherever_it_is() -> None:
    """It may be waiting, or in the middle of a write; the new one must be woken all the same."""
    carried = stream()
    old = _events(carried, carried.connection, b"", math.inf, math.inf)
    carried.put(b"1")
    assert await anext(old) == as_events(7, 1, [b"1"])  # it is now in the middle of a write
    carried.reconnect([])
    new = _events(carried, carried.connection, b"", math.inf, math.inf)

    async with anyio.create_task_group() as tasks:
        got: list[bytes] = []

        async def read_new() -> None:
            got.append(await anext(new))

        tasks.start_soon(read_new)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(StopAsyncIteration), anyio.fail_after(5):
            await anext(old)
        with anyio.fail_after(5):
            carried.put(b"2")
            while not got:
                await anyio.lowlevel.checkpoint()

    assert got == [as_events(7, 2, [b"2"])]


async def test_a_response_that_waits_is_replaced_at_once() -> None:
    carried = stream()
    old = _events(carried, carried.connection, b"", math.inf, math.inf)

    async with anyio.create_task_group() as tasks:

        async def read_old() -> None:
            with pytest.raises(StopAsyncIteration):
                await anext(old)

        tasks.start_soon(read_old)
        await anyio.wait_all_tasks_blocked()
        carried.reconnect([])


async def test_a_response_ends_when_it_has_had_its_time() -> None:
    events = _events(stream(), 0, b"hello", anyio.current_time() + 0.01, math.inf)

    with anyio.fail_after(5):
        assert [chunk async for chunk in events] == [b"hello"]


async def test_a_response_with_nothing_to_say_says_so_between_events() -> None:
    """A comment, for the idle time-outs on the way; in the middle of an event it would end up in somebody's data."""
    carried = stream()
    events = _events(carried, carried.connection, b"", math.inf, 0.01)

    with anyio.fail_after(5):
        assert [await anext(events), await anext(events)] == [PING, PING]
        carried.put(b"1")
        assert await anext(events) == as_events(7, 1, [b"1"])
        assert await anext(events) == PING


async def test_a_large_message_is_written_in_pieces_and_each_is_counted_once_it_is_taken() -> None:
    """A reader has its time for each piece."""
    carried = stream()
    message = b"x" * (3 * WRITE_BYTES)
    carried.put(message)
    carried.put_answer(b"2")
    events = _events(carried, carried.connection, b"", math.inf, math.inf)

    taken = []
    pieces = []
    async for piece in events:
        taken.append(carried.pieces_taken)
        pieces.append(piece)

    assert b"".join(pieces) == as_events(7, 1, [message, b"2"])
    assert max(map(len, pieces)) == WRITE_BYTES
    assert taken == list(range(len(pieces)))


async def test_a_response_that_was_replaced_does_not_write_a_large_message_to_its_end() -> None:
    carried = stream()
    carried.put(b"x" * (3 * WRITE_BYTES))
    old = _events(carried, carried.connection, b"", math.inf, math.inf)

    await anext(old)
    carried.reconnect([])

    assert [piece async for piece in old] == []

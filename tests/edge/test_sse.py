"""How a stream becomes events, and who has it when its client comes back."""

import anyio
import pytest
from msgspec import Raw

from proxy.edge.sse import _events, as_events, priming
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
    assert priming(7, retry_seconds=1.5) == b"id: 7-0\r\nretry: 1500\r\ndata: \r\n\r\n"


async def test_a_response_that_was_replaced_gives_the_stream_up_wherever_it_is() -> None:
    """It may be waiting, or in the middle of a write; the new one must be woken all the same."""
    carried = stream()
    old = _events(carried, carried.connection, b"", None)
    carried.put(b"1")
    assert await anext(old) == as_events(7, 1, [b"1"])  # it is now in the middle of a write
    carried.reconnect([])
    new = _events(carried, carried.connection, b"", None)

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
    old = _events(carried, carried.connection, b"", None)

    async with anyio.create_task_group() as tasks:

        async def read_old() -> None:
            with pytest.raises(StopAsyncIteration):
                await anext(old)

        tasks.start_soon(read_old)
        await anyio.wait_all_tasks_blocked()
        carried.reconnect([])


async def test_a_response_ends_when_it_has_had_its_time() -> None:
    events = _events(stream(), 0, b"hello", anyio.current_time() + 0.01)

    with anyio.fail_after(5):
        assert [chunk async for chunk in events] == [b"hello"]

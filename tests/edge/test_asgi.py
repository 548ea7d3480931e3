"""What may an ASGI server do to a response? It need not be ours."""

import anyio
import pytest

from tests.support.asgi import Response, embedded, headers_of
from tests.support.mcp import call, encode


@pytest.mark.processes
async def test_a_response_that_fails_does_not_take_the_stream_from_the_one_that_has_it_now() -> None:
    """The client is back with `Last-Event-ID` while its old connection still seems open, and then proves broken."""
    async with embedded(commit_after_seconds=0.01) as (app, client), anyio.create_task_group() as tasks:
        old = Response("POST", headers_of(client), encode(call(1, "hold")))
        tasks.start_soon(old.serve, app)
        await old.until(b"id: ")
        event_id = old.body.partition(b"id: ")[2].partition(b"\r\n")[0].decode()
        new = Response("GET", headers_of(client, {"last-event-id": event_id}), b"")
        old.fails = True
        tasks.start_soon(new.serve, app)
        await old.until_over()
        await client.result(2, "release")

        await new.until_over()
        assert b'"id":1,"result":{"released":true}' in new.body.replace(b" ", b"")


@pytest.mark.processes
async def test_the_end_of_a_stream_waits_for_a_client_that_does_not_read_no_longer_than_the_rest_of_it() -> None:
    """Its answer is kept: the client may come back."""
    limits = {"commit_after_seconds": 0.01, "slow_reader_timeout_seconds": 0.2}
    async with embedded(**limits) as (app, client), anyio.create_task_group() as tasks:
        slow = Response("POST", headers_of(client), encode(call(1, "sleep", seconds=0.1)))
        slow.takes_no_end = True
        with anyio.fail_after(10):
            await slow.serve(app)
        event_id = slow.body.partition(b"id: ")[2].partition(b"\r\n")[0].decode()
        again = Response("GET", headers_of(client, {"last-event-id": event_id}), b"")
        tasks.start_soon(again.serve, app)

        await again.until_over()
        assert not slow.is_complete
        assert b'"id":1,"result"' in again.body.replace(b" ", b"")

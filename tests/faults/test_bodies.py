"""What does a body cost that is too large, too deep, or very slow to come, and a call that takes another's id?"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack

import anyio
import pytest

from tests.e2e.serving import serving
from tests.faults.measures import MIB, cost_to
from tests.faults.raw import Raw, head, raw_connection
from tests.faults.unharmed import faulty_session
from tests.support.daemon import Daemon
from tests.support.mcp import call, encode, error_of, until

MAX_BODY = 16 * MIB
BODY = 100 * MIB
PIECE = b"x" * MIB
DEEP = 100_000
INVALID_REQUEST = -32600
TYPE = "Content-Type: application/json"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving() as daemon:
        yield daemon


async def send_100_mb(raw: Raw, framed: bytes) -> None:
    """As much of it as the daemon takes: it may answer and close the connection before the end."""
    try:
        for _ in range(BODY // MIB):
            await raw.send(framed)
    except (ConnectionResetError, BrokenPipeError):
        return


def refused(answer: bytes) -> tuple[int, bytes]:
    """Status and body of a refusal."""
    status_line, _, body = answer.partition(b"\r\n\r\n")
    return int(status_line.split(b" ")[1]), body


@pytest.mark.parametrize("framing", ["declared", "chunked"])
async def test_a_body_of_100_mb_is_413_and_not_kept(daemon: Daemon, framing: str) -> None:
    """--max-body. Declared, it is refused before it is read; else as soon as there is too much of it."""
    async with faulty_session(daemon) as (client, _), raw_connection(daemon) as raw, anyio.create_task_group() as tasks:
        is_declared = framing == "declared"
        length = f"Content-Length: {BODY}" if is_declared else "Transfer-Encoding: chunked"
        with cost_to(daemon.pid) as cost:
            await raw.send(head("POST", client, TYPE, length))
            tasks.start_soon(send_100_mb, raw, PIECE if is_declared else b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
            await raw.read_until(b'"}}')
            assert await client.result(1, "echo") == {"echo": {}}

        status, body = refused(raw.got)
        assert status == 413
        assert body.startswith(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,')
        assert cost.peak_bytes < (MIB if is_declared else 3 * MAX_BODY)
        tasks.cancel_scope.cancel()


async def test_a_body_of_100_mb_is_served_where_it_is_allowed() -> None:
    """--max-body, --max-uploads-size: it reaches the child whole, in time and memory of its size."""
    with serving("--max-body", "128MiB", "--max-uploads-size", "256MiB") as daemon:
        async with faulty_session(daemon) as (client, pid):
            with cost_to(daemon.pid) as cost:
                response = await client.post(call("x", "pid", pad="x" * BODY), seconds=60)

            answer = response.json()
            assert (response.status_code, answer["id"], answer["result"]["pid"]) == (200, "x", pid)
            assert cost.peak_bytes < 5 * BODY
            assert cost.kept_bytes < BODY


@pytest.mark.parametrize("shape", ["[", '{"a":'])
async def test_a_body_nested_100_000_levels_deep_is_400(daemon: Daemon, shape: str) -> None:
    """--max-json-depth. Wherever its id stands."""
    nest = shape * DEEP + "1" + {"[": "]", '{"a":': "}"}[shape] * DEEP
    async with faulty_session(daemon) as (client, _):
        for body in (
            f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"x":{nest}}}}}}}',
            f'{{"jsonrpc":"2.0","method":"tools/call","params":{nest},"id":1}}',
            nest,
        ):
            status, code, id_ = error_of(await client.post(body.encode()))
            assert (status, code) == (400, INVALID_REQUEST)
            assert id_ in (1, None)
        assert not any(b"[[[[" in line or b'"a"' in line for line in await client.seen())


async def test_clients_that_upload_slowly_cost_nobody_anything(daemon: Daemon) -> None:
    """Design part 4. A call is no business of the child before it is whole; half of them never are."""
    bodies = [encode(call(number, "echo", n=number, say="slow")) for number in range(40)]
    async with faulty_session(daemon) as (client, _), AsyncExitStack() as connections:
        slow = [await connections.enter_async_context(raw_connection(daemon)) for _ in bodies]
        with cost_to(daemon.pid) as cost:
            for raw, body in zip(slow, bodies, strict=True):
                await raw.send(head("POST", client, TYPE, f"Content-Length: {len(body)}"))
            for place in range(min(map(len, bodies)) - 1):
                for raw, body in zip(slow, bodies, strict=True):
                    await raw.send(body[place : place + 1])
            for raw, body in zip(slow, bodies, strict=True):
                await raw.send(body[min(map(len, bodies)) - 1 : -1])
            assert await client.result("between", "echo") == {"echo": {}}
            assert not any(b"slow" in line for line in await client.seen())

        assert cost.peak_bytes < 4 * MIB
        for number, raw in enumerate(slow[::2]):
            await raw.send(bodies[2 * number][-1:])
            answer = await raw.read_until(b"}}}")
            assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {
                "jsonrpc": "2.0",
                "id": 2 * number,
                "result": {"echo": {"n": 2 * number, "say": "slow"}},
            }
        assert sum(b"slow" in line for line in await client.seen()) == len(slow) / 2


@pytest.mark.parametrize("id_", [1, "1"])
async def test_an_id_in_flight_is_taken_by_one_call_of_many(daemon: Daemon, id_: int | str) -> None:
    """Design part 3: 400 for all others, each with the id; the one goes on, and in another session it is free."""
    async with faulty_session(daemon) as (client, _), anyio.create_task_group() as tasks:
        laters = [client.begin(tasks, call(id_, "hold")) for _ in range(50)]

        async def are_refused() -> bool:
            return sum(later.has_arrived for later in laters) == len(laters) - 1

        await until(are_refused, "all but one are refused")
        (first,) = [later for later in laters if not later.has_arrived]
        refusals = Counter([error_of(await later.response()) for later in laters if later is not first])
        assert refusals == {(400, INVALID_REQUEST, id_): len(laters) - 1}
        assert sum(b'"hold"' in line for line in await client.seen()) == 1
        other = await client.another()
        assert await other.result(id_, "echo") == {"echo": {}}
        assert (await other.delete()).status_code == 200
        await client.result("release", "release")
        assert (await first.response()).json() == {"jsonrpc": "2.0", "id": id_, "result": {"released": True}}
        assert await client.result(id_, "echo") == {"echo": {}}

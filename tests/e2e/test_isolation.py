"""Does anybody ever get what is somebody else's?"""

import json
from collections.abc import Iterator

import anyio
import pytest

from tests.e2e.serving import serving
from tests.support.daemon import Daemon
from tests.support.mcp import (
    Client,
    Message,
    call,
    connected,
    error_of,
    notification,
    open_session,
    until_counts,
    until_empty,
    until_gone,
)

CLIENTS = 50


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving() as daemon:
        yield daemon


class Barrier:
    """Lets nobody on before all have come: what follows overlaps."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._open = anyio.Event()

    async def wait(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._open.set()
        with anyio.fail_after(30):
            await self._open.wait()


async def test_50_clients_with_the_same_ids_get_their_own_answers(daemon: Daemon) -> None:
    """Every id, token and server request is the same in every session; only the contents differ."""
    asked, answered = Barrier(CLIENTS), Barrier(CLIENTS)
    pids: set[int] = set()

    async def live(client: Client, number: int) -> None:
        await client.open()
        pids.add(await client.pid())
        async with client.listen() as listening:
            question = call(1, "ask", token=1, id=1, method="sampling/createMessage", params={"n": number})
            async with client.stream(question) as events:
                ask = await events.next()
                await asked.wait()
                assert ask["params"] == {"n": number}
                accepted = await client.post({"jsonrpc": "2.0", "id": ask["id"], "result": {"n": number}})
                assert accepted.status_code == 202
                (answer,) = await events.read_to_end()
                assert answer["id"] == 1
                assert json.loads(answer["result"]["answer"])["result"] == {"n": number}
            await answered.wait()
            async with client.stream(call(1, "progress", token=1, count=number)) as events:
                *steps, answer = await events.read_to_end()
                assert [step["params"]["progress"] for step in steps] == list(range(number))
                assert answer["result"] == {"count": number}
            text = f'{{"jsonrpc":"2.0","id":$ID,"result":{{"n":{number}}}}}\n'
            text += json.dumps(notification("notifications/resources/updated", {"uri": f"x://{number}"})) + "\n"
            assert (await client.answer(call(1, "write", text=text)))["result"] == {"n": number}
            assert (await listening.next())["params"] == {"uri": f"x://{number}"}
        assert (await client.result(1, "echo", n=number)) == {"echo": {"n": number}}
        seen = b"".join(await client.seen())
        assert b'"n": %d}' % number in seen
        assert not any(b'"n": %d}' % other in seen for other in range(1, CLIENTS + 1) if other != number)

    async with connected(daemon.url) as first:
        with anyio.fail_after(45):
            async with anyio.create_task_group() as tasks:
                for number in range(1, CLIENTS + 1):
                    tasks.start_soon(live, Client(first.http, first.url), number)

        assert len(pids) == CLIENTS
        await until_counts(first, sessions=CLIENTS, children=CLIENTS)


async def test_nothing_of_one_session_reaches_another(daemon: Daemon) -> None:
    """Cancellations, answers and ends name ids that the other has open as well."""
    async with open_session(daemon.url) as one, anyio.create_task_group() as tasks:
        two = await one.another()
        await one.hold(tasks, call(1, "hold"))
        (held,) = await two.hold(tasks, call(1, "hold"))
        async with two.stream(call("q", "ask", id=1, method="roots/list")) as events:
            ask = await events.next()
            before = await two.seen()

            await one.post(notification("notifications/cancelled", {"requestId": 1}))
            await one.post({"jsonrpc": "2.0", "id": ask["id"], "result": {"from": "one"}})
            await one.result(2, "release")
            assert await two.seen() == before

            await one.post(call(3, "exit"))
            await two.post({"jsonrpc": "2.0", "id": ask["id"], "result": {"from": "two"}})
            (answer,) = await events.read_to_end()
            assert json.loads(answer["result"]["answer"])["result"] == {"from": "two"}
        await two.result(2, "release")
        assert (await held.response()).json()["result"] == {"released": True}
        await two.delete()


async def test_nine_do_not_notice_the_crash_of_one() -> None:
    """And nobody is left when all have gone."""
    with serving() as daemon:
        async with connected(daemon.url) as nobody:
            clients = [Client(nobody.http, nobody.url) for _ in range(10)]
            pids: list[int] = []
            answers: list[Message] = []

            async def live(client: Client) -> None:
                await client.open()
                pids.append(await client.pid())

            async with anyio.create_task_group() as tasks:
                for client in clients:
                    tasks.start_soon(live, client)
            async with anyio.create_task_group() as tasks:
                holds = [(await client.hold(tasks, call(1, "hold")))[0] for client in clients[1:]]
                assert error_of(await clients[0].post(call(1, "exit", code=7))) == (500, -32603, 1)
                for client in clients[1:]:
                    await client.result(2, "release")
                answers += [(await hold.response()).json() for hold in holds]

            assert all(answer["result"] == {"released": True} for answer in answers)
            for client in clients:
                assert (await client.delete()).status_code == (404 if client is clients[0] else 200)
            await until_empty(nobody)
            await until_gone(*pids)

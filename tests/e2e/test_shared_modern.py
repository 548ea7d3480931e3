"""`--isolation shared` in front of a server that speaks only 2026-07-28: clients with a session share one process."""

from collections.abc import Iterator

import anyio
import pytest

from tests.e2e.serving import serving_modern
from tests.support.daemon import Daemon
from tests.support.mcp import (
    Client,
    Events,
    Message,
    call,
    children_of,
    connected,
    error_of,
    health,
    notification,
    request,
    until,
    until_counts,
)

CLIENTS = 12


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with serving_modern("--isolation", "shared", modes=("modern-only",)) as daemon:
        yield daemon


async def value(client: Client, id_: int | str, tool: str, **arguments: object) -> Message:
    """What a tool puts out."""
    content = (await client.result(id_, tool, **arguments))["structuredContent"]
    assert isinstance(content, dict)
    return content


async def test_many_clients_with_the_same_ids_on_one_process_see_only_what_is_theirs(daemon: Daemon) -> None:
    async with connected(daemon.url) as first:
        clients = [await first.another() for _ in range(CLIENTS)]

        async def play(number: int, client: Client) -> None:
            uri = f"note://{number}"
            assert (await client.answer(request(1, "resources/subscribe", {"uri": uri})))["result"] == {}
            async with client.listen() as heard:
                assert await value(client, 2, "echo", me=number) == {"echo": {"me": number}}
                async with client.stream(call(3, "progress", token=3, count=2)) as events:
                    *told, answer = await events.read_to_end()
                assert [each["params"]["progressToken"] for each in told if "progress" in each["params"]] == [3, 3]
                assert answer["id"] == 3
                async with client.stream(call(4, "ask-elicit")) as events:
                    question = await events.next()
                    content = {"action": "accept", "content": {"name": f"client {number}"}}
                    await client.post({"jsonrpc": "2.0", "id": question["id"], "result": content})
                    (answer,) = await events.read_to_end()
                assert answer["result"]["structuredContent"]["rounds"] == [{"name": content}]
                await client.result(5, "touch", uri=uri)
                assert (await next_change(heard)) == uri

        async with anyio.create_task_group() as playing:
            for number, client in enumerate(clients):
                playing.start_soon(play, number, client)

        assert len({(await value(client, 6, "pid"))["pid"] for client in clients}) == 1
        assert len(children_of(daemon.pid)) == (await health(first))["children"] == 1
        assert (await value(clients[0], 7, "faults")) == {"faults": []}
    assert "not handled" not in daemon.log


async def next_change(events: Events) -> str:
    while True:
        message = await events.next()
        if message["method"] == "notifications/resources/updated":
            return str(message["params"]["uri"])


async def test_sessions_outlive_their_process_on_one_other(daemon: Daemon) -> None:
    async with connected(daemon.url) as first, anyio.create_task_group() as tasks:
        clients = [await first.another() for _ in range(4)]
        before = (await value(clients[0], 1, "pid"))["pid"]
        held = [client.begin(tasks, call(2, "hold", key="k")) for client in clients[1:]]

        async def all_held() -> bool:
            return len((await value(clients[0], 3, "open"))["calls"]) == 3

        await until(all_held, "three calls at the child")
        assert error_of(await clients[0].post(call(4, "exit")))[1:] == (-32603, 4)
        assert [error_of(await later.response()) for later in held] == [(500, -32603, 2)] * 3

        after = set()
        for client in clients:
            async with client.stream(call(5, "pid")) as events:  # what may have changed comes first
                *told, answer = await events.read_to_end()
            assert {each["method"].rpartition("/")[2] for each in told} == {"list_changed"}
            after.add(answer["result"]["structuredContent"]["pid"])
        assert len(after) == 1 and before not in after
        await until_counts(first, sessions=4, children=1)


async def test_a_session_that_ends_takes_its_calls_and_subscriptions_with_it(daemon: Daemon) -> None:
    async with connected(daemon.url) as first, anyio.create_task_group() as tasks:
        leaving, staying = await first.another(), await first.another()
        await leaving.answer(request(1, "resources/subscribe", {"uri": "note://1"}))
        cut = leaving.begin(tasks, call(2, "hold", key="leaves"))
        stays = staying.begin(tasks, call(2, "hold", key="stays"))

        async def both_held() -> bool:
            return len((await value(staying, 3, "open"))["calls"]) == 2

        await until(both_held, "both calls at the child")
        listens = len((await value(staying, 4, "open"))["listens"])
        assert (await leaving.delete()).status_code == 200
        assert error_of(await cut.response())[1:] == (-32603, 2)

        async def is_told() -> bool:
            told = (await value(staying, 5, "told"))["told"]
            return "leaves" in [each.get("key") for each in told]

        await until(is_told, "the child is told")
        assert len((await value(staying, 6, "open"))["listens"]) < listens
        await staying.post(notification("notifications/cancelled", {"requestId": 77}))
        await staying.result(7, "release", key="stays")
        assert (await stays.response()).status_code == 200
        assert (await value(staying, 8, "faults")) == {"faults": []}


async def test_many_who_come_at_once_to_a_server_that_nobody_knows_yet_share_one_process(daemon: Daemon) -> None:
    async with connected(daemon.url) as first:
        clients: list[Client] = []

        async def come() -> None:
            clients.append(await first.another())

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(come)

        await until_counts(first, sessions=10, children=1)
        assert (await health(first))["servers"]["default"]["paths"] == [
            {"client": "legacy", "child": "modern", "sessions": 10}
        ]

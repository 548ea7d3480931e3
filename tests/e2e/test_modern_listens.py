"""What a client of 2026-07-28 that listens is told, and how that ends."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest

from tests.e2e.serving import serving_modern
from tests.support.daemon import Daemon
from tests.support.mcp import Events, until, until_gone
from tests.support.modern import PREFIX, SUBSCRIPTION, Json, ModernClient, modern, modern_client, tool

TASKS: Json = {"extensions": {f"{PREFIX}tasks": {}}}
CHANGES = {
    "toolsListChanged": "notifications/tools/list_changed",
    "promptsListChanged": "notifications/prompts/list_changed",
    "resourcesListChanged": "notifications/resources/list_changed",
}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving_modern() as daemon:
        yield daemon


@asynccontextmanager
async def connected(daemon: Daemon) -> AsyncIterator[ModernClient]:
    """A client; the child must have nothing to complain of, and nothing may be left."""
    async with modern_client(daemon.url) as client:
        yield client

        async def is_over() -> bool:
            return await listens_of(client) == []

        await until(is_over, "the child has no subscriptions")
        assert (await client.call("?", "faults"))["faults"] == []
        report = (await client.http.get(daemon.base_url + "/health")).json()
        assert (report["modern"]["listens"], report["modern"]["calls_in_flight"]) == (0, 0)


def listen(id_: int | str, capabilities: Json | None = None, **notifications: Any) -> Json:
    return modern(id_, "subscriptions/listen", {"notifications": notifications}, capabilities=capabilities)


async def change_everything(client: ModernClient, name: str) -> None:
    """Change all that can be listened to; when it is answered, everybody was told."""
    for tool_name in ("add-tool", "add-prompt", "add-resource"):
        await client.call(1, tool_name, name=name)
    for uri in ("note://1", "note://2"):
        await client.call(1, "touch", uri=uri)


async def told(events: Events, count: int) -> list[Any]:
    """What so many notifications were about: the method, or the resource."""
    messages = [await events.next() for _ in range(count)]
    return [each["params"].get("uri", each["method"]) for each in messages]


async def listens_of(client: ModernClient) -> list[Json]:
    """The subscriptions that the child knows of."""
    listens: list[Json] = (await client.call("?", "open"))["listens"]
    return listens


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        *(({name: True}, [method]) for name, method in CHANGES.items()),
        (dict.fromkeys(CHANGES, True), list(CHANGES.values())),
        ({"resourceSubscriptions": ["note://1"]}, ["note://1"]),
        ({"resourceSubscriptions": ["note://2", "note://1"]}, ["note://1", "note://2"]),
        ({"promptsListChanged": True, "toolsListChanged": False}, [CHANGES["promptsListChanged"]]),
    ],
)
async def test_a_client_is_told_what_it_has_asked_for(daemon: Daemon, asked: Json, expected: list[str]) -> None:
    """HM-24: the acknowledgement first, which `listening` has seen; nothing else."""
    async with connected(daemon) as client, client.listening("a", **asked) as events:
        await change_everything(client, "x")
        await client.call(1, "touch", uri="note://1")  # the last one, if it is asked for

        assert await told(events, len(expected)) == expected


async def test_a_client_may_listen_several_times(daemon: Daemon) -> None:
    """Even under one id: on this connection it names nothing else."""
    async with connected(daemon) as client, AsyncExitStack() as stack:
        first = await stack.enter_async_context(client.listening(7, toolsListChanged=True))
        second = await stack.enter_async_context(client.listening(7, promptsListChanged=True))
        third = await stack.enter_async_context(client.listening("7", promptsListChanged=True))
        await change_everything(client, "y")

        assert await told(first, 1) == [CHANGES["toolsListChanged"]]
        for events in (second, third):
            assert await told(events, 1) == [CHANGES["promptsListChanged"]]


async def test_clients_that_ask_for_the_same_are_one_to_the_child(daemon: Daemon) -> None:
    """D.2 step 5; the child is told when the last one goes."""
    async with connected(daemon) as client:
        before = len((await client.call("?", "told"))["told"])
        async with AsyncExitStack() as stack:
            all_of_them = [
                await stack.enter_async_context(client.listening(nth % 3, toolsListChanged=True)) for nth in range(20)
            ]
            other = await stack.enter_async_context(client.listening(1, resourceSubscriptions=["note://1"]))
            assert await listens_of(client) == [
                {"toolsListChanged": True},
                {"resourceSubscriptions": ["note://1"]},
            ]
            await change_everything(client, "z")
            for nth, events in enumerate(all_of_them):
                message = await events.next()
                assert message["method"] == CHANGES["toolsListChanged"]
                assert message["params"]["_meta"][SUBSCRIPTION] == nth % 3
            assert await told(other, 1) == ["note://1"]
            await other.response.aclose()

            async def is_one_left() -> bool:
                return await listens_of(client) == [{"toolsListChanged": True}]

            await until(is_one_left, "the child is told that one is gone")

        async def are_told() -> bool:
            return len((await client.call("?", "told"))["told"]) == before + 2

        await until(are_told, "the child is told that all are gone")


async def test_one_of_many_may_leave(daemon: Daemon) -> None:
    async with connected(daemon) as client, client.listening(1, toolsListChanged=True) as left:
        async with client.listening(2, toolsListChanged=True):
            pass
        await client.call(1, "add-tool", name="w")

        assert await told(left, 1) == [CHANGES["toolsListChanged"]]
        assert await listens_of(client) == [{"toolsListChanged": True}]


async def test_a_child_may_end_them_in_peace(daemon: Daemon) -> None:
    """HM-25: the result names the subscription, and the stream ends."""
    async with connected(daemon) as client, AsyncExitStack() as stack:
        ids: list[int | str] = [0, "0", 0]
        all_of_them = [await stack.enter_async_context(client.listening(id_, toolsListChanged=True)) for id_ in ids]
        assert await client.call(1, "end-listens") == {"count": 1}

        for id_, events in zip(ids, all_of_them, strict=True):
            (answer,) = await events.read_to_end()
            assert answer["id"] == answer["result"]["_meta"][SUBSCRIPTION] == id_
            assert type(answer["id"]) is type(id_)
            assert answer["result"]["resultType"] == "complete"


async def test_a_child_may_break_them_off(daemon: Daemon) -> None:
    """H.1: the stream just ends, and the client listens again."""
    async with connected(daemon) as client:
        async with client.listening(1, toolsListChanged=True) as events:
            assert await client.call(1, "drop-listens") == {"count": 1}
            assert await events.read_to_end() == []
        async with client.listening(1, toolsListChanged=True) as events:
            await client.call(1, "add-tool", name="v")
            assert await told(events, 1) == [CHANGES["toolsListChanged"]]


async def test_when_the_child_dies_they_end_and_can_be_opened_again(daemon: Daemon) -> None:
    """SC-09, SC-11."""
    async with connected(daemon) as client:
        async with client.listening(1, toolsListChanged=True) as events:
            pid = (await client.call(1, "pid"))["pid"]
            os.kill(pid, signal.SIGKILL)
            assert await events.read_to_end() == []
            await until_gone(pid)
        async with client.listening(1, toolsListChanged=True) as events:
            await client.call(1, "add-tool", name="u")
            assert await told(events, 1) == [CHANGES["toolsListChanged"]]


@pytest.mark.parametrize("notifications", [None, [], "all", {"more": 1}])
async def test_what_a_child_makes_of_a_request_is_its_own_affair(daemon: Daemon, notifications: Any) -> None:
    async with connected(daemon) as client:
        params = {} if notifications is None else {"notifications": notifications}
        async with client.stream(modern(1, "subscriptions/listen", params)) as events:
            if isinstance(notifications, dict):
                assert (await events.next())["params"]["notifications"] == {"more": 1}
            else:
                assert events.response.status_code == 400
                assert b"-32602" in await events.body()


async def test_what_belongs_to_no_subscription_is_told_to_nobody(daemon: Daemon) -> None:
    """HM-24, HM-26, HM-27, D.2 step 7."""
    async with connected(daemon) as client, client.listening(1, toolsListChanged=True) as events:
        await client.call(1, "stray-changes")
        await client.call(1, "log", stray=True, level="emergency")
        await client.call(1, "send-request")
        await client.messages(tool(1, "progress", meta={"progressToken": 1}, count=1))
        await client.call(1, "add-tool", name="t")

        assert await told(events, 1) == [CHANGES["toolsListChanged"]]


# ---- tasks


async def test_a_client_hears_of_its_own_tasks(daemon: Daemon) -> None:
    """HM-32."""
    async with connected(daemon) as client:
        task_id = (await client.result(tool(1, "task", capabilities=TASKS)))["taskId"]
        async with client.stream(listen("t", TASKS, taskIds=[task_id])) as events:
            assert (await events.next())["params"]["notifications"] == {"taskIds": [task_id]}
            await client.call(1, "finish-task", taskId=task_id)
            message = await events.next()

    assert (message["method"], message["params"]["taskId"]) == ("notifications/tasks", task_id)
    assert message["params"]["_meta"][SUBSCRIPTION] == "t"


@pytest.mark.parametrize("capabilities", [TASKS, {}])
async def test_tasks_of_others_are_not_asked_for(daemon: Daemon, capabilities: Json) -> None:
    """The child does not even see their ids; nor any, of a client that does not know the extension."""
    async with connected(daemon) as client:
        task_id = (await client.result(tool(1, "task", capabilities=TASKS)))["taskId"]
        asked = listen(1, capabilities, taskIds=["not-mine", task_id], toolsListChanged=True)
        async with client.stream(asked) as events:
            acknowledged = (await events.next())["params"]["notifications"]
            assert acknowledged == {"toolsListChanged": True} | ({"taskIds": [task_id]} if capabilities else {})
            assert not any("not-mine" in line for line in (await client.call(1, "seen"))["lines"])


# ---- limits and the end


async def test_only_so_many_may_listen() -> None:
    with serving_modern("--max-listens", "2", modes=("max-listens=1",)) as daemon:
        async with modern_client(daemon.url) as client, AsyncExitStack() as stack:
            first = await stack.enter_async_context(client.listening(1, toolsListChanged=True))
            refused_by_child = await client.post(listen(2, promptsListChanged=True))
            await stack.enter_async_context(client.listening(2, toolsListChanged=True))
            refused = await client.post(listen("x", toolsListChanged=True))
            await first.response.aclose()

            async def is_there_room() -> bool:
                async with client.stream(listen(1, toolsListChanged=True)) as events:
                    return events.response.status_code == 200

            await until(is_there_room, "one more may listen")

        answer = refused_by_child.json()
        assert (refused_by_child.status_code, answer["error"]["code"], answer["id"]) == (200, -32603, 2)
        assert (refused.status_code, refused.json()["error"]["code"], refused.json()["id"]) == (503, -32603, "x")
        assert refused.headers["retry-after"]


async def test_on_sigterm_they_end_in_peace_at_once_while_calls_go_on() -> None:
    """HM-25; design part 4."""
    with serving_modern() as daemon:
        async with modern_client(daemon.url) as client, client.listening("a", toolsListChanged=True) as events:
            answers: list[Json] = []

            async def hold() -> None:
                answers.append(await client.call(1, "sleep", seconds=1.0))

            async def is_held() -> bool:
                return len((await client.call(1, "open"))["calls"]) == 1

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hold)
                await until(is_held, "the call at the child")
                daemon.signal(signal.SIGTERM)
                (answer,) = await events.read_to_end()
                was_first = not answers

        assert answer == {
            "jsonrpc": "2.0",
            "id": "a",
            "result": {"resultType": "complete", "_meta": {SUBSCRIPTION: "a"}},
        }
        assert (was_first, answers) == (True, [{"slept": True}])
        assert daemon.wait() == 0

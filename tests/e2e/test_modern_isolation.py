"""Who shares a process with whom, and what strangers are offered."""

from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from tests.e2e.serving import serving_modern
from tests.support.daemon import Daemon
from tests.support.mcp import until, until_gone
from tests.support.modern import ALL, PREFIX, SUBSCRIPTION, Json, ModernClient, modern, modern_client, retry, tool

FORWARDED = ({"x-forwarded-for": "203.0.113.7"}, {"forwarded": "for=203.0.113.7"}, {"x-forwarded-host": "example.com"})
TASKS: Json = {"extensions": {f"{PREFIX}tasks": {}}}
EMPTY = {"calls_in_flight": 0, "listens": 0, "leases": 0, "continuations": 0, "tasks": 0}

Post = Callable[[Json], Any]


@pytest.fixture(scope="module")
def auto() -> Iterator[Daemon]:
    with serving_modern() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def request_each() -> Iterator[Daemon]:
    with serving_modern("--modern-isolation", "request") as daemon:
        yield daemon


async def pid_of(client: ModernClient, headers: dict[str, str] | None = None) -> int:
    response = await client.post(tool(1, "pid"), dict(headers or {}))
    assert response.status_code == 200, response.text
    pid: int = response.json()["result"]["structuredContent"]["pid"]
    return pid


async def children(client: ModernClient) -> int:
    count: int = (await report(client))["children"]
    return count


async def report(client: ModernClient) -> Json:
    shown: Json = (await client.http.get(client.url.replace("/mcp", "/health"))).json()["modern"]
    return shown


@pytest.mark.parametrize("headers", FORWARDED)
async def test_a_request_that_was_forwarded_has_a_process_of_its_own(auto: Daemon, headers: dict[str, str]) -> None:
    """Design part 5: whoever comes to us over this machine's loopback is its user, who else nobody knows."""
    async with modern_client(auto.url) as client:
        mine = await pid_of(client)
        strangers = [await pid_of(client, headers) for _ in range(2)]

        assert len({mine, *strangers}) == 3
        await until_gone(*strangers)
        assert await pid_of(client) == mine
        assert await children(client) == 1


async def test_everybody_shares_where_that_is_wanted() -> None:
    with serving_modern("--modern-isolation", "shared") as daemon:
        async with modern_client(daemon.url) as client:
            assert await pid_of(client) == await pid_of(client, FORWARDED[0])


async def test_on_an_address_that_others_reach_nobody_shares() -> None:
    with serving_modern("--host", "0.0.0.0") as daemon:
        async with modern_client(f"http://127.0.0.1:{daemon.port}/mcp") as client:
            assert await pid_of(client) != await pid_of(client)


async def test_with_a_process_for_each_call_they_know_nothing_of_each_other(request_each: Daemon) -> None:
    async with modern_client(request_each.url) as client:
        pids = [await pid_of(client) for _ in range(3)]
        await client.call(1, "add-tool", name="gone")
        names = [each["name"] for each in (await client.result(modern(1, "tools/list")))["tools"]]

        assert len(set(pids)) == 3
        assert "gone" not in names
        await until_gone(*pids)


async def test_what_can_not_be_kept_is_not_offered(request_each: Daemon, auto: Daemon) -> None:
    """HM-18: capabilities match behaviour."""
    async with modern_client(request_each.url) as client, modern_client(auto.url) as sharing:
        offered = (await client.result(modern(1, "server/discover")))["capabilities"]
        forwarded = await sharing.post(modern(1, "server/discover"), {**FORWARDED[0]})
        shared = (await sharing.result(modern(1, "server/discover")))["capabilities"]

    assert offered == forwarded.json()["result"]["capabilities"]
    assert offered["tools"] == offered["prompts"] == {"listChanged": False}
    assert offered["resources"] == {"listChanged": False, "subscribe": False}
    assert shared["resources"] == {"listChanged": True, "subscribe": True}
    assert offered.keys() == shared.keys()


@pytest.mark.parametrize("id_", [0, "a"])
async def test_a_listen_is_acknowledged_for_nothing_and_ended(request_each: Daemon, id_: int | str) -> None:
    """B.7: as a server does that honours nothing of it."""
    async with modern_client(request_each.url) as client:
        asked = modern(id_, "subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        response = await client.post(asked)
        acknowledged, answer = await client.messages(asked)

    assert response.headers["content-type"].startswith("text/event-stream")
    assert acknowledged == {
        "jsonrpc": "2.0",
        "method": "notifications/subscriptions/acknowledged",
        "params": {"notifications": {}, "_meta": {SUBSCRIPTION: id_}},
    }
    assert answer["result"] == {"resultType": "complete", "_meta": {SUBSCRIPTION: id_}}
    assert answer["id"] == id_


async def test_lists_come_from_one_process(request_each: Daemon) -> None:
    """No process is started for what every client asks first."""
    async with modern_client(request_each.url) as client:
        for method in ("server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list"):
            assert (await client.result(modern(1, method)))["resultType"] == "complete"

        async def is_one_left() -> bool:
            return await report(client) == {"children": 1, **EMPTY}

        await until(is_one_left, "the one for lists is left")


async def test_a_question_keeps_its_process_until_it_is_answered(request_each: Daemon) -> None:
    async with modern_client(request_each.url) as client:
        message = tool(1, "ask-n", capabilities=ALL, rounds=2)
        asked = await client.result(message)
        again = await client.result(retry(message, 2, asked, {"q1": {"action": "decline"}}))
        assert (await report(client))["continuations"] == 1
        done = await client.result(retry(message, 3, again, {"q2": {"action": "cancel"}}))
        assert done["structuredContent"] == {"rounds": [{"q1": {"action": "decline"}}, {"q2": {"action": "cancel"}}]}

        async def is_gone() -> bool:
            return await children(client) <= 1

        await until(is_gone, "its process is gone")


async def test_a_task_keeps_its_process_and_is_only_a_strangers(auto: Daemon) -> None:
    """This machine's user has others."""
    async with modern_client(auto.url) as client:
        response = await client.post(tool(1, "task", capabilities=TASKS), {**FORWARDED[0]})
        task_id = response.json()["result"]["taskId"]
        asked = modern(2, "tasks/get", {"taskId": task_id}, capabilities=TASKS)

        assert (await client.post(asked, {**FORWARDED[0]})).json()["result"]["taskId"] == task_id
        refused = await client.post(asked)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32602)


async def test_a_task_of_a_stranger_is_not_found_by_guessing(request_each: Daemon) -> None:
    """SEP-2663: each task request must be authorised. The children of both call their first task the same."""
    async with modern_client(request_each.url) as client:
        begun = [await client.result(tool(1, "task", capabilities=TASKS, id="1", ask=True)) for _ in range(2)]
        ids = [each["taskId"] for each in begun]
        guessed = await client.post(modern(2, "tasks/get", {"taskId": "1"}, capabilities=TASKS))
        seen = [await client.result(modern(3, "tasks/get", {"taskId": each}, capabilities=TASKS)) for each in ids]
        await client.result(modern(4, "tasks/cancel", {"taskId": ids[0]}, capabilities=TASKS))
        later = [await client.result(modern(5, "tasks/get", {"taskId": each}, capabilities=TASKS)) for each in ids]

    assert (guessed.status_code, guessed.json()["error"]["code"]) == (400, -32602)
    assert [each["taskId"] for each in seen] == ids and len({*ids, "1"}) == 3
    assert [each["status"] for each in later] == ["cancelled", "input_required"]


async def test_a_stranger_that_leaves_takes_its_process_along(auto: Daemon) -> None:
    async with modern_client(auto.url) as client:
        before = await children(client)
        with anyio.move_on_after(0.5):
            await client.post(tool(1, "hold"), {**FORWARDED[0]})

        async def is_gone() -> bool:
            return await children(client) == before

        await until(is_gone, "its process is gone")


@pytest.mark.parametrize("method", ["tools/call", "resources/read"])
async def test_a_strangers_call_that_is_refused_leaves_no_process(auto: Daemon, method: str) -> None:
    async with modern_client(auto.url) as client:
        before = await children(client)
        name = {"name": "headers", "arguments": {"region": "eu"}} if method == "tools/call" else {"uri": "no://such"}
        response = await client.post(modern(1, method, name), {**FORWARDED[0]})

        assert response.status_code == 400

        async def is_gone() -> bool:
            return await children(client) == before

        await until(is_gone, "its process is gone")

"""What clients of the handshake era get from a server that speaks only 2026-07-28: over HTTP, with a real child."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from tests.e2e.serving import MODERN_PROGRAM, serving_modern
from tests.support.daemon import Daemon, running_daemon
from tests.support.mcp import (
    Client,
    Message,
    call,
    error_of,
    health,
    kind_of,
    notification,
    open_session,
    request,
    until,
)

CANCELLED = -32800
ACCEPTED = {"action": "accept", "content": {"name": "Ada"}}
SAMPLED = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "word"}}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving_modern("--server-request-timeout", "0.3s", modes=("modern-only",)) as daemon:
        yield daemon


def answer_to(question: Message, result: Message) -> Message:
    return {"jsonrpc": "2.0", "id": question["id"], "result": result}


async def value(client: Client, id_: int | str, tool: str, **arguments: object) -> Message:
    """What a tool puts out."""
    content = (await client.result(id_, tool, **arguments))["structuredContent"]
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_every_revision_with_a_handshake_is_served(daemon: Daemon, version: str) -> None:
    """HL-31; the child is asked nothing that the revision does not know."""
    async with open_session(daemon.url, version=version) as client:
        assert client.version == version
        declared = (await value(client, 1, "client"))["capabilities"]
        assert ("elicitation" in declared) is (version >= "2025-06-18")
        assert (await value(client, 2, "echo", a=2**60)) == {"echo": {"a": 2**60}}
        assert (await value(client, 3, "faults")) == {"faults": []}


async def test_a_quick_answer_is_json_and_a_question_makes_it_a_stream(daemon: Daemon) -> None:
    """HL-07, HL-09: questions, progress, logs and the answer come on the stream of the call."""
    async with open_session(daemon.url) as client:
        assert kind_of(await client.post(call(0, "echo"))) == "application/json"
        async with client.stream(call(1, "ask-both")) as events:
            first, second = await events.next(), await events.next()
            assert [first["method"], second["method"]] == ["elicitation/create", "sampling/createMessage"]
            assert (await client.post(answer_to(second, SAMPLED))).status_code == 202
            assert (await client.post(answer_to(first, ACCEPTED))).status_code == 202
            (answer,) = await events.read_to_end()
        assert answer["id"] == 1
        assert answer["result"]["structuredContent"] == {"rounds": [{"name": ACCEPTED, "word": SAMPLED}]}

        async with client.stream(call(2, "progress", token="p", count=2)) as events:
            *told, _ = await events.read_to_end()
        assert [(each["params"]["progressToken"], each["params"]["progress"]) for each in told] == [("p", 1), ("p", 2)]

        async with client.stream(call(3, "log", level="debug", text="x")) as events:
            (log, answer) = await events.read_to_end()
        assert (log["method"], log["params"]["data"], answer["id"]) == ("notifications/message", "x", 3)
        assert (await value(client, 4, "faults")) == {"faults": []}


async def test_a_call_that_is_cancelled_while_its_client_is_asked_ends_and_takes_the_question_back(
    daemon: Daemon,
) -> None:
    """HL-40; spec: 2025-11-25 basic/utilities/cancellation."""
    async with open_session(daemon.url) as client:
        async with client.stream(call("c", "ask-elicit")) as events:
            question = await events.next()
            await client.post(notification("notifications/cancelled", {"requestId": "c"}))
            taken_back, answer = await events.read_to_end()
        assert taken_back["params"]["requestId"] == question["id"]
        assert (answer["id"], answer["error"]["code"]) == ("c", CANCELLED)

        assert (await client.post(answer_to(question, ACCEPTED))).status_code == 202
        assert (await value(client, 1, "open"))["calls"] == []
        assert (await value(client, 2, "faults")) == {"faults": []}


async def test_a_call_that_is_cancelled_at_the_server_is_cancelled_there(daemon: Daemon) -> None:
    """SC-08."""
    async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
        held = client.begin(tasks, call("h", "hold", key="k"))

        async def is_held() -> bool:
            return bool((await value(client, "open?", "open"))["calls"])

        await until(is_held, "the call is at the child")
        await client.post(notification("notifications/cancelled", {"requestId": "h"}))

        assert error_of(await held.response()) == (200, CANCELLED, "h")
        assert [each["key"] for each in (await value(client, 1, "told"))["told"]] == ["k"]


async def test_a_question_that_no_client_can_answer_any_more_ends_the_call(daemon: Daemon) -> None:
    """Nothing is left of a call whose client has gone for good."""
    async with open_session(daemon.url) as client:
        async with client.stream(call(1, "ask-elicit")) as events:
            await events.next()

        async def is_over() -> bool:
            return bool((await health(client))["calls_in_flight"] == 0)

        await until(is_over, "no call is open")
        async with client.listen({"last-event-id": events.last_id}) as events:
            (answer,) = await events.read_to_end()
        assert answer["result"]["isError"] is True


async def test_changes_come_on_the_stream_of_who_listens(daemon: Daemon) -> None:
    """HL-17, SC-09."""
    async with open_session(daemon.url) as client, client.listen() as listener:
        subscribed = await client.answer(request(1, "resources/subscribe", {"uri": "note://1"}))
        assert subscribed["result"] == {}
        await value(client, 2, "touch", uri="note://1")
        await value(client, 3, "touch", uri="note://2")
        await value(client, 4, "add-tool", name="new")

        told = [await listener.next(), await listener.next()]
        assert [each["method"] for each in told] == [
            "notifications/resources/updated",
            "notifications/tools/list_changed",
        ]
        assert told[0]["params"] == {"uri": "note://1"}


async def test_an_output_that_is_no_object_is_listed_and_put_out_as_one(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        tools = (await client.answer(request(1, "tools/list")))["result"]["tools"]
        (numbers,) = [tool for tool in tools if tool["name"] == "numbers"]

        assert numbers["outputSchema"]["properties"]["result"]["type"] == "array"
        assert (await value(client, 2, "numbers")) == {"result": [1, 2, 3]}


async def test_a_session_outlives_the_child(daemon: Daemon) -> None:
    """SC-11; design part 3: what is with the child gets a 5xx, and the session goes on."""
    async with open_session(daemon.url) as client, client.listen() as listener:
        before = (await value(client, 1, "pid"))["pid"]
        assert error_of(await client.post(call(2, "exit", code=3))) == (500, -32603, 2)

        assert (await value(client, 3, "pid"))["pid"] != before
        assert (await listener.next())["method"] == "notifications/tools/list_changed"
        assert (await value(client, 4, "faults")) == {"faults": []}
        assert (await client.delete()).status_code == 200


async def test_a_question_outlives_the_child_and_the_next_one_says_what_it_makes_of_the_answer(daemon: Daemon) -> None:
    async with (
        open_session(daemon.url) as client,
        client.listen(),
        client.stream(call(1, "ask-elicit")) as events,
    ):
        question = await events.next()
        await client.post(call(2, "exit"))
        await value(client, 3, "pid")  # the next one is there

        await client.post(answer_to(question, ACCEPTED))
        answer = (await events.read_to_end())[-1]

    assert answer["error"] == {"code": -32602, "message": "Invalid or expired requestState"}


async def test_a_batch_is_taken_apart_and_its_answers_come_together(daemon: Daemon) -> None:
    """HL-29."""
    async with open_session(daemon.url, version="2025-03-26") as client:
        body = [call(1, "echo", a=1), request(2, "ping"), request(3, "tasks/list")]
        async with client.stream(body) as events:  # those that are answered here come before the others
            answers = {answer["id"]: answer for answer in await events.read_to_end()}

    assert answers[1]["result"]["structuredContent"] == {"echo": {"a": 1}}
    assert answers[2]["result"] == {}
    assert answers[3]["error"]["code"] == -32601


async def test_an_operator_sees_which_path_calls_take(daemon: Daemon) -> None:
    """The era of the server and how it is known; the era on both sides of each session."""
    async with open_session(daemon.url) as client:
        server = (await health(client))["servers"]["default"]

    assert server["era"] == {
        "configured": "auto",
        "modern": {"spoken": True, "how": "answered server/discover"},
        "legacy": {"spoken": False, "how": "refused initialize"},
    }
    assert {(path["client"], path["child"]) for path in server["paths"]} == {("legacy", "modern")}
    assert "client_era=legacy child_era=modern" in daemon.log


async def test_calls_wait_for_the_next_child_and_then_get_503(tmp_path: Path) -> None:
    """Design part 3: full, or not there for a moment."""
    once = tmp_path / "once"
    source = (
        f"import os, sys, time\nif os.path.exists({str(once)!r}): time.sleep(600)\nopen({str(once)!r}, 'w').close()\n"
        f"os.execv(sys.executable, [sys.executable, '-I', '-S', {MODERN_PROGRAM!r}, 'modern-only'])\n"
    )
    flags = ("--place-timeout", "0.3s", "--stdin-grace", "0.1s", "--term-grace", "0.1s")
    with running_daemon(*flags, "--", sys.executable, "-I", "-S", "-c", source) as daemon:
        async with open_session(daemon.url) as client:
            await client.post(call(1, "exit"))

            response = await client.post(call(2, "echo"))
            assert error_of(response) == (503, -32603, 2)
            assert response.headers["retry-after"]
            assert (await client.answer(request(3, "ping")))["result"] == {}
            session = (await health(client))["sessions"]
            assert session == 1


@pytest.mark.parametrize(("era", "spoken"), [("modern", "modern"), ("legacy", "legacy"), ("auto", "legacy")])
async def test_the_era_that_a_server_is_spoken_to_in_can_be_chosen(era: str, spoken: str) -> None:
    """`--child-era` for servers that speak both, and fare better with one."""
    with serving_modern("--child-era", era, modes=("dual",)) as daemon:
        async with open_session(daemon.url) as client:
            assert (await value(client, 1, "client"))["era"] == spoken
            seen = [json.loads(line)["method"] for line in (await value(client, 2, "seen"))["lines"]]
    assert seen[0] == ("server/discover" if spoken == "modern" else "initialize")

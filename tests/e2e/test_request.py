"""`--isolation request`, for clients of the handshake revisions: no sessions, and a child for each call."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from proxy import Bridge, Settings
from tests.e2e.serving import CHILD, serving, serving_modern
from tests.support.asgi import Response
from tests.support.daemon import Daemon
from tests.support.mcp import (
    ACCEPT,
    Client,
    Message,
    call,
    connected,
    encode,
    error_of,
    hello,
    notification,
    request,
    until,
    until_counts,
    until_empty,
    until_gone,
)

REQUEST = ("--isolation", "request")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving(*REQUEST) as daemon:
        yield daemon


@asynccontextmanager
async def bridge(*modes: str, said: Path | None = None, **settings: Any) -> AsyncIterator[tuple[Bridge, Client]]:
    """One without a daemon around it, for settings that one test needs; `said` gets what its children are told."""
    argv = (*CHILD, *modes) if said is None else ("sh", "-c", 'tee -a "$0" | exec "$@"', str(said), *CHILD)
    graces = {"stdin_grace_seconds": 0.3, "term_grace_seconds": 0.3, "commit_after_seconds": 60}
    running = Bridge(Settings(argv=argv, isolation="request", **{**graces, **settings}))
    transport = httpx.ASGITransport(running.asgi)
    async with running.run(), httpx.AsyncClient(transport=transport, timeout=None) as http:
        yield running, Client(http, "http://host/mcp")


@pytest.fixture(scope="module")
def modern_only() -> Iterator[Daemon]:
    with serving_modern(*REQUEST, modes=("modern-only",)) as daemon:
        yield daemon


# ---- the handshake


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "1999-01-01"])
async def test_initialize_begins_no_session_and_promises_nothing_of_one(daemon: Daemon, version: str) -> None:
    """HM-18: capabilities match behaviour."""
    async with connected(daemon.url) as client:
        response = await client.post(hello("i", version=version))
        after = await client.post(notification("notifications/initialized"))

        assert (response.status_code, "mcp-session-id" in response.headers) == (200, False)
        assert response.json() == {
            "jsonrpc": "2.0",
            "id": "i",
            "result": {
                "protocolVersion": version if version > "2000" else "2025-11-25",
                "capabilities": {"tools": {"listChanged": False}},
                "serverInfo": {"name": "child", "version": "1"},
            },
        }
        assert (after.status_code, after.content) == (202, b"")
        await until_counts(client, sessions=1, children=1)  # whoever answers for all


async def test_the_revision_is_at_most_that_which_the_child_and_the_operator_agree_to() -> None:
    async with bridge("agree=2025-03-26", protocol_version="2025-06-18") as (_, client):
        told = [(await client.answer(hello(version=each)))["result"]["protocolVersion"] for each in VERSIONS]
        assert told == ["2024-11-05", "2025-03-26", "2025-03-26", "2025-03-26"]
        assert b'"protocolVersion":"2025-06-18"' in b"".join(await seen(client, "2025-11-25"))


VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")


async def seen(client: Client, version: str | None = None) -> list[bytes]:
    """What the child of this very call has read."""
    response = await client.post(call(1, "seen"), {"mcp-protocol-version": version})
    assert response.status_code == 200, response.text
    return [line.encode("latin-1") for line in response.json()["result"]["lines"]]


@pytest.mark.parametrize("version", [None, *VERSIONS])
async def test_a_child_is_met_in_the_revision_that_its_call_comes_in(daemon: Daemon, version: str | None) -> None:
    """Spec: 2025-11-25 basic/transports, Protocol Version Header: none means 2025-03-26."""
    async with connected(daemon.url) as client:
        asked, told, called = await seen(client, version)

    assert json.loads(asked)["params"]["protocolVersion"] == version or "2025-03-26"
    assert json.loads(asked)["params"]["capabilities"] == {}
    assert json.loads(told)["method"] == "notifications/initialized"
    assert json.loads(called)["params"] == {"name": "seen", "arguments": {}}


def test_who_wants_a_process_for_each_call_is_not_told_how_to_have_one_for_all(daemon: Daemon) -> None:
    """Elsewhere the log names the setting that lets clients of 2026-07-28 share a process."""
    assert "--modern-isolation" not in daemon.log


# ---- calls


async def test_each_call_has_a_child_of_its_own_which_ends_with_it(daemon: Daemon) -> None:
    """Nobody has said `initialize`, and the session id is of some other server."""
    async with connected(daemon.url) as client:
        client.session_id = "stale"
        pids = [await client.pid() for _ in range(3)]

        assert len(set(pids)) == 3
        await until_gone(*pids)


async def test_20_clients_with_the_same_id_get_their_own_answers(daemon: Daemon) -> None:
    async with connected(daemon.url) as client, anyio.create_task_group() as tasks:
        laters = [client.begin(tasks, call(1, "echo", token=1, n=n)) for n in range(20)]
        answers = [(await later.response()).json() for later in laters]

        assert answers == [{"jsonrpc": "2.0", "id": 1, "result": {"echo": {"n": n}}} for n in range(20)]


async def test_progress_and_logs_come_on_the_stream_of_their_call(daemon: Daemon) -> None:
    """And nothing that a client could come back with."""
    log = json.dumps(notification("notifications/message", {"level": "info", "data": "said"})) + "\n"
    async with connected(daemon.url) as client:
        async with client.stream(call("p", "progress", token="t", count=3)) as events:
            *steps, answer = await events.read_to_end()
            assert [step["params"] for step in steps] == [{"progressToken": "t", "progress": n} for n in range(3)]
            assert (answer["id"], answer["result"], events.last_id) == ("p", {"count": 3}, "")
        text = log + '{"jsonrpc":"2.0","id":$ID,"result":{}}\n'
        async with client.stream(call(2, "write", text=text)) as events:
            assert [each.get("method") for each in await events.read_to_end()] == ["notifications/message", None]


async def test_a_long_call_is_answered_with_a_stream() -> None:
    async with bridge(commit_after_seconds=0.05) as (_, client):
        response = await client.post(call(1, "sleep", seconds=0.3))
        assert response.headers["content-type"].startswith("text/event-stream")
        assert '"result":{"slept":true}' in response.text and "\nid:" not in response.text


@pytest.mark.parametrize("method", ["roots/list", "sampling/createMessage", "elicitation/create", "x/y"])
async def test_a_child_that_asks_something_is_told_at_once_that_it_can_not(daemon: Daemon, method: str) -> None:
    """No session: an answer could not be told from somebody else's."""
    async with connected(daemon.url) as client:
        told = json.loads((await client.result(1, "ask", id=5, method=method, params={}))["answer"])
        pong = json.loads((await client.result(1, "ask", id=6, method="ping"))["answer"])

        assert (told["id"], told["error"]["code"]) == (5, -32601)
        assert pong == {"jsonrpc": "2.0", "id": 6, "result": {}}
        answered = await client.post({"jsonrpc": "2.0", "id": 5, "result": {}})
        assert (answered.status_code, answered.content) == (202, b"")


async def test_the_childs_own_error_comes_as_it_is(daemon: Daemon) -> None:
    async with connected(daemon.url) as client:
        assert await client.answer(request(1, "x/unknown")) == {
            "jsonrpc": "2.0",
            "id": 1,
            "error": {"code": -32601, "message": "Method not found"},
        }


async def test_a_call_that_would_be_a_task_is_answered_when_it_is_done(tmp_path: Path) -> None:
    """Spec: 2025-11-25 basic/utilities/tasks: who offers none processes such a request normally."""
    async with bridge(said=tmp_path / "said") as (_, client):
        asked = call(1, "echo", a=1)
        asked["params"]["task"] = {"ttl": 60000}
        assert (await client.answer(asked))["result"] == {"echo": {"a": 1}}
        assert '"task"' not in (tmp_path / "said").read_text()


# ---- what needs no child, and what would need a session


async def test_what_needs_no_child_starts_none() -> None:
    async with bridge() as (running, client):
        assert await client.answer(request("p", "ping")) == {"jsonrpc": "2.0", "id": "p", "result": {}}
        for message in (
            notification("notifications/initialized"),
            notification("notifications/cancelled", {"requestId": 1}),
            {"jsonrpc": "2.0", "id": 1, "result": {}},
        ):
            accepted = await client.post(message)
            assert (accepted.status_code, accepted.content) == (202, b"")
        for method in ("logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/get"):
            assert error_of(await client.post(request(3, method, {}))) == (200, -32601, 3)

        assert running.server.manager.starts.last_failed is None  # nothing was ever started


async def test_there_is_nothing_but_post(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/transports, Listening for Messages 3, Session Management 5; the SDK clients take 405."""
    async with connected(daemon.url) as client:
        async with client.listen({"mcp-session-id": "x", "last-event-id": "1-1"}) as events:
            assert (events.response.status_code, events.response.headers["allow"]) == (405, "POST")
        responses = [await client.delete(), await client.http.put(client.url, headers={"accept": "*/*"})]
        assert [(each.status_code, each.headers["allow"]) for each in responses] == [(405, "POST")] * 2
        options = await client.http.options(client.url)
        assert (options.status_code, options.headers["allow"]) == (204, "POST, OPTIONS")


async def test_the_transport_of_2024_11_05_is_a_session_and_not_served() -> None:
    async with bridge(legacy_sse=True) as (_, client):
        for path in ("/sse", "/messages/"):
            assert (await client.http.get(f"http://host{path}", headers={"accept": "*/*"})).status_code == 404


async def test_a_revision_that_nobody_speaks_is_refused(daemon: Daemon) -> None:
    async with connected(daemon.url) as client:
        assert error_of(await client.post(call(1, "pid"), {"mcp-protocol-version": "2099-01-01"})) == (400, -32600, 1)


# ---- lists


async def test_lists_come_from_one_child_whoever_asks_under_whatever_id() -> None:
    async with bridge() as (running, client), anyio.create_task_group() as tasks:
        asked = request(1, "tools/list", {"_meta": {"progressToken": 1}})
        laters = [client.begin(tasks, asked) for _ in range(20)]
        answers = [(await later.response()).json() for later in laters]

        assert [answer["id"] for answer in answers] == [1] * 20
        assert all(answer["result"]["tools"][0]["name"] == "echo" for answer in answers)
        assert error_of(await client.post(request("x", "prompts/list"))) == (200, -32601, "x")
        assert running.places.taken == 1


async def test_whoever_answers_for_all_ends_when_nobody_asks_and_another_comes() -> None:
    async with bridge(idle_timeout_seconds=0.2) as (_, client):
        await client.answer(request(1, "tools/list"))
        await until_empty(client)
        await client.answer(request(1, "tools/list"))


async def test_the_logs_of_a_child_that_answers_for_all_are_nobodys() -> None:
    """One client's question must not show in another's answer."""
    log = json.dumps(notification("notifications/message", {"level": "info", "data": "x"}))
    async with bridge(f"list-says={log}") as (running, client):
        assert (await client.answer(request(1, "tools/list")))["result"]["tools"]
        assert running.counts.snapshot()["dropped.waiting_room_full"] == 1


async def test_tools_that_the_operator_denies_are_neither_listed_nor_called() -> None:
    """And start no process."""
    async with bridge(deny_tool=("ech*",)) as (running, client):
        denied = await client.answer(call(1, "echo"))
        assert (denied["error"]["code"], running.server.manager.starts.last_failed) == (-32602, None)
        assert (await client.answer(request(1, "tools/list")))["result"] == {"tools": []}
        response = await client.post([call(1, "echo"), call(2, "pid")])
        assert b"Unknown tool" in response.content and b'"pid"' in response.content


# ---- batches


async def test_one_child_serves_a_batch(daemon: Daemon) -> None:
    """Spec: 2025-03-26 basic/transports, Sending Messages to the Server 3-6."""
    async with connected(daemon.url) as client:
        batch = [call(1, "pid"), notification("notifications/initialized"), call("2", "pid"), request(3, "tools/list")]
        async with client.stream(batch) as events:
            is_json = events.kind == "application/json"  # all of them were there at once
            found = json.loads(await events.body()) if is_json else await events.read_to_end()
        answers = {answer["id"]: answer["result"] for answer in found}

        assert answers.keys() == {1, "2", 3}
        assert answers[1]["pid"] == answers["2"]["pid"]
        assert (await client.post([notification("notifications/initialized")])).status_code == 202
        assert error_of(await client.post([call(1, "pid"), call(1, "pid")])) == (400, -32600, None)
        assert error_of(await client.post([hello(), call(1, "pid")])) == (400, -32600, None)
        refused = await client.post([call(1, "pid")], {"mcp-protocol-version": "2025-11-25"})
        assert error_of(refused) == (400, -32600, None)
        await until_gone(answers[1]["pid"])


async def test_what_of_a_batch_finds_no_place_fails_alone() -> None:
    async with bridge(max_calls_per_child=2, place_timeout_seconds=0.3) as (_, client):
        async with client.stream([call(n, "sleep", seconds=3) for n in range(4)]) as events:
            found = await events.read_to_end()
        answers = {answer["id"]: answer.get("result") or answer["error"]["code"] for answer in found}

        assert answers == {0: {"slept": True}, 1: {"slept": True}, 2: -32603, 3: -32603}


# ---- when things go wrong


async def test_a_client_that_leaves_takes_its_child_along_which_is_told(tmp_path: Path) -> None:
    """Nobody can come back for the answer: here a disconnect is a cancel."""
    said = tmp_path / "said"
    async with bridge(said=said) as (running, _), anyio.create_task_group() as tasks:
        response = posted(call(1, "hold", say=json.dumps(notification("notifications/message")) + "\n"))
        tasks.start_soon(response.serve, running.asgi)
        await response.until(b"notifications/message")
        response.leave()
        await until_left(running, 0)
        *_, cancelled = said.read_text().splitlines()

        assert json.loads(cancelled)["method"] == "notifications/cancelled"


@pytest.mark.parametrize("method", ["tools/call", "initialize", "tools/list"])
async def test_a_client_that_leaves_before_its_child_is_there_leaves_nothing(method: str) -> None:
    """But for the one that will answer for all: the next client will want it."""
    async with bridge("late=30") as (running, _), anyio.create_task_group() as tasks:
        response = posted(request(1, method, {"name": "echo"}))
        tasks.start_soon(response.serve, running.asgi)
        await until_left(running, 1)
        response.leave()
        await response.until_over()
        await until_left(running, 0 if method == "tools/call" else 1)
        assert running.server.manager.roster.session_count == (0 if method == "tools/call" else 1)


async def test_there_are_never_more_children_than_places_and_what_only_waits_makes_room() -> None:
    async with bridge(max_children=2, place_timeout_seconds=1) as (running, client):
        await client.answer(request(1, "tools/list"))
        async with anyio.create_task_group() as tasks:
            for n in range(2):
                client.begin(tasks, call(n, "hold"))

            async def have_places() -> bool:
                return running.server.manager.roster.calls_in_flight == 2

            await until(have_places, "both have a place")
            refused = await client.post(call(3, "pid"))
            assert error_of(refused) == (503, -32603, 3)
            assert refused.headers["retry-after"].isdigit()
            assert error_of(await client.post(request(4, "tools/list"))) == (503, -32603, 4)
            assert running.places.taken == 2
            tasks.cancel_scope.cancel()
        assert (await client.answer(call(5, "echo")))["result"]


async def test_a_call_whose_time_is_up_is_refused_and_its_child_ended() -> None:
    async with bridge(call_timeout_seconds=0.2) as (_, client):
        assert error_of(await client.post(call(1, "hold"))) == (504, -32603, 1)
        await until_empty(client)


async def test_a_child_that_dies_fails_its_call_alone(daemon: Daemon) -> None:
    async with connected(daemon.url) as client, anyio.create_task_group() as tasks:
        other = client.begin(tasks, call(1, "sleep", seconds=0.5))
        assert error_of(await client.post(call(1, "exit", code=3))) == (500, -32603, 1)
        assert (await other.response()).json()["result"] == {"slept": True}


@pytest.mark.parametrize(
    ("mode", "refusal"), [("exit-on-initialize=1", (502, -32603, 1)), ("initialize-error", (200, -32000, 1))]
)
async def test_a_child_that_does_not_start_fails_what_needs_it(mode: str, refusal: tuple[int, int, int]) -> None:
    async with bridge(mode) as (_, client):
        for message in (call(1, "echo"), hello(1), request(1, "tools/list")):
            assert error_of(await client.post(message)) == refusal
        await until_empty(client)


async def test_a_child_that_is_silent_at_its_start_is_given_up() -> None:
    async with bridge("mute", start_timeout_seconds=0.3) as (_, client):
        for message in (call(1, "echo"), hello(1)):
            assert error_of(await client.post(message)) == (504, -32603, 1)
        await until_empty(client)


async def test_a_drain_lets_calls_finish_and_begins_none() -> None:
    async with bridge(drain_timeout_seconds=30) as (running, client), anyio.create_task_group() as tasks:
        await client.answer(hello(1))
        held = client.begin(tasks, call(1, "sleep", seconds=1))

        async def has_begun() -> bool:
            return running.server.manager.roster.calls_in_flight == 1 and running.places.taken == 2

        async def is_draining() -> bool:
            return running.server.manager.closing.is_draining

        await until(has_begun, "it is with its child")
        tasks.start_soon(running.drain)
        await until(is_draining, "it drains")
        for message in (call(2, "echo"), hello(2), request(2, "tools/list")):
            assert error_of(await client.post(message)) == (503, -32603, 2)
        assert (await held.response()).json()["result"] == {"slept": True}
        await until_left(running, 0)
        assert not running.was_cut


async def test_a_drain_lets_a_call_finish_whose_child_is_being_started() -> None:
    async with bridge("late=0.5", drain_timeout_seconds=30) as (running, client), anyio.create_task_group() as tasks:
        begun = client.begin(tasks, call(1, "echo", n=1))
        await until_left(running, 1)
        tasks.start_soon(running.drain)

        assert (await begun.response()).json()["result"] == {"echo": {"n": 1}}


def posted(body: Message) -> Response:
    """A request whose connection the test has in its hands."""
    return Response("POST", {"accept": ACCEPT, "content-type": "application/json"}, encode(body))


async def until_left(running: Bridge, count: int) -> None:
    """Wait until there are so many processes."""

    async def are_left() -> bool:
        return running.places.taken == count

    await until(are_left, f"{count} processes are left")


# ---- children that serve several


async def test_children_of_a_server_without_state_serve_one_call_after_the_other() -> None:
    async with bridge(reuse_children=True, max_reused_children=2) as (_, client), anyio.create_task_group() as tasks:
        pid = await client.pid()
        assert [await client.pid() for _ in range(3)] == [pid] * 3
        later = await client.post(call(1, "pid"), {"mcp-protocol-version": "2025-11-25"})
        assert later.json()["result"]["pid"] != pid  # it has agreed to another revision

        laters = [client.begin(tasks, call(1, "sleep", seconds=0.5)) for _ in range(4)]
        for each in laters:
            assert (await each.response()).json()["result"] == {"slept": True}
        await until_counts(client, sessions=2, children=2)


async def test_late_progress_of_a_call_is_not_taken_for_that_of_the_next_clients() -> None:
    """SDKs number their tokens from 0 on, so that of one client is that of the next."""
    async with bridge(reuse_children=True) as (running, client):
        text = '{"jsonrpc":"2.0","id":$ID,"result":{}}\n'
        first = await client.answer(call(1, "write", token=1, text=text))
        (said,) = (await client.answer(call(1, "seen", part='"write"')))["result"]["lines"]
        late = json.loads(said)["params"]["_meta"]["progressToken"]
        steps = [notification("notifications/progress", {"progressToken": token, "progress": 1}) for token in (late, 1)]
        own = '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$ID,"progress":2}}\n'
        lates = "".join(json.dumps(step) + "\n" for step in steps)
        async with client.stream(call(1, "write", token=1, text=lates + own + text)) as events:
            heard = await events.read_to_end()

        assert (first["result"], late == 1) == ({}, False)
        assert [each.get("params") for each in heard] == [{"progressToken": 1, "progress": 2}, None]
        assert running.counts.snapshot()["dropped.progress_of_no_call"] == 2


async def test_a_child_that_is_not_done_serves_nobody_else() -> None:
    async with bridge(reuse_children=True, call_timeout_seconds=0.2) as (_, client):
        pid = await client.pid()
        assert error_of(await client.post(call(1, "hold"))) == (504, -32603, 1)
        await until_gone(pid)
        assert await client.pid() != pid
        assert error_of(await client.post(call(1, "exit"))) == (500, -32603, 1)
        assert await client.pid()


async def test_children_that_wait_end_when_they_are_idle_and_make_room() -> None:
    async with bridge(reuse_children=True, max_children=1, idle_timeout_seconds=1) as (_, client):
        pid = await client.pid()
        await client.answer(request(1, "tools/list"))
        await until_gone(pid)
        assert await client.pid() != pid
        await until_empty(client)


async def test_a_call_is_served_by_a_child_that_was_started_ahead() -> None:
    async with bridge(pool_size=1) as (running, client):

        async def is_ready() -> bool:
            return bool(running.server.warm.report()["ready"])

        await until(is_ready, "one is ready")
        assert await client.pid()
        assert running.counts.snapshot()["pool.hit"] == 1


# ---- a child of 2026-07-28


async def test_a_child_that_speaks_only_2026_07_28_serves_the_same_way(modern_only: Daemon) -> None:
    async with connected(modern_only.url) as client:
        opened = await client.answer(hello(1, version="2025-06-18"))
        pids = [(await client.result(n, "pid"))["structuredContent"]["pid"] for n in range(3)]
        lists = await client.answer(request(1, "tools/list"))

        assert opened["result"]["protocolVersion"] == "2025-06-18"
        assert opened["result"]["capabilities"]["resources"] == {"listChanged": False, "subscribe": False}
        assert len(set(pids)) == 3
        assert "resultType" not in lists["result"]
        await until_gone(*pids)
        await until_counts(client, sessions=1, children=1)


async def test_a_child_of_2026_07_28_that_wants_input_gets_none(modern_only: Daemon) -> None:
    """As at a client that can't do what is asked: an error for the model to read."""
    async with connected(modern_only.url) as client:
        answer = await client.answer(call(1, "ask-n", rounds=1))

        assert answer.get("error") or answer["result"]["isError"] is True, answer

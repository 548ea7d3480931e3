"""`--isolation shared`: many clients with a session on one child, each as if it had the child for itself.

The first tests are what bridges that share a child are known to get wrong.
"""

import contextlib
import json
from collections.abc import Iterator
from functools import partial

import anyio
import httpx
import pytest
from anyio.abc import TaskGroup

from tests.e2e.serving import serving
from tests.support.daemon import Daemon
from tests.support.mcp import (
    ACCEPT,
    Client,
    Later,
    Message,
    call,
    children_of,
    connected,
    error_of,
    health,
    hello,
    notification,
    request,
    until,
    until_counts,
    until_empty,
    until_gone,
)

CLIENTS = 50


@pytest.fixture(scope="module")
def shared() -> Iterator[Daemon]:
    with serving("--isolation", "shared", modes=("watchable",)) as daemon:
        yield daemon


def log_line(text: str) -> str:
    return json.dumps(notification("notifications/message", {"level": "info", "data": text})) + "\n"


def updated_line(uri: str) -> str:
    return json.dumps(notification("notifications/resources/updated", {"uri": uri})) + "\n"


ANSWER = '{"jsonrpc":"2.0","id":$ID,"result":{}}\n'


class Member:
    """One of many clients: it uses the ids and tokens that all use, and keeps what it hears on its GET stream."""

    def __init__(self, client: Client, number: int) -> None:
        self.client = client
        self.number = number
        self.heard: list[Message] = []
        self.is_listening = anyio.Event()
        self.cancelled = self.held = Later()

    @property
    def uri(self) -> str:
        return f"file:///{self.number}"

    async def listen(self) -> None:
        async with self.client.listen() as events:
            self.is_listening.set()
            with contextlib.suppress(anyio.EndOfStream):
                while True:
                    self.heard.append(await events.next(seconds=120))

    async def play(self) -> None:
        """Everything at once with all others; each id and token is every other client's, too."""
        client, number = self.client, self.number
        assert await client.answer(request(1, "resources/subscribe", {"uri": self.uri})) == done(1)
        assert await client.answer(request(2, "resources/subscribe", {"uri": "file:///all"})) == done(2)
        assert await client.result(3, "echo", me=number) == {"echo": {"me": number}}
        async with client.stream(call(4, "progress", token=4, count=number % 5)) as events:
            said = await events.read_to_end() if number % 5 else [json.loads(await events.body())]
        told = [{"progressToken": 4, "progress": step} for step in range(number % 5)]
        assert [message["params"] for message in said[:-1]] == told
        assert said[-1] == {"jsonrpc": "2.0", "id": 4, "result": {"count": number % 5}}

    async def hold_two(self, tasks: TaskGroup) -> None:
        """Two calls that end only by what `end_them` does."""
        self.cancelled = self.client.begin(tasks, call(5, "hold", key=f"cancelled {self.number}"))
        self.held = self.client.begin(tasks, call(6, "hold", key=f"held {self.number}"))

    async def end_them(self) -> None:
        """Cancel one, and have the other released."""
        client, number = self.client, self.number
        await client.post(notification("notifications/cancelled", {"requestId": 5}))
        await client.result(7, "release", key=f"held {number}")
        assert error_of(await self.cancelled.response()) == (200, -32800, 5)
        assert (await self.held.response()).json() == {"jsonrpc": "2.0", "id": 6, "result": {"released": True}}
        await client.post(call(8, "write", text=log_line(f"of {number}") + updated_line(self.uri) + ANSWER))


def done(id_: int) -> Message:
    return {"jsonrpc": "2.0", "id": id_, "result": {}}


async def test_fifty_clients_with_the_same_ids_on_one_child_see_only_what_is_theirs(shared: Daemon) -> None:
    async with connected(shared.url) as first, anyio.create_task_group() as listening:
        members = [Member(await first.another(), number) for number in range(CLIENTS)]
        for member in members:
            listening.start_soon(member.listen)
        for member in members:
            await member.is_listening.wait()
        assert len(children_of(shared.pid)) == 1

        async with anyio.create_task_group() as playing:
            for member in members:
                playing.start_soon(member.play)
        async with anyio.create_task_group() as calls:
            for member in members:
                await member.hold_two(calls)

            async def all_held() -> bool:
                return bool((await health(first))["calls_in_flight"] == 2 * CLIENTS)

            await until(all_held, "everybody has two calls at the child")
            for member in members:
                calls.start_soon(member.end_them)
        await members[0].client.post(call(9, "write", text=updated_line("file:///all") + ANSWER))

        def changes(member: Member) -> list[str]:
            return [m["params"]["uri"] for m in member.heard if m["method"] == "notifications/resources/updated"]

        async def all_told() -> bool:
            return all("file:///all" in changes(member) for member in members)

        await until(all_told, "everybody hears of the one that all watch")
        assert [changes(member) for member in members] == [[member.uri, "file:///all"] for member in members]
        logs = {m["params"]["data"] for member in members for m in member.heard if m["method"].endswith("/message")}
        for member in members:
            own = [m["params"]["data"] for m in member.heard if m["method"].endswith("/message")]
            assert set(own) <= {f"of {member.number}"}, (own, logs)
        assert len({await member.client.pid() for member in members[::10]}) == len(children_of(shared.pid)) == 1
        for member in members:
            await member.client.delete()  # which ends its GET stream, too
        await until_counts(first, sessions=0, children=1)
    assert "not handled" not in shared.log


async def test_each_client_hears_the_logs_of_its_own_calls_at_its_own_level() -> None:
    with serving("--isolation", "shared", modes=("watchable",)) as daemon:
        await hear_logs(daemon)


async def hear_logs(daemon: Daemon) -> None:
    async with connected(daemon.url) as first:
        one, other = await first.another(), await first.another()
        for client, level in ((one, "error"), (other, "debug")):
            assert await client.answer(request(1, "logging/setLevel", {"level": level})) == done(1)

        for client, expected in ((one, []), (other, ["mine"])):
            async with client.stream(call(2, "write", text=log_line("mine") + ANSWER)) as events:
                said = [json.loads(await events.body())] if events.kind != "text/event-stream" else []
                said = said or await events.read_to_end()
            assert [m["params"]["data"] for m in said if "params" in m] == expected
            assert said[-1] == done(2)

        levels = [json.loads(line)["params"]["level"] for line in await one.seen() if b"setLevel" in line]
        assert levels == ["debug", "debug"]  # the most verbose of both


async def test_a_second_client_does_not_shake_hands_with_the_child_again(shared: Daemon) -> None:
    """Servers have crashed on a second `initialize`, or made the second client the first."""
    async with connected(shared.url) as first:
        clients = [
            await Client(first.http, first.url).open(version=version) for version in ("2025-11-25", "2025-03-26")
        ]

        assert [client.version for client in clients] == ["2025-11-25", "2025-03-26"]
        seen = await clients[0].seen()
        assert len([line for line in seen if b'"initialize"' in line]) == 1
        assert len([line for line in seen if b"notifications/initialized" in line]) == 1
        assert b'"capabilities":{}' in seen[0]
        for client in clients:
            await client.delete()


@pytest.mark.parametrize("way", ["deletes its session", "vanishes"])
async def test_one_client_leaves_in_mid_call_and_nobody_else_notices(shared: Daemon, way: str) -> None:
    async with connected(shared.url) as first, anyio.create_task_group() as tasks:
        leaving, staying = await first.another(), await first.another()
        (held,) = await staying.hold(tasks, call(1, "hold", key="stays"))
        before = len(await staying.seen())
        if way == "deletes its session":
            (cut,) = await leaving.hold(tasks, call(1, "hold", key="leaves"))
            assert (await leaving.delete()).status_code == 200
            assert error_of(await cut.response())[1:] == (-32603, 1)
            (cancelled,) = [line for line in (await staying.seen())[before:] if b"cancelled" in line]
            (asked,) = [line for line in await staying.seen() if b'"leaves"' in line]
            assert json.loads(cancelled)["params"]["requestId"] == json.loads(asked)["id"]
        else:
            async with connected(shared.url) as gone:
                gone.session_id, gone.version = leaving.session_id, leaving.version
                with anyio.move_on_after(0.5):
                    await gone.post(call(1, "sleep", seconds=1))

        assert await staying.result(2, "echo", still=True) == {"echo": {"still": True}}
        assert not held.has_arrived
        await staying.result(3, "release", key="stays")
        assert (await held.response()).json()["result"] == {"released": True}
        for client in (staying, leaving):
            await client.delete()


async def test_the_death_of_the_child_ends_every_call_at_once_and_every_session() -> None:
    with serving("--isolation", "shared") as daemon:
        async with connected(daemon.url) as first, anyio.create_task_group() as tasks:
            clients = [await first.another() for _ in range(5)]
            before = await clients[0].pid()
            laters = []
            for client in clients:
                laters += await client.hold(tasks, call(1, "hold"))

            dying = await clients[0].post(call(2, "exit", code=3))

            assert error_of(dying) == (500, -32603, 2)
            assert [error_of(await later.response()) for later in laters] == [(500, -32603, 1)] * 5
            for client in clients:
                assert error_of(await client.post(call(3, "echo")))[:2] == (404, -32001)
            again = [await first.another() for _ in range(3)]
            assert len({await client.pid() for client in again} - {before}) == 1
            await until_counts(first, sessions=3, children=1)


async def test_sessions_can_outlive_their_child_if_the_operator_wants_that() -> None:
    with serving("--isolation", "shared", "--on-child-exit", "respawn", modes=("watchable",)) as daemon:
        async with connected(daemon.url) as first:
            one, other = await first.another(), await first.another()
            before = await one.pid()
            assert await one.answer(request(1, "resources/subscribe", {"uri": "file:///one"})) == done(1)

            assert error_of(await other.post(call(2, "exit"))) == (500, -32603, 2)

            pids = set()
            for client in (one, other):
                async with client.stream(call(3, "pid")) as events:  # what may have changed comes first
                    *told, answer = await events.read_to_end()
                assert [each["method"].rpartition("/")[2] for each in told][:1] == ["list_changed"]
                pids.add(answer["result"]["pid"])
            assert len(pids) == 1 and before not in pids
            (subscribed,) = [line for line in await other.seen() if b"resources/subscribe" in line]
            assert json.loads(subscribed)["params"] == {"uri": "file:///one"}
            await until_counts(first, sessions=2, children=1)


async def test_sessions_that_live_again_share_a_child_again() -> None:
    with serving("--isolation", "shared", "--recover-sessions") as daemon:
        async with connected(daemon.url) as first:
            one, other = await first.another(), await first.another()
            before = await one.pid()
            assert error_of(await other.post(call(2, "exit"))) == (500, -32603, 2)
            await until_gone(before)

            pids = set()
            for client in (one, other):
                async with client.stream(call(3, "pid")) as events:
                    pids.add((await events.read_to_end())[-1]["result"]["pid"])
            assert len(pids) == 1 and before not in pids
            await until_counts(first, sessions=2, children=1)


async def test_many_who_come_at_once_wait_for_one_start_that_counts_once() -> None:
    """914 processes for one machine's agents: what sharing is for."""
    with serving("--isolation", "shared", "--max-children", "1", modes=("late=1",)) as daemon:
        async with connected(daemon.url) as first:
            responses: list[httpx.Response] = []

            async def come() -> None:
                responses.append(await Client(first.http, first.url).post(hello()))

            async with anyio.create_task_group() as tasks:
                for _ in range(40):
                    tasks.start_soon(come)

            assert {response.status_code for response in responses} == {200}
            assert len({response.headers["mcp-session-id"] for response in responses}) == 40
            await until_counts(first, sessions=40, children=1)
            assert len(children_of(daemon.pid)) == 1


@pytest.mark.parametrize("way", ["POST", "GET"])
async def test_clients_that_give_up_during_the_start_are_no_sessions(way: str) -> None:
    flags = ("--isolation", "shared", "--legacy-sse", "--drain-timeout", "1s")
    with serving(*flags, modes=("late=40",)) as daemon:
        url = daemon.url if way == "POST" else daemon.url.removesuffix("/mcp") + "/sse"
        body = hello() if way == "POST" else None
        async with connected(daemon.url) as client:
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(partial(client.http.request, way, url, json=body, headers={"accept": ACCEPT}))
                await until_counts(client, sessions=4, children=1)
                tasks.cancel_scope.cancel()
            await until_counts(client, sessions=0, children=1)


@pytest.mark.parametrize(
    ("mode", "flags", "expected"),
    [
        ("exit-on-initialize=4", (), (502, -32603)),
        ("mute", ("--start-timeout", "1s"), (504, -32603)),
        ("initialize-error", (), (200, -32000)),
    ],
)
async def test_all_who_wait_for_a_start_that_fails_are_told(
    mode: str, flags: tuple[str, ...], expected: tuple[int, int]
) -> None:
    with serving("--isolation", "shared", *flags, modes=(mode,)) as daemon:
        async with connected(daemon.url) as first:
            found: list[tuple[int, int]] = []

            async def come() -> None:
                found.append(error_of(await Client(first.http, first.url).post(hello()))[:2])

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(come)

            assert found == [expected] * 3
            await until_empty(first)


async def test_whoever_may_be_a_stranger_has_a_child_of_its_own(shared: Daemon) -> None:
    async with connected(shared.url) as first:
        one = await first.another()
        stranger = Client(first.http, first.url)
        opened = await stranger.post(hello(), {"x-forwarded-for": "192.0.2.1"})
        stranger.session_id = opened.headers["mcp-session-id"]

        assert await stranger.pid() != await one.pid()
        for client in (stranger, one):
            await client.delete()
        await until_counts(first, sessions=0, children=1)


async def test_on_an_address_that_strangers_reach_nobody_shares_and_the_log_says_so() -> None:
    with serving("--isolation", "shared", "--host", "0.0.0.0") as daemon:
        async with connected(f"http://127.0.0.1:{daemon.port}/mcp") as first:
            one, other = await first.another(), await first.another()

            assert await one.pid() != await other.pid()
        assert daemon.log.count("each session gets a process of its own") == 1


async def test_a_child_that_nobody_has_used_for_a_while_ends() -> None:
    with serving("--isolation", "shared", "--idle-timeout", "1s") as daemon:
        async with connected(daemon.url) as first:
            one = await first.another()
            pid = await one.pid()
            await one.delete()

            await until_gone(pid)
            await until_empty(first)
            assert await (await first.another()).pid() != pid


async def test_a_client_that_does_not_read_holds_up_nobody() -> None:
    with serving("--isolation", "shared", "--stream-backlog", "64KiB", "--slow-reader-timeout", "30s") as daemon:
        async with connected(daemon.url) as first:
            slow, quick = await first.another(), await first.another()
            line = json.dumps(notification("notifications/message", {"level": "info", "data": "$FILL"})) + "\n"
            async with slow.stream(call(1, "write", text=line, fill=10_000, times=2000, last=ANSWER)):
                assert await quick.result(1, "echo", quick=True) == {"echo": {"quick": True}}

                async def is_cut() -> bool:
                    return bool((await health(first))["counts"].get("cut.slow_reader") == 1)

                await until(is_cut, "the slow reader's stream is ended")
                assert await quick.result(2, "echo", quick=True) == {"echo": {"quick": True}}


async def test_one_client_can_not_take_all_places_for_calls() -> None:
    with serving("--isolation", "shared", "--max-calls-per-child", "8", "--place-timeout", "0.3s") as daemon:
        async with connected(daemon.url) as first, anyio.create_task_group() as tasks:
            greedy, modest = await first.another(), await first.another()
            held = [greedy.begin(tasks, call(number, "hold", key="greedy")) for number in range(7)]

            async def all_held() -> bool:
                return bool((await health(first))["calls_in_flight"] == 7)

            await until(all_held, "seven calls in flight")
            assert error_of(await greedy.post(call(8, "echo")))[:2] == (503, -32603)
            assert await modest.result(1, "echo", mine=True) == {"echo": {"mine": True}}
            await modest.result(2, "release", key="greedy")
            assert {(await later.response()).status_code for later in held} == {200}


async def test_a_server_may_ask_only_if_the_operator_says_so_and_only_whom_it_serves() -> None:
    ask: Message = {"id": "q", "method": "sampling/createMessage", "params": {}}
    with serving("--isolation", "shared", "--shared-server-requests") as daemon:
        async with connected(daemon.url) as first, anyio.create_task_group() as tasks:
            one, other = await first.another(), await first.another()
            async with one.stream(call(1, "ask", **ask)) as events:
                question = await events.next()
                await other.post({"jsonrpc": "2.0", "id": question["id"], "result": {"whose": "other"}})
                await one.post({"jsonrpc": "2.0", "id": question["id"], "result": {"whose": "one"}})
                (answer,) = await events.read_to_end()
            assert json.loads(answer["result"]["answer"]) == {"jsonrpc": "2.0", "id": "q", "result": {"whose": "one"}}

            await other.hold(tasks, call(1, "hold"))
            refused = json.loads((await one.result(2, "ask", **ask))["answer"])
            assert refused["error"]["code"] == -32603
            await other.result(2, "release")
            assert b'"sampling":{' in (await one.seen())[0]


async def test_a_server_that_may_not_ask_is_refused_at_once(shared: Daemon) -> None:
    async with connected(shared.url) as first:
        one = await first.another()

        answer = json.loads((await one.result(1, "ask", id=0, method="elicitation/create", params={}))["answer"])

        assert (answer["id"], answer["error"]["code"]) == (0, -32601)
        await one.delete()


async def test_the_end_of_the_daemon_is_clean() -> None:
    with serving("--isolation", "shared") as daemon:
        async with connected(daemon.url) as first, anyio.create_task_group() as tasks:
            one, other = await first.another(), await first.another()
            pid = await one.pid()
            (later,) = await other.hold(tasks, call(1, "hold", key="x"))
            daemon.signal()
            await until_refused(first)
            await one.post(notification("notifications/cancelled", {"requestId": 1}))  # of another's: does nothing
            await other.post(notification("notifications/cancelled", {"requestId": 1}))
            assert error_of(await later.response()) == (200, -32800, 1)
            await until_gone(pid)
        assert daemon.wait() == 0, daemon.log


async def until_refused(first: Client) -> None:
    async def is_draining() -> bool:
        return (await Client(first.http, first.url).post(hello())).status_code == 503

    await until(is_draining, "new sessions are refused")

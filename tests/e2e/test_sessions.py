"""How long does a session live, and how many are there?"""

from collections.abc import Iterator

import anyio
import pytest

from tests.e2e.serving import serving
from tests.support.children import is_alive
from tests.support.daemon import Daemon
from tests.support.mcp import (
    Client,
    call,
    connected,
    encode,
    error_of,
    health,
    hello,
    notification,
    open_session,
    request,
    until,
    until_counts,
    until_empty,
    until_gone,
)

PING = request(7, "ping")
GONE = (404, -32001, 7)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving() as daemon:
        yield daemon


async def until_404(client: Client) -> None:
    """Wait until the session is unknown, without using it: only `/health` is asked meanwhile."""
    await until_empty(client)
    assert error_of(await client.post(PING)) == GONE


# ---- DELETE


async def test_delete_makes_the_session_404_before_the_child_is_dead() -> None:
    """Spec: 2025-11-25 basic/transports, Session Management 5. Its child ignores SIGTERM and takes two seconds."""
    with serving("--stdin-grace", "1s", "--term-grace", "1s", modes=("ignore-sigterm",)) as daemon:
        async with open_session(daemon.url) as client:
            pid = await client.pid()

            assert (await client.delete()).status_code == 200
            assert error_of(await client.post(PING)) == GONE
            assert (await client.delete()).status_code == 404
            async with client.listen() as refused:
                assert refused.response.status_code == 404
            assert is_alive(pid)
            assert (await health(client))["sessions"] == 0
            await until_gone(pid)
            await until_empty(client)


async def test_delete_ends_calls_and_streams(daemon: Daemon) -> None:
    """Nobody is left waiting."""
    async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
        async with client.listen() as listening, client.stream(call(1, "ask", id=1, method="roots/list")) as events:
            await events.next()
            (held,) = await client.hold(tasks, call(2, "hold"))
            assert (await client.delete()).status_code == 200

            assert error_of(await held.response()) == (500, -32603, 2)
            (failure,) = await events.read_to_end()
            assert (failure["id"], failure["error"]["code"]) == (1, -32603)
            assert await listening.read_to_end() == []
        await until_empty(client)


# ---- initialize


async def test_initialize_on_a_live_session_is_400(daemon: Daemon) -> None:
    """Design part 3. The session and its child notice nothing."""
    async with open_session(daemon.url) as client:
        pid = await client.pid()
        before = (await health(client))["children"]

        assert error_of(await client.post(hello(9))) == (400, -32600, 9)
        assert await client.pid() == pid
        assert (await health(client))["children"] == before
        assert sum(b'"initialize"' in line for line in await client.seen()) == 1
        await client.delete()
        await until_empty(client)


async def test_a_stale_session_id_on_initialize_is_ignored(daemon: Daemon) -> None:
    """Design part 3: a new session begins."""
    async with open_session(daemon.url) as client:
        stale = client.session_id
        await client.delete()

        response = await client.post(hello(1))

        assert response.status_code == 200
        assert response.headers["mcp-session-id"] != stale
        assert error_of(await client.post(PING)) == GONE
        client.session_id = response.headers["mcp-session-id"]
        await client.delete()
        await until_empty(client)


async def test_a_client_that_leaves_during_initialize_leaves_nothing_behind() -> None:
    """At once, and after its connection is being watched."""
    with serving(modes=("mute",)) as daemon:
        async with connected(daemon.url) as client:
            body = encode(hello())
            head = (
                f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode()
            async with await anyio.connect_tcp("127.0.0.1", daemon.port) as socket:
                await socket.send(head + body)
            async with anyio.create_task_group() as tasks:
                client.begin(tasks, hello())
                await until_counts(client, sessions=1, children=1)  # the first has gone
                tasks.cancel_scope.cancel()

            await until_empty(client)


async def test_a_session_that_is_used_without_initialized_is_served() -> None:
    """Spec: 2025-11-25 basic/lifecycle: the notification is the client's duty; some forget it."""
    with serving("--unused-timeout", "0.5s") as daemon:
        async with connected(daemon.url) as client:
            await client.open(initialized=False)
            assert (await client.answer(PING))["result"] == {}

            await Client(client.http, client.url).open(initialized=False)  # younger, and never used
            await until_counts(client, sessions=1, children=1)
            assert (await client.answer(PING))["result"] == {}


# ---- unused and idle


async def test_initialize_every_now_and_then_does_not_pile_up_children() -> None:
    """--unused-timeout: health checks post initialize and go away."""
    with serving("--unused-timeout", "0.5s") as daemon:
        async with connected(daemon.url) as client:
            for _ in range(3):
                async with anyio.create_task_group() as tasks:
                    for _ in range(3):
                        client.begin(tasks, hello())
                await until_empty(client)


@pytest.mark.parametrize("message", [notification("notifications/initialized"), PING])
async def test_whatever_follows_initialize_makes_a_session_used(message: dict[str, object]) -> None:
    with serving("--unused-timeout", "0.3s") as daemon:
        async with connected(daemon.url) as client:
            await client.open(initialized=False)
            assert (await client.post(message)).status_code in (200, 202)

            await Client(client.http, client.url).open(initialized=False)
            await until_counts(client, sessions=1, children=1)
            assert (await client.answer(PING))["result"] == {}


async def test_an_idle_session_ends_and_a_connection_stops_its_clock() -> None:
    """Design part 4, presence: an open GET or a POST in flight."""
    with serving("--idle-timeout", "1s") as daemon:
        async with open_session(daemon.url) as listener, anyio.create_task_group() as tasks:
            caller = await listener.another()
            async with listener.listen() as events:
                (held,) = await caller.hold(tasks, call(1, "hold"))
                idle = await listener.another()  # the youngest
                pid = await idle.pid()
                await until_counts(listener, sessions=2, children=2)
                await until_gone(pid)

                assert error_of(await idle.post(PING)) == GONE
                assert (await listener.answer(PING))["result"] == {}
                await caller.result(2, "release")
                assert (await held.response()).json()["result"] == {"released": True}
                await until_counts(listener, sessions=1, children=1)
                assert events.response.status_code == 200
            await until_404(listener)


async def test_a_call_whose_client_is_gone_does_not_stop_the_clock() -> None:
    """Design part 4, presence."""
    with serving("--idle-timeout", "0.5s") as daemon:
        async with open_session(daemon.url) as client:
            async with anyio.create_task_group() as tasks:
                await client.hold(tasks, call(1, "hold"))
                tasks.cancel_scope.cancel()

            await until_404(client)


async def test_a_call_whose_client_left_while_it_waited_for_its_turn_does_not_stop_the_clock() -> None:
    """Design part 4, presence. Its wait, which is much longer than the idle time, does not keep the session."""
    with serving("--idle-timeout", "1s", "--max-calls-per-child", "1", "--place-timeout", "10m") as daemon:
        async with open_session(daemon.url, version="2025-03-26") as client:
            async with anyio.create_task_group() as tasks:
                client.begin(tasks, [call(1, "hold"), call(2, "hold")])

                async def is_in_flight() -> bool:
                    return bool((await health(client))["calls_in_flight"] == 1)

                await until(is_in_flight, "the first call at the child, the second in the queue")
                tasks.cancel_scope.cancel()  # which closes the connection

            await until_404(client)


async def test_use_restarts_the_idle_clock() -> None:
    """A session that is used again and again outlives a younger one that is not."""
    with serving("--idle-timeout", "0.8s") as daemon:
        async with open_session(daemon.url) as client:
            await client.another()

            async def is_alone() -> bool:
                assert (await client.answer(PING))["result"] == {}
                return bool((await health(client))["sessions"] == 1)

            await until(is_alone, "the end of the other session")
            assert (await client.answer(PING))["result"] == {}
            await until_404(client)


async def test_a_session_has_a_maximum_age() -> None:
    """--session-age: however busy it is."""
    with serving("--session-age", "1s") as daemon:
        async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
            async with client.listen() as events:
                (held,) = await client.hold(tasks, call(1, "hold"))

                assert error_of(await held.response()) == (500, -32603, 1)
                assert await events.read_to_end() == []
            await until_404(client)


# ---- limits


async def test_a_session_too_many_is_503_and_served_when_one_has_gone() -> None:
    """--max-sessions, --place-timeout. Design part 3: 503 with Retry-After."""
    with serving("--max-sessions", "2", "--place-timeout", "0.3s") as daemon:
        async with open_session(daemon.url) as client:
            other = await client.another()
            nobody = Client(client.http, client.url)
            ready = daemon.base_url + "/readyz"

            refused = await nobody.post(hello(3))
            assert error_of(refused) == (503, -32603, 3)
            assert int(refused.headers["retry-after"]) > 0
            assert (await client.http.get(ready)).status_code == 503
            assert (await client.answer(PING))["result"] == {}

            await other.delete()
            await until_counts(client, sessions=1, children=1)
            assert (await client.http.get(ready)).status_code == 200
            await nobody.open()
            await until_counts(client, sessions=2, children=2)


async def test_a_crowd_at_once_never_makes_more_children_than_allowed() -> None:
    """--max-sessions counts those that are being started."""
    with serving("--max-sessions", "3", "--place-timeout", "0.3s") as daemon:
        async with connected(daemon.url) as client, anyio.create_task_group() as tasks:
            laters = [client.begin(tasks, hello(number)) for number in range(30)]
            most = 0
            while not all(later.has_arrived for later in laters):
                shown = await health(client)
                most = max(most, shown["sessions"], shown["children"])

            statuses = [(await later.response()).status_code for later in laters]
            assert sorted(statuses) == [200] * 3 + [503] * 27
            assert most == 3


async def test_the_wait_for_a_place_is_no_part_of_the_start() -> None:
    """Design part 3, limits: starting has its own limit."""
    with serving("--max-sessions", "1", "--place-timeout", "0.6s", "--start-timeout", "0.3s") as daemon:
        async with open_session(daemon.url) as client:
            assert error_of(await Client(client.http, client.url).post(hello(3))) == (503, -32603, 3)


async def test_a_session_waits_for_a_place() -> None:
    """--place-timeout: the wait ends as soon as another has gone."""
    with serving("--max-sessions", "1", "--place-timeout", "10s") as daemon:
        async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
            later = Client(client.http, client.url).begin(tasks, hello(2))
            assert (await client.answer(PING))["result"] == {}
            assert not later.has_arrived
            await client.delete()

            assert (await later.response()).json()["id"] == 2


async def test_sessions_that_saw_only_initialize_make_room() -> None:
    """Design part 3, limits: those older than 5 s go first; one that was used never does."""
    with serving("--max-sessions", "2", "--place-timeout", "9s") as daemon:
        async with open_session(daemon.url) as used:
            unused = await Client(used.http, used.url).open(initialized=False)
            third = await used.another()

            assert error_of(await unused.post(PING)) == GONE
            assert (await health(used))["counts"]["evicted.unused_session"] == 1
            assert (await used.answer(PING))["result"] == {}
            assert (await third.answer(PING))["result"] == {}
            await until_counts(used, sessions=2, children=2)


async def test_a_call_too_many_waits_and_is_503_at_last() -> None:
    """--max-calls-per-child, --place-timeout. The call in flight is unharmed."""
    with serving("--max-calls-per-child", "2", "--place-timeout", "0.3s") as daemon:
        async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
            (held,) = await client.hold(tasks, call(1, "hold"))
            async with client.stream(call(2, "ask", id=1, method="roots/list")) as events:
                ask = await events.next()
                refused = await client.post(call(3, "echo"))

                assert error_of(refused) == (503, -32603, 3)
                assert int(refused.headers["retry-after"]) > 0
                # Answers need no place.
                assert (await client.post({"jsonrpc": "2.0", "id": ask["id"], "result": {}})).status_code == 202
                assert (await events.next())["id"] == 2
            await client.result(4, "release")
            assert (await held.response()).status_code == 200
            assert not any(b'"echo"' in line for line in await client.seen())


async def test_calls_that_wait_are_served_in_turn() -> None:
    """More calls than places, none lost."""
    with serving("--max-calls-per-child", "2") as daemon:
        async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
            laters = [client.begin(tasks, call(number, "echo", n=number)) for number in range(30)]

            answers = [(await later.response()).json() for later in laters]
            assert [answer["result"]["echo"]["n"] for answer in answers] == list(range(30))


async def test_a_session_of_one_is_unknown_to_another_daemon(daemon: Daemon) -> None:
    """Nothing is module state, nothing is shared."""
    with serving() as stranger:
        async with open_session(daemon.url) as client:
            url, client.url = client.url, stranger.url
            assert error_of(await client.post(PING)) == GONE

            client.url = url
            assert (await client.answer(PING))["result"] == {}
            await client.delete()

            async def is_over() -> bool:
                return bool((await health(client))["children"] == 0)

            await until(is_over, "no child")


# ---- what a child is given


async def test_a_child_gets_a_short_environment_and_what_it_is_given() -> None:
    """Design part 5: a list of ours, `--env`, `--pass-env`; never our own settings."""
    ours = {"E2E_SECRET": "s", "E2E_PASSED": "p", "LC_E2E": "de", "MCP_PROXY_LOG_LEVEL": "info"}
    with serving("--env", "E2E_SET=a=b", "--env", "LC_E2E=en", "--pass-env", "E2E_PASS*", env=ours) as daemon:
        async with open_session(daemon.url) as client:
            env = (await client.result(1, "env"))["env"]

            assert (env["E2E_SET"], env["E2E_PASSED"], env["LC_E2E"]) == ("a=b", "p", "en")
            assert "PATH" in env and "E2E_SECRET" not in env and "MCP_PROXY_LOG_LEVEL" not in env


async def test_a_child_leads_a_group_of_its_own(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        where = await client.result(1, "pid")

        assert where["group"] == where["pid"]
        assert where["parent"] == daemon.pid
        await client.delete()

"""What a client of revision 2026-07-28 gets from a child that speaks only the revisions before it."""

from collections.abc import Iterator

import anyio
import pytest

from tests.e2e.serving import serving_modern
from tests.support.daemon import Daemon
from tests.support.mcp import error_of, until
from tests.support.modern import ALL, SUBSCRIPTION, Json, ModernClient, modern, modern_client, retry, tool

ACCEPT: Json = {"action": "accept", "content": {"name": "Ada"}}
ROOTS: Json = {"roots": [{"uri": "file:///x"}]}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving_modern("--lease-wait", "5s", modes=("legacy-only",)) as daemon:
        yield daemon


async def bridge_of(client: ModernClient) -> Json:
    """What `/health` says of the children that modern clients share."""
    body: Json = (await client.http.get(client.url.replace("/mcp", "/health"))).json()
    return body


async def test_discover_says_what_the_handshake_said(daemon: Daemon) -> None:
    """HM-18, HM-19, HM-20."""
    async with modern_client(daemon.url) as client:
        result = await client.result(modern("d", "server/discover"))
        listed = await client.result(modern("l", "tools/list"))

    assert result["supportedVersions"] == ["2026-07-28"]
    assert result["capabilities"]["tools"] == {"listChanged": True}
    assert (result["ttlMs"], result["cacheScope"]) == (0, "private")
    assert (listed["resultType"], listed["ttlMs"], listed["cacheScope"]) == ("complete", 0, "private")


async def test_a_question_of_the_child_is_answered_by_a_retry_that_is_good_once(daemon: Daemon) -> None:
    """HM-05, HM-21, HM-22."""
    async with modern_client(daemon.url) as client:
        message = tool(1, "ask-elicit", capabilities=ALL, message="who?")
        asked = await client.result(message)
        (key,) = asked["inputRequests"]

        assert asked["resultType"] == "input_required"
        refused = await client.post(retry(message, 2, asked, {key: {"action": "maybe"}}))
        assert error_of(refused) == (400, -32602, 2)
        done = await client.result(retry(message, 3, asked, {key: ACCEPT}))
        assert done["structuredContent"] == {"rounds": [{"name": ACCEPT}]}
        assert error_of(await client.post(retry(message, 4, asked, {key: ACCEPT}))) == (400, -32602, 4)


async def test_the_child_is_told_what_its_client_can_do_and_no_two_kinds_of_clients_share_one(daemon: Daemon) -> None:
    async with modern_client(daemon.url) as client:
        plain = await client.call(1, "client")
        able = await client.call(2, "client", capabilities={"sampling": {"tools": {}}})

        assert (plain["era"], plain["capabilities"]) == ("legacy", {})
        assert able["capabilities"] == {"sampling": {"tools": {}}}


@pytest.mark.parametrize("capabilities", [{"sampling": True}, {"elicitation": []}, {"roots": "x", "sampling": {}}])
async def test_a_capability_that_is_none_holds_nobody_up(daemon: Daemon, capabilities: Json) -> None:
    async with modern_client(daemon.url) as client:
        served_by = [(await client.call(n, "pid", capabilities=capabilities))["pid"] for n in range(3)]

    assert len(set(served_by)) == 1


@pytest.mark.parametrize("responses", [None, 5, {"name": 5}])
async def test_a_call_that_is_refused_before_it_began_holds_nobody_up(daemon: Daemon, responses: object) -> None:
    """HM-23."""
    async with modern_client(daemon.url) as client:
        message = tool(1, "echo", capabilities=ALL)
        message["params"]["inputResponses"] = responses
        before = (await client.call(0, "pid", capabilities=ALL))["pid"]

        assert error_of(await client.post(message)) == (400, -32602, 1)
        assert (await client.call(2, "pid", capabilities=ALL))["pid"] == before


@pytest.mark.parametrize("method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "no/such"])
async def test_a_method_that_does_not_exist_is_404(daemon: Daemon, method: str) -> None:
    """HM-14."""
    async with modern_client(daemon.url) as client:
        assert error_of(await client.post(modern(5, method))) == (404, -32601, 5)


async def test_progress_comes_under_the_clients_own_token_before_the_answer(daemon: Daemon) -> None:
    """HM-27."""
    async with modern_client(daemon.url) as client:
        *told, answer = await client.messages(tool("a", "progress", meta={"progressToken": "7"}, count=3))

    assert [each["params"]["progressToken"] for each in told] == ["7", "7", "7"]
    assert answer["id"] == "a"


async def test_changes_reach_those_who_listen_to_them(daemon: Daemon) -> None:
    """HM-24."""
    async with modern_client(daemon.url) as client:
        wanted = {"toolsListChanged": True, "resourceSubscriptions": ["note://1"]}
        async with client.listening("0", **wanted) as events, client.listening(7, promptsListChanged=True) as others:
            await client.result(tool(1, "add-tool", name="extra"))
            await client.result(tool(2, "touch", uri="note://1"))
            await client.result(tool(3, "add-prompt", name="extra"))

            told = [await events.next(), await events.next(), await others.next()]

        assert [each["method"] for each in told] == [
            "notifications/tools/list_changed",
            "notifications/resources/updated",
            "notifications/prompts/list_changed",
        ]
        assert [each["params"]["_meta"][SUBSCRIPTION] for each in told] == ["0", "0", 7]

        async def is_quiet() -> bool:
            left = await client.call(4, "open")
            return not left["subscribed"]

        await until(is_quiet, "the child is told that nobody listens")


async def test_a_closed_connection_cancels_the_call_and_the_turn_goes_to_the_next(daemon: Daemon) -> None:
    """HM-07, SC-08: the child never answers what was cancelled."""
    async with modern_client(daemon.url) as client:
        before = (await client.call(0, "pid", capabilities=ALL))["pid"]
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.5):
                await client.post(tool(1, "hold", capabilities=ALL, key="gone"))

        assert (await client.call(2, "pid", capabilities=ALL))["pid"] == before
        told = (await client.call(3, "told", capabilities=ALL))["told"]
        assert [(each["known"], each["key"]) for each in told] == [(True, "gone")]


async def test_roots_that_the_child_wants_at_its_start_come_with_the_first_call() -> None:
    with serving_modern(modes=("legacy-only", "early-roots")) as daemon:
        async with modern_client(daemon.url) as client:
            message = tool(1, "client", capabilities=ALL)
            await client.result(modern(0, "tools/list", capabilities=ALL))
            asked = await client.result(message)
            assert [each["method"] for each in asked["inputRequests"].values()] == ["roots/list"]
            (key,) = asked["inputRequests"]

            done = await client.result(retry(message, 2, asked, {key: ROOTS}))

            assert done["structuredContent"]["roots"] == ROOTS


async def test_a_call_that_fails_after_its_questions_leaves_nothing_to_go_on_with() -> None:
    """A refusal of the answers would leave the state good; this is the refusal of the call."""
    with serving_modern(modes=("legacy-only", "early-roots")) as daemon:
        async with modern_client(daemon.url) as client:
            message = tool(1, "no-such-tool", capabilities=ALL)
            await client.result(modern(0, "tools/list", capabilities=ALL))
            asked = await client.result(message)
            (key,) = asked["inputRequests"]

            assert error_of(await client.post(retry(message, 2, asked, {key: ROOTS}))) == (400, -32602, 2)

            assert (await bridge_of(client))["modern"]["continuations"] == 0


async def test_many_that_ask_answer_decline_and_never_come_back_and_every_turn_ends() -> None:
    """A third each; the child keeps count of how often its tools ran and went on."""
    flags = ("--lease-wait", "0.2s", "--continuation-timeout", "8s", "--max-children", "48")
    with serving_modern(*flags, modes=("legacy-only",)) as daemon:
        async with modern_client(daemon.url) as client:
            ends: list[str] = []

            async def ask(n: int) -> None:
                message = tool(n, "ask-elicit", capabilities=ALL, key=n)
                asked = await client.result(message)
                (key,) = asked["inputRequests"]
                if n % 3 == 2:
                    ends.append("abandoned")
                    return
                answer = ACCEPT if n % 3 == 0 else {"action": "decline"}
                done = await client.result(retry(message, 1000 + n, asked, {key: answer}))
                assert done["structuredContent"] == {"rounds": [{"name": answer}]}
                ends.append(answer["action"])

            async with anyio.create_task_group() as tasks:
                for n in range(36):
                    tasks.start_soon(ask, n)
            assert [ends.count(each) for each in ("accept", "decline", "abandoned")] == [12, 12, 12]

            async def is_over() -> bool:
                left = await bridge_of(client)
                return not left["modern"]["continuations"] and not left["modern"]["calls_in_flight"]

            await until(is_over, "what was abandoned is given up", seconds=30)
            done = await client.call(5000, "faults", capabilities=ALL)
            assert done["faults"] == []

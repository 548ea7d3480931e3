"""What a client of revision 2026-07-28 gets from a child that speaks it, too."""

import json
from collections.abc import Iterator

import anyio
import pytest

from tests.e2e.serving import serving_modern
from tests.support.daemon import Daemon
from tests.support.mcp import until
from tests.support.modern import ALL, SUBSCRIPTION, modern, modern_client, retry, tool


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving_modern() as daemon:
        yield daemon


async def test_discover_is_answered_by_the_child(daemon: Daemon) -> None:
    """HM-18, HM-19, HM-20."""
    async with modern_client(daemon.url) as client:
        result = await client.result(modern("d", "server/discover"))

    assert result["supportedVersions"] == ["2026-07-28"]
    assert result["capabilities"]["tools"] == {"listChanged": True}
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"] == {"name": "modern", "version": "1"}


async def test_a_quick_answer_is_json_without_a_session(daemon: Daemon) -> None:
    """HM-02, HM-04."""
    async with modern_client(daemon.url) as client:
        response = await client.post(tool(0, "echo", x=2**60), {"mcp-session-id": "nonsense", "last-event-id": "1-1"})

    assert response.status_code == 200
    assert "mcp-session-id" not in response.headers
    assert response.json()["id"] == 0
    assert response.json()["result"]["structuredContent"] == {"echo": {"x": 2**60}}


async def test_progress_comes_under_the_clients_own_token_before_the_answer(daemon: Daemon) -> None:
    """HM-27."""
    async with modern_client(daemon.url) as client:
        *told, answer = await client.messages(tool("a", "progress", meta={"progressToken": "7"}, count=3))

    assert [each["params"]["progressToken"] for each in told] == ["7", "7", "7"]
    assert answer["id"] == "a"


async def test_what_a_child_asks_becomes_a_retry_that_is_good_once(daemon: Daemon) -> None:
    """HM-21, HM-22: bound to the request, used up by its retry, left alone by answers that can't be."""
    async with modern_client(daemon.url) as client:
        message = tool(1, "ask-elicit", capabilities=ALL, message="who?")
        asked = await client.result(message)
        (key,) = asked["inputRequests"]
        accepted = {key: {"action": "accept", "content": {"name": "Ada"}}}
        other = tool(2, "ask-elicit", capabilities=ALL, message="what?")

        assert asked["resultType"] == "input_required"
        for wrong, answers in ((other, accepted), (message, {key: 12345}), (message, {key: {"action": "maybe"}})):
            refused = await client.post(retry(wrong, 3, asked, answers))
            assert (refused.status_code, refused.json()["error"]["code"], refused.json()["id"]) == (400, -32602, 3)
        done = await client.result(retry(message, 4, asked, accepted))
        assert done["structuredContent"] == {"rounds": [accepted]}
        again = await client.post(retry(message, 5, asked, accepted))
        assert (again.status_code, again.json()["error"]["code"]) == (400, -32602)


async def test_a_closed_connection_cancels_the_call_at_the_child(daemon: Daemon) -> None:
    """HM-07, SC-08."""
    async with modern_client(daemon.url) as client:
        before = len((await client.call(0, "told"))["told"])
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.5):
                await client.post(tool(1, "hold", key="gone"))

        async def was_told() -> bool:
            told = (await client.call(2, "told"))["told"]
            return len(told) == before + 1 and bool(told[-1]["known"])

        await until(was_told, "the child is told")


async def test_a_listen_is_acknowledged_first_and_told_under_the_clients_own_id(daemon: Daemon) -> None:
    """HM-24."""
    async with modern_client(daemon.url) as client, client.listening("0", toolsListChanged=True) as events:
        await client.result(tool(1, "add-tool", name="extra"))

        told = await events.next()
        assert told["method"] == "notifications/tools/list_changed"
        assert told["params"]["_meta"][SUBSCRIPTION] == "0"


@pytest.mark.parametrize(
    "method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "no/such"]
)
async def test_a_method_that_does_not_exist_is_404(daemon: Daemon, method: str) -> None:
    """HM-14."""
    async with modern_client(daemon.url) as client:
        response = await client.post(modern(5, method))

    assert (response.status_code, response.json()["error"]["code"], response.json()["id"]) == (404, -32601, 5)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_everything_is_a_post(daemon: Daemon, method: str) -> None:
    """HM-02."""
    async with modern_client(daemon.url) as client:
        headers = {"mcp-protocol-version": "2026-07-28", "accept": "text/event-stream"}
        response = await client.http.request(method, client.url, headers=headers)

    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"mcp-method": None}, -32020),
        ({"mcp-method": "TOOLS/CALL"}, -32020),
        ({"mcp-name": None}, -32020),
        ({"mcp-name": "other"}, -32020),
        ({"mcp-name": "=?base64?ZWNobw?="}, -32020),
        ({"mcp-protocol-version": None}, -32020),
        ({"mcp-protocol-version": "2025-11-25"}, -32020),
        ({"mcp-name": "=?base64?ZWNobw==?="}, None),
    ],
)
async def test_headers_say_what_the_body_says(daemon: Daemon, change: dict[str, str | None], code: int | None) -> None:
    """HM-10 to HM-12."""
    async with modern_client(daemon.url) as client:
        response = await client.post(tool(9, "echo"), change)

    assert response.json()["id"] == 9
    assert (response.status_code, response.json().get("error", {}).get("code")) == (400 if code else 200, code)


async def test_nothing_is_left_of_all_this(daemon: Daemon) -> None:
    async with modern_client(daemon.url) as client:
        report = json.loads((await client.http.get(daemon.base_url + "/health")).content)

    assert report["modern"] == {
        "children": 1,
        "calls_in_flight": 0,
        "listens": 0,
        "continuations": 0,
        "leases": 0,
        "tasks": 0,
    }

"""What a child's tools want in headers: asked once for all, read again before a call is refused."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from proxy.errors import HeaderMismatch
from tests.sessions.modern.servings import Served, answer_of, serving
from tests.support.modern import ALL
from tests.support.parsed import a_call, a_request

EU = {b"mcp-param-region": b"eu"}


async def call(served: Served, headers: dict[bytes, bytes], request: Any) -> Any:
    """The result of a call with these headers."""
    a_call_of_it = served.new_call(request)
    if not served.serving.begin_at_once(a_call_of_it, headers):
        await served.serving.begin(a_call_of_it, headers)
    return (await answer_of(a_call_of_it))["result"]


async def listings(served: Served) -> int:
    """How often the child was asked for its tools."""
    lines = (await served.tool(a_call(1, "seen")))["lines"]
    return sum('"tools/list"' in line for line in lines)


@pytest.mark.processes
async def test_a_child_is_asked_once_however_many_wait_to_know(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(call, served, EU, a_call(1, "headers", region="eu"))

        assert await listings(served) == 1


@pytest.mark.processes
async def test_all_pages_are_read_and_a_circle_of_them_once(tmp_path: Path) -> None:
    async with serving(tmp_path, "page-size=5", "cursor-loop") as served:
        with pytest.raises(HeaderMismatch):
            await call(served, {}, a_call(1, "headers", region="eu"))
        pages = await listings(served)
        await call(served, EU, a_call(1, "headers", region="eu"))

        assert 5 < pages < 20
        assert await listings(served) == pages


@pytest.mark.processes
async def test_what_needs_no_knowledge_asks_for_none(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await call(served, {}, a_call(1, "echo"))
        await call(served, EU, a_request(1, "resources/read", {"uri": "note://1", "arguments": {"a": 1}}))

        assert await listings(served) == 0


@pytest.mark.processes
async def test_it_is_asked_again_before_a_call_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await call(served, EU, a_call(1, "headers", region="eu"))
        for nth in range(2, 4):
            with pytest.raises(HeaderMismatch):
                await call(served, {}, a_call(1, "headers", region="eu"))
            assert await listings(served) == nth
        child = served.pool.primary("everybody")
        assert child is not None and child.rules is not None
        child.rules = {"headers": child.rules["headers"][1:], "echo": child.rules["headers"]}

        assert await call(served, {}, a_call(1, "echo", region="eu"))  # by what is known it would be refused
        with pytest.raises(HeaderMismatch):
            await call(served, {}, a_call(1, "headers", region="eu"))


@pytest.mark.processes
async def test_it_is_asked_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path) as served:
        await call(served, EU, a_call(1, "headers", region="eu"))
        monkeypatch.setattr("proxy.sessions.modern.rules.FRESH_SECONDS", 0.0)
        await call(served, EU, a_call(1, "headers", region="eu"))

        assert await listings(served) == 2


@pytest.mark.processes
async def test_a_client_that_does_not_wait_leaves_the_question_to_the_next(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.pool.shared("everybody", a_call())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, served, EU, a_call(1, "headers", region="eu"))
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

        assert await call(served, EU, a_call(1, "headers", region="eu"))


@pytest.mark.processes
async def test_a_retry_says_in_its_headers_what_it_says(tmp_path: Path) -> None:
    """HM-15: and one that does not leaves its state as it was."""
    async with serving(tmp_path) as served:
        message = {"name": "ask-elicit", "arguments": {"region": "eu"}}
        asked = await call(served, {}, a_request(1, "tools/call", message, capabilities=ALL))
        child = served.pool.primary("everybody")
        assert child is not None and child.rules is not None
        wanting = {**child.rules, "ask-elicit": child.rules["headers"][:1]}
        params = {**message, "requestState": asked["requestState"], "inputResponses": {"name": {"action": "decline"}}}
        again = a_request(2, "tools/call", params, capabilities=ALL)

        async def learn(*_: Any) -> None:
            child.rules = wanting

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("proxy.sessions.modern.rules._learn", learn)
            child.rules = wanting
            with pytest.raises(HeaderMismatch):
                await call(served, {b"mcp-param-region": b"us"}, again)
            assert len(served.serving.continuations) == 1
            assert await call(served, EU, again)

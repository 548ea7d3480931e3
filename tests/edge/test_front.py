"""Which requests go past the router, and what becomes of a bug of ours."""

from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from proxy.edge.answers import send_json
from proxy.edge.directory import Directory
from proxy.edge.front import Front


async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["method"] == "PUT":
        raise ValueError("a secret")
    await send_json(send, 200, b'"endpoint"')


def served() -> Front:
    app = Starlette(routes=[Route("/{rest:path}", lambda _: PlainTextResponse("router"), methods=["GET", "PUT"])])
    directory = Directory("/mcp")
    directory._by_path = dict.fromkeys(("/mcp", "/mcp/"), endpoint)
    return Front(app, find=directory.find)


async def answer(app: Any, path: str, method: str = "GET") -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host") as http:
        return await http.request(method, path)


@pytest.mark.parametrize(
    ("path", "who"),
    [
        ("/mcp", '"endpoint"'),
        ("/mcp/", '"endpoint"'),
        ("/mcp?x=1", '"endpoint"'),
        ("/mcp/x", "router"),
        ("/", "router"),
    ],
)
async def test_its_paths_go_straight_to_the_endpoint_and_others_to_the_router(path: str, who: str) -> None:
    assert (await answer(served(), path)).text == who


async def test_under_a_prefix_its_paths_are_the_same() -> None:
    host = Starlette(routes=[Mount("/tools", app=served())])

    assert (await answer(host, "/tools/mcp")).text == '"endpoint"'
    assert (await answer(host, "/tools/other")).text == "router"


async def test_a_bug_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    response = await answer(served(), "/mcp", "PUT")

    assert (response.status_code, response.json()["error"]["code"]) == (500, -32603)
    assert "secret" not in response.text
    assert "a secret" in caplog.text

"""Which Origins and Hosts are served."""

from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from proxy.edge.middleware.origin import OriginGuard, is_loopback_name
from tests.support.asgi import Response


def client(**settings: object) -> httpx.AsyncClient:
    app = Starlette(
        routes=[
            Route("/mcp", lambda _: PlainTextResponse("served"), methods=["GET", "POST"]),
            Route("/health", lambda _: PlainTextResponse("well")),
        ]
    )
    guard = OriginGuard(app, exempt_paths=("/health",), **settings)  # type: ignore[arg-type]  # keywords as given
    return httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://127.0.0.1:3000")


async def status(headers: dict[str, str], path: str = "/mcp", **settings: object) -> int:
    async with client(**settings) as http:
        return (await http.get(path, headers=headers)).status_code


@pytest.mark.parametrize(
    "origin",
    ["http://localhost", "http://localhost:6274", "https://127.0.0.1:1", "http://127.8.9.1", "http://[::1]:80"],
)
async def test_pages_of_this_machine_are_served(origin: str) -> None:
    assert await status({"origin": origin}) == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://evil.example#@localhost",
        "null",
        "file://localhost",
        "http://localhost:99999",
        "",
    ],
)
async def test_foreign_pages_are_refused(origin: str) -> None:
    """Spec: 2025-11-25 basic/transports, Security Warning. HL-02, HL-03."""
    assert await status({"origin": origin}) == 403


async def test_an_origin_that_was_allowed_is_served_and_others_are_not() -> None:
    allowed: dict[str, Any] = {"allowed_origins": ["https://app.example"]}

    assert await status({"origin": "https://APP.example"}, **allowed) == 200
    assert await status({"origin": "http://app.example"}, **allowed) == 403
    assert await status({"origin": "https://any.example"}, allowed_origins=["*"]) == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:3000", "127.0.0.1:3000", "[::1]:3000", "127.1.2.3", "localhost."]
)
async def test_a_loopback_listener_is_called_by_loopback_names(host: str) -> None:
    assert await status({"host": host}, loopback_hosts_only=True) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:3000", "localhost.evil.example", "10.0.0.1", "", "localhost@evil.example", "a b"],
)
async def test_a_loopback_listener_refuses_any_other_name(host: str) -> None:
    """DNS rebinding: the page's own name, resolved to this machine."""
    assert await status({"host": host}, loopback_hosts_only=True) == 421


@pytest.mark.parametrize(("name", "way"), [("host", "--allowed-host"), ("origin", "--allowed-origin")])
async def test_a_refusal_says_what_allows_it_and_repeats_nothing(name: str, way: str) -> None:
    async with client(loopback_hosts_only=True) as http:
        refused = await http.get("/mcp", headers={name: "http://evil.example" if name == "origin" else "evil.example"})

    assert way in refused.text and "evil" not in refused.text


@pytest.mark.parametrize("host", ["[", "[x]"])
async def test_a_host_that_is_malformed_is_refused(host: str) -> None:
    assert await status({"host": host}) == 421


@pytest.mark.parametrize("name", ["host", "origin"])
async def test_a_name_longer_than_any_is_refused_and_not_remembered(name: str) -> None:
    right = {"host": "localhost:", "origin": "http://localhost:"}[name]

    assert await status({name: right + "1"}) == 200
    assert await status({name: right + "0" * 2000 + "1"}) in (403, 421)


async def test_a_request_has_one_host() -> None:
    """RFC 9112 3.2: any other number MUST be a 400. Before HTTP/1.1 it may have none, after it has it elsewhere."""
    for hosts, version, expected in (
        ([], "1.1", 400),
        ([b"a", b"a"], "1.1", 400),
        ([b"a", b"a"], "1.0", 400),
        ([b"a"], "1.1", 200),
        ([], "1.0", 200),
        ([], "2", 200),
    ):
        response = Response("GET", {}, b"")
        response.scope.update(http_version=version, headers=[(b"host", host) for host in hosts])
        await response.serve(OriginGuard(PlainTextResponse("served")))

        assert response.status == expected, (hosts, version)


async def test_another_listener_takes_any_name_unless_some_are_given() -> None:
    assert await status({"host": "mcp.example"}) == 200
    assert await status({"host": "mcp.example"}, allowed_hosts=["mcp.example"]) == 200
    assert await status({"host": "mcp.example:443"}, allowed_hosts=["mcp.example"]) == 200
    assert await status({"host": "localhost"}, allowed_hosts=["mcp.example"]) == 421
    assert await status({"host": "x.example"}, allowed_hosts=["mcp.example"], loopback_hosts_only=True) == 421
    assert await status({"host": "localhost"}, allowed_hosts=["mcp.example"], loopback_hosts_only=True) == 200
    assert await status({"host": "x.example"}, allowed_hosts=["*"], loopback_hosts_only=True) == 200


async def test_health_is_for_everybody() -> None:
    assert (
        await status({"host": "10.1.2.3", "origin": "http://evil.example"}, "/health", loopback_hosts_only=True) == 200
    )


async def test_a_browser_may_read_what_it_needs() -> None:
    async with client() as http:
        preflight = await http.options(
            "/mcp",
            headers={
                "origin": "http://localhost:6274",
                "access-control-request-method": "DELETE",
                "access-control-request-headers": "mcp-session-id, mcp-method, mcp-param-city, last-event-id",
            },
        )
        answer = await http.get("/mcp", headers={"origin": "http://localhost:6274"})

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "http://localhost:6274"
    assert "mcp-param-city" in preflight.headers["access-control-allow-headers"]
    assert "DELETE" in preflight.headers["access-control-allow-methods"]
    assert "Mcp-Session-Id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(("name", "expected"), [("localhost", True), ("[::1]", True), ("0.0.0.0", False), ("x", False)])
def test_loopback_names(name: str, expected: bool) -> None:
    assert is_loopback_name(name) is expected

"""Which paths lead to which server."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from proxy.edge.bridge import Bridge
from proxy.settings import Settings

NAMES = ["plain", "My notes (v2)", "github.com/org/servers", "日本", "50%?#", "mcp", "a/mcp", "a"]


def found(bridge: Bridge, path: str) -> str | None:
    """The name of the server behind a path as it stands in a URL."""
    scope: dict[str, Any] = {"type": "http", "path": unquote(path)}
    endpoint = bridge.directory.find(scope)
    return next((name for name, each in bridge.directory.servers.items() if each.endpoint is endpoint), None)


@pytest.mark.parametrize("path", ["/mcp", "/", "/servers/a"])
def test_each_server_is_found_where_the_listing_says_whatever_it_is_called(tmp_path: Path, path: str) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"mcpServers": {name: {"command": "x"} for name in NAMES}}))
    bridge = Bridge(Settings(config=tmp_path / "c.json", path=path, default_server="plain"))

    listing = bridge.directory.listing()["servers"]
    assert [each["name"] for each in listing] == NAMES
    assert listing[1]["path"] == "/servers/My%20notes%20%28v2%29/mcp"
    for each in listing:
        assert found(bridge, each["path"]) == found(bridge, each["path"] + "/") == each["name"]
    assert found(bridge, path) == ("a" if path == "/servers/a/mcp" else "plain")
    assert found(bridge, path.rstrip("/") + "/plain") == "plain"
    assert found(bridge, "/servers/PLAIN/mcp") is None


@pytest.mark.parametrize(
    ("path", "at", "is_rpc"),
    [
        ("/mcp", "/servers/none/mcp", True),
        ("/mcp", "/servers/a", True),
        ("/mcp", "/mcp", True),  # none of two is the default
        ("/mcp", "/mcp/none", True),
        ("/mcp", "/mcpx", False),
        ("/", "/", True),
        ("/", "/none", False),
        ("/mcp", "/.well-known/oauth-protected-resource/mcp", False),
    ],
)
@pytest.mark.parametrize("mount", ["", "/tools"])
async def test_where_no_server_is_clients_are_told_in_their_language(
    mount: str, path: str, at: str, is_rpc: bool
) -> None:
    bridge = Bridge(Settings(named_server={"a": "x", "b": "x"}, path=path))
    transport = httpx.ASGITransport(app=bridge.asgi, root_path=mount)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        answer = await http.post(mount + at, json={})

    assert answer.status_code == 404 and "GET /servers" in answer.text
    if is_rpc:
        assert answer.json()["jsonrpc"] == "2.0" and answer.json()["error"]["code"] == -32600
    else:
        assert answer.json()["error"] == "Not Found"


async def test_a_server_that_was_alone_stays_at_the_path_when_others_come() -> None:
    """Its clients know no other; a reload that adds a server ends nothing of it."""
    bridge = Bridge(Settings(named_server={"a": "x"}))
    await bridge.reload(Settings(named_server={"a": "x", "b": "x"}))
    assert (bridge.directory.default, found(bridge, "/mcp")) == ("a", "a")

    await bridge.reload(Settings(named_server={"a": "x", "b": "x"}, default_server="b"))
    assert found(bridge, "/mcp") == "b"
    await bridge.reload(Settings(named_server={"c": "x", "d": "x"}))
    assert found(bridge, "/mcp") is None

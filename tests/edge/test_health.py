"""What does an operator see of a bridge that nobody has used yet?"""

import json
import sys
from pathlib import Path

import httpx

from proxy.edge.bridge import Bridge
from proxy.settings import Settings


async def test_health_shows_the_eras_of_a_server_and_how_they_are_known() -> None:
    bridge = Bridge(Settings(demo=True, server_name="tools", child_era="legacy"))
    transport = httpx.ASGITransport(bridge.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", trust_env=False) as http:
        era = (await http.get("/health")).json()["servers"]["tools"]["era"]

    assert era == {
        "configured": "legacy",
        "modern": {"spoken": False, "how": "configured"},
        "legacy": {"spoken": True, "how": "configured"},
    }


async def test_health_says_of_a_server_that_can_not_be_started_why_before_anybody_tries() -> None:
    bridge = Bridge(Settings(named_server={"there": f"{sys.executable} -V", "missing": "no-such-program"}))
    transport = httpx.ASGITransport(bridge.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", trust_env=False) as http:
        servers = (await http.get("/health")).json()["servers"]

    assert servers["there"]["state"] == "not started, or not lately"
    assert servers["missing"]["state"] == "its program does not exist"


async def test_a_server_that_is_not_required_keeps_nobody_from_being_ready(tmp_path: Path) -> None:
    entry = {"command": "no-such-program"}
    file = tmp_path / "servers.json"
    file.write_text(json.dumps({"mcpServers": {"a": {"command": sys.executable, "args": ["-V"]}, "b": entry}}))

    assert await ready(file) == (503, "server b: its program does not exist")

    file.write_text(
        file.read_text().replace('"no-such-program"', '"no-such-program", "mcp_proxy": {"required": false}')
    )

    assert await ready(file) == (200, None)


async def ready(file: Path) -> tuple[int, str | None]:
    bridge = Bridge(Settings(config=file))
    transport = httpx.ASGITransport(bridge.asgi)
    async with bridge.run(), httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        answer = await http.get("/readyz")
        return answer.status_code, answer.json().get("reason")


async def test_health_counts_who_was_refused_for_what_he_sent() -> None:
    bridge = Bridge(Settings(demo=True, allowed_host=("here",)))
    transport = httpx.ASGITransport(bridge.asgi)
    async with bridge.run(), httpx.AsyncClient(transport=transport, base_url="http://here", trust_env=False) as http:
        sent = [
            await http.post("/mcp", headers={"host": "evil.example"}),
            await http.post("/mcp", headers={"origin": "https://evil.example"}),
            await http.post("/mcp", headers={"content-type": "application/json"}, content="{"),
            await http.put("/mcp"),
        ]
        counts = (await http.get("/health")).json()["counts"]

    assert [each.status_code for each in sent] == [421, 403, 400, 405]
    assert counts == {f"refused.http_{each.status_code}": 1 for each in sent}

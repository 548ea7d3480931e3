"""What does an operator see of a bridge that nobody has used yet?"""

import sys

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

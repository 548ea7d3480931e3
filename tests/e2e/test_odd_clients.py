"""Clients and children that do what is allowed and unusual."""

import json
import sys

import httpx

from tests.support.daemon import running_daemon
from tests.support.mcp import speak

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2024-10-07",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
        "_meta": {"progressToken": 1},
    },
}
ACCEPT = {"accept": "application/json, text/event-stream"}
# Reports progress before it answers `initialize`, and agrees to any revision.
CHATTY_START = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        for step in range(3):
            params = {"progressToken": 1, "progress": step}
            print(json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}), flush=True)
        version = request["params"].get("protocolVersion")
        result = {"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
"""


def test_a_child_that_reports_progress_of_its_start_is_served_in_a_revision_we_do_not_know() -> None:
    with running_daemon("--", sys.executable, "-I", "-S", "-c", CHATTY_START) as daemon:
        answer = httpx.post(daemon.url, json=HELLO, headers=ACCEPT, timeout=20)
        assert (answer.status_code, answer.json()["result"]["protocolVersion"]) == (200, "2024-10-07")
        headers = {
            **ACCEPT,
            "mcp-session-id": answer.headers["mcp-session-id"],
            "mcp-protocol-version": "2024-10-07",
        }

        again = httpx.post(daemon.url, json={**HELLO, "id": 2, "method": "x"}, headers=headers, timeout=20)

        assert again.status_code == 200


async def test_an_offer_of_http_2_is_ignored() -> None:
    """Java's HttpClient makes it with every request. RFC 9110 7.8."""
    with running_daemon("--demo") as daemon:
        body = json.dumps(HELLO).encode()
        head = (
            b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nContent-Type: application/json\r\n"
            b"Accept: application/json, text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)
        )

        for pieces in ((head + body,), (head, body)):
            assert (await speak(daemon.base_url, *pieces)).startswith(b"HTTP/1.1 200")

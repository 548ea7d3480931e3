"""Clients that send what no client should: each gets the refusal it deserves, and costs nobody anything."""

from random import Random

import anyio
import httpx

from tests.soak.peer import Wrong
from tests.soak.scenarios.leaving import cut
from tests.soak.stage import Stage
from tests.support.mcp import ACCEPT, call, encode, hello, speak

BASE = {"accept": ACCEPT, "content-type": "application/json"}
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'

BAD_REQUESTS: tuple[tuple[str, dict[str, str], bytes, int], ...] = (
    ("POST", {}, b"{", 400),
    ("POST", {}, b"", 400),
    ("POST", {}, b"\xff\xfe{}", 400),
    ("POST", {}, b"[" * 100_000, 400),
    ("POST", {}, b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 400),
    ("POST", {}, b'{"jsonrpc":"2.0","id":1,"method":"x","params":' + b"[" * 500 + b"]" * 500 + b"}", 400),
    ("POST", {}, b'{"jsonrpc":"1.0","id":1,"method":"ping"}', 400),
    ("POST", {}, b'{"jsonrpc":"2.0","id":null,"method":"ping"}', 400),
    ("POST", {}, b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', 400),
    ("POST", {}, b'{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"x"}', 400),
    ("POST", {}, b"[]", 400),
    ("POST", {}, b"null", 400),
    ("POST", {}, PING, 400),
    ("POST", {}, b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":"' + b"x" * 3_000_000 + b'"}}', 413),
    ("POST", {"mcp-session-id": "nobody"}, PING, 404),
    ("POST", {"mcp-session-id": "x" * 4000}, PING, 404),
    ("POST", {"mcp-session-id": "../../etc/passwd"}, PING, 404),
    ("POST", {"mcp-session-id": "%00%0d%0a"}, PING, 404),
    ("POST", {"mcp-protocol-version": "1999-01-01"}, PING, 400),
    ("POST", {"content-type": "text/plain"}, PING, 415),
    ("POST", {"accept": "application/json"}, PING, 406),
    ("POST", {"origin": "https://evil.example"}, PING, 403),
    ("POST", {"host": "evil.example"}, PING, 421),
    ("GET", {"accept": "application/json"}, b"", 406),
    ("GET", {}, b"", 400),
    ("GET", {"mcp-session-id": "nobody"}, b"", 404),
    ("DELETE", {}, b"", 400),
    ("DELETE", {"mcp-session-id": "nobody"}, b"", 404),
    ("PUT", {}, PING, 405),
    ("PATCH", {}, PING, 405),
)
"""Method, headers beside the usual ones, body, status."""


async def bad_requests(stage: Stage) -> None:
    """Without a session: refused by what they are, with a JSON-RPC error."""
    peer = stage.peer()
    for method, headers, body, status in stage.rng.sample(BAD_REQUESTS, 5):
        try:
            response = await peer.client.http.request(
                method, stage.site.url, content=body, headers={**BASE, **headers}, timeout=20
            )
        except (httpx.ReadError, httpx.WriteError):
            if status != 413:
                raise
            peer.note("413, cut off while it was still sending")
            continue
        peer.note(f"{response.status_code}")
        shown = f"{method} {headers} {body[:60]!r} got {response.status_code} {response.text[:200]}"
        if response.status_code != status or response.json()["error"]["message"] == "Internal error":
            raise Wrong(f"{shown} instead of {status}")


async def bad_bytes(stage: Stage) -> None:
    """No HTTP, half of it, or two readings of one request: answered with a 4xx or by closing, never served."""
    answer = await speak(f"http://127.0.0.1:{stage.site.port}", _bytes(stage.rng))
    status = answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/1.1 ") else "closed"
    stage.peer().note(status)
    if status != "closed" and not status.startswith("4"):
        raise Wrong(f"bad bytes got {answer[:200]!r}")
    if stage.rng.random() < 0.3:  # nothing to the end of its time
        await cut(stage, b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\n", seconds=stage.rng.random() * 3)


def _bytes(rng: Random) -> bytes:
    end = b"\r\n\r\n"
    post = b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return rng.choice(
        (
            rng.randbytes(rng.randint(1, 2000)) + end,
            b"GET / HTTP/9.9" + end,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(500) + end,
            post + b"content-length: 5\r\ncontent-length: 6" + end + b"{}",
            post + b"transfer-encoding: chunked\r\ncontent-length: 3" + end + b"zz\r\n",
            post + b"transfer-encoding: chunked" + end + b"-1\r\n{}\r\n0\r\n\r\n",
            post + b"content-length: abc" + end,
            post + b"bad header: \x00" + end,
            post + b"x" * 100_000 + b": y" + end,
        )
    )


async def bad_messages_in_a_session(stage: Stage) -> None:
    """Its owner may send nonsense: refused, or ignored, and the session goes on."""
    peer = stage.peer()
    if not await peer.open():
        return
    nonsense: tuple[tuple[bytes, int], ...] = (
        (encode(hello("again")), 400),
        (b'{"jsonrpc":"2.0","id":9999,"result":{}}', 202),
        (b'{"jsonrpc":"2.0","id":"nobody","error":{"code":1,"message":""}}', 202),
        (b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"nobody"}}', 202),
        (b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":[],"progress":1}}', 202),
        (b'{"jsonrpc":"2.0","method":"notifications/\\ud800"}', 202),
        (b'{"jsonrpc":"2.0","method":"x","params":{"_meta":{"progressToken":1,"progressToken":2}}}', 400),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', 400),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', 400),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', 400),
        (b'{"jsonrpc":"2.0","id":"%b","method":"ping"}' % (b"x" * 10_000), 400),
        (b"{\n" + encode(call("pretty", "echo", tag=peer.tag)).replace(b",", b",\n\r\n").lstrip(b"{"), 200),
        (b'{"jsonrpc":"2.0","id":"%b","method":"x","params":%b}' % (b"deep", b"[" * 200 + b"]" * 200), 200),
    )
    for body, status in stage.rng.sample(nonsense, 5):
        response = await peer.client.post(body)
        peer.note(f"{response.status_code}")
        if response.status_code != status:
            raise Wrong(f"{body[:100]!r} got {response.status_code} {response.text[:200]} instead of {status}")
    with anyio.fail_after(10):
        await peer.echo()
    await peer.child_saw_only_its_own()
    await peer.part()

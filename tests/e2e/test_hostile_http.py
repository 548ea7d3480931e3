"""What does somebody get who speaks no HTTP, or uses it to get at others?

Each is refused clearly; a neighbour, who has a session all the while, notices nothing, and nothing is left.
"""

import json
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest

from tests.e2e.serving import serving
from tests.support.daemon import Daemon
from tests.support.mcp import (
    call,
    connected,
    encode,
    error_of,
    hello,
    notification,
    open_session,
    request,
)
from tests.support.raw import HEALTH, answers, head, only_answer, post, raw

INVALID_REQUEST, PARSE_ERROR, NOT_FOUND = -32600, -32700, -32001
REFUSED = (400, INVALID_REQUEST, None)
MAX_BODY_BYTES = 1 << 20
CHUNKED = "Transfer-Encoding: chunked"


class Neighbour:
    """Somebody who has a session and whose child must never hear of anything that is sent here."""

    def __init__(self, daemon: Daemon) -> None:
        self._http = httpx.Client(timeout=10, headers={"accept": "application/json, text/event-stream"})
        self._url = daemon.url
        self.session_id = self._http.post(self._url, json=hello()).headers["mcp-session-id"]
        self._http.headers["mcp-session-id"] = self.session_id
        self._pid = self._pid_now()

    def _pid_now(self) -> Any:
        return self._http.post(self._url, json=call(1, "pid")).json()["result"]["pid"]

    def is_unharmed(self) -> bool:
        """Whether its child is the same, and has heard of nothing but it."""
        seen = self._http.post(self._url, json=call(2, "seen")).json()["result"]["lines"]
        return self._pid_now() == self._pid and not any("smuggled" in line for line in seen)

    def leave(self) -> None:
        self._http.delete(self._url)
        self._http.close()


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving("--max-body", "1MiB") as daemon:
        yield daemon
        health = httpx.get(f"{daemon.base_url}/health").json()
    faults = [line for line in daemon.stderr_lines if " ERROR " in line or "Traceback" in line]
    assert (faults, health["sessions"], health["calls_in_flight"]) == ([], 0, 0)


@pytest.fixture(scope="module")
def neighbour(daemon: Daemon) -> Iterator[Neighbour]:
    neighbour = Neighbour(daemon)
    yield neighbour
    neighbour.leave()


@pytest.fixture(autouse=True)
def nobody_else_notices(neighbour: Neighbour) -> Iterator[None]:
    yield
    assert neighbour.is_unharmed()


def smuggled(neighbour: Neighbour) -> bytes:
    """A whole request in the neighbour's session, which must not be read as one."""
    return post(encode(notification("notifications/smuggled")), f"Mcp-Session-Id: {neighbour.session_id}")


# ---- framing: what request smuggling is made of


PING = encode(request(1, "ping"))
LENGTH = f"Content-Length: {len(PING)}"
CHUNK = b"%x\r\n%b\r\n0\r\n\r\n" % (len(PING), PING)

BAD_FRAMING: dict[str, bytes] = {
    "length and chunked": head(LENGTH, CHUNKED) + b"0\r\n\r\n",
    "chunked and length": head(CHUNKED, LENGTH) + b"0\r\n\r\n",
    "the same length twice": head(LENGTH, LENGTH) + PING,
    "two lengths": head(LENGTH, "Content-Length: 0") + PING,
    "a list of lengths": head(f"Content-Length: {len(PING)}, {len(PING)}") + PING,
    "a length with a sign": head(f"Content-Length: +{len(PING)}") + PING,
    "a negative length": head("Content-Length: -1") + PING,
    "a hexadecimal length": head("Content-Length: 0x28") + PING,
    "a length that overflows": head(f"Content-Length: {2**64 + len(PING)}") + PING,
    "a space before the colon": head("Content-Length : 40") + PING,
    "a length in two lines": head("Content-Length: 4\r\n 0") + PING,
    "a header in two lines": head("X-A: b\r\n\tc", LENGTH) + PING,
    "an unknown coding": head("Transfer-Encoding: xchunked") + CHUNK,
    "identity": head("Transfer-Encoding: identity") + CHUNK,
    "chunked twice": head(CHUNKED, CHUNKED) + CHUNK,
    "chunked, not last": head("Transfer-Encoding: chunked, identity") + CHUNK,
    "chunked behind a control byte": head(b"Transfer-Encoding: \x0bchunked") + CHUNK,
    "a chunk size that overflows": head(CHUNKED) + b"F" * 20 + b"\r\n" + PING,
    "a chunk size with a sign": head(CHUNKED) + b"-" + CHUNK,
    "a chunk size with a prefix": head(CHUNKED) + b"0x" + CHUNK,
    "a chunk size and a space": head(CHUNKED) + CHUNK.replace(b"\r\n", b" \r\n", 1),
    "a chunk that is longer than it says": head(CHUNKED) + CHUNK.replace(b"}\r\n", b"}xx\r\n", 1),
    "a line feed in a chunk's extension": head(CHUNKED) + CHUNK.replace(b"\r\n", b";a\nb\r\n", 1),
    "chunks with bare line feeds": head(CHUNKED) + CHUNK.replace(b"\r\n", b"\n"),
    "a head with bare line feeds": head(LENGTH).replace(b"\r\n", b"\n") + PING,
    "a bare carriage return": head("X-A: b\rX-C: d", LENGTH) + PING,
    "a null byte": head(b"X-A: b\0c", LENGTH) + PING,
    "a control byte": head(b"X-A: b\x01c", LENGTH) + PING,
    "a space in a name": head("X A: b", LENGTH) + PING,
    "no name": head(": b", LENGTH) + PING,
    "no colon": head("X-A", LENGTH) + PING,
    "a space before the first header": head(LENGTH).replace(b"Host", b" Host") + PING,
    "a version that does not exist": post(PING, first="POST /mcp HTTP/1.9"),
    "a method in small letters": post(PING, first="post /mcp HTTP/1.1"),
    "a method that does not exist": post(PING, first="SMUGGLE /mcp HTTP/1.1"),
    "a tunnel": head(first="CONNECT localhost:80 HTTP/1.1"),
    "a target that is no path": post(PING, first="POST mcp HTTP/1.1"),
    "a target with a space": post(PING, first="POST /mcp /mcp HTTP/1.1"),
    "a target that is not ASCII": post(PING, first=b"POST /mcp\xff HTTP/1.1"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "every byte": bytes(range(256)),
}


@pytest.mark.parametrize("name", BAD_FRAMING)
async def test_bad_framing_is_refused_and_ends_the_connection(daemon: Daemon, neighbour: Neighbour, name: str) -> None:
    """RFC 9112 6.3, 11.2: whatever follows on the connection is not looked at."""
    answer = await only_answer(daemon, BAD_FRAMING[name] + smuggled(neighbour))

    assert answer.error == REFUSED
    assert answer.headers["connection"] == "close"


async def test_bad_framing_behind_a_good_request_ends_the_connection(daemon: Daemon, neighbour: Neighbour) -> None:
    """Somewhere on the way another reader may have seen two requests: neither is trusted."""
    async with raw(daemon, post(PING) + BAD_FRAMING["two lengths"] + smuggled(neighbour)) as connection:
        assert (await connection.next()).status == 400
        await connection.until_closed()


async def test_garbage_in_the_middle_of_a_stream_ends_it(daemon: Daemon) -> None:
    """No second head is written into a response that has begun."""
    async with open_session(daemon.url) as client:
        get = head(f"Mcp-Session-Id: {client.session_id}", first="GET /mcp HTTP/1.1")
        async with raw(daemon, get) as connection:
            async with client.listen() as other:  # the first is open by the time that this one is, or soon
                await other.primed()
            await connection.send(b"\0garbage\r\n\r\n")

            told = await connection.until_closed()
            assert told.count(b"HTTP/1.1") <= 1
        await client.delete()


@pytest.mark.parametrize("upgrade", ["websocket", "TLS/1.0", "h2c, foo", "foo"])
async def test_behind_an_offer_of_another_protocol_nothing_is_read(
    daemon: Daemon, neighbour: Neighbour, upgrade: str
) -> None:
    """Where such a request ends is a matter of opinion."""
    offer = head("Connection: Upgrade", f"Upgrade: {upgrade}", f"Content-Length: {len(smuggled(neighbour))}")

    for pieces in ((offer + smuggled(neighbour),), (offer, smuggled(neighbour))):
        assert (await only_answer(daemon, *pieces)).status == 400


async def test_an_offer_of_http_2_in_a_body_moves_nothing(daemon: Daemon) -> None:
    """The real offer is hidden from the parser; what looks like one in a body must stay as it is, and as long."""
    body = b"\r\nupgrade: h2c\r\n" * 8
    split = post(body)

    for pieces in ((split,), (split[: -len(body)], body)):
        (answer,) = await answers(daemon, *pieces)
        assert answer.error == (400, PARSE_ERROR, None)


# ---- several requests on a connection


async def test_requests_that_do_not_wait_for_answers_are_answered_in_order(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        header = f"Mcp-Session-Id: {client.session_id}"
        requests = [post(encode(call(number, "echo", n=number)), header) for number in range(10)]

        received = await answers(daemon, b"".join(requests), count=10)
        assert [json.loads(answer.body)["result"]["echo"]["n"] for answer in received] == list(range(10))
        await client.delete()


async def test_too_many_requests_that_do_not_wait_are_refused(daemon: Daemon) -> None:
    """Each is kept until its turn: without a limit, a megabyte of them is a gigabyte of memory."""
    async with raw(daemon, HEALTH * 100) as connection:
        assert b"400 Bad Request" in await connection.until_closed()


# ---- unusual, and served


ODD: dict[str, tuple[bytes, ...]] = {
    "byte by byte": tuple(bytes([byte]) for byte in post(PING)),
    "blank lines before": (b"\r\n\r\n\r\n", post(PING)),
    "a whole URL": (post(PING, first="POST http://localhost/mcp HTTP/1.1"),),
    "a target in capitals and percents": (post(PING, first="POST /%6Dc%70?a=b HTTP/1.1"),),
    "a chunk with an extension": (head(CHUNKED) + CHUNK.replace(b"\r\n", b";a=b\r\n", 1),),
    "chunks with a trailer": (head(CHUNKED) + CHUNK[:-2] + b"X-A: b\r\n\r\n",),
    "a header that is not ASCII": (post(PING, b"X-A: \xff\xfe\x80"),),
    "1,000 headers": (post(PING, *["X-A: b"] * 1000),),
    "an expectation": (post(PING, "Expect: something"),),
}


@pytest.mark.parametrize("name", ODD)
async def test_what_is_unusual_and_right_is_served(daemon: Daemon, name: str) -> None:
    (answer,) = await answers(daemon, *ODD[name])

    assert answer.error == (400, INVALID_REQUEST, 1)  # read to its end: it has no session


async def test_a_request_of_http_1_0_is_answered_and_closed(daemon: Daemon) -> None:
    answer = await only_answer(daemon, post(PING, first="POST /mcp HTTP/1.0"))

    assert answer.error == (400, INVALID_REQUEST, 1)


@pytest.mark.parametrize(
    ("first", "host", "status"),
    [
        ("POST http://evil.example/mcp HTTP/1.1", "localhost", 421),
        ("POST http://evil.example:80/mcp HTTP/1.1", None, 421),
        ("POST http://localhost/mcp HTTP/1.1", "evil.example", 400),  # served: it lacks a session
        ("POST http://[::1]:1/mcp HTTP/1.1", None, 400),
        ("POST /mcp HTTP/1.1", None, 400),
        ("POST /mcp HTTP/1.0", None, 421),
    ],
)
async def test_the_host_of_a_whole_url_counts_and_no_other(
    daemon: Daemon, first: str, host: str | None, status: int
) -> None:
    """RFC 9112 3.2.2; 3.2: without any it is a 400, which older versions may leave out."""
    async with raw(daemon, head(LENGTH, first=first, host=host) + PING) as connection:
        assert (await connection.next()).error[:2] == (status, INVALID_REQUEST)


async def test_two_hosts_are_refused(daemon: Daemon) -> None:
    """RFC 9112 3.2: MUST. Two readers on the way could act on different ones."""
    (answer,) = await answers(daemon, post(PING, "Host: localhost"))

    assert answer.error == REFUSED


# ---- what is echoed, and what names somebody


INJECTIONS = [
    "a\r\nid: 99-99\r\ndata: {}\r\n\r\n",
    "a\nretry: 1\n",
    "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "\u2028\u2029\u0085\x7f\x00",
    "</script>",
    "x" * 4000,
]


@pytest.mark.parametrize("text", INJECTIONS)
async def test_ids_and_tokens_are_echoed_as_data_and_nothing_else(daemon: Daemon, text: str) -> None:
    """In JSON, and in events, of which each message is one."""
    async with open_session(daemon.url) as client:
        assert (await client.answer(request(text, "ping")))["id"] == text
        async with client.stream(call(text, "progress", token=text, count=2)) as events:
            messages = await events.read_to_end()

            assert [each.get("id", each.get("params", {}).get("progressToken")) for each in messages] == [text] * 3
            assert events.last_id.endswith("-3")
        await client.delete()


@pytest.mark.parametrize(
    "session_id", [b"\xff" * 43, b"\xe2\x80\xa8", b"x" * 60_000, b"\t", b"../../etc/passwd", b"%00"]
)
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_a_session_id_that_is_none_is_404(daemon: Daemon, session_id: bytes, method: str) -> None:
    body = b"" if method == "GET" else PING
    (answer,) = await answers(daemon, post(body, b"Mcp-Session-Id: " + session_id, first=f"{method} /mcp HTTP/1.1"))

    assert answer.error[:2] == (404, NOT_FOUND)
    assert session_id.strip() not in answer.body or session_id == b"\t"
    assert not any(session_id.decode("latin-1") in line for line in daemon.stderr_lines if len(session_id) > 1)


async def test_an_id_that_is_nearly_somebodys_is_404(daemon: Daemon, neighbour: Neighbour) -> None:
    mine = neighbour.session_id
    for near in (mine[:-1], mine + "x", mine.swapcase(), f'"{mine}"', f"{mine},{mine}", f"{mine};x=1"):
        (answer,) = await answers(daemon, post(PING, f"Mcp-Session-Id: {near}"))

        assert answer.error == (404, NOT_FOUND, 1), near


@pytest.mark.parametrize(
    "last_event_id", [b"\xff", b"1-1\t", b"9" * 5000, b"1-" + b"9" * 5000, b"-1--1", b"0-0", b"1-1, 1-2", b"id: 1-1"]
)
async def test_an_event_id_that_is_none_opens_a_stream(daemon: Daemon, last_event_id: bytes) -> None:
    async with open_session(daemon.url) as client:
        lines = (f"Mcp-Session-Id: {client.session_id}", b"Last-Event-ID: " + last_event_id)
        async with raw(daemon, head(*lines, first="GET /mcp HTTP/1.1")) as connection:
            answer = await connection.next()

            assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        await client.delete()


@pytest.mark.parametrize(
    "version", [b"\xff", b"x" * 60_000, b"%32025-11-25", b"2025-11-25;", b"\xe2\x80\xa82025-11-25"]
)
async def test_a_version_that_is_none_is_400(daemon: Daemon, version: bytes) -> None:
    (answer,) = await answers(daemon, post(PING, b"MCP-Protocol-Version: " + version))

    assert answer.error[:2] == (400, INVALID_REQUEST)
    assert len(answer.body) < 1000  # it is not echoed


@pytest.mark.parametrize(
    "asked", [b"x-\xff", b"a" * 60_000, b"a, b,,, ;", b"\t", b"x: y", b"content-type\xe2\x80\xa8set-cookie: a"]
)
async def test_what_a_preflight_asks_for_can_not_become_a_header(daemon: Daemon, asked: bytes) -> None:
    """It is answered with the list that it asks for."""
    lines = (b"Access-Control-Request-Headers: " + asked, "Access-Control-Request-Method: POST")
    (answer,) = await answers(daemon, head("Origin: http://localhost", *lines, first="OPTIONS /mcp HTTP/1.1"))

    assert answer.status in (200, 400)
    assert "set-cookie" not in answer.headers and "x" not in answer.headers


# ---- bodies


BAD_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "100,000 arrays": b"[" * 100_000 + b"]" * 100_000,
    "100,000 arrays without an end": b"[" * 100_000,
    "100,000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "100,000 levels in a request": b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":'
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}}",
    "an endless string": b'{"jsonrpc":"' + b"x" * 900_000,
    "an endless number": b'{"jsonrpc":"2.0","id":' + b"1" * 900_000 + b',"method":"ping"}',
    "an exponent": b'{"jsonrpc":"2.0","id":1e999999999,"method":"ping"}',
    "half a surrogate": b'{"jsonrpc":"2.0","id":1,"method":"\xed\xa0\x80"}',
    "overlong UTF-8": b'{"jsonrpc":"2.0","id":1,"method":"\xc0\xaf"}',
    "half a character": b'{"jsonrpc":"2.0","id":1,"method":"\xe2\x82',
    "gzip": bytes.fromhex("1f8b0800000000000003ab562a2e4a2e2e5ab2520a00"),
    "a form": b"jsonrpc=2.0&id=1&method=ping",
    "XML": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
    "a bomb of names": b"{" + b",".join(b'"%d":1' % number for number in range(60_000)) + b"}",
    "the same name again and again": b"{" + b",".join([b'"id":1'] * 60_000) + b"}",
    "an array of nothing": b"[" + b"{}," * 200_000 + b"{}]",
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_is_refused_and_its_connection_serves_on(daemon: Daemon, name: str) -> None:
    async with open_session(daemon.url) as client:
        (answer,) = await answers(daemon, post(BAD_BODIES[name], f"Mcp-Session-Id: {client.session_id}"))

        assert (answer.error[0], answer.error[1] in (PARSE_ERROR, INVALID_REQUEST)) == (400, True)
        assert len(answer.body) < 1000
        await client.delete()


async def test_an_endless_body_is_cut_off(daemon: Daemon) -> None:
    """Wherever it is sent to, whoever reads it."""
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"

    async def send_for_ever(path: str, status: int) -> None:
        async with raw(daemon, head(CHUNKED, first=f"POST {path} HTTP/1.1"), chunk * 20) as connection:
            assert (await connection.next()).status == status
            while await connection.send(chunk):
                pass

    async with anyio.create_task_group() as tasks:
        for path, status in (("/mcp", 413), ("/nothing", 404), ("/health", 405)):
            tasks.start_soon(send_for_ever, path, status)


async def test_a_refused_client_may_send_to_the_end_and_then_read(daemon: Daemon) -> None:
    """As simple clients do. Closed at once, the connection would be reset under the answer."""
    body = b"x" * (8 * MAX_BODY_BYTES)
    async with connected(daemon.url) as client:
        assert error_of(await client.post(body)) == (413, INVALID_REQUEST, None)
    answer = await only_answer(daemon, head(f"Content-Length: {len(body)}"), *[b"x" * 65536] * (len(body) // 65536))

    assert answer.error == (413, INVALID_REQUEST, None)
    assert answer.headers["connection"] == "close"


async def test_a_body_that_nobody_reads_is_no_next_request(daemon: Daemon, neighbour: Neighbour) -> None:
    """It comes after the answer to its head."""
    body = smuggled(neighbour)
    request_head = post(body, first="POST /nothing HTTP/1.1").removesuffix(body)
    async with raw(daemon, request_head) as connection:
        assert (await connection.next()).status == 404
        await connection.send(body + HEALTH)

        assert (await connection.next()).status == 200


async def test_a_client_that_leaves_in_the_middle_of_anything_leaves_nothing(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        whole = post(encode(call(1, "echo", text="smuggled")), f"Mcp-Session-Id: {client.session_id}")
        for cut in range(1, len(whole), 7):
            async with raw(daemon, whole[:cut]):
                pass

        assert not any(b"smuggled" in line for line in await client.seen())
        await client.delete()

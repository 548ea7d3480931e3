"""Which status, which code, which headers?"""

import json
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest

from tests.e2e.serving import serving
from tests.support.daemon import Daemon
from tests.support.mcp import (
    Message,
    call,
    connected,
    encode,
    error_of,
    health,
    hello,
    kind_of,
    notification,
    open_session,
    request,
    speak,
    until,
)

MAX_BODY_BYTES = 64 * 1024
LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
INVALID_REQUEST, PARSE_ERROR, INTERNAL_ERROR, NOT_FOUND = -32600, -32700, -32603, -32001
PING = request(7, "ping")
PONG = {"jsonrpc": "2.0", "id": 7, "result": {}}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving("--max-body", "64KiB") as daemon:
        yield daemon


def head(daemon: Daemon, method: str = "POST", *lines: str) -> bytes:
    """The head of an HTTP request, as bytes."""
    host = daemon.base_url.removeprefix("http://")
    usual = [f"{method} /mcp HTTP/1.1", f"Host: {host}", "Accept: */*"]
    return "\r\n".join([*usual, *lines, "", ""]).encode()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


# ---- what works


@pytest.mark.parametrize("version", LEGACY)
async def test_a_handshake_of_every_revision_gives_a_session(daemon: Daemon, version: str) -> None:
    """Spec: 2025-11-25 basic/lifecycle, Initialization; basic/transports, Session Management 1."""
    async with connected(daemon.url) as client:
        response = await client.post(hello(0, version=version))

        assert (response.status_code, kind_of(response)) == (200, "application/json")
        answer = response.json()
        assert (answer["id"], answer["result"]["protocolVersion"]) == (0, version)
        session_id = response.headers["mcp-session-id"]
        assert len(session_id) >= 32 and all(0x21 <= ord(char) <= 0x7E for char in session_id)


async def test_session_ids_are_all_different(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/transports, Session Management 1."""
    async with connected(daemon.url) as client:
        ids = {(await client.another()).session_id for _ in range(5)}

        assert len(ids) == 5


async def test_only_the_answer_to_initialize_names_the_session(daemon: Daemon) -> None:
    """Ours: an intermediary that logs answers should not log secrets more often than it must."""
    async with open_session(daemon.url) as client:
        assert "mcp-session-id" not in (await client.post(PING)).headers


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/servers/default/mcp", "/servers/default/mcp/", "/mcp/default"])
async def test_every_path_of_the_server_serves_without_redirect(daemon: Daemon, path: str) -> None:
    """Ours: design part 2. A redirected POST loses its body in some clients."""
    async with connected(daemon.base_url + path) as client:
        await client.open()

        assert await client.answer(PING) == PONG
        assert (await client.delete()).status_code == 200


async def test_a_session_is_the_same_on_every_path(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        client.url = f"{daemon.base_url}/servers/default/mcp/"

        assert await client.answer(PING) == PONG


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/servers/other/mcp", "/mcp/other", "/.well-known/oauth-authorization-server"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_path_is_a_404_in_json(daemon: Daemon, path: str, method: str) -> None:
    """Ours: clients that look for OAuth metadata parse what they get."""
    async with connected(daemon.url) as client:
        response = await client.http.request(method, daemon.base_url + path)

        assert (response.status_code, kind_of(response)) == (404, "application/json")
        assert isinstance(response.json(), dict)


async def test_notifications_and_answers_are_accepted_with_an_empty_202(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/transports, Sending Messages 4."""
    async with open_session(daemon.url) as client:
        unknown_answer = {"jsonrpc": "2.0", "id": 99, "result": {}}
        for message in (notification("notifications/roots/list_changed"), unknown_answer):
            response = await client.post(message)

            assert (response.status_code, response.content) == (202, b"")


async def test_the_childs_own_error_passes_as_it_came(daemon: Daemon) -> None:
    """Design part 3: 200, whatever its code."""
    async with open_session(daemon.url) as client:
        answer = await client.answer(request("x", "no/such/method"))

        assert answer == {"jsonrpc": "2.0", "id": "x", "error": {"code": -32601, "message": "Method not found"}}


# ---- methods


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "PROPFIND"])
async def test_another_method_is_405_with_allow(daemon: Daemon, method: str) -> None:
    """Spec: RFC 9110 15.5.6."""
    async with connected(daemon.url) as client:
        response = await client.http.request(method, daemon.url)

        assert response.status_code == 405
        assert {name.strip() for name in response.headers["allow"].split(",")} == {"GET", "POST", "DELETE", "OPTIONS"}
        if method != "HEAD":
            assert error_of(response) == (405, INVALID_REQUEST, None)


async def test_options_without_an_origin_says_what_is_allowed(daemon: Daemon) -> None:
    async with connected(daemon.url) as client:
        response = await client.http.options(daemon.url)

        assert (response.status_code, response.content) == (204, b"")
        assert "content-length" not in response.headers  # RFC 9110 8.6: MUST NOT
        assert response.headers["allow"] == "GET, POST, DELETE, OPTIONS"


# ---- Accept and Content-Type


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "application/json, text/event-stream",
        "text/event-stream;q=0.5,application/json;q=1",
        "application/*, text/*",
        "APPLICATION/JSON, Text/Event-Stream",
        "text/html, */*;q=0.1",
    ],
)
async def test_an_accept_that_covers_both_types_is_served(daemon: Daemon, accept: str | None) -> None:
    """Design part 3: absent means `*/*`; ranges match."""
    async with open_session(daemon.url) as client:
        response = await client.post(PING, {"accept": accept})

        assert (response.status_code, response.json()) == (200, PONG)


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        "text/event-stream",
        "text/html",
        "application/*",
        "application/json, text/event-stream;q=0",
        "application/jsonp, text/event-streams",
    ],
)
async def test_an_accept_that_lacks_one_type_is_406_and_reaches_no_child(daemon: Daemon, accept: str) -> None:
    """Spec: 2025-11-25 basic/transports, Sending Messages 2."""
    async with open_session(daemon.url) as client:
        status, code, _ = error_of(await client.post(request(8, "not/acceptable"), {"accept": accept}))

        assert (status, code) == (406, INVALID_REQUEST)
        assert not any(b"not/acceptable" in line for line in await client.seen())


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
async def test_a_get_that_does_not_accept_events_is_406(daemon: Daemon, accept: str) -> None:
    """Spec: 2025-11-25 basic/transports, Listening for Messages 2."""
    async with open_session(daemon.url) as client, client.listen({"accept": accept}) as refused:
        assert refused.response.status_code == 406


@pytest.mark.parametrize("accept", [None, "*/*", "text/*", "text/event-stream"])
async def test_a_get_that_accepts_events_gets_them(daemon: Daemon, accept: str | None) -> None:
    async with open_session(daemon.url) as client, client.listen({"accept": accept}) as events:
        assert (events.response.status_code, events.kind) == (200, "text/event-stream")
        assert "no-cache" in events.response.headers["cache-control"]
        assert events.response.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;"])
async def test_json_by_any_spelling_is_served(daemon: Daemon, content_type: str) -> None:
    async with open_session(daemon.url) as client:
        response = await client.post(PING, {"content-type": content_type})

        assert (response.status_code, response.json()) == (200, PONG)


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/json-rpc", "application/x-www-form-urlencoded"]
)
async def test_another_content_type_is_415(daemon: Daemon, content_type: str | None) -> None:
    """Ours: also what keeps a page's plain form from posting here."""
    async with open_session(daemon.url) as client:
        status, code, _ = error_of(await client.post(PING, {"content-type": content_type}))

        assert (status, code) == (415, INVALID_REQUEST)


# ---- MCP-Protocol-Version


@pytest.mark.parametrize("version", [None, *LEGACY])
async def test_every_legacy_version_header_is_served_in_every_session(daemon: Daemon, version: str | None) -> None:
    """Spec: 2025-11-25 basic/transports, Protocol Version Header: SHOULD be the negotiated one, need not."""
    async with open_session(daemon.url, version="2025-06-18") as client:
        response = await client.post(PING, {"mcp-protocol-version": version})

        assert (response.status_code, response.json()) == (200, PONG)


@pytest.mark.parametrize(
    "version", ["invalid-protocol-version", "2000-01-01", "2099-01-01", "", "2025-06-18, 2025-11-25"]
)
async def test_an_unsupported_version_is_400_with_and_without_a_session(daemon: Daemon, version: str) -> None:
    """Spec: 2025-11-25 basic/transports, Protocol Version Header: MUST respond with 400."""
    async with open_session(daemon.url) as client:
        header = {"mcp-protocol-version": version}
        sessionless = {**header, "mcp-session-id": None}

        for headers in (header, sessionless):
            assert error_of(await client.post(PING, headers))[:2] == (400, INVALID_REQUEST)
            assert error_of(await client.delete(headers))[:2] == (400, INVALID_REQUEST)
            async with client.listen(headers) as refused:
                assert refused.response.status_code == 400
        assert error_of(await client.post(hello(), sessionless))[:2] == (400, INVALID_REQUEST)
        assert await client.answer(PING) == PONG  # the session has lived through all of it


# ---- sessions and statuses


async def test_a_request_without_a_session_is_400(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/transports, Session Management 2."""
    async with connected(daemon.url) as client:
        assert error_of(await client.post(PING)) == (400, INVALID_REQUEST, 7)
        assert error_of(await client.post(notification("notifications/initialized"))) == (400, INVALID_REQUEST, None)
        assert error_of(await client.delete()) == (400, INVALID_REQUEST, None)
        async with client.listen() as refused:
            assert refused.response.status_code == 400


@pytest.mark.parametrize("session_id", ["no-such-session", "", "a b,c", "../../etc", "x" * 5000])
async def test_an_unknown_session_is_404(daemon: Daemon, session_id: str) -> None:
    """Spec: 2025-11-25 basic/transports, Session Management 3."""
    async with connected(daemon.url) as client:
        client.session_id = session_id

        assert error_of(await client.post(PING)) == (404, NOT_FOUND, 7)
        assert error_of(await client.delete()) == (404, NOT_FOUND, None)
        async with client.listen() as refused:
            assert refused.response.status_code == 404


async def test_without_the_modern_era_an_enveloped_request_gets_the_400_that_makes_clients_fall_back() -> None:
    """Design part 2: a legacy `--protocol-version` switches the modern era off. Spec: 2026-07-28, the envelope."""
    envelope = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "modern", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    with serving("--protocol-version", "2025-11-25") as daemon:
        for method in ("server/discover", "tools/list", "initialize"):
            async with connected(daemon.url) as client:
                message = request(1, method, {"_meta": envelope})
                bare = await client.post(message)
                with_header = await client.post(message, {"mcp-protocol-version": "2026-07-28", "mcp-method": method})

                assert error_of(bare) == (400, INVALID_REQUEST, 1)
                assert error_of(with_header)[:2] == (400, INVALID_REQUEST)
                assert (await health(client))["children"] == 0


async def test_an_enveloped_request_never_reaches_the_child_of_a_session(daemon: Daemon) -> None:
    """A child that speaks both eras must not be moved to the other one in the middle of its session."""
    async with open_session(daemon.url) as client:
        meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}

        assert error_of(await client.post(request(1, "tools/list", {"_meta": meta}))) == (400, -32602, 1)
        assert not any(b"2026-07-28" in line for line in await client.seen())


async def test_a_header_that_we_act_on_must_not_be_repeated(daemon: Daemon) -> None:
    """Ours: two readers on the way could act on different ones."""
    body = encode(hello())
    for name in ("Mcp-Session-Id", "MCP-Protocol-Version", "Content-Type"):
        lines = [f"{name}: application/json", f"{name}: application/json", f"Content-Length: {len(body)}"]
        if name != "Content-Type":
            lines.append("Content-Type: application/json")

        assert status_of(await speak(daemon.base_url, head(daemon, "POST", *lines) + body)) == 400


# ---- bodies


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b'{"jsonrpc":"2.0","id":1,"method":"ping"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping"} {"jsonrpc":"2.0","id":2,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":Infinity}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"\xff"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"\xed\xa0\x80"}}',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"a\nb"}}',
        b"{'jsonrpc':'2.0','id':1,'method':'ping'}",
        '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16"),
    ],
)
async def test_a_body_that_is_not_json_is_a_parse_error(daemon: Daemon, body: bytes) -> None:
    """JSON-RPC 2.0, 5.1: -32700, with id null because nothing in it can be trusted."""
    async with open_session(daemon.url) as client:
        assert error_of(await client.post(body)) == (400, PARSE_ERROR, None)


NOT_MESSAGES: list[tuple[str, Any]] = [
    ("1", None),
    ('"text"', None),
    ("null", None),
    ("{}", None),
    ('{"id":1,"method":"ping"}', 1),
    ('{"jsonrpc":"1.0","id":1,"method":"ping"}', 1),
    ('{"jsonrpc":2.0,"id":1,"method":"ping"}', 1),
    ('{"jsonrpc":"2.0","id":null,"method":"ping"}', None),
    ('{"jsonrpc":"2.0","id":true,"method":"ping"}', None),
    ('{"jsonrpc":"2.0","id":1.5,"method":"ping"}', None),
    ('{"jsonrpc":"2.0","id":1.0,"method":"ping"}', None),
    ('{"jsonrpc":"2.0","id":1e2,"method":"ping"}', None),
    ('{"jsonrpc":"2.0","id":{},"method":"ping"}', None),
    ('{"jsonrpc":"2.0","id":[1],"method":"ping"}', None),
    ('{"jsonrpc":"2.0","id":1}', 1),
    ('{"jsonrpc":"2.0","id":"a","method":7}', "a"),
    ('{"jsonrpc":"2.0","id":1,"method":"ping","params":"text"}', 1),
    ('{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}', 1),
    ('{"jsonrpc":"2.0","result":{}}', None),
]


@pytest.mark.parametrize(("body", "id_"), NOT_MESSAGES)
async def test_json_that_is_no_message_is_an_invalid_request(daemon: Daemon, body: str, id_: Any) -> None:
    """JSON-RPC 2.0, 4 and 5; MCP forbids null ids. The id comes back if it can be read."""
    async with open_session(daemon.url) as client:
        assert error_of(await client.post(body.encode())) == (400, INVALID_REQUEST, id_)


@pytest.mark.parametrize(
    ("body", "id_"),
    [
        ('{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', None),
        ('{"jsonrpc":"2.0","id":1,"\\u0069d":2,"method":"ping"}', None),
        ('{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}', None),
        ('{"jsonrpc":"2.0","id":1,"ID":2,"method":"ping"}', 1),
        ('{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/list"}', 1),
        ('{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{},"_meta":{"progressToken":1}}}', 1),
        ('{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{},"_META":{}}}', 1),
        ('{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"progressToken":1,"progressToken":2}}}', 1),
        ('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"requestId":2}}', None),
        ('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"requestid":2}}', None),
        ('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"seen"}}', 1),
    ],
)
async def test_a_second_copy_of_a_member_that_we_act_on_is_refused(daemon: Daemon, body: str, id_: Any) -> None:
    """Ours: the child's parser could act on the copy that nobody here has looked at."""
    async with open_session(daemon.url) as client:
        before = await client.seen()

        assert error_of(await client.post(body.encode())) == (400, INVALID_REQUEST, id_)
        assert await client.seen() == before


async def test_copies_inside_arguments_are_nobodys_business(daemon: Daemon) -> None:
    """Design part 4, checks that cost."""
    async with open_session(daemon.url) as client:
        body = (
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":1,"a":2,"A":3}}}'
        )

        assert (await client.post(body)).status_code == 200
        assert (await client.seen())[-1].endswith(b'"arguments":{"a":1,"a":2,"A":3}}}')


@pytest.mark.parametrize("opening, closing", [("[", "]"), ('{"a":', "}")])
async def test_nesting_is_served_up_to_its_limit(daemon: Daemon, opening: str, closing: str) -> None:
    """Design part 3, `max_json_depth`: 256. The message, `params` and `arguments` are three of them."""
    async with open_session(daemon.url) as client:

        def nested(depth: int) -> bytes:
            value = opening * (depth - 3) + "0" + closing * (depth - 3)
            return (
                f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"x":{value}}}}}}}'
            ).encode()

        assert (await client.post(nested(256))).status_code == 200
        assert error_of(await client.post(nested(257))) == (400, INVALID_REQUEST, 1)
        assert error_of(await client.post(nested(9000)))[:2] == (400, INVALID_REQUEST)


async def test_brackets_in_strings_are_no_nesting(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        text = '[{\\"' * 500

        assert await client.result(1, "echo", text=text) == {"echo": {"text": text}}


# ---- body limit


async def test_a_body_at_the_limit_is_served_and_one_over_it_is_413(daemon: Daemon) -> None:
    """Design part 3."""
    async with open_session(daemon.url) as client:
        empty = len(encode(call(1, "echo", text="")))
        fits = encode(call(1, "echo", text="x" * (MAX_BODY_BYTES - empty)))
        too_large = encode(call(1, "echo", text="x" * (MAX_BODY_BYTES - empty + 1)))

        assert len(fits) == MAX_BODY_BYTES
        assert (await client.post(fits)).status_code == 200
        assert error_of(await client.post(too_large)) == (413, INVALID_REQUEST, None)
        assert await client.answer(PING) == PONG


async def test_a_chunked_body_is_read_and_held_to_the_limit(daemon: Daemon) -> None:
    """A body without Content-Length is counted while it arrives; the rest of it is not waited for."""
    lines = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    body = encode(hello())
    small = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    large = b"%x\r\n%b\r\n" % (MAX_BODY_BYTES + 1, b"x" * (MAX_BODY_BYTES + 1))

    assert status_of(await speak(daemon.base_url, head(daemon, "POST", *lines), small)) == 200
    assert status_of(await speak(daemon.base_url, head(daemon, "POST", *lines), large)) == 413


async def test_a_content_length_over_the_limit_is_refused_before_the_body(daemon: Daemon) -> None:
    lines = ("Content-Type: application/json", f"Content-Length: {MAX_BODY_BYTES + 1}")

    assert status_of(await speak(daemon.base_url, head(daemon, "POST", *lines))) == 413


async def test_a_content_length_that_lies_gets_nothing_past_us(daemon: Daemon) -> None:
    """Short: the body is cut there, and what follows is no second request. Absurd: refused."""
    body = encode(hello())
    for length, statuses in (
        (str(len(body) - 1), {400}),
        ("-1", {400}),
        ("many", {400}),
        (f"{len(body)}, {len(body)}", {400}),
        ("9" * 30, {400, 413}),
    ):
        lines = ("Content-Type: application/json", f"Content-Length: {length}")

        assert status_of(await speak(daemon.base_url, head(daemon, "POST", *lines) + body)) in statuses, length


async def test_a_body_framed_in_two_ways_is_refused(daemon: Daemon) -> None:
    """RFC 9112 6.1: what request smuggling is made of."""
    body = encode(hello())
    lines = ("Content-Type: application/json", f"Content-Length: {len(body)}", "Transfer-Encoding: chunked")

    assert status_of(await speak(daemon.base_url, head(daemon, "POST", *lines) + b"0\r\n\r\n" + body)) == 400


async def test_half_a_body_reaches_no_child(daemon: Daemon) -> None:
    """A client that leaves while it sends has sent nothing."""
    async with open_session(daemon.url) as client:
        body = encode(notification("notifications/half"))
        lines = (
            "Content-Type: application/json",
            f"Mcp-Session-Id: {client.session_id}",
            f"Content-Length: {len(body) + 1}",
        )
        async with await anyio.connect_tcp("127.0.0.1", daemon.port) as socket:
            await socket.send(head(daemon, "POST", *lines) + body)

        assert await client.answer(PING) == PONG
        assert not any(b"notifications/half" in line for line in await client.seen())


# ---- batches


def answers_of(response: httpx.Response) -> list[Message]:
    """The answers to a batch, as one array or as one event each."""
    if kind_of(response) == "application/json":
        return list(response.json())
    return [json.loads(line[6:]) for line in response.text.split("\r\n") if line.startswith("data: {")]


async def test_a_batch_is_served_in_the_one_revision_that_has_them(daemon: Daemon) -> None:
    """Spec: 2025-03-26 basic/transports, Sending Messages to the Server 3-6."""
    async with open_session(daemon.url, version="2025-03-26") as client:
        batch = [request(1, "ping"), notification("notifications/in_batch"), request("1", "tools/list")]
        response = await client.post(batch)

        assert response.status_code == 200
        assert sorted((type(each["id"]).__name__, each["id"]) for each in answers_of(response)) == [
            ("int", 1),
            ("str", "1"),
        ]
        seen = await client.seen()
        assert [b"ping" in seen[-3], b"in_batch" in seen[-2], b"tools/list" in seen[-1]] == [True] * 3


async def test_a_batch_without_requests_is_accepted_with_202(daemon: Daemon) -> None:
    async with open_session(daemon.url, version="2025-03-26") as client:
        response = await client.post([notification("notifications/one"), notification("notifications/two")])

        assert (response.status_code, response.content) == (202, b"")
        assert [b"one" in line or b"two" in line for line in (await client.seen())[-2:]] == [True, True]


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25"])
async def test_a_batch_is_refused_in_every_other_revision(daemon: Daemon, version: str) -> None:
    """Spec: 2025-06-18 basic/transports: the body MUST be a single message."""
    async with open_session(daemon.url, version=version) as client:
        before = await client.seen()

        assert error_of(await client.post([PING])) == (400, INVALID_REQUEST, None)
        assert await client.seen() == before


@pytest.mark.parametrize(
    "batch",
    [
        b"[]",
        b"[1]",
        b'[[{"jsonrpc":"2.0","id":1,"method":"ping"}]]',
        encode([request(1, "ping"), request(1, "ping")]),
        encode([request(1, "ping"), {"jsonrpc": "2.0", "id": None, "method": "ping"}]),
        encode([hello()]),
        encode([request(1, "ping"), hello()]),
    ],
)
async def test_a_bad_batch_is_refused_as_a_whole(daemon: Daemon, batch: bytes) -> None:
    """Spec: 2025-03-26 basic/lifecycle: initialize MUST NOT be part of a batch. Ours: all or nothing."""
    async with open_session(daemon.url, version="2025-03-26") as client:
        before = await client.seen()

        assert error_of(await client.post(batch)) == (400, INVALID_REQUEST, None)
        assert await client.seen() == before


async def test_a_call_in_a_batch_can_be_cancelled_alone(daemon: Daemon) -> None:
    """Each of its calls is answered by itself."""
    async with open_session(daemon.url, version="2025-03-26") as client, anyio.create_task_group() as tasks:
        batch = client.begin(tasks, [call(1, "hold"), call(2, "hold")])

        async def are_held() -> bool:
            return sum(b'"hold"' in line for line in await client.seen()) == 2

        await until(are_held, "both calls at the child")
        await client.post(notification("notifications/cancelled", {"requestId": 1}))
        await client.result(3, "release")

        answers = answers_of(await batch.response())
        assert [answer["id"] for answer in answers] == [1, 2]
        assert (answers[0]["error"]["code"], answers[1]["result"]) == (-32800, {"released": True})


async def test_a_call_of_a_batch_that_waits_for_its_turn_can_be_cancelled_alone() -> None:
    """--max-calls-per-child 1: the child never hears of it; the others are answered as if it had not been there."""
    with serving("--max-calls-per-child", "1", "--place-timeout", "10m") as daemon:
        async with open_session(daemon.url, version="2025-03-26") as client, anyio.create_task_group() as tasks:
            batch = client.begin(tasks, [call(1, "sleep", seconds=2), call(2, "echo"), call(3, "echo", last=True)])

            async def is_in_flight() -> bool:
                return bool((await health(client))["calls_in_flight"] == 1)

            await until(is_in_flight, "the first call at the child, the second in the queue")
            await client.post(notification("notifications/cancelled", {"requestId": 2}))

            answers = {answer["id"]: answer for answer in answers_of(await batch.response())}
            assert answers.keys() == {1, 2, 3}
            assert answers[2]["error"]["code"] == -32800
            assert answers[3]["result"] == {"echo": {"last": True}}
            assert sum(b'"echo"' in line for line in await client.seen()) == 1


async def test_calls_of_a_batch_that_get_no_turn_are_refused_alone() -> None:
    """All after one wait, not each after its own."""
    with serving("--max-calls-per-child", "1", "--place-timeout", "0.3s") as daemon:
        async with open_session(daemon.url, version="2025-03-26") as client, anyio.create_task_group() as tasks:
            later = client.begin(tasks, [call(0, "sleep", seconds=2.5), *(call(id_, "echo") for id_ in range(1, 60))])

            answers = answers_of(await later.response())
            assert sorted(answer["id"] for answer in answers) == list(range(60))
            failures = {answer["id"]: answer["error"]["code"] for answer in answers if answer["id"] != 0}
            assert failures == dict.fromkeys(range(1, 60), INTERNAL_ERROR)


async def test_a_batch_may_hold_a_lone_surrogate(daemon: Daemon) -> None:
    """Design part 4, bytes through: legal JSON, which JavaScript writes."""
    async with open_session(daemon.url, version="2025-03-26") as client:
        response = await client.post(rb'[{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"\ud800"}}]')

        assert response.status_code == 200


# ---- Origin, Host, CORS


ORIGINS = [
    ("http://localhost", True),
    ("http://localhost:5173", True),
    ("https://127.0.0.1:8443", True),
    ("http://127.8.9.1", True),
    ("http://[::1]:3000", True),
    ("null", False),
    ("https://evil.example", False),
    ("http://localhost.evil.example", False),
    ("http://evil.example/localhost", False),
    ("http://localhost@evil.example", False),
    ("http://evil.example#localhost", False),
    ("file://localhost", False),
    ("http://0.0.0.0", False),
    ("http://192.168.0.1", False),
    ("http://localhost:99999999", False),
    ("", False),
]


@pytest.mark.parametrize(("origin", "is_allowed"), ORIGINS)
async def test_only_loopback_origins_are_allowed_unless_told(daemon: Daemon, origin: str, is_allowed: bool) -> None:
    """Spec: 2025-11-25 basic/transports, Security Warning 1: an invalid Origin MUST get 403."""
    async with open_session(daemon.url) as client:
        response = await client.post(PING, {"origin": origin})

        if is_allowed:
            assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, origin)
            exposed = {name.strip().lower() for name in response.headers["access-control-expose-headers"].split(",")}
            assert {"mcp-session-id", "mcp-protocol-version", "www-authenticate"} <= exposed
        else:
            assert error_of(response)[:2] == (403, INVALID_REQUEST)
            assert "access-control-allow-origin" not in response.headers


async def test_a_foreign_origin_is_refused_for_every_method(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        foreign = {"origin": "https://evil.example"}
        preflight = {**foreign, "access-control-request-method": "POST"}

        assert (await client.delete(foreign)).status_code == 403
        assert (await client.http.options(daemon.url, headers=preflight)).status_code == 403
        async with client.listen(foreign) as refused:
            assert refused.response.status_code == 403
        assert await client.answer(PING) == PONG  # DELETE did nothing


async def test_a_preflight_of_a_loopback_page_is_allowed(daemon: Daemon) -> None:
    """Fetch standard, CORS-preflight. Without it no browser client can connect."""
    wanted = "content-type, mcp-session-id, mcp-protocol-version, last-event-id, authorization, mcp-param-x"
    headers = {
        "origin": "http://localhost:5173",
        "access-control-request-method": "DELETE",
        "access-control-request-headers": wanted,
    }
    async with connected(daemon.url) as client:
        response = await client.http.options(daemon.url, headers=headers)

        assert response.status_code in (200, 204)
        assert response.headers["access-control-allow-origin"] == "http://localhost:5173"
        assert {"GET", "POST", "DELETE"} <= set(response.headers["access-control-allow-methods"].split(", "))
        allowed = response.headers["access-control-allow-headers"].lower()
        assert all(name in allowed for name in wanted.split(", "))


async def test_a_refusal_can_be_read_by_the_page_that_caused_it(daemon: Daemon) -> None:
    async with connected(daemon.url) as client:
        response = await client.post(PING, {"origin": "http://localhost:5173"})

        assert response.status_code == 400
        assert response.headers["access-control-allow-origin"] == "http://localhost:5173"


HOSTS = [
    ("localhost", 200),
    ("localhost:3000", 200),
    ("LOCALHOST.", 200),
    ("127.0.0.1:1", 200),
    ("[::1]:3000", 200),
    ("evil.example", 421),
    ("evil.example:3000", 421),
    ("localhost.evil.example", 421),
    ("127.0.0.1.evil.example", 421),
    ("localhost@evil.example", 421),
    ("192.168.0.1", 421),
]


@pytest.mark.parametrize(("host", "status"), HOSTS)
async def test_only_loopback_hosts_are_served_on_loopback(daemon: Daemon, host: str, status: int) -> None:
    """Ours: DNS rebinding leads here by no other name."""
    async with open_session(daemon.url) as client:
        response = await client.post(PING, {"host": host})

        assert response.status_code == status
        if status == 421:
            assert error_of(response)[:2] == (421, INVALID_REQUEST)


async def test_health_is_exempt_from_host_and_origin(daemon: Daemon) -> None:
    """Ours: a probe comes by address or by a name of its own."""
    async with connected(daemon.url) as client:
        for path in ("/health", "/healthz", "/readyz"):
            headers = {"host": "pod-7.cluster", "origin": "https://evil.example"}
            response = await client.http.get(daemon.base_url + path, headers=headers)

            assert (response.status_code, kind_of(response)) == (200, "application/json")


@pytest.mark.parametrize("flag", ["https://app.example", "https://app.example/", "https://APP.example"])
async def test_an_origin_that_is_named_is_served_and_may_read_the_answer(flag: str) -> None:
    """However the operator spells it: a browser sends lower case and no slash."""
    with serving("--allowed-origin", flag, "--allowed-host", "proxy.example") as daemon:
        async with open_session(daemon.url) as client:
            served = await client.post(PING, {"origin": "https://app.example"})
            refused = await client.post(PING, {"origin": "https://app.example.evil.example"})
            renamed = await client.post(PING, {"host": "proxy.example"})
            with_port = await client.post(PING, {"host": "proxy.example:8080"})
            stranger = await client.post(PING, {"host": "other.example"})

            assert (served.status_code, refused.status_code) == (200, 403)
            assert served.headers["access-control-allow-origin"] == "https://app.example"
            assert (renamed.status_code, with_port.status_code, stranger.status_code) == (200, 200, 421)


# ---- the offered revision


async def test_the_newest_revision_offered_can_be_lowered() -> None:
    """Design part 2, MCP_PROTOCOL_VERSION: only that member of `initialize` changes."""
    with serving("--protocol-version", "2025-03-26") as daemon:
        async with open_session(daemon.url, version="2025-11-25") as client:
            (line,) = [line for line in await client.seen() if b'"initialize"' in line]

            asked = json.loads(line)["params"]
            assert client.version == "2025-03-26"
            assert asked == {**hello()["params"], "protocolVersion": "2025-03-26"}
            assert (await client.post([PING])).status_code == 200

        async with open_session(daemon.url, version="2024-11-05") as older:
            assert older.version == "2024-11-05"


async def test_health_counts_what_is_there_and_makes_nothing() -> None:
    """Design part 2. At a daemon of its own: what other tests have left ends by itself meanwhile."""
    with serving() as daemon:
        async with connected(daemon.url) as client:
            before = await health(client)
            async with open_session(daemon.url):
                during = await health(client)
            after = await health(client)

            assert during["sessions"] == before["sessions"] + 1
            assert during["children"] == before["children"] + 1
            assert (after["sessions"], after["children"]) == (during["sessions"], during["children"])

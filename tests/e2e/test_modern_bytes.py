"""What a client of 2026-07-28 and its server say to each other arrives as it was written."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.serving import serving_modern
from tests.support.daemon import Daemon
from tests.support.mcp import Events
from tests.support.modern import ALL, ModernClient, envelope, headers_of, modern, modern_client, retry, tool
from tests.support.raw_http import fields_of, posted

Json = dict[str, Any]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving_modern() as daemon:
        yield daemon


async def line_with(client: ModernClient, text: str) -> bytes:
    """The one line that the child has read with this in it."""
    lines = (await client.call("?", "seen"))["lines"]
    (line,) = [line for line in lines if text in line]
    return bytes(line, "latin-1")


IDS = ["0", "-7", "9007199254740993", "1" * 300, '"0"', '""', '"7"', '"\\u0041\\ud800"', '"é\u2028"', '"a\\nb"']


@pytest.mark.parametrize("raw_id", IDS, ids=range(len(IDS)))
async def test_the_id_comes_back_as_it_was_written(daemon: Daemon, raw_id: str) -> None:
    """HM-17, SC-18."""
    params = {"name": "echo", "arguments": {}, "_meta": envelope()}
    body = f'{{"jsonrpc":"2.0","method":"tools/call","id":{raw_id},"params":{json.dumps(params)}}}'.encode()
    async with modern_client(daemon.url) as client:
        response = await client.post(body, {"mcp-method": "tools/call", "mcp-name": "echo"})
        refused = await client.post(body, {"mcp-method": "tools/call", "mcp-name": "other"})

    assert (response.status_code, refused.status_code) == (200, 400)
    for answer in (response, refused):
        assert b'"id":' + raw_id.encode() + b"," in answer.content


ARGUMENTS = [
    b'{"n":9007199254740993,"m":-0.0,"k":1e300,"h":1.10}',
    b'{"n":' + b"9" * 600 + b"}",
    b'{"s":"\\ud800","t":"\\ude00\\ud83d","u":"\\u00e9\\/\xc3\xa9"}',
    b'{"twice":1,"twice":2}',
    b'{"a":null,"b":[],"c":{},"d":""}',
    b'{"ID":1,"Method":"x","jsonrpc":"1.0","params":{"_META":0}}',
    b'{ "spaced" : [ 1 ,  2 ] }',
    b'{"lines":\n\r\n{\n"b":1\r}}',
    b'{"u":"\xe2\x80\xa8\xc2\x85"}',
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=range(len(ARGUMENTS)))
async def test_what_a_client_writes_reaches_the_child_as_it_is(daemon: Daemon, arguments: bytes) -> None:
    """SC-01: on one line; the rest is the client's own, members nobody knows included."""
    mark = f"mark-{ARGUMENTS.index(arguments)}"
    meta = json.dumps({**envelope(), "nobody/knows": [1.0], "traceparent": "00-1-2-3"}).encode()
    params = b'{"arguments":%b, "name":"echo","more":1.0,"mark":"%b","_meta":%b}' % (arguments, mark.encode(), meta)
    body = b'{"jsonrpc":"2.0","more":{"x":[1.0]},"method":"tools/call","id":"a","params":%b}' % params
    async with modern_client(daemon.url) as client:
        response = await client.post(body, {"mcp-method": "tools/call", "mcp-name": "echo"})
        line = await line_with(client, mark)

    assert response.status_code == 200, response.text
    expected = body.replace(b"\r", b" ").replace(b"\n", b" ")
    assert line == expected.replace(b'"id":"a"', b'"id":%d' % json.loads(line)["id"])


RESULTS = [
    '{"resultType":"complete","n":9007199254740993,"m":-0.0,"k":1e400,"h":1.10}',
    '{"n":' + "9" * 600 + "}",
    '{"s":"\\ud800","t":"\\ude00\\ud83d","u":"\\u00e9\\/é"}',
    '{"twice":1,"twice":2}',
    '{"resultType":"nobody/knows","a":null,"id":7}',
    '{"resultType":"complete","requestState":"no question","inputRequests":{}}',
    "[1, 2]",
    '["input_required", "task"]',
    '"text"',
    "null",
    "0",
    '{"u":"\u2028\u0085"}',
]


@pytest.mark.parametrize("result", RESULTS, ids=range(len(RESULTS)))
async def test_what_a_child_answers_reaches_the_client_as_it_is(daemon: Daemon, result: str) -> None:
    """HM-19, D.2 step 3: also what is no result at all."""
    text = f'{{"jsonrpc":"2.0","more":[1.0],"id":$ID,"result":{result}}}\n'
    async with modern_client(daemon.url) as client:
        response = await client.post(tool("a", "write", text=text))

    assert response.status_code == 200
    assert response.content == text.strip().replace("$ID", '"a"').encode()


ERRORS: list[tuple[int, int]] = [
    (-32700, 400),
    (-32600, 400),
    (-32601, 404),
    (-32602, 400),
    (-32603, 200),
    (-32000, 200),
    (-32002, 200),
    (-32020, 400),
    (-32021, 400),
    (-32022, 400),
    (-32042, 200),
    (0, 200),
    (404, 200),
]


@pytest.mark.parametrize(("code", "status"), ERRORS)
async def test_an_error_of_the_child_has_the_status_of_its_code(daemon: Daemon, code: int, status: int) -> None:
    """HM-14, HM-16; B.5: as it came."""
    error = f'{{"message":"m","code":{code},"data":{{"n":9007199254740993.0}},"more":null}}'
    async with modern_client(daemon.url) as client:
        response = await client.post(tool(7, "write", text=f'{{"jsonrpc":"2.0","id":$ID,"error":{error}}}\n'))

    assert response.status_code == status
    assert response.content == f'{{"jsonrpc":"2.0","id":7,"error":{error}}}'.encode()


async def test_so_do_notifications(daemon: Daemon) -> None:
    progress = (
        '{"jsonrpc":"2.0","more":1.0,"method":"notifications/progress",'
        '"params":{"n":9007199254740993.0,"progressToken":$ID,"progress":1e0,"s":"\\ud800"}}'
    )
    text = f'{progress}\n{{"jsonrpc":"2.0","id":$ID,"result":{{}}}}\n'
    async with modern_client(daemon.url) as client:
        async with client.stream(tool("a", "write", meta={"progressToken": "t\ud800"}, text=text)) as events:
            await events.read_to_end()

    assert events.raw == [progress.replace("$ID", '"t\\ud800"').encode(), b'{"jsonrpc":"2.0","id":"a","result":{}}']


@pytest.mark.parametrize("separators", [(",", ":"), (" , ", " : ")])
async def test_a_pretty_printed_request_is_one_message(daemon: Daemon, separators: tuple[str, str]) -> None:
    """Design part 4: its second line would pass every check by."""
    smuggled = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "exit"}}
    message = tool(1, "echo", text=smuggled)
    body = json.dumps(message, indent=2, separators=separators).replace("\n", "\r\n").encode()
    async with modern_client(daemon.url) as client:
        response = await client.post(body, {"mcp-method": "tools/call", "mcp-name": "echo"})
        faults = await client.call(1, "faults")

    assert response.json()["result"]["structuredContent"] == {"echo": {"text": smuggled}}
    assert faults == {"faults": []}


async def test_a_question_keeps_its_bytes_and_so_does_its_answer(daemon: Daemon) -> None:
    """SC-12: the state of the child is the same byte for byte; the child has signed it."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "default": 2**60}}}
    message = tool(1, "ask-elicit", capabilities=ALL, message="\u2028 é", schema=schema)
    async with modern_client(daemon.url) as client:
        asked = await client.result(message)
        answers = {"name": {"action": "accept", "content": {"n": 2**60 + 1, "s": "é\u2028"}}, "unasked": 1}
        done = await client.result(retry(message, 2, asked, answers))

    question = asked["inputRequests"]["name"]
    assert question == {
        "method": "elicitation/create",
        "params": {"message": "\u2028 é", "requestedSchema": schema},
    }
    assert done["structuredContent"] == {"rounds": [{"name": answers["name"]}]}


# ---- headers


@pytest.mark.parametrize("space", [b"", b" ", b"  \t", b"\t"])
async def test_the_space_around_a_header_says_nothing(daemon: Daemon, space: bytes) -> None:
    """HM-12. Spec: RFC 9110 5.6.3."""
    message = tool(1, "headers", region="e u")
    fields = [(name, space + value + space) for name, value in encoded(message)]

    answer = await posted(daemon.base_url, message, [*fields, ("Mcp-Param-Region", space + b"e u" + space)])

    assert (answer.status, answer.body["id"]) == (200, 1), answer


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
async def test_the_name_of_a_header_has_no_case(daemon: Daemon, case: Any) -> None:
    message = tool(1, "headers", region="eu")
    fields = [(case(name), value) for name, value in encoded(message)]

    answer = await posted(daemon.base_url, message, [*fields, (case("Mcp-Param-Region"), "eu")])

    assert answer.status == 200, answer


async def test_headers_that_nobody_knows_are_let_pass(daemon: Daemon) -> None:
    message = tool(1, "headers")
    more = [("Mcp-Param-Nobody-Knows", "1"), ("X-Mcp-Name", "other"), ("X-Twice", "1"), ("X-Twice", "2")]

    answer = await posted(daemon.base_url, message, [*fields_of(message), *more])

    assert answer.status == 200, answer


def encoded(message: Json) -> list[tuple[str, bytes]]:
    return [(name, value.encode()) for name, value in headers_of(message).items()]


SENTINELS: list[tuple[str, str | None, int]] = [
    ("Hello", "=?base64?SGVsbG8=?=", 200),
    ("Hello", "=?base64?SGVsbG8?=", 400),
    ("Hello", "=?base64?SGVs!!!bG8=?=", 400),
    ("SGVsbG8=", "SGVsbG8=", 200),
    ("=?base64?SGVsbG8=", "=?base64?SGVsbG8=", 200),
    ("test-value", None, 400),
    ("é\u2028", "=?base64?w6nigKg=?=", 200),
    (" x ", "=?base64?IHgg?=", 200),
]


@pytest.mark.parametrize(("value", "header", "status"), SENTINELS)
async def test_an_argument_that_a_header_repeats(daemon: Daemon, value: str, header: str | None, status: int) -> None:
    """HM-15: SEP-2243's tables, as the official suite asks them."""
    async with modern_client(daemon.url) as client:
        response = await client.post(tool(1, "headers", region=value), {"mcp-param-region": header})

    assert response.status_code == status, response.text
    assert response.json().get("error", {}).get("code") == (-32020 if status == 400 else None)


@pytest.mark.parametrize(
    ("arguments", "headers", "status"),
    [
        ({"count": 42, "dry": True, "where": {"zone": "a"}}, {"count": "42.0", "dry-run": "true", "zone": "a"}, 200),
        ({"count": 42}, {"count": "43"}, 400),
        ({"dry": False}, {"dry-run": "False"}, 400),
        ({"where": {"zone": "a"}}, {}, 400),
        ({"where": {}}, {"zone": "a"}, 400),
        ({"region": None}, {}, 200),
        ({"region": None}, {"region": "null"}, 400),
        ({}, {"region": "eu"}, 400),
        ({}, {}, 200),
    ],
)
async def test_arguments_of_every_kind(daemon: Daemon, arguments: Json, headers: Json, status: int) -> None:
    async with modern_client(daemon.url) as client:
        named = {f"mcp-param-{name}": value for name, value in headers.items()}
        response = await client.post(tool(1, "headers", **arguments), named)

    assert response.status_code == status, response.text


async def test_the_lines_that_a_client_reads_end_where_they_should(daemon: Daemon) -> None:
    """HM-06: as Server-Sent Events."""
    async with modern_client(daemon.url) as client:
        response = await client.post(tool(1, "progress", meta={"progressToken": 1}, count=2))

    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    assert response.content.count(b"event: message\r\ndata: {") == 3
    assert b"\r\nid:" not in response.content and not response.content.startswith(b"id:")
    assert Events(response).kind == "text/event-stream"
    assert json.loads(response.content.strip().rpartition(b"data: ")[2])["result"]


async def test_a_large_answer_is_one_body(daemon: Daemon) -> None:
    """HM-36: SDK clients refuse events of more than 1 MiB."""
    text = "x" * 3_000_000
    async with modern_client(daemon.url) as client:
        response = await client.post(tool(1, "echo", text=text))

    assert response.headers["content-type"] == "application/json"
    assert response.json()["result"]["structuredContent"] == {"echo": {"text": text}}


async def test_a_request_that_is_large_arrives(daemon: Daemon) -> None:
    message = modern(1, "resources/read", {"uri": "note://1", "more": ["y" * 1000] * 4000})
    async with modern_client(daemon.url) as client:
        assert (await client.result(message))["contents"][0]["uri"] == "note://1"

"""Is this a request, a notification or a response, and is it valid? What clients and children get away with."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from proxy.errors import NotJson, NotJsonRpc, ProxyError, TooDeep
from proxy.protocol.child_lines import BadLine, parse_child_line, progress_token_of
from proxy.protocol.client_messages import parse_client_batch, parse_client_message, readable_id
from proxy.protocol.framing import OversizedLine
from proxy.protocol.ids import Id
from proxy.protocol.jsontext import parse_members
from proxy.protocol.messages import (
    ENVELOPE_KEY,
    MAX_BATCH,
    Message,
    Notification,
    Request,
    Response,
    cancellation,
    is_batch,
    pong,
    refusal,
)
from tests.protocol.texts import (
    Written,
    bounded,
    near_json,
    objects,
    plain_strings,
    scalars,
    spaces,
    strings,
    values,
    write_object,
)

ANSWER = b'{"jsonrpc":"2.0","id":7,"result":{}}'
DEEP = b'{"jsonrpc":"2.0","id":7,"result":{"a":' + b"[" * 5000 + b"]" * 5000 + b"}}"


def says(rest: str) -> bytes:
    """A JSON-RPC message with these members."""
    return ('{"jsonrpc":"2.0",' + rest + "}").encode()


def request(line: bytes) -> Request:
    message = parse_client_message(line)
    assert isinstance(message, Request)
    return message


def of_child(line: bytes | OversizedLine) -> Message | BadLine:
    """The one message on this line of a child."""
    (message,) = parse_child_line(line)
    return message


def reason(line: bytes | OversizedLine) -> str:
    message = of_child(line)
    return message.reason if isinstance(message, BadLine) else ""


# ---- what both may send

REQUEST_IDS: list[tuple[str, Id]] = [
    *(("0", 0), ('"0"', "0"), ("7", 7), ("-1", -1), ('""', ""), ("9223372036854775809", 2**63 + 1)),
    *(('"\\ud800"', "\ud800"), ('"\\u0030"', "0"), ('"é"', "é")),
]

NO_REQUEST_IDS = ["null", "false", "true", "1.0", "1e0", "{}", "[]", '{"id":1}', "9" * 5000]

NO_MESSAGES = {
    "no version": b'{"id":1,"method":"x"}',
    "version 1.0": b'{"jsonrpc":"1.0","id":1,"method":"x"}',
    "version as a number": b'{"jsonrpc":2.0,"id":1,"method":"x"}',
    "version null": b'{"jsonrpc":null,"id":1,"method":"x"}',
    "version with a blank": b'{"jsonrpc":"2.0 ","id":1,"method":"x"}',
    "nothing else": b'{"jsonrpc":"2.0"}',
    "only an id": says('"id":1'),
    "method null": says('"id":1,"method":null'),
    "method a number": says('"id":1,"method":7'),
    "method an object": says('"method":{}'),
    "result and error": says('"id":1,"result":{},"error":{"code":1,"message":"x"}'),
    "result and error null": says('"id":1,"result":{},"error":null'),
    "result without an id": says('"result":{}'),
    "error without an id": says('"error":{"code":1,"message":"x"}'),
    "result for the id false": says('"id":false,"result":{}'),
    "result for the id 1.0": says('"id":1.0,"result":{}'),
    "result for an object": says('"id":{},"result":{}'),
    "empty": b"{}",
    "an array": b"[]",
    "a string": b'"x"',
    "a number": b"7",
}

Parse = Callable[[bytes], object]


@pytest.mark.parametrize(("raw", "expected"), REQUEST_IDS)
def test_a_request_keeps_its_id_with_its_type_and_bytes(raw: str, expected: Id) -> None:
    """Spec: 2025-11-25 basic, Requests."""
    line = says(f'"id" : {raw} ,"method":"tools/call","params":{{"name":"x"}}')

    for message in (request(line), of_child(line)):
        assert isinstance(message, Request)
        assert message.id == expected
        assert type(message.id) is type(expected)
        assert bytes(message.raw_id) == raw.encode()
        assert message.method == "tools/call"


@pytest.mark.parametrize("raw", NO_REQUEST_IDS)
def test_a_request_with_another_id_is_refused_and_never_becomes_a_notification(raw: str) -> None:
    """Spec: 2025-11-25 basic, Requests: "MUST NOT be null"."""
    line = says(f'"id":{raw},"method":"x"')

    with pytest.raises(NotJsonRpc):
        parse_client_message(line)
    assert reason(line) == "not_jsonrpc"
    assert readable_id(line) is None


@pytest.mark.parametrize("line", NO_MESSAGES.values(), ids=NO_MESSAGES.keys())
def test_what_is_none_of_the_three_is_refused(line: bytes) -> None:
    with pytest.raises(NotJsonRpc):
        parse_client_message(line)
    assert reason(line) == "not_jsonrpc"


@pytest.mark.parametrize(
    ("rest", "response_id", "is_error"),
    [
        ('"id":0,"result":{}', 0, False),
        ('"id":"0","result":null', "0", False),
        ('"id":7,"error":{"code":-1,"message":"x"}', 7, True),
        ('"result":{"a":1},"id":7', 7, False),
    ],
)
def test_a_response_is_a_result_or_an_error(rest: str, response_id: Id, is_error: bool) -> None:
    for message in (parse_client_message(says(rest)), of_child(says(rest))):
        assert isinstance(message, Response)
        assert message.id == response_id
        assert type(message.id) is type(response_id)
        assert message.is_error is is_error


def test_a_response_without_an_id_is_the_childs_alone() -> None:
    """Spec: JSON-RPC 2.0, Response object: null if it could not be read. Ours: a client's names nobody to tell."""
    line = says('"id":null,"error":{"code":-32700,"message":"x"}')

    message = of_child(line)
    assert isinstance(message, Response)
    assert message.id is None
    with pytest.raises(NotJsonRpc):
        parse_client_message(line)


@pytest.mark.parametrize(
    ("rest", "subject"),
    [
        ('"method":"notifications/initialized"', None),
        ('"method":"notifications/progress","params":{"progressToken":0,"progress":1}', 0),
        ('"method":"notifications/progress","params":{"progressToken":"0"}', "0"),
        ('"method":"notifications/progress","params":{"progressToken":1.0}', None),
        ('"method":"notifications/progress","params":{"progressToken":true}', None),
        ('"method":"notifications/progress","params":{"progressToken":"\\ud800"}', "\ud800"),
        ('"method":"notifications/progress","params":{"requestId":5}', None),
        ('"method":"notifications/progress","params":[]', None),
        ('"method":"notifications/progress","params":null', None),
        ('"method":"notifications/progress"', None),
        ('"method":"notifications/cancelled","params":{"requestId":5,"reason":"\\udfff"}', 5),
        ('"method":"notifications/cancelled","params":{"requestId":"5"}', "5"),
        ('"method":"notifications/cancelled","params":{"requestId":null}', None),
        ('"method":"notifications/cancelled","params":{"progressToken":5}', None),
        ('"method":"notifications/message","params":{"requestId":5,"progressToken":5}', None),
        ('"\\u006dethod":"notifications\\/cancelled","params":{"request\\u0049d":5}', 5),
    ],
)
def test_a_notification_knows_what_it_is_about(rest: str, subject: Id | None) -> None:
    for message in (parse_client_message(says(rest)), of_child(says(rest))):
        assert isinstance(message, Notification)
        assert message.subject == subject
        assert type(message.subject) is type(subject)


def test_the_version_may_be_spelled_with_escapes() -> None:
    line = b'{"jsonrpc":"\\u0032.0","id":7,"result":{}}'

    assert isinstance(parse_client_message(line), Response)
    assert isinstance(of_child(line), Response)


# ---- a client's message


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"", NotJson),
        (b" \n", NotJson),
        (b"nul", NotJson),
        (b'\xef\xbb\xbf{"jsonrpc":"2.0","method":"x"}', NotJson),
        (b'noise {"jsonrpc":"2.0","method":"x"}', NotJson),
        (b'{"jsonrpc":"2.0","method":"x"}\n{"jsonrpc":"2.0","method":"y"}', NotJson),
        (b'{"jsonrpc":"2.0","method":"x","\xff":1}', NotJson),
        (b'{"jsonrpc":"2.0","method":"x","params":{"\xff":1}}', NotJson),
        (b'{"jsonrpc":"2.0","method":"x","params":{"a":NaN}}', NotJson),
        (DEEP, TooDeep),
        (says('"method":"x","params":7'), NotJsonRpc),
        (says('"method":"x","params":"x"'), NotJsonRpc),
        (says('"method":"x","params":false'), NotJsonRpc),
        (says('"id":1,"method":"x","result":{}'), NotJsonRpc),
        (says('"id":1,"method":"x","error":{"code":1,"message":"x"}'), NotJsonRpc),
        (says('"method":"x","result":null'), NotJsonRpc),
        (says('"method":"x","params":{"\\ud800":1}'), NotJsonRpc),
    ],
)
def test_a_client_is_refused_with_the_fault_named(line: bytes, fault: type[ProxyError]) -> None:
    with pytest.raises(fault):
        parse_client_message(line)


@pytest.mark.parametrize(
    ("params", "token", "is_enveloped"),
    [
        ("{}", None, False),
        ("[]", None, False),
        ("[1]", None, False),
        ("null", None, False),
        ('{"_meta":null}', None, False),
        ('{"_meta":[]}', None, False),
        ('{"_meta":{}}', None, False),
        ('{"_meta":{"progressToken":0}}', 0, False),
        ('{"_meta":{"progressToken":"0"}}', "0", False),
        ('{"_meta":{"progressToken":null}}', None, False),
        ('{"_meta":{"progressToken":1.0}}', None, False),
        ('{ "_meta" : { "progressToken" : "\\ud800" } }', "\ud800", False),
        ('{"progressToken":5}', None, False),
        ('{"arguments":{"_meta":{"progressToken":5}}}', None, False),
        (f'{{"_meta":{{"{ENVELOPE_KEY}":"2026-07-28","progressToken":5}}}}', 5, True),
        (f'{{"_meta":{{"{ENVELOPE_KEY}":null}}}}', None, True),
        (f'{{"{ENVELOPE_KEY}":"2026-07-28"}}', None, False),
    ],
)
def test_a_request_says_which_progress_it_wants_and_of_which_era_it_is(
    params: str, token: Id | None, is_enveloped: bool
) -> None:
    message = request(says(f'"id":1,"method":"tools/call","params":{params}'))

    assert message.progress_token == token
    assert type(message.progress_token) is type(token)
    assert message.is_enveloped is is_enveloped


META = '"id":1,"method":"x","params":{"_meta":{%s}}'

TWICE = [
    *('"id":1,"id":1,"method":"x"', '"id":1,"method":"x", "id" : 2', '"id":1,"i\\u0064":2,"method":"x"'),
    *('"jsonrpc":"2.0","method":"x"', '"method":"x","method":"y"', '"method":"x","params":{},"params":{}'),
    *('"id":1,"result":{},"result":{}', '"id":1,"method":"x","unknown":1,"unknown":1'),
    *('"method":"x","params":{"a":1,"a":1}', '"method":"x","params":{"a":1,\n"\\u0061" : 1}'),
    *('"method":"x","params":{"_meta":{},"_meta":{}}', '"method":"x","params":{"name":"a", "na\\u006de":"b"}'),
    *(META % '"progressToken":1,"progressToken":1', META % '"progressToken":1, "progress\\u0054oken":2'),
    *(META % '"x":1 ,"x":1', META % f'"{ENVELOPE_KEY}":1,"{ENVELOPE_KEY}":1'),
    *(META % '"x":"\\ud800","x":1', '"id":"\\ud800","method":"x","id":1'),
]

OTHER_CASE = [
    *('"ID":2,"id":1,"method":"x"', '"Id":1,"method":"x"', '"method":"x","Method":"y"', '"method":"x","PARAMS":{}'),
    *('"JSONRPC":"2.0","method":"x"', '"id":1,"result":{},"Error":{}', '"id":1,"Result":{},"error":{}'),
    *('"method":"x","param\u017f":{}', '"\\u0049d":1,"method":"x"', '"method":"x","params":{"_META":{}}'),
    *('"method":"x","params":{"RequestId":1}', '"method":"x","params":{"progresstoken":1}'),
    *('"method":"x","params":{"protocolversion":"2025-11-25"}', '"method":"x","params":{"progressTo\u212aen":1}'),
    *(META % '"PROGRESSTOKEN":1', META % '"io.modelcontextprotocol\\/protocolversion":1'),
]

HARMLESS = [
    *('"method":"x","params":{"arguments":{"a":1,"a":2,"ID":1,"id":2}}', '"method":"x","params":{"id":1,"ID":2}'),
    *('"id":1,"result":{"a":1,"a":2}', '"method":"x","_meta":{"a":1,"a":2}', '"id":1,"error":{"code":1,"code":2}'),
    *('"method":"x","Unknown":1,"unknown":2', META % '"id":1,"ID":2', META % '"a":{"b":1,"b":1}'),
    *(
        '"method":"x","params":[{"a":1,"a":1}]',
        '"method":"x","params":{"name":"\\"name\\":"}',
        '"method":"x","\u0130d":1',
    ),
]


@pytest.mark.parametrize("rest", TWICE)
def test_a_member_named_twice_where_it_matters_is_refused(rest: str) -> None:
    """Ours: top level, `params` and `_meta`."""
    with pytest.raises(NotJsonRpc) as caught:
        parse_client_message(says(rest))

    assert "twice" in str(caught.value)


@pytest.mark.parametrize("rest", OTHER_CASE)
def test_a_member_in_another_case_is_refused(rest: str) -> None:
    """Ours: Go's parser takes it for the member that we act on."""
    with pytest.raises(NotJsonRpc) as caught:
        parse_client_message(says(rest))

    assert "another case" in str(caught.value)


@pytest.mark.parametrize("rest", HARMLESS)
def test_duplicates_where_nobody_acts_on_them_pass_through(rest: str) -> None:
    assert parse_client_message(says(rest)).members


@st.composite
def doubled_in(draw: st.DrawFn, place: str) -> bytes:
    """A request with one name twice: at the top, in `params` or in `_meta`."""
    inside = draw(st.lists(st.tuples(plain_strings, scalars), max_size=3, unique_by=lambda member: member[0]))
    name = draw(plain_strings)
    units = json.loads(name).encode("utf-16-be")
    escaped = b"".join(b"\\u" + units[at : at + 2].hex().encode() for at in range(0, len(units), 2))
    for spelled in (name, b'"' + escaped + b'"'):
        inside.insert(draw(st.integers(0, len(inside))), (spelled, draw(scalars)))
    envelope = [(b'"jsonrpc"', b'"2.0"'), (b'"id"', b"1"), (b'"method"', b'"x"')]
    if place == "top":
        return write_object(draw, envelope + inside)
    if place == "_meta":
        inside = [(b'"_meta"', write_object(draw, inside).strip())]
    return write_object(draw, [*envelope, (b'"params"', write_object(draw, inside).strip())])


@pytest.mark.parametrize("place", ["top", "params", "_meta"])
def test_a_duplicate_is_refused_at_each_level_in_any_style(place: str) -> None:
    @bounded
    @given(doubled_in(place))
    def refuses(line: bytes) -> None:
        with pytest.raises(NotJsonRpc):
            parse_client_message(line)

    refuses()


def test_the_messages_of_a_batch_come_in_order() -> None:
    """Spec: 2025-03-26 basic, Batching."""
    first, second, third = parse_client_batch(
        b' [{"jsonrpc":"2.0","id":1,"method":"x"},\n{"jsonrpc":"2.0","method":"\\ud800"} , ' + ANSWER + b"]"
    )

    assert isinstance(first, Request)
    assert isinstance(second, Notification)
    assert isinstance(third, Response)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"[]", NotJsonRpc),
        (b"[ ]", NotJsonRpc),
        (b"[1]", NotJsonRpc),
        (b"[" + ANSWER + b",[" + ANSWER + b"]]", NotJsonRpc),
        (b"[" + ANSWER + b',{"jsonrpc":"2.0","id":null,"method":"x"}]', NotJsonRpc),
        (b"[" + ANSWER + b',{"jsonrpc":"2.0","id":1,"id":1,"method":"x"}]', NotJsonRpc),
        (b"[" + ANSWER + b",]", NotJson),
        (b"[" + ANSWER + b"]]", NotJson),
        (b"[" + ANSWER, NotJson),
        (ANSWER, NotJsonRpc),
        (b"[" + DEEP + b"]", TooDeep),
    ],
)
def test_a_batch_with_a_fault_is_refused_whole(body: bytes, fault: type[ProxyError]) -> None:
    with pytest.raises(fault):
        parse_client_batch(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b"[]", True), (b" \t\r\n[1", True), (b"{}", False), (b'"["', False), (b"", False), (b"\x0b[", False)],
)
def test_a_body_that_begins_with_a_bracket_is_a_batch(body: bytes, expected: bool) -> None:
    assert is_batch(body) is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"id":7}', b"7"),
        (b'{"jsonrpc":"1.0","id":"a","method":7}', b'"a"'),
        (b'{ "id" : 0 , "ID" : 1 }', b"0"),
        (b'{"id":"\\ud800"}', b'"\\ud800"'),
        (b'{"id":1,"id":1}', None),
        (b'{"id":1,"i\\u0064":2}', None),
        (b'{"id":null}', None),
        (b'{"id":false}', None),
        (b'{"id":1.0}', None),
        (b"{}", None),
        (b"[1]", None),
        (b'{"id":1', None),
        (b'{"id":1,"\xff":1}', None),
        (b"", None),
        (DEEP, None),
    ],
)
def test_the_id_of_a_refused_message_is_given_back_if_it_can_be_read(body: bytes, expected: bytes | None) -> None:
    """Spec: JSON-RPC 2.0, Response object."""
    found = readable_id(body)

    assert (None if found is None else bytes(found)) == expected


@bounded
@given(near_json() | st.binary(max_size=40))
def test_no_body_makes_the_strict_parsers_raise_anything_but_a_refusal(body: bytes) -> None:
    for parse in (parse_client_message, parse_client_batch):
        with pytest.raises(ProxyError):
            parse(body)
            raise NotJson  # it was a message
    assert readable_id(body) is None or b"id" in body or b"\\u" in body


# ---- a child's line


@pytest.mark.parametrize(
    "noise",
    [
        *(
            b"> ",
            b"...",
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b"INFO [main] ready ",
            b"\x1b[2K\r",
            b'"',
            b"{",
            b"{} ",
            b"50%} {x} ",
        ),
        *(b"[", b"[12:00] ", b"[1] ", b"[1,", b"\x00", b"Content-Length: 36  ", b'log: {"a":1} '),
        *(b"2026-11-21T10:00:00Z ", b"12:00:01 ", b"-- ", b"42", b"null", b"true ", b'"ready" ', b"  7 {x} "),
    ],
)
def test_noise_before_a_message_is_cut_off(noise: bytes) -> None:
    """Ours: prompts and progress dots without a newline."""
    if noise.startswith(b"{"):
        assert reason(noise + ANSWER) == "not_json"  # Known gap: where an object seems to begin nobody looks further
        return

    message = of_child(noise + ANSWER)

    assert isinstance(message, Response)
    assert message.id == 7
    assert message.encode(raw_id=Raw(b"1")) == b'{"jsonrpc":"2.0","id":1,"result":{}}'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"ready", "not_json"),
        (b"", "not_json"),
        (b"   ", "not_json"),
        (b"{", "not_json"),
        (ANSWER + b"}", "not_json"),
        (ANSWER + ANSWER, "not_json"),
        (ANSWER[:-1], "not_json"),
        (b"x " + ANSWER[:-1], "not_json"),
        (b"x " + ANSWER + b" x", "not_json"),
        (b'x {"level":"info"}', "not_json"),
        (b'x {"jsonrpc":"2.0"}', "not_json"),
        (b"x {} {}", "not_json"),
        (b"x " + DEEP, "not_json"),
        (b'{"a":NaN}', "not_json"),
        (b'{"jsonrpc":"2.0","id":7,"result":Infinity}', "not_json"),
        (b"caf\xe9 {", "not_utf8"),
        (b'{"jsonrpc":"2.0","id":7,"result":"\xff"}', "not_utf8"),
        (b'{"jsonrpc":"2.0","id":7,"\xff":1,"result":{}}', "not_utf8"),
        (b'{"jsonrpc":"2.0","id":7,"result":{"\xff":1}}', "not_utf8"),
        (b'x {"jsonrpc":"2.0","id":7,"\xff":1,"result":{}}', "not_utf8"),
        (b'{"level":"info"}', "not_jsonrpc"),
        (b"7", "not_jsonrpc"),
        (b'"ready"', "not_jsonrpc"),
        (b'"{\\"jsonrpc\\":\\"2.0\\"} {}"', "not_jsonrpc"),
        (b"12:00:01 {ready}", "not_jsonrpc"),  # the parser stops at the number, so nobody knows that it is not JSON
        (b"[]", "not_jsonrpc"),
        (DEEP, "not_jsonrpc"),
        (b"[" * 5000, "not_jsonrpc"),
        (b"[" + DEEP + b"]", "not_jsonrpc"),
        (says('"method":"notifications/cancelled","params":{"\\ud800":1}'), "not_jsonrpc"),
    ],
)
def test_a_line_that_is_no_message_is_told_apart_and_never_raises(line: bytes, expected: str) -> None:
    message = of_child(line)

    assert isinstance(message, BadLine)
    assert message.reason == expected
    assert message.size_bytes == len(line)
    assert message.ends == (line if len(line) <= 8192 else line[:4096] + b" " + line[-4096:])


def test_an_oversized_line_shows_its_two_ends() -> None:
    line = OversizedLine(1 << 30, b'{"jsonrpc":"2.0","id":7,', b'"isError":false}}')

    assert of_child(line) == BadLine("oversized", 1 << 30, b'{"jsonrpc":"2.0","id":7, "isError":false}}')


def test_a_child_is_read_with_more_patience_than_a_client() -> None:
    """What can be routed is passed on: duplicates, other cases and odd params are the client's business."""
    for rest in ('"id":1,"id":7,"result":{}', '"ID":1,"id":7,"result":{}', '"id":7,"result":{},"params":9'):
        message = of_child(says(rest))
        assert isinstance(message, Response)
        assert message.id == 7
    for rest in ('"id":7,"method":"x","params":9', '"id":7,"method":"x","result":{}'):
        assert isinstance(of_child(says(rest)), Request)


def test_a_batch_of_a_child_is_taken_apart_and_a_bad_element_spoils_no_other() -> None:
    """Spec: 2025-03-26 basic, Batching."""
    lone = b'{"jsonrpc":"2.0","id":8,"result":"\\ud800"}'
    batch = b" [" + ANSWER + b",1, [2] ," + lone + b', {"jsonrpc":"1.0"},{"id":9}, {"jsonrpc":"2.0","method":"x"}]'

    kinds = [type(message) for message in parse_child_line(batch)]

    assert kinds == [Response, BadLine, BadLine, Response, BadLine, BadLine, Notification]


@pytest.mark.parametrize("lone", [rb"\ud800", rb"\uDFFF", rb"\\\ud800", rb"\ude00\ud83d"])
def test_lone_surrogates_travel_as_they_are(lone: bytes) -> None:
    """JavaScript writes them when it cuts a string in two."""
    answer = of_child(b'{"jsonrpc":"2.0", "id":7, "result":{"text":"' + lone + b'"}}')
    call = parse_client_message(b'{"jsonrpc":"2.0","id":"a","method":"x","params":{"text": "' + lone + b'"}}')

    assert isinstance(answer, Response)
    assert answer.encode(raw_id=Raw(b'"a"')) == b'{"jsonrpc":"2.0","id":"a","result":{"text":"' + lone + b'"}}'
    assert isinstance(call, Request)
    assert call.encode(id=7) == b'{"jsonrpc":"2.0","id":7,"method":"x","params":{"text": "' + lone + b'"}}'


@bounded
@given(st.binary(max_size=60) | near_json() | st.binary(max_size=20).map(lambda noise: noise + ANSWER))
@example(b'{"\xff":1}')
@example(b'x{"\xff":1}')
@example(b'["\\ud800"]')
@example(b'{"jsonrpc":"\xff","method":"notifications/progress","params":{"progressToken":1}}')
def test_no_line_of_a_child_makes_the_parser_raise(line: bytes) -> None:
    assert parse_child_line(line)
    progress_token_of(line)


# ---- the short way for progress

_progress_names = st.sampled_from(
    [
        *(
            b'"jsonrpc"',
            b'"jsonrpc"',
            b'"method"',
            b'"method"',
            b'"params"',
            b'"params"',
            b'"params"',
            b'"id"',
            b'"i\\u0064"',
        ),
        *(b'"_meta"', b'"result"', b'"\\u006dethod"', b'"Method"', b'"\xff"', b'"\\ud800"'),
    ]
)
_progress_values: dict[bytes, list[bytes]] = {
    b'"jsonrpc"': [b'"2.0"', b'"2.0"', b'"2.0"', b'"\\u0032.0"', b'"1.0"', b"2.0"],
    b'"method"': [*[b'"notifications/progress"'] * 5, b'"notifications\\/progress"', b'"notifications/message"'],
    b'"id"': [b"1", b"null", b'"notifications/progress"'],
}


@st.composite
def _tokens(draw: st.DrawFn) -> bytes:
    return draw(st.one_of(values, strings, st.integers(-(10**21), 10**21).map(lambda number: b"%d" % number)))


@st.composite
def near_progress(draw: st.DrawFn) -> bytes:
    """A line that is a progress notification, or is nearly one."""
    params = [(b'"progressToken"', draw(_tokens()))]
    for name, value in draw(st.lists(st.tuples(plain_strings | st.just(b'"progressToken"'), values), max_size=2)):
        params.insert(draw(st.integers(0, len(params))), (name, value))
    members = [
        (b'"jsonrpc"', b'"2.0"'),
        (b'"method"', b'"notifications/progress"'),
        (b'"params"', write_object(draw, params).strip()),
    ]
    for name in draw(st.lists(_progress_names, max_size=2)):
        value = draw(st.sampled_from(_progress_values[name]) if name in _progress_values else values)
        members.insert(draw(st.integers(0, len(members))), (name, value))
    if draw(st.booleans()):
        members = draw(st.permutations(members))
    return write_object(draw, members) + draw(st.sampled_from([b"", b"", b"", b"}", b"x", b"\xff"]))


@bounded
@given(near_progress())
@example(says('"method":"notifications/progress","params":{"progressToken":1.0}'))
@example(says('"method":"notifications/progress","params":{"progressToken":true}'))
@example(says('"method":"notifications/progress","params":{"progressToken":1},"params":{}'))
@example(says('"method":"notifications/progress","params":{},"params":{"progressToken":1}'))
@example(says('"method":"notifications/progress","params":{"progressToken":1},"id":null'))
@example(says('"method":"notifications/progress","params":{"progressToken":1},"method":"x"'))
@example(says('"method":"notifications/progress","params":{"progressToken":1},"\\u0069d":7'))
@example(b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"\xff"}}')
@example(b'{"jsonrpc":"\\u0032.0","method":"notifications/progress","params":{"progressToken":1}}')
def test_the_short_way_says_what_the_long_way_says(line: bytes) -> None:
    token = progress_token_of(line)

    message = of_child(line.strip())
    if token is not None:
        assert isinstance(message, Notification)
        assert message.method == "notifications/progress"
        assert message.subject == token
        assert type(message.subject) is type(token)


@bounded
@given(st.one_of(st.integers(-(2**70), 2**70), st.text()), objects, spaces)
def test_every_ordinary_progress_takes_the_short_way(token: Id, extra: Written, space: bytes) -> None:
    params = b'{"progressToken":' + json.dumps(token).encode() + b',"extra":' + extra.text + b"}"
    line = says('"method":"notifications/progress"')[:-1] + b"," + space + b'"params":' + params + b"}"
    (message,) = parse_child_line(line)

    assert isinstance(message, Notification)
    assert message.subject == token
    if b"\\ud" not in line.lower():  # a lone surrogate takes the long way
        assert progress_token_of(line) == token


@pytest.mark.parametrize(
    "rest",
    [
        '"id":1,"method":"notifications/progress","params":{"progressToken":1}',
        '"method":"notifications/progress","params":{"progressToken":1},"id":1',
        '"method":"notifications/progress","params":{"progressToken":1},"id":null',
        '"method":"notifications/progress","params":{"progressToken":1},"i\\u0064":"x"',
        '"id":"notifications/progress","method":"x","params":{"progressToken":1}',
        '"id":1,"result":{"method":"notifications/progress","params":{"progressToken":1}}',
        '"method":"notifications/message","x":"notifications/progress","params":{"progressToken":1}',
        '"method":"notifications/progress","params":{"progressToken":null}',
        '"method":"notifications/progress","params":{}',
        '"method":"notifications/progress"',
        '"x":"' + "x" * 90 + '","method":"notifications/progress","params":{"progressToken":1}',
    ],
)
def test_the_short_way_leaves_everything_else_to_the_long_way(rest: str) -> None:
    assert progress_token_of(says(rest)) is None


def test_the_short_way_gives_up_on_what_is_too_deep() -> None:
    deep = "[" * 5000 + "]" * 5000

    assert (
        progress_token_of(says(f'"method":"notifications/progress","params":{{"progressToken":1,"a":{deep}}}')) is None
    )


# ---- what we write


@st.composite
def pretty(draw: st.DrawFn, kind: str) -> tuple[bytes, dict[str, Any]]:
    """A message over several lines, and what a parser makes of it."""
    params = b'{\r\n"a":\n' + draw(values) + b',"_meta":{\n"progressToken":\r1}}'
    own = {
        "request": [(b'"id"', draw(st.sampled_from([b"1", b'"a"'])))],
        "notification": [],
        "response": [(b'"id"', b"1"), (b'"result"', params)],
    }[kind]
    if kind != "response":
        own += [(b'"method"', draw(strings)), (b'"params"', params)]
    members = draw(st.permutations([(b'"jsonrpc"', b'"2.0"'), *own, (b'"extra"', draw(values))]))
    text = draw(st.sampled_from([b"", b"\n", b"\r\n"])) + write_object(draw, members)
    return text, json.loads(text)


def written_by(message: Message) -> tuple[bytes, dict[str, Any]]:
    """The message as it goes on, and the members that are ours in it."""
    if isinstance(message, Request):
        return message.encode(id=42), {"id": 42}
    if isinstance(message, Response):
        return message.encode(raw_id=Raw(b'"\\u0041"')), {"id": "A"}
    return message.encode(), {}


@pytest.mark.parametrize("kind", ["request", "notification", "response"])
def test_a_message_goes_on_in_one_line_with_only_its_id_changed(kind: str) -> None:
    """Without this, the second line of a body would pass every check by."""

    @bounded
    @given(pretty(kind))
    def goes_on(case: tuple[bytes, dict[str, Any]]) -> None:
        text, before = case
        for message in (parse_client_message(text), of_child(text)):
            assert not isinstance(message, BadLine)
            line, ours = written_by(message)
            assert b"\n" not in line
            assert b"\r" not in line
            assert json.loads(line) == {**before, **ours}
            assert list(json.loads(line)) == list(before)

    goes_on()


def test_a_smuggled_second_message_stays_inside_the_first() -> None:
    body = b'{"jsonrpc":"2.0","method":"x","params":{"a":\n{"jsonrpc":"2.0","id":1,"method":"evil"}\r\n}}'

    message = parse_client_message(body)

    assert isinstance(message, Notification)
    assert (
        message.encode() == b'{"jsonrpc":"2.0","method":"x","params":{"a": {"jsonrpc":"2.0","id":1,"method":"evil"}  }}'
    )


def test_huge_numbers_and_unknown_members_go_on_untouched() -> None:
    number = b"1" * 5000

    message = request(b'{"x":' + number + b',"jsonrpc":"2.0","id":9223372036854775809,"method":"m","\\u00e9": 1.10}')

    assert message.encode(id=1) == b'{"x":' + number + '},"jsonrpc":"2.0","id":1,"method":"m","é":1.10}'.encode()[1:]


def test_a_cancellation_goes_on_under_the_id_that_its_receiver_knows() -> None:
    line = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":["\\ud800",\n1],\n"requestId":"a"}}'
    message = of_child(line)
    assert isinstance(message, Notification)

    assert message.encode_about(42) == (
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":["\\ud800", 1],"requestId":42}}'
    )


@pytest.mark.parametrize("raw_id", [b"0", b'"0"', b"9223372036854775809", b'"\\ud800"'])
def test_what_we_answer_a_child_carries_its_id_as_it_came(raw_id: bytes) -> None:
    assert pong(Raw(raw_id)) == b'{"jsonrpc":"2.0","id":' + raw_id + b',"result":{}}'
    assert refusal(Raw(raw_id), code=-32603, message='no\n"client"') == (
        b'{"jsonrpc":"2.0","id":' + raw_id + b',"error":{"code":-32603,"message":"no\\n\\"client\\""}}'
    )


def test_our_cancellation_is_one_that_we_would_understand() -> None:
    """Spec: 2025-11-25 basic/utilities/cancellation."""
    message = parse_client_message(cancellation(7, reason="gone\r\n"))

    assert isinstance(message, Notification)
    assert message.subject == 7
    assert json.loads(bytes(parse_members(bytes(message.members["params"]))["reason"])) == "gone\r\n"


def test_a_batch_of_too_many_messages_is_refused() -> None:
    """Ours: MAX_BATCH."""
    one = b'{"jsonrpc":"2.0","method":"x"}'

    assert len(parse_client_batch(b"[" + b",".join([one] * MAX_BATCH) + b"]")) == MAX_BATCH
    with pytest.raises(NotJsonRpc, match="more than 1000"):
        parse_client_batch(b"[" + b",".join([one] * (MAX_BATCH + 1)) + b"]")


def test_an_array_of_a_child_that_is_no_batch_is_one_bad_line() -> None:
    (bad,) = parse_child_line(b"[" + b",".join([b"1"] * (MAX_BATCH + 1)) + b"]")

    assert isinstance(bad, BadLine)


@pytest.mark.parametrize(
    "text",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"pad":"%b"}}',
        b'{"jsonrpc":"2.0","method":"m","params":{"pad":"%b"}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"pad":"%b"}}',
    ],
)
def test_a_message_knows_its_size_but_for_a_few_bytes_of_punctuation(text: bytes) -> None:
    body = text % (b"x" * 10_000)

    message = parse_client_message(body)

    assert not isinstance(message, BadLine)
    assert len(body) - 40 < message.size_bytes < len(body)

"""What a request of 2026-07-28 says about itself, and what is refused because it does not."""

import json
from typing import Any

import pytest
from msgspec import Raw

from proxy.errors import EnvelopeMalformed, NotJsonRpc
from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.envelope import LOG_LEVELS, ModernRequest, reaches, version_of
from proxy.protocol.messages import Notification
from tests.support.modern import PREFIX, VERSION, envelope, modern, tool
from tests.support.parsed import a_call, a_request, read

Json = dict[str, Any]


def with_meta(meta: Any) -> Json:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}


def changed(**members: Any) -> Json:
    return {**envelope(), **{f"{PREFIX}{name}": value for name, value in members.items()}}


def without(*names: str) -> Json:
    return {key: value for key, value in envelope().items() if key.removeprefix(PREFIX) not in names}


def test_what_a_request_says_is_there_to_be_asked() -> None:
    meta: Json = {"progressToken": 0, f"{PREFIX}logLevel": "notice"}
    request = a_request("7", "tools/call", {"name": "t"}, capabilities={"sampling": {}}, **meta)

    assert (request.method, bytes(request.raw_id), request.version) == ("tools/call", b'"7"', VERSION)
    assert (bytes(request.capabilities), request.log_level) == (b'{"sampling": {}}', "notice")
    assert request.raw_token is not None and bytes(request.raw_token) == b"0"


def test_what_a_request_does_not_say_is_none() -> None:
    """HM-09: clientInfo is optional, as are a log level and a token."""
    request = read(with_meta(without("clientInfo")))

    assert (request.log_level, request.raw_token, request.text("name")) == (None, None, None)


MISSING: list[tuple[Any, str]] = [
    ({}, "lacks .*protocolVersion and .*clientCapabilities"),
    (without("protocolVersion"), "lacks .*protocolVersion$"),
    (without("clientCapabilities"), "lacks .*clientCapabilities$"),
    ([], "lacks"),
    (None, "lacks"),
    ("_meta", "lacks"),
    (7, "lacks"),
]


@pytest.mark.parametrize(("meta", "says"), MISSING)
def test_an_envelope_without_what_is_required_is_refused(meta: Any, says: str) -> None:
    """HM-08. Spec: 2026-07-28 basic, Request metadata."""
    with pytest.raises(EnvelopeMalformed, match=says):
        read(with_meta(meta))


@pytest.mark.parametrize("params", ["", ',"params":null', ',"params":[]', ',"params":[1]', ',"params":{}'])
def test_a_request_without_an_envelope_is_refused(params: str) -> None:
    with pytest.raises(EnvelopeMalformed, match="lacks"):
        read(f'{{"jsonrpc":"2.0","id":1,"method":"tools/list"{params}}}'.encode())


MALFORMED: list[tuple[Json, str]] = [
    (changed(protocolVersion=20260728), "protocolVersion must be a string"),
    (changed(protocolVersion=None), "protocolVersion must be a string"),
    (changed(clientCapabilities=None), "clientCapabilities must be an object"),
    (changed(clientCapabilities=[]), "clientCapabilities must be an object"),
    (changed(clientCapabilities="{}"), "clientCapabilities must be an object"),
    (changed(clientInfo="me"), "clientInfo must be an object"),
    (changed(clientInfo=None), "clientInfo must be an object"),
    (changed(clientInfo={"name": "x" * 70_000}), "clientInfo is larger than 65536 bytes"),
    (changed(clientCapabilities={"experimental": {"x": "x" * 70_000}}), "clientCapabilities is larger than"),
    (changed(logLevel="loud"), "logLevel must be one of debug, info"),
    (changed(logLevel="INFO"), "logLevel must be one of"),
    (changed(logLevel=3), "logLevel must be one of"),
    (changed(logLevel=None), "logLevel must be one of"),
    ({**envelope(), "progressToken": None}, "progressToken must be"),
    ({**envelope(), "progressToken": 1.5}, "progressToken must be"),
    ({**envelope(), "progressToken": True}, "progressToken must be"),
    ({**envelope(), "progressToken": {}}, "progressToken must be"),
]


@pytest.mark.parametrize(("meta", "says"), MALFORMED)
def test_something_that_has_no_legal_value_is_refused(meta: Json, says: str) -> None:
    with pytest.raises(EnvelopeMalformed, match=says):
        read(with_meta(meta))


TWICE = [
    '{"_meta":META,"_meta":META}',
    '{"_Meta":{},"_meta":META}',
    '{"_meta":META,"name":"a","Name":"b"}',
    '{"_meta":META,"name":"a","name":"b"}',
    '{"_meta":META,"uri":"a","URI":"b"}',
    '{"_meta":META,"taskid":"a"}',
    '{"_meta":META,"requestSTATE":"a"}',
    '{"_meta":META,"InputResponses":{}}',
    '{"_meta":META,"Arguments":{}}',
    '{"_meta":META,"Notifications":{}}',
]


@pytest.mark.parametrize("params", TWICE)
def test_a_member_that_two_readers_could_take_for_another_is_refused(params: str) -> None:
    meta = json.dumps(envelope())
    with pytest.raises(NotJsonRpc):
        read(f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params.replace("META", meta)}}}'.encode())


@pytest.mark.parametrize("name", ["protocolVersion", "clientCapabilities", "clientInfo", "logLevel"])
def test_so_is_one_of_the_envelope(name: str) -> None:
    with pytest.raises(NotJsonRpc):
        read(with_meta({**envelope(), f"{PREFIX}{name}".upper(): {}}))
    with pytest.raises(NotJsonRpc):
        key = json.dumps(f"{PREFIX}{name}")
        meta = json.dumps(envelope())[:-1] + f",{key}:1,{key}:1}}"
        read(f'{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"_meta":{meta}}}}}'.encode())


DECLARES: list[tuple[Json, tuple[str, ...], bool]] = [
    ({}, ("sampling",), False),
    ({"sampling": {}}, ("sampling",), True),
    ({"sampling": None}, ("sampling",), False),
    ({"sampling": {"tools": {}}}, ("sampling", "tools"), True),
    ({"sampling": {}}, ("sampling", "tools"), False),
    ({"sampling": True}, ("sampling", "tools"), False),
    ({"extensions": {f"{PREFIX}tasks": {}}}, ("extensions", f"{PREFIX}tasks"), True),
    ({"extensions": {f"{PREFIX}tasks": None}}, ("extensions", f"{PREFIX}tasks"), False),
    ({"extensions": []}, ("extensions", f"{PREFIX}tasks"), False),
]


@pytest.mark.parametrize(("capabilities", "path", "expected"), DECLARES)
def test_what_a_client_declares(capabilities: Json, path: tuple[str, ...], expected: bool) -> None:
    assert a_call(capabilities=capabilities).declares(*path) is expected


# params, changes -> what the child gets; `$META` stands for the envelope
ENCODED: list[tuple[str, dict[str, Raw | None], str]] = [
    ('{"_meta":$META}', {}, '{"_meta":$META}'),
    ('{"name": "t",\n "arguments":{"big":9007199254740993.0, "s":"\\ud800"},"_meta":$META}', {}, "as it was"),
    ('{"requestState":"x","a":1,"_meta":$META}', {"requestState": Raw(b'"y"')}, '{"requestState":"y","a":1,$}'),
    ('{"requestState":"x","a":1,"_meta":$META}', {"requestState": None}, '{"a":1,$}'),
    ('{"a":1,"_meta":$META}', {"requestState": None}, '{"a":1,$}'),
]


@pytest.mark.parametrize(("params", "changes", "expected"), ENCODED)
def test_a_request_goes_on_under_another_id_and_otherwise_as_it_came(
    params: str, changes: dict[str, Raw | None], expected: str
) -> None:
    """SC-07, SC-16: numbers, escapes and the order of members are the client's own."""
    meta = json.dumps(envelope(), separators=(",", ":"))
    params = params.replace("$META", meta)
    request = read(f'{{"method":"tools/call","id":"a","params":{params},"jsonrpc":"2.0","more":[1.0]}}'.encode())
    expected = params.replace("\n", " ") if expected == "as it was" else expected
    expected = expected.replace("$META", meta).replace("$", f'"_meta":{meta}')

    line = request.encode(id=3, **changes)

    assert line == f'{{"method":"tools/call","id":3,"params":{expected},"jsonrpc":"2.0","more":[1.0]}}'.encode()


@pytest.mark.parametrize("token", ["0", '"0"', '"a\\ud800"', "9007199254740993"])
def test_a_token_becomes_the_id_that_the_child_knows(token: str) -> None:
    """SC-16, D.0.2: two clients may use the same one."""
    meta = json.dumps(envelope())[:-1] + f', "progressToken" : {token}}}'
    request = read(f'{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"_meta":{meta}}}}}'.encode())

    sent = json.loads(request.encode(id=12))

    assert request.raw_token is not None and bytes(request.raw_token) == token.encode()
    assert (sent["id"], sent["params"]["_meta"]["progressToken"]) == (12, 12)


def test_a_pretty_printed_request_is_one_line() -> None:
    line = read(json.dumps(tool(1, "echo", meta={"progressToken": "t"}, text="a"), indent=2).encode()).encode(id=1)

    assert b"\n" not in line and b"\r" not in line
    assert json.loads(line)["params"]["arguments"] == {"text": "a"}


TEXTS: list[tuple[Any, str | None]] = [
    ("a", "a"),
    ("", ""),
    ("x" * 20_000, "x" * 20_000),
    ("\u2028é\ud800", "\u2028é\ud800"),
    (1, None),
    (None, None),
    ({}, None),
]


@pytest.mark.parametrize(("value", "expected"), TEXTS)
def test_the_text_of_a_member(value: Any, expected: str | None) -> None:
    assert a_request(1, "resources/read", {"uri": value}).text("uri") == expected


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (None, None),
        ({}, None),
        ([], None),
        ({"_meta": None}, None),
        ({"_meta": {f"{PREFIX}protocolVersion": "v1"}}, "v1"),
        ({"_meta": {f"{PREFIX}protocolVersion": 1}}, None),
    ],
)
def test_the_revision_of_a_notification(params: Any, expected: str | None) -> None:
    body = {"jsonrpc": "2.0", "method": "notifications/x", **({} if params is None else {"params": params})}
    notification = parse_client_message(json.dumps(body).encode())
    assert isinstance(notification, Notification)

    assert version_of(notification) == expected


@pytest.mark.parametrize(
    ("level", "wanted", "expected"),
    [
        *((level, level, True) for level in LOG_LEVELS),
        ("emergency", "debug", True),
        ("debug", "emergency", False),
        ("info", "warning", False),
        ("error", "warning", True),
        (None, "debug", False),
        ("loud", "debug", False),
        ("info", None, False),
    ],
)
def test_which_log_messages_a_level_asks_for(level: str | None, wanted: str | None, expected: bool) -> None:
    """Spec: 2026-07-28 server/utilities/logging."""
    assert reaches(level, wanted) is expected


def test_a_request_keeps_what_it_was_parsed_as() -> None:
    request = read(modern(2**60, "x"))

    assert isinstance(request, ModernRequest)
    assert request.request.id == 2**60


def test_of_a_request_that_was_sent_only_what_its_answer_needs_is_kept() -> None:
    large = read(
        json.dumps(modern("id", "tools/call", {"name": "t", "arguments": "x" * 100_000}, progressToken="p")).encode()
    )

    slim = large.slim(b"digest")

    assert (slim.raw_id, slim.raw_token, slim.method, slim.digest) == (
        large.raw_id,
        large.raw_token,
        "tools/call",
        b"digest",
    )
    assert slim.request.size_bytes < 100
    assert large.slim(b"").raw_token is not None and read(with_meta(envelope())).slim(b"").raw_token is None

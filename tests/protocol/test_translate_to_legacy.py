"""What one era says, in the words of the other."""

import json
import sys
from typing import Any

import pytest
from msgspec import Raw

from proxy.protocol.child_lines import parse_child_line
from proxy.protocol.jsontext import Members, encode, parse_members
from proxy.protocol.messages import Request, Response
from proxy.protocol.translate_to_legacy import (
    LegacyClient,
    discover_fault,
    discovery,
    enveloped,
    failed_tool,
    has_no_handshake,
    initialize_error,
    initialize_result,
    is_revision_refused,
    legacy_error,
    offers,
    own_request,
    plain_result,
    read_initialize,
    result_kind,
    strings_in,
)

PREFIX = "io.modelcontextprotocol/"
CLIENT = LegacyClient("2025-11-25", {"roots": Raw(b"{}")}, Raw(b'{"name":"c","version":"1"}'))
ENVELOPE = {
    f"{PREFIX}protocolVersion": "2026-07-28",
    f"{PREFIX}clientCapabilities": {"roots": {}},
    f"{PREFIX}clientInfo": {"name": "c", "version": "1"},
}


def members(value: Any) -> Members:
    return parse_members(json.dumps(value).encode())


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


def value_of(found: Members | Raw) -> Any:
    return json.loads(bytes(found) if isinstance(found, Raw) else encode(found))


def request(text: bytes) -> Request:
    (message,) = parse_child_line(text)
    assert isinstance(message, Request)
    return message


def response(**answer: Any) -> Response:
    (message,) = parse_child_line(json.dumps({"jsonrpc": "2.0", "id": 1, **answer}).encode())
    assert isinstance(message, Response)
    return message


def initialize(**params: Any) -> Request:
    return request(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).encode())


def sent(text: bytes, *, level: str | None = None, client: LegacyClient = CLIENT, **more: Any) -> Any:
    """The request that a server gets for this one, with id 9."""
    outgoing = enveloped(request(text), client, log_level=level)
    return None if outgoing is None else json.loads(outgoing.encode(id=9, **more))


# ---- the client


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [
        *((version, version) for version in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")),
        ("2026-07-28", "2025-11-25"),
        ("1.0", "2025-11-25"),
        (7, "2025-11-25"),
        (None, "2025-11-25"),
    ],
)
def test_the_revision_of_a_client_is_agreed_if_it_is_known(asked: Any, agreed: str) -> None:
    """Spec: 2025-11-25 basic/lifecycle, Version Negotiation. HL-31."""
    assert read_initialize(initialize(protocolVersion=asked)).version == agreed


ALL = {
    "roots": {"listChanged": True},
    "sampling": {"tools": {}, "context": {}, "x": 1},
    "elicitation": {"form": {}, "url": {}},
    "experimental": {"a": 1},
    "tasks": {"list": {}},
    "extensions": {"io.modelcontextprotocol/tasks": {}},
    "else": True,
}


@pytest.mark.parametrize(
    ("version", "declared", "kept"),
    [
        (
            "2025-11-25",
            ALL,
            {
                **{"roots": {}, "sampling": ALL["sampling"], "elicitation": ALL["elicitation"]},
                **{"experimental": {"a": 1}, "else": True},
            },
        ),
        (
            "2025-06-18",
            ALL,
            {"roots": {}, "sampling": {"x": 1}, "elicitation": {}, "experimental": {"a": 1}, "else": True},
        ),
        ("2025-03-26", ALL, {"roots": {}, "sampling": {"x": 1}, "experimental": {"a": 1}, "else": True}),
        ("2024-11-05", {"sampling": {}}, {"sampling": {}}),
        ("2025-11-25", {"elicitation": {}}, {"elicitation": {}}),
        ("2025-11-25", {"roots": True, "sampling": None, "elicitation": [1]}, {}),
        ("2025-11-25", {}, {}),
        ("2025-11-25", [], {}),
    ],
)
def test_a_client_has_the_capabilities_that_both_eras_know(version: str, declared: Any, kept: Any) -> None:
    """Spec: 2025-11-25 and 2025-06-18 changelogs; 2026-07-28 basic, Request metadata."""
    client = read_initialize(initialize(protocolVersion=version, capabilities=declared))

    assert value_of(client.capabilities) == kept


@pytest.mark.parametrize(
    ("info", "is_told"),
    [
        ({"name": "c", "version": "1", "icons": []}, True),
        ({"name": "c"}, False),
        ({"name": 1, "version": "1"}, False),
        ("c", False),
        (None, False),
    ],
)
def test_a_client_is_named_if_it_has_said_name_and_version(info: Any, is_told: bool) -> None:
    """HM-09: clientInfo may be absent, and a server may refuse one that is not whole."""
    client = read_initialize(initialize(clientInfo=info))

    assert (client.info is not None and json.loads(bytes(client.info)) == info) is is_told
    assert (
        f"{PREFIX}clientInfo" in sent(b'{"jsonrpc":"2.0","id":1,"method":"x"}', client=client)["params"]["_meta"]
    ) is (is_told)


def test_an_initialize_without_params_is_that_of_nobody() -> None:
    client = read_initialize(request(b'{"jsonrpc":"2.0","id":1,"method":"initialize"}'))

    assert client == LegacyClient("2025-11-25", {}, None)


# ---- requests


def test_a_request_gets_the_envelope() -> None:
    """Spec: 2026-07-28 basic, Request metadata. SC-07."""
    assert sent(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}') == {
        "jsonrpc": "2.0",
        "id": 9,
        "method": "tools/list",
        "params": {"_meta": ENVELOPE},
    }


def test_what_a_client_says_itself_stays_and_ours_wins() -> None:
    text = json.dumps(
        {
            **{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "more": 1},
            "params": {
                **{"name": "t", "arguments": {"a": 1}, "unknown": 2, "task": {"ttl": 1}},
                **{"inputResponses": {"a": {}}, "requestState": "forged"},
                "_meta": {"progressToken": "p", "traceparent": "00", f"{PREFIX}protocolVersion": "x", "own": {}},
            },
        }
    ).encode()

    assert sent(text, level="info") == {
        **{"jsonrpc": "2.0", "id": 9, "method": "tools/call", "more": 1},
        "params": {
            **{"name": "t", "arguments": {"a": 1}, "unknown": 2},
            "_meta": {
                **{"progressToken": "p", "traceparent": "00", "own": {}, f"{PREFIX}logLevel": "info"},
                **ENVELOPE,
            },
        },
    }


VALUES = [
    rb'{"int":123456789012345678901234567890,"float":1.0,"exp":1E+400}',
    rb'{"surrogate":"\ud83d","escapes":"\/\u0041"}',
    '{"separators":"\u2028\u0085"}'.encode(),
    b'{"spaces" :  [ 1 ,2 ] }',
    b'{"twice":1,"twice":2}',
]


@pytest.mark.parametrize("value", VALUES)
def test_values_travel_as_the_bytes_they_are(value: bytes) -> None:
    """Design part 4, bytes through."""
    text = b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"v":' + value + b',"_meta":{"m":' + value + b"}}}"
    outgoing = enveloped(request(text), CLIENT, log_level=None)
    result = parse_members(b'{"resultType":"complete","v":' + value + b"}")

    assert outgoing is not None
    line = outgoing.encode(id=1)
    assert b'"v":' + value + b"," in line
    assert b'{"m":' + value + b"," in line
    assert encode(plain_result("x", result)) == b'{"v":' + value + b"}"


def test_a_request_is_one_line() -> None:
    outgoing = enveloped(
        request(b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"v":[1,\r\n2]}}'), CLIENT, log_level=None
    )

    assert outgoing is not None
    assert b"\n" not in outgoing.encode(id=1)
    assert b"\r" not in outgoing.encode(id=1)


@pytest.mark.parametrize("params", [b"null", b"{}", b'{"_meta":null}', b'{"_meta":{}}'])
def test_params_that_say_nothing_are_none(params: bytes) -> None:
    assert sent(b'{"jsonrpc":"2.0","id":1,"method":"x","params":' + params + b"}")["params"] == {"_meta": ENVELOPE}


@pytest.mark.parametrize("params", [b"[]", b'{"_meta":[]}', b'{"_meta":"x"}', b"7"])
def test_params_without_a_place_for_the_envelope_are_refused(params: bytes) -> None:
    assert sent(b'{"jsonrpc":"2.0","id":1,"method":"x","params":' + params + b"}") is None


def test_a_retry_has_the_answers_and_the_state_byte_for_byte() -> None:
    """Spec: 2026-07-28 basic/patterns/mrtr. SC-12."""
    state = Raw(rb'"\u00e9\/ \ud800"')
    outgoing = enveloped(
        request(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}'), CLIENT, log_level=None
    )

    assert outgoing is not None
    assert outgoing.name == "t"
    line = outgoing.encode(id=2, inputResponses={"k": Raw(b'{ "a":1.0}')}, requestState=state)
    assert b'"inputResponses":{"k":{ "a":1.0}},"requestState":' + bytes(state) + b"}" in line


@pytest.mark.parametrize("params", [b"{}", b'{"name":7}'])
def test_a_call_without_a_name_has_none(params: bytes) -> None:
    outgoing = enveloped(
        request(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + params + b"}"), CLIENT, log_level=None
    )

    assert outgoing is not None
    assert outgoing.name is None


def test_a_request_of_our_own_is_enveloped_for_the_same_client() -> None:
    line = own_request("subscriptions/listen", CLIENT, notifications={"toolsListChanged": True}).encode(id=3)

    assert json.loads(line) == {
        **{"jsonrpc": "2.0", "id": 3, "method": "subscriptions/listen"},
        "params": {"notifications": {"toolsListChanged": True}, "_meta": ENVELOPE},
    }


def test_a_server_can_be_asked_what_it_is_before_there_is_a_client() -> None:
    assert json.loads(discovery(4)) == {
        **{"jsonrpc": "2.0", "id": 4, "method": "server/discover"},
        "params": {
            "_meta": {f"{PREFIX}protocolVersion": "2026-07-28", f"{PREFIX}clientCapabilities": {}},
        },
    }


# ---- the handshake

DISCOVERED = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {"listChanged": True}, "extensions": {"x/y": {}}, "tasks": {}, "experimental": {"e": 1}},
    "instructions": "Do.",
    "ttlMs": 1,
    "cacheScope": "public",
    "unknown": [1],
    "_meta": {f"{PREFIX}serverInfo": {"name": "s", "version": "2", "title": "S"}, "own": 1},
}


def test_what_a_server_discovers_is_its_initialize_result() -> None:
    """Spec: 2025-11-25 basic/lifecycle, Initialization; 2026-07-28 server/discover."""
    assert value_of(initialize_result(members(DISCOVERED), "2025-03-26")) == {
        "protocolVersion": "2025-03-26",
        "capabilities": {"tools": {"listChanged": True}, "experimental": {"e": 1}},
        "serverInfo": {"name": "s", "version": "2", "title": "S"},
        "instructions": "Do.",
        "unknown": [1],
        "_meta": {"own": 1},
    }


@pytest.mark.parametrize("meta", [None, {}, {f"{PREFIX}serverInfo": "s"}])
def test_a_server_without_a_name_has_a_neutral_one(meta: Any) -> None:
    """2025-11-25 requires serverInfo, 2026-07-28 does not."""
    result = value_of(initialize_result(members({"_meta": meta}), "2025-11-25"))

    assert result["serverInfo"] == {"name": "mcp-server", "version": "unknown"}
    assert result["capabilities"] == {}


@pytest.mark.parametrize(
    "answer",
    [
        {"result": DISCOVERED},
        {"result": {**DISCOVERED, "supportedVersions": ["2027-01-01", "2026-07-28"]}},
        {"result": {}},
        {"result": {"supportedVersions": 7}},
    ],
)
def test_a_server_that_discovers_is_taken(answer: Any) -> None:
    assert discover_fault(response(**answer)) is None


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"error": {"code": -32601, "message": "no"}}, -32601),
        ({"error": {"code": -32022, "message": "no"}}, -32022),
        ({"result": {"supportedVersions": ["2027-01-01"]}}, -32022),
        ({"result": {"supportedVersions": ["2025-11-25"]}}, -32022),
        ({"result": {"resultType": "input_required"}}, -32603),
        ({"result": []}, -32603),
    ],
)
def test_a_server_that_does_not_is_not(answer: Any, code: int) -> None:
    fault = discover_fault(response(**answer))

    assert fault is not None
    assert value_of(fault)["code"] == code


def test_a_refused_revision_is_told_as_the_handshake_era_tells_it() -> None:
    """Spec: 2025-11-25 basic/lifecycle, Error Handling."""
    fault = raw({"code": -32022, "message": "no", "data": {"supported": ["2027-01-01"], "requested": "2026-07-28"}})

    assert value_of(initialize_error(fault, initialize(protocolVersion="2025-06-18"))) == {
        "code": -32602,
        "message": "Unsupported protocol version",
        "data": {"supported": ["2027-01-01"], "requested": "2025-06-18"},
    }
    bare = value_of(initialize_error(raw({"code": -32022}), initialize()))
    assert bare["data"] == {"supported": [], "requested": None}


def test_another_fault_of_a_start_is_told_as_it_is() -> None:
    fault = raw({"code": -32000, "message": "No key", "data": {"a": 1.5}})

    assert initialize_error(fault, initialize()) == fault


@pytest.mark.parametrize(
    ("error", "is_none"),
    [
        ({"code": -32022, "message": "", "data": {"supported": ["2026-07-28"]}}, True),
        ({"code": -32022}, True),
        ({"code": -32601, "message": "Method not found"}, True),
        ({"code": -32602, "data": {"supported": ["2026-07-28"], "requested": "2025-11-25"}}, True),
        ({"code": -32602, "data": {"supported": ["2025-11-25", "2026-07-28"]}}, False),
        ({"code": -32602, "data": {"supported": ["2024-10-07"]}}, False),
        ({"code": -32602, "data": {"supported": []}}, False),
        ({"code": -32602, "data": {"supported": "2026-07-28"}}, False),
        ({"code": -32602, "message": "Invalid params"}, False),
        ({"code": -32000, "message": "No API key"}, False),
        ({"code": "-32022"}, False),
        ({}, False),
        ("no", False),
    ],
)
def test_a_server_without_a_handshake_is_known_by_its_refusal(error: Any, is_none: bool) -> None:
    """Spec: 2026-07-28 basic/versioning. HM-31: any error to initialize names the supported versions."""
    assert has_no_handshake(raw(error)) is is_none


@pytest.mark.parametrize(("code", "is_one"), [(-32022, True), (-32601, False), (None, False)])
def test_a_refused_revision_is_known_by_its_code(code: int | None, is_one: bool) -> None:
    """SC-10: -32022 never falls back."""
    assert is_revision_refused(raw({"code": code})) is is_one


@pytest.mark.parametrize(
    ("name", "member", "has_it"),
    [
        ("resources", None, True),
        ("resources", "subscribe", True),
        ("resources", "listChanged", False),
        ("logging", None, True),
        ("prompts", None, False),
        ("bad", None, False),
    ],
)
def test_a_capability_is_there_if_it_is_an_object(name: str, member: str | None, has_it: bool) -> None:
    capabilities = members({"resources": {"subscribe": True, "listChanged": 1}, "logging": {}, "bad": True})

    assert offers(capabilities, name, member) is has_it


# ---- results and errors


@pytest.mark.parametrize(
    ("method", "result", "plain"),
    [
        (
            "tools/list",
            {"resultType": "complete", "ttlMs": 1, "cacheScope": "public", "tools": [], "nextCursor": "c"},
            {"tools": [], "nextCursor": "c"},
        ),
        ("tools/call", {"resultType": "complete", "ttlMs": 1, "content": []}, {"ttlMs": 1, "content": []}),
        ("x", {"_meta": {f"{PREFIX}serverInfo": {}}, "a": 1}, {"a": 1}),
        ("x", {"_meta": {f"{PREFIX}serverInfo": {}, "own": 1}}, {"_meta": {"own": 1}}),
        ("x", {"_meta": {"own": 1}}, {"_meta": {"own": 1}}),
        ("x", {"_meta": 7}, {"_meta": 7}),
        ("x", {}, {}),
    ],
)
def test_a_result_is_what_it_was_before_the_modern_era(method: str, result: Any, plain: Any) -> None:
    """Spec: 2026-07-28 basic, Results; server/utilities/caching."""
    assert value_of(plain_result(method, members(result))) == plain


@pytest.mark.parametrize(
    ("result", "kind"),
    [({}, "complete"), ({"resultType": "task"}, "task"), ({"resultType": 7.5}, None), ({"resultType": 7}, None)],
)
def test_the_kind_of_a_result(result: Any, kind: str | None) -> None:
    """SC-12: absent means complete."""
    assert result_kind(members(result)) == kind


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ({"code": -32602, "message": "m", "data": {"uri": "a"}}, -32602),
        ({"code": -32020, "message": "m"}, -32603),
        ({"code": -32022, "message": "m", "data": {"supported": []}}, -32603),
        ({"code": -32021, "message": "m", "data": {"requiredCapabilities": {}}}, -32021),
        ({"code": -32603, "message": "m"}, -32603),
        ({"code": 0, "message": "m"}, 0),
        ({"code": 12345678901234567890, "message": "m"}, 12345678901234567890),
    ],
)
def test_an_error_has_the_number_of_its_era_and_the_rest_as_it_was(error: Any, told: int) -> None:
    """Spec: 2026-07-28 basic, Error codes."""
    assert value_of(legacy_error(raw(error))) == {**error, "code": told}


@pytest.mark.parametrize("error", ["no", None, {}, {"code": "x"}])
def test_an_error_of_another_shape_is_passed_on(error: Any) -> None:
    assert legacy_error(raw(error)) == raw(error)


def test_a_failed_tool_says_why() -> None:
    """Spec: 2025-11-25 server/tools, Error Handling."""
    assert value_of(failed_tool("so")) == {"content": [{"type": "text", "text": "so"}], "isError": True}


@pytest.mark.parametrize(("value", "strings"), [(["a", 1, "b"], ["a", "b"]), ("a", []), ({}, [])])
def test_the_texts_of_an_array(value: Any, strings: list[str]) -> None:
    assert strings_in(raw(value)) == strings
    assert strings_in(None) == []


def test_of_a_client_nothing_is_kept_but_what_it_says_of_itself() -> None:
    """Ours: a session would else hold the whole body of its `initialize`."""
    line = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{"roots":{},"x":{}},"clientInfo":'
    line = line + b'{"name":"n","version":"1"},"_meta":{"more":"' + b"x" * 1000 + b'"}}}'
    references = sys.getrefcount(line)

    client = read_initialize(request(line))

    assert (client.size_bytes, sys.getrefcount(line)) == (30, references)

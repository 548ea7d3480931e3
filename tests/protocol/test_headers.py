"""Headers that say what the body says, and those that do not."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from proxy.errors import HeaderMismatch, NotJsonRpc, RevisionUnsupported
from proxy.protocol.headers import (
    HeaderRule,
    check_arguments,
    check_routing,
    decode_value,
    refuse_repeated,
    rules_of_listing,
    rules_of_schema,
)
from tests.protocol.texts import bounded
from tests.support.modern import PREFIX, VERSION, modern, tool
from tests.support.parsed import read

Json = dict[str, Any]


def sentinel(data: bytes) -> bytes:
    return b"=?base64?" + base64.b64encode(data) + b"?="


VALUES: list[tuple[bytes, str]] = [
    (b"plain", "plain"),
    (b"", ""),
    (b"  both ends \t", "both ends"),
    (b"in  side", "in  side"),
    (b"\xa0x\xa0", "\xa0x\xa0"),  # no optional whitespace: RFC 9110 5.6.3 has blank and tab
    (sentinel(b"Hello"), "Hello"),
    (b" " + sentinel(b"Hello") + b"\t", "Hello"),
    (sentinel(b" kept "), " kept "),
    (sentinel("é\u2028\n".encode()), "é\u2028\n"),
    (sentinel(b""), ""),
    (sentinel(b"=?base64?SGVsbG8=?="), "=?base64?SGVsbG8=?="),
    (b"SGVsbG8=", "SGVsbG8="),
    (b"=?base64?SGVsbG8=", "=?base64?SGVsbG8="),
    (b"SGVsbG8=?=", "SGVsbG8=?="),
    (b"=?BASE64?SGVsbG8=?=", "=?BASE64?SGVsbG8=?="),
    (b"x=?base64?SGVsbG8=?=", "x=?base64?SGVsbG8=?="),
    (b"=?base64?=", "=?base64?="),
    (b"=?utf-8?b?SGVsbG8=?=", "=?utf-8?b?SGVsbG8=?="),
]


@pytest.mark.parametrize(("value", "text"), VALUES)
def test_the_text_that_a_header_stands_for(value: bytes, text: str) -> None:
    """HM-12. Spec: 2026-07-28 basic/transports/streamable-http, Value Encoding; SEP-2243."""
    assert decode_value(value, "Mcp-Name") == text


@pytest.mark.parametrize(
    "data",
    [
        b"SGVsbG8",  # no padding
        b"SGVsbG8==",  # too much of it
        b"SGVsbG9=",  # bits that say nothing: not canonical
        b"SGVs!!!bG8=",
        b"SGVs bG8=",
        b"SGVs\tbG8=",
        b"SGVsbG8=SGVsbG8=",
        b"SGVsbG8=\xe9",
        b"_-8=",  # of another alphabet
        base64.b64encode(b"\xff\xfe"),  # no UTF-8
        base64.b64encode(b"\xed\xa0\x80"),  # a surrogate
    ],
)
def test_marked_as_base64_and_none_is_refused(data: bytes) -> None:
    with pytest.raises(HeaderMismatch, match="Mcp-Name"):
        decode_value(b"=?base64?" + data + b"?=", "Mcp-Name")


@bounded
@given(st.text(max_size=20))
def test_every_text_has_a_header(text: str) -> None:
    assert decode_value(sentinel(text.encode()), "Mcp-Name") == text


@pytest.mark.parametrize(
    ("names", "repeated"),
    [
        ((b"mcp-method", b"mcp-name", b"mcp-protocol-version", b"mcp-param-a", b"mcp-param-b"), None),
        ((b"accept", b"accept", b"x", b"x", b"mcpx", b"mcpx"), None),
        ((b"mcp-session-id", b"mcp-session-id"), None),  # nobody looks at it
        ((b"mcp-method", b"x", b"mcp-method"), "mcp-method"),
        ((b"mcp-name", b"mcp-name"), "mcp-name"),
        ((b"mcp-protocol-version", b"mcp-protocol-version"), "mcp-protocol-version"),
        ((b"mcp-param-a", b"mcp-param-a"), "mcp-param-a"),
        ((b"mcp-nobody-knows", b"mcp-nobody-knows"), "mcp-nobody-knows"),
    ],
)
def test_a_header_that_routes_stands_there_once(names: tuple[bytes, ...], repeated: str | None) -> None:
    """D.0.1 step 11. Even with the same value: the next reader may join them."""
    headers = [(name, b"same") for name in names]
    if repeated is None:
        refuse_repeated(headers)
        return
    with pytest.raises(HeaderMismatch, match=f"{repeated} is repeated"):
        refuse_repeated(headers)


NAMED: list[tuple[str, Json, str]] = [
    ("tools/call", {"name": "t"}, "t"),
    ("prompts/get", {"name": "p"}, "p"),
    ("resources/read", {"uri": "u://x"}, "u://x"),
    ("tasks/get", {"taskId": "1"}, "1"),
    ("tasks/update", {"taskId": "1"}, "1"),
    ("tasks/cancel", {"taskId": "1"}, "1"),
    ("tools/call", {"name": "é"}, sentinel("é".encode()).decode()),
    ("tools/call", {"name": ""}, ""),
    ("resources/read", {"uri": "u" * 10_000}, "u" * 10_000),
]


def headers_for(method: str, name: str | None, version: str | None = VERSION) -> dict[bytes, bytes]:
    given = {b"mcp-protocol-version": version, b"mcp-method": method, b"mcp-name": name}
    return {key: value.encode() for key, value in given.items() if value is not None}


@pytest.mark.parametrize(("method", "params", "name"), NAMED)
def test_headers_that_say_what_the_body_says_are_right(method: str, params: Json, name: str) -> None:
    """HM-11, HM-12, HM-32."""
    request = read(modern(1, method, params))

    check_routing(headers_for(method, name), request)
    check_routing({key: b" \t" + value + b" " for key, value in headers_for(method, name).items()}, request)
    for wrong in (None, f"{name}x", f"x{name}", f"{name},{name}", name.upper() + "!"):
        with pytest.raises(HeaderMismatch):
            check_routing(headers_for(method, wrong), request)


def test_a_name_is_not_looked_at_where_no_member_is_named() -> None:
    for method in ("tools/list", "server/discover", "subscriptions/listen", "tasks/result", "no/such"):
        check_routing(headers_for(method, None), read(modern(1, method, {"name": "x"})))
        check_routing(headers_for(method, "anything"), read(modern(1, method, {"name": "x"})))


@pytest.mark.parametrize("params", [{}, {"name": None}, {"name": 7}, {"name": ["t"]}])
def test_a_name_for_a_body_without_one_is_refused_and_none_is_left_to_the_child(params: Json) -> None:
    request = read(modern(1, "tools/call", params))

    check_routing(headers_for("tools/call", None), request)
    with pytest.raises(HeaderMismatch, match=r"params\.name is no string"):
        check_routing(headers_for("tools/call", "7"), request)


@pytest.mark.parametrize("method", [None, "", "TOOLS/CALL", "tools/list", "tools/call,tools/call", "tasks/get"])
def test_the_method_is_compared_as_it_is(method: str | None) -> None:
    headers = headers_for("tools/call", "echo")
    headers.pop(b"mcp-method")
    if method is not None:
        headers[b"mcp-method"] = method.encode()

    with pytest.raises(HeaderMismatch, match="Mcp-Method"):
        check_routing(headers, read(tool(1, "echo")))


def of_revision(version: str) -> Json:
    meta: Json = {f"{PREFIX}protocolVersion": version}
    return modern(1, "tools/list", **meta)


# header, body -> what is wrong
REVISIONS: list[tuple[str | None, str, type[Exception] | None]] = [
    (VERSION, VERSION, None),
    (f"  {VERSION}\t", VERSION, None),
    (None, VERSION, HeaderMismatch),
    ("", VERSION, HeaderMismatch),
    ("2025-11-25", VERSION, HeaderMismatch),
    (VERSION, "2025-11-25", HeaderMismatch),
    (VERSION, "v999.0.0", HeaderMismatch),
    ("v999.0.0", VERSION, HeaderMismatch),
    (None, "v999.0.0", HeaderMismatch),
    ("v999.0.0", "v999.0.0", RevisionUnsupported),
    ("2025-11-25", "2025-11-25", RevisionUnsupported),
    ("", "", RevisionUnsupported),
]


@pytest.mark.parametrize(("header", "body", "fault"), REVISIONS)
def test_the_revision(header: str | None, body: str, fault: type[Exception] | None) -> None:
    """HM-10, HM-13. That they differ is found before that nobody speaks it."""
    request = read(of_revision(body))
    headers = headers_for("tools/list", None, header)

    if fault is None:
        check_routing(headers, request)
        return
    with pytest.raises(fault) as caught:
        check_routing(headers, request)
    if isinstance(caught.value, RevisionUnsupported):
        assert caught.value.data == {"supported": [VERSION], "requested": body}


def test_the_revision_is_found_wrong_before_the_method_is() -> None:
    """The ladder of D.0.1, step 11."""
    unsupported = read(of_revision("v1"))

    with pytest.raises(RevisionUnsupported):
        check_routing(headers_for("other", "x", "v1"), unsupported)
    with pytest.raises(HeaderMismatch, match="Mcp-Method"):
        check_routing(headers_for("other", "x"), read(tool(1, "echo")))


# ---- custom headers

S = {"type": "string"}


def annotated(header: Any, kind: Any = "string", **more: Any) -> Json:
    return {"type": kind, "x-mcp-header": header, **more}


def properties(**each: Any) -> Json:
    return {"type": "object", "properties": each}


SCHEMAS: list[tuple[Any, list[tuple[bytes, tuple[str, ...], str]]]] = [
    (properties(a=S), []),
    (properties(a=annotated("Region")), [(b"mcp-param-region", ("a",), "string")]),
    (properties(a=annotated("A", "integer")), [(b"mcp-param-a", ("a",), "integer")]),
    (properties(a=annotated("A", "boolean")), [(b"mcp-param-a", ("a",), "boolean")]),
    (properties(a=annotated("!#$%&'*+-.^_`|~9z")), [(b"mcp-param-!#$%&'*+-.^_`|~9z", ("a",), "string")]),
    (
        properties(a=annotated("A"), b=properties(c=annotated("C"), d=S)),
        [(b"mcp-param-a", ("a",), "string"), (b"mcp-param-c", ("b", "c"), "string")],
    ),
    # what no client would offer has no rules at all
    (properties(a=annotated("A"), b=annotated("a")), []),
    (properties(a=annotated("A"), b=properties(a=annotated("A"))), []),
    (properties(a=annotated("A"), b=annotated("B", "number")), []),
    (properties(a=annotated("A"), b=annotated("B", "object")), []),
    (properties(a=annotated("A"), b=annotated("B", ["string", "null"])), []),
    (properties(a=annotated("A"), b={"x-mcp-header": "B"}), []),
    (properties(a=annotated("A"), b=annotated("")), []),
    (properties(a=annotated("A"), b=annotated("two words")), []),
    (properties(a=annotated("A"), b=annotated("col:on")), []),
    (properties(a=annotated("A"), b=annotated("é")), []),
    (properties(a=annotated("A"), b=annotated("B\n")), []),
    (properties(a=annotated("A"), b=annotated(7)), []),
    (properties(a=annotated("A"), b=annotated(None)), []),
    # `properties` alone lead to an annotation that counts
    ({"type": "object", "anyOf": [properties(a=annotated("A"))]}, []),
    (properties(a={"type": "array", "items": annotated("A")}), []),
    (properties(a={"$ref": "#/$defs/x"}) | {"$defs": {"x": annotated("A")}}, []),
    ({"properties": [annotated("A")]}, []),
    (properties(a=True, b=None, c="x", d=annotated("D")), [(b"mcp-param-d", ("d",), "string")]),
    # a property may be called like a keyword
    (properties(properties=properties(properties=annotated("P"))), [(b"mcp-param-p", ("properties",) * 2, "string")]),
    (True, []),
    (None, []),
    ([], []),
]


@pytest.mark.parametrize(("schema", "expected"), SCHEMAS)
def test_the_rules_of_a_schema(schema: Any, expected: list[tuple[bytes, tuple[str, ...], str]]) -> None:
    """HM-15. Spec: 2026-07-28 basic/transports/streamable-http, Custom Headers."""
    assert rules_of_schema(schema) == tuple(HeaderRule(*each) for each in expected)  # type: ignore[arg-type]


def test_a_schema_without_a_bottom_has_no_rules() -> None:
    schema: Json = properties(a=annotated("A"))
    schema["properties"]["b"] = schema

    assert rules_of_schema(schema) == ()


LISTINGS: list[tuple[bytes, list[str]]] = [
    (b'{"tools":[{"name":"t","inputSchema":{"properties":{"a":{"type":"string"}}}}]}', []),
    (json.dumps({"tools": [{"name": "t", "inputSchema": properties(a=annotated("A"))}]}).encode(), ["t"]),
    (
        json.dumps(
            {
                "tools": [
                    {"name": "bad", "inputSchema": properties(a=annotated("A", "number"))},
                    {"name": "none"},
                    {"name": 7, "inputSchema": properties(a=annotated("A"))},
                    "x-mcp-header",
                    {"name": "good", "inputSchema": properties(a=annotated("A"))},
                ]
            }
        ).encode(),
        ["good"],
    ),
    (b'{"tools":"x-mcp-header"}', []),
    (b'{"tools":null,"x":"x-mcp-header"}', []),
    (b'["x-mcp-header"]', []),
    (b'{"x-mcp-header":"\\ud800"}', []),
    (b"[" * 5000 + b'"x-mcp-header"' + b"]" * 5000, []),
]


@pytest.mark.parametrize(("listing", "tools"), LISTINGS, ids=range(len(LISTINGS)))
def test_the_rules_of_a_listing(listing: bytes, tools: list[str]) -> None:
    """Of what can't be understood there are none: a child is let have its way."""
    assert list(rules_of_listing(Raw(listing))) == tools


REGION, COUNT, DRY, ZONE = (
    HeaderRule(b"mcp-param-region", ("region",), "string"),
    HeaderRule(b"mcp-param-count", ("count",), "integer"),
    HeaderRule(b"mcp-param-dry", ("dry",), "boolean"),
    HeaderRule(b"mcp-param-zone", ("where", "zone"), "string"),
)

# rule, arguments, header -> whether that is right
ARGUMENTS: list[tuple[HeaderRule, str | None, bytes | None, bool]] = [
    (REGION, '{"region":"eu"}', b"eu", True),
    (REGION, '{ "region" :\n "eu" }', b" eu\t", True),
    (REGION, '{"region":"eu"}', None, False),
    (REGION, '{"region":"eu"}', b"us", False),
    (REGION, '{"region":"eu"}', b"EU", False),
    (REGION, '{"region":"Hello"}', sentinel(b"Hello"), True),
    (REGION, '{"region":"Hello"}', b"=?base64?SGVsbG8?=", False),
    (REGION, '{"region":"Hello"}', b"=?base64?SGVs!!!bG8=?=", False),
    (REGION, '{"region":"SGVsbG8="}', b"SGVsbG8=", True),
    (REGION, '{"region":"=?base64?SGVsbG8="}', b"=?base64?SGVsbG8=", True),
    (REGION, '{"region":"\\u0065u"}', b"eu", True),
    (REGION, '{"region":""}', b"", True),
    (REGION, '{"region":""}', None, False),
    (REGION, '{"region":"\\ud800"}', b"x", False),
    (REGION, '{"region":"\\ud800"}', None, False),
    (REGION, '{"region":"' + "x" * 9000 + '"}', b"x" * 9000, True),
    # an argument that is not there has no header
    (REGION, "{}", None, True),
    (REGION, None, None, True),
    (REGION, "null", None, True),
    (REGION, "[]", None, True),
    (REGION, '{"region":null}', None, True),
    (REGION, '{"region":null}', b"null", False),
    (REGION, '{"region":null}', b"", False),
    (REGION, "{}", b"eu", False),
    (REGION, None, b"eu", False),
    # what the child gets is compared, whatever the schema says it should be
    (REGION, '{"region":7}', b"7", True),
    (REGION, '{"region":true}', b"true", True),
    (REGION, '{"region":{}}', b"{}", False),
    (REGION, '{"region":["eu"]}', b'["eu"]', False),
    # numbers are compared as numbers
    (COUNT, '{"count":42}', b"42", True),
    (COUNT, '{"count":42}', b"42.0", True),
    (COUNT, '{"count":42.0}', b"42", True),
    (COUNT, '{"count":4.2e1}', b"42", True),
    (COUNT, '{"count":-7}', b"-7", True),
    (COUNT, '{"count":-0}', b"0", True),
    (COUNT, '{"count":9007199254740993}', b"9007199254740993", True),
    (COUNT, '{"count":9007199254740993}', b"9007199254740992", False),
    (COUNT, '{"count":42}', b"43", False),
    (COUNT, '{"count":42}', b"0x2a", False),
    (COUNT, '{"count":42}', b"4_2", False),
    (COUNT, '{"count":42}', b"+42", False),
    (COUNT, '{"count":42}', b"", False),
    (COUNT, '{"count":42}', b"NaN", False),
    (COUNT, '{"count":1}', b"1e999999999", False),
    (COUNT, '{"count":1e999}', b"Infinity", False),
    (COUNT, '{"count":' + "9" * 500 + "}", b"9" * 500, False),  # far out of the range that is allowed
    (COUNT, '{"count":"42"}', b"42.0", False),
    (DRY, '{"dry":true}', b"true", True),
    (DRY, '{"dry":false}', b"false", True),
    (DRY, '{"dry":true}', b"True", False),
    (DRY, '{"dry":true}', b"1", False),
    (DRY, '{"dry":false}', None, False),
    # further down
    (ZONE, '{"where":{"zone":"a"}}', b"a", True),
    (ZONE, '{"where":{"zone":"a"}}', b"b", False),
    (ZONE, '{"where":{"zone":"a"}}', None, False),
    (ZONE, '{"where":{}}', None, True),
    (ZONE, '{"where":null}', None, True),
    (ZONE, '{"where":"zone"}', None, True),
    (ZONE, '{"where":"zone"}', b"zone", False),
    (ZONE, '{"zone":"a"}', None, True),
]


@pytest.mark.parametrize(("rule", "arguments", "header", "is_right"), ARGUMENTS)
def test_a_header_that_repeats_an_argument(
    rule: HeaderRule, arguments: str | None, header: bytes | None, is_right: bool
) -> None:
    """HM-15: SEP-2243's tables."""
    headers = {rule.header: header} if header is not None else {}
    raw = Raw(arguments.encode()) if arguments is not None else None

    if is_right:
        check_arguments(headers, [rule], raw)
        return
    with pytest.raises(HeaderMismatch, match=rule.header.decode()):
        check_arguments(headers, [rule], raw)


def test_headers_that_no_rule_names_are_let_pass() -> None:
    check_arguments({b"mcp-param-other": b"x", b"mcp-param-region": b"eu"}, [REGION], Raw(b'{"region":"eu"}'))


def test_an_argument_that_two_readers_could_read_differently_is_refused() -> None:
    with pytest.raises(NotJsonRpc):
        check_arguments({b"mcp-param-region": b"eu"}, [REGION], Raw(b'{"region":"us","region":"eu"}'))


def test_arguments_too_deep_to_be_looked_at_have_no_value() -> None:
    deep = b'{"region":' + b"[" * 3000 + b"]" * 3000 + b"}"

    check_arguments({}, [REGION], Raw(deep))
    with pytest.raises(HeaderMismatch):
        check_arguments({b"mcp-param-region": b"eu"}, [REGION], Raw(deep))

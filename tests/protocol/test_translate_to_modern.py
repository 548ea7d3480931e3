"""How messages of a server of the handshake era read in revision 2026-07-28: tables, without anybody to send them."""

import json
from typing import Any

import pytest
from hypothesis import given
from msgspec import Raw

from proxy.protocol.handshake import (
    Server,
    discover_result,
    initialize,
    legacy_capabilities,
    read_server,
    supported_versions,
)
from proxy.protocol.jsontext import Members, as_object, encode, parse_members
from proxy.protocol.translate_to_modern import (
    CACHEABLE_METHODS,
    error_code,
    for_listen,
    is_failure,
    legacy_params,
    log_level_of,
    missing_capability,
    modern_error,
    modern_response,
    modern_result,
    with_token,
)
from tests.protocol.texts import values

Json = dict[str, Any]
PREFIX = "io.modelcontextprotocol/"
INFO = Raw(b'{"name":"old","version":"1"}')
META: Json = {f"{PREFIX}serverInfo": {"name": "old", "version": "1"}}


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


def members(value: Json) -> Members:
    return parse_members(json.dumps(value).encode())


def read(value: Any) -> Any:
    return json.loads(encode(value))


# ---- the handshake

CAPABILITIES: list[tuple[Json, Json]] = [
    ({}, {}),
    ({"sampling": {"tools": {}, "x": 1}}, {"sampling": {"tools": {}, "x": 1}}),
    ({"elicitation": {"form": {}, "url": {}}}, {"elicitation": {"form": {}, "url": {}}}),
    ({"roots": {}}, {"roots": {"listChanged": False}}),
    ({"roots": {"listChanged": True}}, {"roots": {"listChanged": False}}),
    ({"experimental": {"a": {}}, "tasks": {}, "vendor": {}}, {"experimental": {"a": {}}}),
    ({"sampling": None, "elicitation": True, "roots": [], "experimental": "x"}, {}),
    ({"extensions": {f"{PREFIX}tasks": {}}}, {}),
    ({"extensions": {f"{PREFIX}ui": {"m": []}, f"{PREFIX}tasks": {}}}, {"extensions": {f"{PREFIX}ui": {"m": []}}}),
    ({"extensions": None}, {}),
]


@pytest.mark.parametrize(("modern", "legacy"), CAPABILITIES)
def test_what_a_client_can_do_is_said_as_the_handshake_says_it(modern: Json, legacy: Json) -> None:
    assert read(legacy_capabilities(members(modern))) == legacy


UNNAMED: list[Any] = [None, [], "x", {}, {"name": "x"}, {"version": "1"}, {"name": 1, "version": "1"}]


@pytest.mark.parametrize("info", UNNAMED)
def test_a_client_without_a_name_gets_one_because_the_handshake_demands_it(info: Any) -> None:
    line = initialize(1, capabilities={}, client_info=None if info is None else raw(info))

    assert json.loads(line)["params"]["clientInfo"] == {"name": "mcp-proxy", "version": "0"}


@pytest.mark.parametrize(
    ("result", "server"),
    [
        ({}, Server("2024-11-05", {}, None, None)),
        (
            {"protocolVersion": "2025-06-18", "serverInfo": {"name": "n"}, "instructions": "do"},
            Server("2025-06-18", {}, raw({"name": "n"}), raw("do")),
        ),
        (
            {"protocolVersion": 7, "serverInfo": "x", "instructions": None, "capabilities": None},
            Server("2024-11-05", {}, None, None),
        ),
    ],
)
def test_what_a_server_says_in_the_handshake_is_taken_as_far_as_it_goes(result: Json, server: Server) -> None:
    assert read_server(raw(result)) == server


@pytest.mark.parametrize("result", [None, raw(None), raw([]), raw("x")])
def test_a_handshake_that_says_nothing_is_none(result: Raw | None) -> None:
    assert read_server(result) is None


def test_a_flag_is_offered_only_if_it_is_true() -> None:
    server = Server(
        "x", members({"tools": {"listChanged": True}, "prompts": {"listChanged": 1}, "logging": {}}), None, None
    )

    assert server.changes == {"toolsListChanged"}
    assert server.offers("logging")
    assert not server.offers("logging", "x")
    assert not server.offers("completions")


def test_discover_says_what_the_handshake_said_but_for_what_only_that_has() -> None:
    """Spec: 2026-07-28 server/discover."""
    offered: Json = {
        "tools": {"listChanged": True},
        "completions": {},
        "experimental": {"x": {}},
        "vendor": {},
        "tasks": {},
        "logging": None,
        "extensions": {f"{PREFIX}ui": {}, f"{PREFIX}tasks": {}},
    }
    server = Server("2025-11-25", members(offered), INFO, raw("use it"))

    kept = {name: offered[name] for name in ("tools", "completions", "experimental", "vendor")}
    assert read(discover_result(server)) == {
        "supportedVersions": ["2026-07-28"],
        "capabilities": {**kept, "extensions": {f"{PREFIX}ui": {}}},
        "instructions": "use it",
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": META,
    }


def test_discover_of_a_server_without_a_name_has_none() -> None:
    assert "_meta" not in read(discover_result(Server("2025-11-25", {}, None, None)))


@pytest.mark.parametrize(
    ("data", "versions"),
    [(None, []), ({}, []), ({"supported": "x"}, []), ({"supported": ["a", 1, None, "b"]}, ["a", "b"]), ([], [])],
)
def test_the_revisions_that_a_refusal_names(data: Any, versions: list[str]) -> None:
    assert supported_versions(None if data is None else raw(data)) == versions


# ---- requests

PARAMS: list[tuple[str, Json, Json, Json]] = [
    ("tools/list", {"cursor": "c", "task": {}}, {}, {"cursor": "c", "task": {}}),
    ("tools/call", {"name": "t", "task": {}, "inputResponses": {}, "requestState": "s"}, {}, {"name": "t"}),
    ("prompts/get", {"name": "t", "task": {}, "requestState": "s"}, {}, {"name": "t", "task": {}}),
    ("x/y", {"inputResponses": 1, "requestState": 2}, {}, {"inputResponses": 1, "requestState": 2}),
    ("x/y", {"_meta": {"old": 1}}, {}, {}),
    ("x/y", {}, {"progressToken": 7, f"{PREFIX}logLevel": "info"}, {"_meta": {"progressToken": 7}}),
    ("x/y", {}, {f"{PREFIX}protocolVersion": "x", f"{PREFIX}related-task": {}}, {}),
    (
        "x/y",
        {},
        {"traceparent": "t", "io.modelcontextprotocol": 1},
        {"_meta": {"traceparent": "t", "io.modelcontextprotocol": 1}},
    ),
]


@pytest.mark.parametrize(("method", "params", "meta", "legacy"), PARAMS)
def test_params_lose_what_only_the_new_revision_has(method: str, params: Json, meta: Json, legacy: Json) -> None:
    assert read(legacy_params(method, members(params), members(meta))) == legacy


@given(values)
def test_members_that_nobody_acts_on_keep_their_bytes(value: bytes) -> None:
    written = Raw(value.strip())

    assert legacy_params("tools/call", {"arguments": written}, {})["arguments"] == written
    result = modern_result("tools/call", Raw(b'{"content":' + value + b"}"), INFO)
    assert as_object(result) == {
        "content": written,
        "resultType": Raw(b'"complete"'),
        "_meta": Raw(encode({f"{PREFIX}serverInfo": INFO})),
    }


# ---- results


@pytest.mark.parametrize("method", [*sorted(CACHEABLE_METHODS), "tools/call", "prompts/get", "completion/complete"])
def test_every_result_says_its_type_and_whose_it_is_and_some_how_long_they_hold(method: str) -> None:
    """Spec: 2026-07-28 basic, Results; server/utilities/caching."""
    result = read(modern_result(method, raw({"x": 1, "resultType": "odd", "ttlMs": 9, "cacheScope": "public"}), INFO))

    assert (result["x"], result["resultType"], result["_meta"]) == (1, "complete", META)
    holds = (0, "private") if method in CACHEABLE_METHODS else (9, "public")
    assert (result["ttlMs"], result["cacheScope"]) == holds


@pytest.mark.parametrize(
    ("meta", "info", "expected"),
    [
        ({}, None, {}),
        ({"_meta": {"a": 1}}, None, {"_meta": {"a": 1}}),
        ({"_meta": {"a": 1}}, INFO, {"_meta": {"a": 1, **META}}),
        ({"_meta": {f"{PREFIX}serverInfo": "mine"}}, INFO, {"_meta": {f"{PREFIX}serverInfo": "mine"}}),
        ({"_meta": None}, None, {"_meta": {}}),
        ({"_meta": None}, INFO, {"_meta": META}),
    ],
)
def test_what_a_result_says_about_itself_is_added_to(meta: Json, info: Raw | None, expected: Json) -> None:
    assert read(modern_result("x/y", raw(meta), info)) == {**expected, "resultType": "complete"}


@pytest.mark.parametrize("result", [None, 1, "x", []])
def test_a_result_that_is_no_object_is_an_error(result: Any) -> None:
    assert modern_result("x/y", raw(result), INFO) is None
    response = modern_response({"result": raw(result)}, "x/y", INFO)
    assert read(response)["error"]["code"] == -32603


TOOLS: list[tuple[Any, Any]] = [
    ([], []),
    ([{"name": "a"}], [{"name": "a"}]),
    (
        [{"name": "a", "execution": {"taskSupport": "required"}}, {"name": "b", "x": {"execution": 1}}, 5],
        [{"name": "a"}, {"name": "b", "x": {"execution": 1}}, 5],
    ),
    ("execution", "execution"),
    ({"execution": 1}, {"execution": 1}),
]


@pytest.mark.parametrize(("tools", "expected"), TOOLS)
def test_tools_do_not_say_how_they_are_tasks(tools: Any, expected: Any) -> None:
    assert read(modern_result("tools/list", raw({"tools": tools}), INFO))["tools"] == expected


def test_only_a_listing_of_tools_has_tools() -> None:
    result = read(modern_result("x/y", raw({"tools": [{"execution": 1}]}), INFO))

    assert result["tools"] == [{"execution": 1}]


def test_other_members_of_a_response_pass() -> None:
    response = modern_response(members({"jsonrpc": "2.0", "id": 1, "result": {}, "x": 2**70}), "x/y", None)

    assert read(response) == {"jsonrpc": "2.0", "id": 1, "result": {"resultType": "complete"}, "x": 2**70}


# ---- errors

ERRORS: list[tuple[Any, int, Any]] = [
    ({"code": -32002, "message": "m", "data": {"uri": "x"}}, -32602, {"uri": "x"}),
    ({"code": -32601, "message": "m"}, -32601, None),
    ({"code": -32800, "message": "m"}, -32800, None),
    ({"code": 0, "message": "m"}, 0, None),
    ({"code": 5, "message": "m", "data": 2**70}, 5, 2**70),
    ({"code": -32000, "message": "m"}, -32000, None),
    ({"code": -32001, "message": "m"}, -32001, None),
    ({"code": -32019, "message": "m"}, -32019, None),
    ({"code": -32100, "message": "m"}, -32100, None),
    *(
        ({"code": code, "message": "m", "data": 1}, -32603, {"code": code, "message": "m", "data": 1})
        for code in (-32020, -32021, -32022, -32042, -32099)
    ),
]


@pytest.mark.parametrize(("error", "code", "data"), ERRORS)
def test_an_error_is_one_that_the_new_revision_has(error: Json, code: int, data: Any) -> None:
    """Spec: 2026-07-28 basic, Error handling."""
    translated = read(modern_error(raw(error)))

    assert (translated["code"], translated["message"], translated.get("data")) == (code, "m", data)


@pytest.mark.parametrize("error", [None, [], "x", {}, {"code": None}, {"code": "7"}, {"code": 1.5}, {"code": True}])
def test_an_error_that_is_none_is_an_internal_one(error: Any) -> None:
    assert read(modern_error(raw(error))) == {"code": -32603, "message": "The server's answer could not be used"}
    assert error_code(raw(error)) is None


@pytest.mark.parametrize("message", [None, 5])
def test_an_error_without_a_message_has_an_empty_one(message: Any) -> None:
    assert read(modern_error(raw({"code": 1, "message": message, "x": 1}))) == {"code": 1, "message": "", "x": 1}


def test_a_response_with_an_error_keeps_it() -> None:
    assert read(modern_response({"error": raw({"code": 1, "message": "m"})}, "x/y", INFO)) == {
        "error": {"code": 1, "message": "m"}
    }


def test_a_response_with_nothing_in_it_is_an_error() -> None:
    assert read(modern_response({}, "x/y", INFO))["error"]["code"] == -32603


@pytest.mark.parametrize(
    ("response", "is_one"),
    [
        ({"error": {}}, True),
        ({"result": {"isError": True}}, True),
        ({"result": {"isError": False}}, False),
        ({"result": {"isError": "true"}}, False),
        ({"result": {}}, False),
        ({"result": []}, False),
    ],
)
def test_what_a_failure_is(response: Json, is_one: bool) -> None:
    assert is_failure(members(response)) is is_one


def test_a_missing_capability_is_named_with_what_came_of_it() -> None:
    """Spec: 2026-07-28 basic, Client capabilities."""
    error = read(missing_capability({"sampling": {}}, members({"id": 1, "error": {"code": 1}})))

    assert error["code"] == -32021
    assert error["data"] == {"requiredCapabilities": {"sampling": {}}, "error": {"code": 1}}


# ---- notifications


def test_a_notification_for_a_listen_names_it() -> None:
    """Spec: 2026-07-28 basic/patterns/subscriptions."""
    key = f"{PREFIX}subscriptionId"
    notification = members({"method": "m", "x": 2**70})

    assert json.loads(for_listen(notification, 5)) == {"method": "m", "x": 2**70, "params": {"_meta": {key: 5}}}
    told = members({"method": "m", "params": {"a": 1, "_meta": {"b": 2, key: 9}}})
    assert json.loads(for_listen(told, 5))["params"] == {"a": 1, "_meta": {"b": 2, key: 5}}


def test_progress_gets_another_token_and_keeps_everything_else() -> None:
    progress = members({"method": "m", "params": {"progressToken": 1, "progress": 2**70, "x": {}}})

    assert json.loads(with_token(progress, 9))["params"] == {"progressToken": 9, "progress": 2**70, "x": {}}


@pytest.mark.parametrize(
    ("params", "level"),
    [({"level": "info"}, "info"), ({"level": "loud"}, None), ({"level": 1}, None), ({}, None), (None, None)],
)
def test_how_severe_a_log_message_is(params: Any, level: str | None) -> None:
    assert log_level_of(members({"params": params})) == level


# ---- JSON


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (b"{}", {}),
        (b'{"a":1}', {"a": Raw(b"1")}),
        (b"[]", None),
        (b'"{"', None),
        (b"null", None),
        (b"{" + b'"a":{' * 5000 + b"}" * 5001, None),
    ],
)
def test_an_object_is_one_and_nothing_else_is(value: bytes | None, expected: Members | None) -> None:
    assert as_object(None if value is None else Raw(value)) == expected

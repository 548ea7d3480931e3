"""Which tools a client may see and call."""

import json
from typing import Any

import pytest

from proxy.protocol.child_lines import parse_child_line
from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.envelope import CAPABILITIES_KEY
from proxy.protocol.messages import ENVELOPE_KEY, Request, Response
from proxy.protocol.tool_rules import SHOWN_LETTERS, ToolRules

TOOLS = ["read_file", "write_file", "list_files", "Read_File"]


def call(params: Any, method: str = "tools/call") -> Request:
    message = parse_client_message(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())
    assert isinstance(message, Request)
    return message


def answer(text: bytes) -> Response:
    (message,) = parse_child_line(text)
    assert isinstance(message, Response)
    return message


@pytest.mark.parametrize(
    ("allowed", "denied", "left"),
    [
        ((), (), TOOLS),
        (("*_file",), (), ["read_file", "write_file"]),
        ((), ("write*",), ["read_file", "list_files", "Read_File"]),
        (("read_file", "l*"), (), ["read_file", "list_files"]),
        (("*",), ("*_file?",), ["read_file", "write_file", "Read_File"]),
        (("*_[Ff]ile",), ("read_file",), ["write_file", "Read_File"]),
        (("nothing",), (), []),
    ],
)
def test_a_tool_is_there_if_it_is_allowed_and_not_denied(
    allowed: tuple[str, ...], denied: tuple[str, ...], left: list[str]
) -> None:
    rules = ToolRules(allowed, denied)
    tools = [{"name": name} for name in TOOLS]
    listed = rules.listed(answer(json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}).encode()))

    assert [name for name in TOOLS if rules.permits(name)] == left
    assert [name for name in TOOLS if rules.refusal(call({"name": name})) is None] == left
    assert [tool["name"] for tool in json.loads(bytes(listed.members["result"]))["tools"]] == left


def test_what_is_left_of_a_list_is_the_bytes_that_it_was() -> None:
    one, two = b'{ "name":"a" , "x": 1e400 }', b'{"name":"b"}'
    text = (
        b'{"jsonrpc":"2.0","id":1,"result":{"nextCursor" : "c","tools":[' + one + b", " + two + b'],"_meta":{"z":1}}}'
    )

    listed = ToolRules(denied=("b",)).listed(answer(text))

    assert bytes(listed.members["result"]) == b'{"nextCursor":"c","tools":[' + one + b'],"_meta":{"z":1}}'
    untouched = answer(text)
    assert ToolRules(denied=("c",)).listed(untouched) is untouched


@pytest.mark.parametrize("result", [b"7", b"{}", b'{"tools":7}', b'{"tools":[]}', b'{"tools":null}'])
def test_what_is_no_list_is_left_as_it_is(result: bytes) -> None:
    response = answer(b'{"jsonrpc":"2.0","id":1,"result":' + result + b"}")

    assert ToolRules(denied=("b",)).listed(response) is response


def test_a_tool_without_a_name_is_not_shown() -> None:
    response = answer(b'{"jsonrpc":"2.0","id":1,"result":{"tools":[7,{},{"name":7},{"name":"a"}]}}')

    assert bytes(ToolRules(denied=("b",)).listed(response).members["result"]) == b'{"tools":[{"name":"a"}]}'


def test_only_calls_of_tools_are_refused() -> None:
    rules = ToolRules(denied=("*",))

    assert rules.refusal(call({"name": "x"})) == "Unknown tool: x"
    assert rules.refusal(call({"name": "x"}, "prompts/get")) is None
    assert rules.refusal(call({"name": "x" * 9000})) == "Unknown tool: " + "x" * SHOWN_LETTERS


@pytest.mark.parametrize("params", [{"name": ["x"]}, {"name": 7}, {"name": None}, {}, ["x", {}], None])
def test_a_call_without_a_proper_name_is_refused(params: Any) -> None:
    """A server in JavaScript makes a text of a list, and some take what is called by its position."""
    assert ToolRules(denied=("x",)).refusal(call(params)) == "Invalid params: name"


def test_a_call_without_params_is_refused() -> None:
    message = parse_client_message(b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}')
    assert isinstance(message, Request)

    assert ToolRules(denied=("x",)).refusal(message) == "Invalid params: name"


@pytest.mark.parametrize("name", ["Name", "NAME"])
def test_a_name_in_another_case_slips_nothing_past(name: str) -> None:
    """Servers in Go take it for the name."""
    rules = ToolRules(denied=("secret",))

    assert rules.refusal(call({"name": "x", name: "secret"})) is not None
    assert rules.refusal(call({name: "secret"})) is not None


def test_a_name_in_escapes_is_the_same_name() -> None:
    message = parse_client_message(
        rb'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"\u006eame":"s\u0065cret"}}'
    )
    assert isinstance(message, Request)

    assert ToolRules(denied=("secret",)).refusal(message) is not None


def test_an_enveloped_call_is_refused_too() -> None:
    meta = {ENVELOPE_KEY: "2026-07-28", CAPABILITIES_KEY: {}}

    assert ToolRules(denied=("x",)).refusal(call({"name": "x", "_meta": meta})) is not None

"""What is left of a handshake, and of a request, without a session."""

import json
from typing import Any

import pytest
from msgspec import Raw

from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.jsontext import parse_members
from proxy.protocol.messages import Request
from proxy.protocol.sessionless import (
    INITIALIZED,
    answer_to,
    given_up,
    handshake,
    needs_session,
    version_spoken,
    without_task,
)

NEWEST = "2025-11-25"


def request(method: str, params: Any = None, id_: int | str = 1) -> Request:
    members = {"jsonrpc": "2.0", "id": id_, "method": method, **({} if params is None else {"params": params})}
    parsed = parse_client_message(json.dumps(members).encode())
    assert isinstance(parsed, Request)
    return parsed


def answer(params: Any, said: dict[str, Any]) -> dict[str, Any]:
    line = answer_to(request("initialize", params, "q"), parse_members(json.dumps(said).encode()))
    message: dict[str, Any] = json.loads(line)
    assert message["id"] == "q" and b"\n" not in line
    result: dict[str, Any] = message["result"]
    return result


@pytest.mark.parametrize(
    ("asked", "agreed", "told"),
    [
        ("2025-11-25", "2025-11-25", "2025-11-25"),
        ("2025-03-26", "2025-11-25", "2025-03-26"),
        ("2025-11-25", "2025-03-26", "2025-03-26"),
        ("2099-01-01", "2025-06-18", "2025-06-18"),
        ("1.0", "2025-11-25", "2025-11-25"),
        (None, "2025-11-25", "2025-11-25"),
        (7, "2025-11-25", "2025-11-25"),
    ],
)
def test_a_client_is_told_the_older_revision_of_its_own_and_the_childs(asked: Any, agreed: str, told: str) -> None:
    assert answer({"protocolVersion": asked}, {"protocolVersion": agreed})["protocolVersion"] == told


@pytest.mark.parametrize("params", [None, [], {}])
def test_a_client_that_asks_for_none_is_told_the_childs(params: Any) -> None:
    assert answer(params, {"protocolVersion": NEWEST})["protocolVersion"] == NEWEST


def test_a_child_that_says_none_speaks_the_oldest() -> None:
    assert answer({"protocolVersion": NEWEST}, {"serverInfo": {}})["protocolVersion"] == "2024-11-05"


def test_a_child_that_says_nonsense_has_said_it_itself() -> None:
    assert answer({"protocolVersion": NEWEST}, {"protocolVersion": 7}) == {"protocolVersion": 7}


def test_only_what_needs_no_session_is_offered_and_the_rest_is_as_it_was_said() -> None:
    """HM-18: capabilities match behaviour."""
    said = {
        "protocolVersion": NEWEST,
        "capabilities": {
            "logging": {},
            "tasks": {"list": {}},
            "tools": {"listChanged": True, "x": 1},
            "prompts": {"listChanged": False},
            "resources": {"subscribe": True, "listChanged": True},
            "completions": {},
            "experimental": {"a": {"subscribe": 1}},
            "odd": 7,
        },
        "instructions": "\u2028",
        "more": [1],
    }

    assert answer({}, said) == {
        **said,
        "capabilities": {
            "tools": {"listChanged": False, "x": 1},
            "prompts": {"listChanged": False},
            "resources": {"subscribe": False, "listChanged": False},
            "completions": {},
            "experimental": {"a": {"subscribe": 1}},
            "odd": 7,
        },
    }


def test_capabilities_that_are_no_object_pass() -> None:
    assert answer({}, {"protocolVersion": NEWEST, "capabilities": []})["capabilities"] == []


@pytest.mark.parametrize(
    ("method", "needs"),
    [
        ("initialize", True),
        ("logging/setLevel", True),
        ("resources/subscribe", True),
        ("resources/unsubscribe", True),
        ("tasks/get", True),
        ("tools/call", False),
        ("resources/read", False),
        ("tasks", False),
        ("x/unheard-of", False),
    ],
)
def test_what_is_about_a_session_needs_one(method: str, needs: bool) -> None:
    assert needs_session(method) is needs


@pytest.mark.parametrize(
    ("header", "newest", "spoken"),
    [
        (None, NEWEST, "2025-03-26"),
        (None, "2024-11-05", "2024-11-05"),
        (b"2025-06-18", NEWEST, "2025-06-18"),
        (b" 2025-11-25 ", "2025-06-18", "2025-06-18"),
    ],
)
def test_a_client_speaks_what_its_header_says(header: bytes | None, newest: str, spoken: str) -> None:
    assert version_spoken(header, newest) == spoken


def test_our_handshake_says_that_nothing_can_be_asked() -> None:
    asked = json.loads(handshake("2025-06-18", "1.2").encode(id=9))

    assert asked == {
        "jsonrpc": "2.0",
        "id": 9,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "mcp-proxy", "version": "1.2"},
        },
    }
    assert json.loads(INITIALIZED.encode()) == {"jsonrpc": "2.0", "method": "notifications/initialized"}


def test_a_call_is_no_task_where_tasks_are_not_offered() -> None:
    params = {"name": "t", "task": {"ttl": 1}, "_meta": {"progressToken": 3}}

    plain = without_task(request("tools/call", params))

    assert json.loads(plain.encode(id=1))["params"] == {"name": "t", "_meta": {"progressToken": 3}}
    assert (plain.progress_token, plain.raw_id) == (3, Raw(b"1"))


@pytest.mark.parametrize("params", [None, [1], {"name": "task"}])
def test_any_other_request_is_the_same(params: Any) -> None:
    asked = request("tools/call", params)

    assert without_task(asked) is asked


def test_a_request_that_is_given_up_is_cancelled() -> None:
    told = given_up(request("tools/call", {}, "a"))

    assert told.subject == "a"
    assert json.loads(told.encode_about(5)) == {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": 5, "reason": "The client is gone"},
    }

"""How questions of the handshake era become input requests, and answers to those become answers."""

import json
from typing import Any

import pytest
from msgspec import Raw

from proxy.protocol.answers import fits
from proxy.protocol.input_requests import (
    MAX_URL_ELICITATIONS,
    Declared,
    declined,
    input_request,
    input_required,
    is_accepted,
    key_of,
    lacking,
    legacy_answer,
    read_declared,
    read_responses,
    url_elicitations,
)
from proxy.protocol.jsontext import Members, encode, parse_members

Json = dict[str, Any]

SAMPLING, ELICITATION, ROOTS = "sampling/createMessage", "elicitation/create", "roots/list"
URL: Json = {"mode": "url", "url": "https://x", "message": "m"}


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


def members(value: Json) -> Members:
    return parse_members(json.dumps(value).encode())


def read(value: Any) -> Any:
    return json.loads(encode(value))


DECLARED: list[tuple[Json, Declared]] = [
    ({}, Declared()),
    ({"elicitation": {}}, Declared(forms=True)),
    ({"elicitation": {"form": {}}}, Declared(forms=True)),
    ({"elicitation": {"url": {}}}, Declared(urls=True)),
    ({"elicitation": {"form": {}, "url": {}}}, Declared(forms=True, urls=True)),
    ({"elicitation": {"later": {}}}, Declared(forms=True)),
    ({"sampling": {}}, Declared(sampling=True)),
    ({"sampling": {"tools": {}}}, Declared(sampling=True, tools=True)),
    ({"roots": {"listChanged": False}}, Declared(roots=True)),
    ({"elicitation": None, "sampling": True, "roots": []}, Declared()),
]


@pytest.mark.parametrize(("capabilities", "declared"), DECLARED)
def test_what_a_client_can_be_asked(capabilities: Json, declared: Declared) -> None:
    """Spec: 2025-11-25 client/elicitation, Capabilities: an empty object means forms."""
    assert read_declared(members(capabilities)) == declared
    assert declared.anything is (declared != Declared())


EVERYTHING = Declared(True, True, True, True, True)

LACKING: list[tuple[str, Json, Declared, Json]] = [
    *((method, {}, EVERYTHING, {}) for method in (SAMPLING, ELICITATION, ROOTS)),
    (ELICITATION, URL, EVERYTHING, {}),
    (SAMPLING, {"tools": [], "toolChoice": {}}, EVERYTHING, {}),
    (ROOTS, {}, Declared(sampling=True), {"roots": {}}),
    (SAMPLING, {}, Declared(), {"sampling": {}}),
    (SAMPLING, {}, Declared(sampling=True), {}),
    (SAMPLING, {"tools": []}, Declared(sampling=True), {"sampling": {"tools": {}}}),
    (SAMPLING, {"toolChoice": {}}, Declared(sampling=True), {"sampling": {"tools": {}}}),
    (ELICITATION, {}, Declared(), {"elicitation": {"form": {}}}),
    (ELICITATION, {"mode": "form"}, Declared(urls=True), {"elicitation": {"form": {}}}),
    (ELICITATION, URL, Declared(forms=True), {"elicitation": {"url": {}}}),
]


@pytest.mark.parametrize(("method", "params", "declared", "required"), LACKING)
def test_what_a_client_would_have_to_declare(method: str, params: Json, declared: Declared, required: Json) -> None:
    """Spec: 2026-07-28 basic, Client capabilities: the data of -32021."""
    assert lacking(method, members(params), declared) == required


@pytest.mark.parametrize(
    ("child_key", "key"),
    [
        ("user_name", "user_name"),
        ("7", "7"),
        (7, None),
        ("", None),
        ("x" * 64, "x" * 64),
        ("x" * 65, None),
        ("\n", None),
    ],
)
def test_a_short_text_that_a_server_chose_is_the_key(child_key: int | str, key: str | None) -> None:
    assert key_of(child_key) == key


QUESTIONS: list[tuple[str, Json, Json]] = [
    (ROOTS, {}, {}),
    (ROOTS, {"_meta": {"progressToken": 0}}, {}),
    (ROOTS, {"_meta": {"progressToken": 0, "a": 1}}, {"_meta": {"a": 1}}),
    (ELICITATION, {**URL, "elicitationId": "e", "task": {}}, URL),
    (
        SAMPLING,
        {"maxTokens": 2**70, "elicitationId": "mine", "task": {}},
        {"maxTokens": 2**70, "elicitationId": "mine"},
    ),
]


@pytest.mark.parametrize(("method", "params", "shown"), QUESTIONS)
def test_a_question_loses_what_only_a_request_of_its_era_has(method: str, params: Json, shown: Json) -> None:
    assert read(input_request(method, members(params))) == {"method": method, "params": shown}


def test_the_result_has_questions_a_state_and_the_server() -> None:
    """Spec: 2026-07-28 basic/patterns/mrtr, InputRequiredResult."""
    result = read(input_required({"a": raw({"method": ROOTS})}, state="s", info=raw({"name": "n"})))

    assert result == {
        "resultType": "input_required",
        "inputRequests": {"a": {"method": ROOTS}},
        "requestState": "s",
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "n"}},
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, {}), ({}, {}), ({"a": {}}, {"a": {}}), ([], None), ("x", None), ({"a": 5}, None), ({"a": None}, None)],
)
def test_responses_are_an_object_of_objects(value: Any, expected: Any) -> None:
    responses = read_responses(None if value is None else raw(value))

    assert (None if responses is None else read(responses)) == expected
    assert read_responses(raw(None)) is None


ANSWERS: list[tuple[str, Any, bool]] = [
    *((ELICITATION, {"action": action}, True) for action in ("accept", "decline", "cancel")),
    (ELICITATION, {"action": "accept", "content": {"a": 1}, "x": 1}, True),
    (ELICITATION, {"action": "accept", "content": None}, True),
    (ELICITATION, {"action": "accept", "content": "x"}, False),
    (ELICITATION, {"action": "accept", "content": []}, False),
    (ELICITATION, {"action": "yes"}, False),
    (ELICITATION, {"action": None}, False),
    (ELICITATION, {}, False),
    (ELICITATION, [], False),
    (SAMPLING, {"role": "assistant", "content": {}, "model": "m"}, True),
    (SAMPLING, {"role": "assistant", "content": [{}], "model": "m"}, True),
    (SAMPLING, {"role": "assistant", "content": "x", "model": "m"}, False),
    (SAMPLING, {"role": "assistant", "content": {}}, False),
    (SAMPLING, {"content": {}, "model": "m"}, False),
    (SAMPLING, {"role": "assistant", "model": "m"}, False),
    (SAMPLING, {"role": 1, "content": {}, "model": "m"}, False),
    (ROOTS, {"roots": []}, True),
    (ROOTS, {"roots": [{}], "x": 1}, True),
    (ROOTS, {"roots": {}}, False),
    (ROOTS, {}, False),
    (ROOTS, "x", False),
]


@pytest.mark.parametrize(("method", "answer", "is_one"), ANSWERS)
def test_what_an_answer_is(method: str, answer: Any, is_one: bool) -> None:
    """Spec: 2026-07-28 schema, ElicitResult, CreateMessageResult, ListRootsResult."""
    assert fits(method, raw(answer)) is is_one


def test_an_answer_keeps_its_bytes_but_for_a_content_that_is_null() -> None:
    written = Raw(b'{"action" : "accept", "content": {"n": 1.50}}')

    assert legacy_answer(written) is written
    assert read(legacy_answer(raw({"action": "cancel", "content": None, "x": 1}))) == {"action": "cancel", "x": 1}


@pytest.mark.parametrize(
    ("answer", "is_one"), [({"action": "accept"}, True), ({"action": "decline"}, False), ([], False)]
)
def test_who_has_agreed(answer: Any, is_one: bool) -> None:
    assert is_accepted(raw(answer)) is is_one


ELICITATIONS: list[tuple[Any, int]] = [
    ([URL], 1),
    ([{"url": "https://x", "message": "m"}], 1),
    ([URL] * MAX_URL_ELICITATIONS, MAX_URL_ELICITATIONS),
    ([URL] * (MAX_URL_ELICITATIONS + 1), 0),
    ([URL, {"url": 1, "message": "m"}], 0),
    ([URL, {"url": "x"}], 0),
    ([URL, 5], 0),
    ([], 0),
    ({}, 0),
    (None, 0),
]


@pytest.mark.parametrize(("elicitations", "number"), ELICITATIONS)
def test_addresses_that_an_error_names_are_questions(elicitations: Any, number: int) -> None:
    """Spec: 2025-11-25 client/elicitation, URL Elicitation Required Error."""
    asked = url_elicitations(raw({"code": -32042, "data": {"elicitations": elicitations}}))

    assert [read(each) for each in asked] == [{"method": ELICITATION, "params": URL}] * number


@pytest.mark.parametrize("error", [{}, {"data": None}, {"data": []}, []])
def test_an_error_that_names_no_address_has_none(error: Any) -> None:
    assert url_elicitations(raw(error)) == []


def test_a_call_whose_user_did_not_agree_fails_as_its_method_can() -> None:
    assert read(declined("tools/call"))["result"]["isError"] is True
    assert read(declined("prompts/get"))["error"]["code"] == -32603

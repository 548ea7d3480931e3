"""What a server asks for, and how a client of the handshake era is asked."""

import json
from typing import Any

import pytest

from proxy.protocol.jsontext import parse_members
from proxy.protocol.questions import MAX_QUESTIONS, InputRequired, Question, read_input_required


def read(**result: Any) -> InputRequired | None:
    return read_input_required(parse_members(json.dumps(result).encode()))


def question(method: str, params: str | None = None) -> Question:
    text = f'{{"method":"{method}"' + (f',"params":{params}' if params else "") + "}"
    interim = read_input_required(parse_members(b'{"inputRequests":{"k":' + text.encode() + b"}}"))
    assert interim is not None
    (found,) = interim.questions
    return found


def declared(**capabilities: Any) -> Any:
    return parse_members(json.dumps(capabilities).encode())


ELICIT = {"method": "elicitation/create", "params": {"message": "?"}}


def test_questions_and_the_state_are_read_as_the_bytes_they_are() -> None:
    """Spec: 2026-07-28 basic/patterns/mrtr: the state goes back exactly as it came. SC-12."""
    state = rb'"\u00e9 \ud800\/ \u2028\"\\"'
    text = (
        b'{"inputRequests":{"a":{"method":"roots/list"},"b":{"method":"x","params":{"n":1.0}}},"requestState":' + state
    )
    interim = read_input_required(parse_members(text + b"}"))

    assert interim is not None
    assert interim.state is not None
    assert bytes(interim.state) == state
    assert [(each.key, each.method) for each in interim.questions] == [("a", "roots/list"), ("b", "x")]
    assert interim.questions[0].raw_params is None
    assert interim.questions[1].raw_params is not None
    assert bytes(interim.questions[1].raw_params) == b'{"n":1.0}'


@pytest.mark.parametrize(
    ("result", "questions"),
    [
        ({"requestState": "s"}, 0),
        ({"requestState": "s", "inputRequests": {}}, 0),
        ({"requestState": "s", "inputRequests": None}, 0),
        ({"requestState": None, "inputRequests": {"a": ELICIT}}, 1),
        ({"inputRequests": {str(n): ELICIT for n in range(MAX_QUESTIONS)}}, MAX_QUESTIONS),
    ],
)
def test_a_state_or_questions_are_enough(result: Any, questions: int) -> None:
    interim = read(**result)

    assert interim is not None
    assert len(interim.questions) == questions


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"inputRequests": {}},
        {"requestState": None},
        {"requestState": 7},
        {"requestState": {"a": 1}, "inputRequests": {"a": ELICIT}},
        {"inputRequests": []},
        {"inputRequests": {"a": 7}},
        {"inputRequests": {"a": {}}},
        {"inputRequests": {"a": {"method": 7}}},
        {"inputRequests": {str(n): ELICIT for n in range(MAX_QUESTIONS + 1)}},
    ],
)
def test_what_is_neither_or_too_much_is_none(result: Any) -> None:
    """HM-21: at least one of the two; every key with a request."""
    assert read(**result) is None


@pytest.mark.parametrize(
    ("asked", "capabilities", "missing"),
    [
        (question("roots/list"), declared(roots={}), None),
        (question("roots/list"), declared(), "roots"),
        (question("roots/list"), declared(roots=None), "roots"),
        (question("sampling/createMessage"), declared(sampling={}), None),
        (question("sampling/createMessage", '{"tools":[]}'), declared(sampling={}), "sampling with tools"),
        (question("sampling/createMessage", '{"tools":[]}'), declared(sampling={"tools": {}}), None),
        (question("elicitation/create", '{"message":"?"}'), declared(elicitation={}), None),
        (question("elicitation/create", '{"mode":"form"}'), declared(elicitation={"form": {}, "url": {}}), None),
        (question("elicitation/create", '{"mode":"form"}'), declared(elicitation={"url": {}}), "elicitation by form"),
        (question("elicitation/create", '{"mode":"url"}'), declared(elicitation={}), "elicitation by url"),
        (question("elicitation/create", '{"mode":"url"}'), declared(elicitation={"url": {}}), None),
        (question("elicitation/create"), declared(sampling={}), "elicitation"),
        (question("ping"), declared(roots={}, sampling={}, elicitation={}), "ping"),
    ],
)
def test_a_client_is_asked_only_what_it_has_declared(asked: Question, capabilities: Any, missing: str | None) -> None:
    """Spec: 2026-07-28 basic/patterns/mrtr; 2025-11-25 client/elicitation, Capabilities. HM-21."""
    assert asked.missing_capability(capabilities) == missing


def test_a_question_is_a_request_with_the_params_as_they_came() -> None:
    params = b'{"message":"\\ud800","requestedSchema":{"maximum":12345678901234567890.10},"x":[ 1 ]}'
    asked = question("elicitation/create", params.decode())

    assert asked.encode(id=7, elicitation_id="e") == (
        b'{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":' + params + b"}"
    )
    assert question("roots/list").encode(id=1, elicitation_id="e") == b'{"jsonrpc":"2.0","id":1,"method":"roots/list"}'


def test_a_page_to_be_opened_gets_the_name_that_the_handshake_era_asks_for() -> None:
    """Spec: 2025-11-25 client/elicitation, URL Mode: elicitationId is required."""
    line = question("elicitation/create", '{"mode":"url","url":"https://a"}').encode(id=1, elicitation_id="e1")

    assert json.loads(line)["params"] == {"mode": "url", "url": "https://a", "elicitationId": "e1"}


def test_a_question_with_a_line_break_is_one_line() -> None:
    assert b"\n" not in question("sampling/createMessage", '{"a":\n1}').encode(id=1, elicitation_id="")

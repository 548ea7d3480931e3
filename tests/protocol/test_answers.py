"""Whether answers fit what was asked, and whether a retry is of the request that was interrupted."""

import json
from typing import Any

import pytest
from msgspec import Raw

from proxy.errors import AnswersMalformed
from proxy.protocol.answers import check_answers, digest_of, questions_of
from proxy.protocol.jsontext import parse_members
from tests.support.modern import envelope, modern
from tests.support.parsed import a_request, read

Json = dict[str, Any]

ELICITATION, SAMPLING, ROOTS = "elicitation/create", "sampling/createMessage", "roots/list"

QUESTIONS: list[tuple[str, dict[str, str]]] = [
    ("{}", {}),
    ('{"inputRequests":null}', {}),
    ('{"inputRequests":[]}', {}),
    ('{"inputRequests":{}}', {}),
    (
        '{"inputRequests":{"a":{"method":"roots/list"},"b":{"method":"elicitation/create","params":{}}}}',
        {"a": ROOTS, "b": ELICITATION},
    ),
    ('{"inputRequests":{"a":{},"b":null,"c":{"method":7},"\\u00e9":[]}}', {"a": "", "b": "", "c": "", "é": ""}),
    ('{"inputRequests":{"\\ud800":{"method":"roots/list"}}}', {}),  # a name that nobody can write
    ('{"inputRequests":{"a":{"\\ud800":1}}}', {"a": ""}),
]


@pytest.mark.parametrize(("result", "expected"), QUESTIONS)
def test_what_is_asked(result: str, expected: dict[str, str]) -> None:
    assert questions_of(parse_members(result.encode())) == expected


# question, answer -> whether it can be one
ANSWERS: list[tuple[str, Any, bool]] = [
    (ELICITATION, {"action": "accept", "content": {"a": 1}}, True),
    (ELICITATION, {"action": "accept"}, True),
    (ELICITATION, {"action": "accept", "content": None}, True),
    (ELICITATION, {"action": "decline"}, True),
    (ELICITATION, {"action": "cancel", "more": [1]}, True),
    (ELICITATION, {"action": "accept", "content": []}, False),
    (ELICITATION, {"action": "maybe"}, False),
    (ELICITATION, {"action": 1}, False),
    (ELICITATION, {}, False),
    (ELICITATION, None, False),
    (ELICITATION, 12345, False),
    (ELICITATION, [], False),
    (ELICITATION, "accept", False),
    (SAMPLING, {"role": "assistant", "model": "m", "content": {"type": "text", "text": ""}}, True),
    (SAMPLING, {"role": "assistant", "model": "m", "content": [{}]}, True),
    (SAMPLING, {"role": "assistant", "model": "m", "content": "text"}, False),
    (SAMPLING, {"role": "assistant", "model": "m"}, False),
    (SAMPLING, {"role": "assistant", "model": None, "content": {}}, False),
    (SAMPLING, {"role": 1, "model": "m", "content": {}}, False),
    (SAMPLING, {"action": "accept"}, False),
    (ROOTS, {"roots": []}, True),
    (ROOTS, {"roots": [{"uri": "file:///"}]}, True),
    (ROOTS, {"roots": {}}, False),
    (ROOTS, {}, False),
    ("later/kind", {"anything": 1}, True),
    ("later/kind", [], False),
    ("", {}, True),
]


@pytest.mark.parametrize(("method", "answer", "fits"), ANSWERS)
def test_an_answer_fits_its_question_or_is_refused(method: str, answer: Any, fits: bool) -> None:
    """HM-23: malformed -> error."""
    raw = Raw(json.dumps({"k": answer, "unasked": 7}).encode())
    if fits:
        check_answers({"k": method}, raw)
        return
    with pytest.raises(AnswersMalformed, match=r"inputResponses\['k'\]"):
        check_answers({"k": method}, raw)


@pytest.mark.parametrize("answers", [None, b"{}", b'{"other":{}}'])
def test_answers_may_be_missing(answers: bytes | None) -> None:
    """HM-23: the child asks again."""
    check_answers({"k": ELICITATION}, Raw(answers) if answers is not None else None)


@pytest.mark.parametrize("answers", [b"null", b"[]", b'"k"', b"7", b"true"])
def test_answers_that_are_no_object_are_refused(answers: bytes) -> None:
    with pytest.raises(AnswersMalformed, match="must be an object"):
        check_answers({}, Raw(answers))


def test_an_answer_too_deep_to_be_looked_at_is_refused() -> None:
    deep = b'{"k":{"action":"accept","content":{"a":' + b"[" * 3000 + b"]" * 3000 + b"}}}"
    with pytest.raises(AnswersMalformed):
        check_answers({"k": ELICITATION}, Raw(deep))


def test_a_key_can_be_anything() -> None:
    with pytest.raises(AnswersMalformed) as caught:
        check_answers({"\ud800'\n": ELICITATION}, Raw(b'{"\\ud800\'\\n":1}'))

    assert str(caught.value).isascii()  # what is not printable is shown escaped


SAME: list[tuple[Json, Json]] = [
    ({"name": "t"}, {"name": "t", "inputResponses": {"k": {}}, "requestState": "s"}),
    ({"name": "t", "arguments": {"a": 1, "b": [2]}}, {"arguments": {"b": [2], "a": 1}, "name": "t"}),
    ({"name": "t", "requestState": "1"}, {"name": "t", "requestState": "2"}),
]
OTHER: list[tuple[Json, Json]] = [
    ({"name": "t"}, {"name": "u"}),
    ({"name": "t", "arguments": {"a": 1}}, {"name": "t", "arguments": {"a": 2}}),
    ({"name": "t", "arguments": {"a": 1}}, {"name": "t", "arguments": {"a": "1"}}),
    ({"name": "t", "arguments": {"a": 1}}, {"name": "t"}),
    ({"name": "t", "arguments": {}}, {"name": "t"}),
    ({"name": "t", "x": [1, 2]}, {"name": "t", "x": [2, 1]}),
    ({"name": "a", "uri": "b"}, {"name": "ab", "uri": ""}),
    ({"a": "b"}, {"ab": ""}),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_a_retry_has_the_digest_of_its_request(one: Json, two: Json) -> None:
    """HM-22: in whatever order it is written, and whatever its envelope says."""
    first = a_request(1, "tools/call", one)
    again = a_request("other", "tools/call", two, capabilities={"roots": {}}, progressToken=1)

    assert digest_of(first) == digest_of(again)


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_another_request_has_another(one: Json, two: Json) -> None:
    assert digest_of(a_request(1, "tools/call", one)) != digest_of(a_request(1, "tools/call", two))


def test_so_has_another_method() -> None:
    assert digest_of(a_request(1, "prompts/get", {"name": "t"})) != digest_of(a_request(1, "tools/call", {"name": "t"}))


@pytest.mark.parametrize(
    "argument", [b"9007199254740993", b"1e999", b'"\\ud800"', b"9" * 500, b'"\\u2028\\u0000"', b'{"\\ud800":1}']
)
def test_a_digest_is_made_of_every_legal_text(argument: bytes) -> None:
    meta = json.dumps(envelope()).encode()
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"a":%b},"_meta":%b}}'

    assert digest_of(read(body % (argument, meta))) == digest_of(read(body % (argument, meta)))
    assert digest_of(read(body % (argument, meta))) != digest_of(read(body % (b"0", meta)))


def test_a_number_beyond_the_precision_of_a_double_is_not_its_neighbour() -> None:
    one, two = (read(modern(1, "tools/call", {"name": "t", "arguments": {"a": 2**53 + n}})) for n in (0, 1))

    assert digest_of(one) != digest_of(two)


def test_large_arguments_are_compared_as_they_are_written_and_a_digest_that_is_kept_is_believed() -> None:
    large = {"name": "t", "arguments": {"b": 1, "a": "x" * 100_000}}
    other_order = {"name": "t", "arguments": {"a": "x" * 100_000, "b": 1}}
    one, two = a_request(1, "tools/call", large), a_request(1, "tools/call", other_order)

    assert digest_of(one) == digest_of(a_request(2, "tools/call", large))
    assert digest_of(one) != digest_of(two)
    assert digest_of(two.slim(digest_of(one))) == digest_of(one)

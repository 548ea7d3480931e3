"""What a modern server needs to know, asked of a client of the handshake era: lines in, lines out."""

from typing import Any

import pytest

from proxy.errors import ChildRestarting
from proxy.sessions.modern import crossings, rounds
from tests.sessions.modern.between import ROOTS, SAMPLE, Between, Json, elicit, input_required


def accepted(**content: Any) -> Json:
    return {"action": "accept", "content": content}


def answer(between: Between, question: Json, result: Any) -> None:
    """The client answers a question."""
    between.send({"jsonrpc": "2.0", "id": question["id"], "result": result})


def refuse(between: Between, question: Json) -> None:
    """The client answers a question with an error."""
    between.send({"jsonrpc": "2.0", "id": question["id"], "error": {"code": -1, "message": "User rejected"}})


def asking(between: Between, *, call: int | None = None, **questions: Json) -> tuple[int, list[Json]]:
    """A call that the server has answered with questions; its id, and the questions as the client has them."""
    id_ = between.call(a=1) if call is None else call
    between.result(between.asked_child()["id"], input_required(**questions))
    return id_, between.to_client()


def test_a_question_becomes_a_request_and_its_answer_a_retry() -> None:
    """Spec: 2026-07-28 basic/patterns/mrtr: a new id, the same params, the answers and the exact state. SC-12."""
    between = Between().opened()
    id_ = between.call(a=1)
    first = between.asked_child()
    state = 'é\u2028\\"/ '

    between.result(first["id"], input_required(state, name=elicit("Your name?")))
    (question,) = between.to_client()
    assert question["method"] == "elicitation/create"
    assert question["params"] == elicit("Your name?")["params"]
    assert between.as_legacy.owner_of(question["id"]) == id_
    assert between.to_child() == []

    answer(between, question, accepted(name="Ada"))
    retry = between.asked_child()
    assert retry["id"] != first["id"]
    assert retry["params"] == {
        **first["params"],
        **{"inputResponses": {"name": accepted(name="Ada")}, "requestState": state},
    }
    between.result(retry["id"], {"resultType": "complete", "content": []})
    assert between.to_client() == [{"jsonrpc": "2.0", "id": id_, "result": {"content": []}}]
    assert between.as_legacy.open_requests == 0
    assert between.as_legacy.owner_of(question["id"]) is None


def test_the_state_goes_back_byte_for_byte_and_so_do_the_answers() -> None:
    between = Between().opened()
    between.call()
    sent = between.asked_child()["id"]
    between.child(
        b'{"jsonrpc":"2.0","id":%d,"result":{"resultType":"input_required","requestState":"\\u00e9\\/\\ud800",'
        b'"inputRequests":{"k":{"method":"roots/list"}}}}' % sent
    )
    (question,) = between.to_client()

    between.as_legacy.send(b'{"jsonrpc":"2.0","id":%d,"result":{ "roots":[1.0 ,"\\/"]}}' % question["id"])

    assert (
        b'"inputResponses":{"k":{ "roots":[1.0 ,"\\/"]}},"requestState":"\\u00e9\\/\\ud800"'
        in between.link.sent_lines[-1]
    )


def test_siblings_are_asked_together_and_sent_together() -> None:
    between = Between().opened()
    _, questions = asking(between, a=elicit(), b=SAMPLE, c=ROOTS)
    assert [each["method"] for each in questions] == ["elicitation/create", "sampling/createMessage", "roots/list"]

    answer(between, questions[2], {"roots": []})
    answer(between, questions[0], {"action": "decline"})
    assert between.to_child() == []
    answer(between, questions[1], {"role": "assistant", "model": "m", "content": {}})

    assert between.asked_child()["params"]["inputResponses"] == {
        "c": {"roots": []},
        "a": {"action": "decline"},
        "b": {"role": "assistant", "model": "m", "content": {}},
    }


def test_each_round_has_its_own_answers_and_state() -> None:
    """Spec: 2026-07-28 basic/patterns/mrtr: answers affect only their retry; no state is sent that was not given."""
    between = Between().opened()
    _, (question,) = asking(between, a=elicit())
    answer(between, question, accepted(n=1))
    second = between.asked_child()
    between.result(second["id"], input_required(None, b=elicit()))
    (question,) = between.to_client()
    answer(between, question, accepted(n=2))

    params = between.asked_child()["params"]
    assert params["inputResponses"] == {"b": accepted(n=2)}
    assert "requestState" not in params


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "resources/read"])
def test_all_three_methods_may_ask(method: str) -> None:
    between = Between().opened()
    id_ = between.ask(method, {"name": "x", "uri": "x"})

    between.result(between.asked_child()["id"], input_required(k=ROOTS))

    assert between.as_legacy.owner_of(between.said[0]["id"]) == id_


def test_a_page_to_be_opened_gets_a_name_of_its_own() -> None:
    """Spec: 2025-11-25 client/elicitation, URL Mode."""
    between = Between().opened()
    by_url = {"method": "elicitation/create", "params": {"mode": "url", "message": "?", "url": "https://example.com"}}

    _, questions = asking(between, a=by_url, b=by_url)

    names = {question["params"]["elicitationId"] for question in questions}
    assert len(names) == 2
    assert all(len(name) >= 16 for name in names)


# ---- nothing but a state


def test_a_state_alone_is_sent_back_after_a_pause_that_grows() -> None:
    """Spec: 2026-07-28 basic/patterns/mrtr: load shedding. The pauses are those of the Python SDK's client."""
    between = Between().opened()
    between.call()
    pauses = []
    for nth in range(5):
        between.result(between.asked_child()["id"], input_required(f"s{nth}"))
        waited = 0.0
        while not between.link.messages[between._heard_at_child :]:
            between.later(0.01)
            waited += 0.01
        pauses.append(round(waited, 2))
        assert between.link.messages[-1]["params"]["requestState"] == f"s{nth}"
        assert "inputResponses" not in between.link.messages[-1]["params"]

    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.25, 0.25], abs=0.011)
    assert between.to_client() == []


def test_a_server_that_is_never_satisfied_is_given_up() -> None:
    between = Between().opened()
    id_ = between.call()
    for _ in range(rounds.MAX_ROUNDS):
        between.result(between.asked_child()["id"], input_required("s"))
        between.later(1)
    assert between.to_client() == []

    between.result(between.asked_child()["id"], input_required("s"))

    (answered,) = between.to_client()
    assert answered["id"] == id_
    assert answered["result"]["isError"] is True
    assert between.as_legacy.open_requests == 0
    assert between.counts.snapshot() == {"gave_up.input_required": 1}


# ---- clients that can't, or won't


@pytest.mark.parametrize(
    ("version", "capabilities", "question"),
    [
        ("2025-11-25", {}, elicit()),
        ("2025-11-25", {"elicitation": {}}, SAMPLE),
        ("2025-03-26", {"elicitation": {}}, elicit()),
        ("2025-06-18", {"elicitation": {"url": {}}}, {"method": "elicitation/create", "params": {"mode": "url"}}),
        ("2025-11-25", {"sampling": {}, "elicitation": {}, "roots": {}}, {"method": "vendor/ask"}),
    ],
)
def test_a_client_is_not_asked_what_it_can_not_answer(version: str, capabilities: Json, question: Json) -> None:
    """HM-21. A tool fails as tools fail, so that a model reads why."""
    between = Between().opened(version=version, capabilities=capabilities)

    id_, (answered,) = asking(between, k=question, r=ROOTS)

    assert answered["id"] == id_
    assert answered["result"]["isError"] is True
    assert "client does not offer" in answered["result"]["content"][0]["text"]
    assert between.to_child() == []
    assert between.as_legacy.open_requests == 0


@pytest.mark.parametrize("method", ["prompts/get", "resources/read"])
def test_what_is_no_tool_fails_with_an_error(method: str) -> None:
    between = Between().opened(capabilities={})
    id_ = between.ask(method, {"name": "x"})

    between.result(between.asked_child()["id"], input_required(k=elicit()))

    assert [(each["id"], each["error"]["code"]) for each in between.to_client()] == [(id_, -32603)]


def test_a_client_that_refuses_ends_the_call_and_is_asked_no_more() -> None:
    """Spec: 2025-11-25 basic/utilities/cancellation: what is not needed any more is taken back."""
    between = Between().opened()
    id_, (first, second) = asking(between, a=elicit(), b=elicit())

    refuse(between, first)

    taken_back, answered = between.to_client()
    assert taken_back["method"] == "notifications/cancelled"
    assert taken_back["params"]["requestId"] == second["id"]
    assert (answered["id"], answered["result"]["isError"]) == (id_, True)
    answer(between, second, accepted())
    assert (between.to_client(), between.to_child()) == ([], [])
    assert between.as_legacy.open_requests == 0


@pytest.mark.parametrize("result", [None, [], "yes", 7])
def test_an_answer_that_is_no_object_is_a_refusal(result: Any) -> None:
    between = Between().opened()
    _, (question,) = asking(between, a=elicit())

    answer(between, question, result)

    assert between.to_client()[-1]["result"]["isError"] is True
    assert between.to_child() == []


def test_an_answer_counts_once() -> None:
    between = Between().opened()
    _, (question,) = asking(between, a=elicit())

    answer(between, question, accepted(n=1))
    answer(between, question, accepted(n=2))

    assert between.asked_child()["params"]["inputResponses"] == {"a": accepted(n=1)}
    assert between.counts.snapshot() == {"dropped.answer_to_no_question": 1}


def test_a_question_is_not_asked_for_ever() -> None:
    between = Between().opened()
    id_, (question,) = asking(between, a=elicit())

    between.later(600)
    assert between.to_client() == []
    between.later(1)

    taken_back, answered = between.to_client()
    assert taken_back["params"]["requestId"] == question["id"]
    assert (answered["id"], answered["result"]["isError"]) == (id_, True)
    assert between.as_legacy.open_requests == 0


# ---- cancellation


def test_a_call_that_is_cancelled_while_its_client_is_asked_takes_the_questions_back() -> None:
    """There is nothing to cancel at the server: the interim result has completed the request there."""
    between = Between().opened()
    id_, questions = asking(between, a=elicit(), b=SAMPLE)

    between.cancel(id_)

    taken_back = between.to_client()
    assert [each["params"]["requestId"] for each in taken_back] == [each["id"] for each in questions]
    assert between.to_child() == []
    for question in questions:
        answer(between, question, accepted())
    assert (between.to_client(), between.to_child()) == ([], [])
    assert between.as_legacy.open_requests == 0


def test_a_call_that_is_cancelled_while_it_pauses_is_not_sent_again() -> None:
    between = Between().opened()
    id_ = between.call()
    between.result(between.asked_child()["id"], input_required("s"))

    between.cancel(id_)
    between.later(1)

    assert between.to_child() == []
    assert between.as_legacy.open_requests == 0


def test_a_call_that_is_cancelled_in_a_later_round_is_cancelled_by_its_newest_id() -> None:
    """SC-08."""
    between = Between().opened()
    id_, (question,) = asking(between, a=elicit())
    answer(between, question, accepted())
    newest = between.asked_child()["id"]

    between.cancel(id_)

    assert between.asked_child()["params"]["requestId"] == newest


# ---- children that die meanwhile


def test_a_call_whose_client_is_asked_outlives_the_child() -> None:
    """Its state may be one that the next process can read; if not, that one says so."""
    between = Between().opened()
    id_, (question,) = asking(between, a=elicit())

    between.restart()
    assert between.failed == []
    between.answer_discover()
    between.to_child()
    answer(between, question, accepted())

    retry = between.asked_child()
    error = {"code": -32602, "message": "Invalid or expired requestState"}
    between.child({"jsonrpc": "2.0", "id": retry["id"], "error": error})
    assert between.to_client()[-1] == {"jsonrpc": "2.0", "id": id_, "error": error}


def test_answers_wait_for_a_child_and_go_to_it_first() -> None:
    between = Between().opened()
    _, (question,) = asking(between, a=elicit())
    between.restart()

    answer(between, question, accepted(n=1))
    assert [each["method"] for each in between.link.messages] == ["server/discover"]
    between.answer_discover()

    sent = [each for each in between.to_child() if each["method"] == "tools/call"]
    assert [each["params"]["inputResponses"] for each in sent] == [{"a": accepted(n=1)}]


def test_answers_do_not_wait_for_a_child_for_ever() -> None:
    between = Between().opened()
    id_, (question,) = asking(between, a=elicit())
    between.restart()
    answer(between, question, accepted())

    between.later(crossings.RETRY_WAIT_SECONDS - 1)
    assert between.failed == []
    between.later(1)

    assert [(failed, type(error)) for failed, error in between.failed] == [(id_, ChildRestarting)]
    between.answer_discover()
    assert [each["method"] for each in between.to_child() if "id" in each] == ["subscriptions/listen"]


def test_a_call_that_waits_for_a_child_can_be_cancelled() -> None:
    between = Between().opened()
    id_, (question,) = asking(between, a=elicit())
    between.restart()
    answer(between, question, accepted())

    between.cancel(id_)
    between.answer_discover()

    assert [each["method"] for each in between.to_child() if "id" in each] == ["subscriptions/listen"]
    assert between.as_legacy.open_requests == 0


def test_a_question_that_comes_back_at_once_finds_everything_in_its_place() -> None:
    """The exchange refuses in the middle of being told, when there is no client that could be asked."""
    between = Between().opened()
    id_ = between.call()
    sent = between.asked_child()["id"]
    between.on_question = lambda question: refuse(between, question)

    between.result(sent, input_required(a=elicit(), b=SAMPLE))

    methods = [each.get("method") for each in between.to_client()]
    assert methods == ["elicitation/create", "sampling/createMessage", "notifications/cancelled", None]
    assert between.as_legacy.open_requests == 0
    assert id_ not in [failed for failed, _ in between.failed]

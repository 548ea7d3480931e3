"""A call of a child of the handshake era that asks its client something, and its client that answers with a retry."""

import logging
from typing import Any

import pytest

from proxy.sessions.modern.as_modern_questions import MAX_QUESTION_BYTES, MAX_QUESTIONS
from proxy.sessions.modern.as_modern_turns import ROUNDS_WARNED_AT
from tests.sessions.modern.bridge import (
    ACCEPT,
    DONE,
    ELICIT,
    INFO,
    PREFIX,
    SAMPLE,
    SAMPLED,
    Bridge,
    Json,
    pause,
)

ROOTS: Json = {"roots": [{"uri": "file:///x"}]}
ADDRESS: Json = {"mode": "url", "url": "https://x", "message": "Sign in", "elicitationId": "e1"}
REFUSED = -32603


def refused(message: Json) -> tuple[Any, int]:
    """Id and code of an error that the child got."""
    return message["id"], message["error"]["code"]


def content(bridge: Bridge) -> Any:
    """Of the result that has come up."""
    return bridge.answer()["result"]["content"]


# ---- one question


def test_a_question_of_the_child_is_asked_in_the_result_and_answered_by_the_retry() -> None:
    """Spec: 2026-07-28 basic/patterns/mrtr. HM-05, HM-21, SC-12."""
    bridge = Bridge()
    first = bridge.call()
    child_id = bridge.got()["id"]

    bridge.child_asks(0, params={**ELICIT, "mode": "form", "_meta": {"progressToken": 0}})
    assert bridge.up() == []
    bridge.pass_time(0.1)

    asked = bridge.answer()
    assert asked["id"] == first
    state = asked["result"].pop("requestState")
    assert asked["result"] == {
        "resultType": "input_required",
        "inputRequests": {"ask-1": {"method": "elicitation/create", "params": {**ELICIT, "mode": "form"}}},
        "_meta": {f"{PREFIX}serverInfo": INFO},
    }

    second = bridge.retry(state, **{"ask-1": ACCEPT})
    assert bridge.got() == {"jsonrpc": "2.0", "id": 0, "result": ACCEPT}
    bridge.child_answers(child_id)

    answer = bridge.answer()
    assert (answer["id"], answer["result"]["resultType"], answer["result"]["content"]) == (
        second,
        "complete",
        DONE["content"],
    )
    assert bridge.events == ["free"]
    assert bridge.modern.open_count == 0


@pytest.mark.parametrize(
    ("method", "params", "shown", "answer"),
    [
        (
            "sampling/createMessage",
            {**SAMPLE, "_meta": {"progressToken": 0, "x": 1}},
            {**SAMPLE, "_meta": {"x": 1}},
            SAMPLED,
        ),
        ("roots/list", None, {}, ROOTS),
        (
            "elicitation/create",
            ADDRESS,
            {k: v for k, v in ADDRESS.items() if k != "elicitationId"},
            {"action": "accept"},
        ),
    ],
)
def test_every_kind_of_question_crosses(method: str, params: Json | None, shown: Json, answer: Json) -> None:
    bridge = Bridge()
    bridge.call()
    bridge.down()

    bridge.child_asks("q", method, params)
    bridge.pass_time(0.1)
    state, requests = bridge.asked()
    bridge.retry(state, q=answer)

    assert requests == {"q": {"method": method, "params": shown}}
    assert bridge.got() == {"jsonrpc": "2.0", "id": "q", "result": answer}


@pytest.mark.parametrize("method", ["prompts/get", "resources/read"])
def test_prompts_and_resources_may_ask_as_well(method: str) -> None:
    """HM-21."""
    bridge = Bridge()
    bridge.request(method, {"name": "p", "uri": "x:y"})
    child_id = bridge.got()["id"]
    bridge.child_asks(5)
    bridge.pass_time(0.1)
    state, _ = bridge.asked()

    bridge.request(method, {"name": "p", "uri": "x:y", "requestState": state, "inputResponses": {"ask-1": ACCEPT}})
    assert bridge.got()["result"] == ACCEPT
    bridge.child_answers(child_id, {"contents": []})

    result = bridge.answer()["result"]
    assert ("ttlMs" in result) == (method == "resources/read")


def test_a_listing_may_not_ask() -> None:
    """HM-21."""
    bridge = Bridge()
    bridge.request("tools/list")
    bridge.down()

    bridge.child_asks(0)

    assert refused(bridge.got()) == (0, -32600)
    assert bridge.modern.is_leased is False


def test_questions_that_come_at_once_are_one_round() -> None:
    bridge = Bridge()
    bridge.call()
    bridge.down()

    bridge.child_asks(0)
    bridge.child_asks(1, "sampling/createMessage", SAMPLE)
    bridge.loop.now += 0.005
    bridge.loop.run()
    bridge.child_asks(2, "roots/list")
    bridge.pass_time(0.1)

    state, requests = bridge.asked()
    assert [request["method"] for request in requests.values()] == [
        "elicitation/create",
        "sampling/createMessage",
        "roots/list",
    ]
    bridge.retry(state, **dict(zip(requests, (ACCEPT, SAMPLED, ROOTS), strict=True)))
    assert [(line["id"], line["result"]) for line in bridge.down()] == [(0, ACCEPT), (1, SAMPLED), (2, ROOTS)]


def test_a_server_that_names_its_questions_gets_its_names_through() -> None:
    bridge = Bridge()
    bridge.call()
    bridge.down()

    for ask_id in ("user_name", "x" * 65, "", "é", 7, "ask-2"):
        bridge.child_asks(ask_id)
    bridge.pass_time(0.1)

    _, requests = bridge.asked()
    assert list(requests) == ["user_name", "ask-1", "ask-2", "ask-3", "ask-4", "ask-5"]


def test_a_question_after_the_answers_is_the_next_round_with_another_state() -> None:
    bridge = Bridge()
    state, child_id = pause(bridge)

    bridge.retry(state, **{"ask-1": ACCEPT})
    bridge.child_asks(1)
    bridge.pass_time(0.1)
    second, requests = bridge.asked()

    assert second != state
    assert list(requests) == ["ask-2"]
    bridge.retry(second, **{"ask-2": ACCEPT})
    bridge.child_answers(child_id)
    assert content(bridge) == DONE["content"]


def test_a_question_during_the_pause_is_asked_at_the_retry() -> None:
    bridge = Bridge()
    state, _ = pause(bridge)

    bridge.child_asks(1)
    bridge.pass_time(1)
    assert bridge.up() == []
    bridge.retry(state, **{"ask-1": ACCEPT, "ask-2": ACCEPT})
    assert [line["id"] for line in bridge.down()] == [0]
    bridge.pass_time(0.1)

    _, requests = bridge.asked()
    assert list(requests) == ["ask-2"]


def test_a_question_of_a_call_that_is_answered_at_once_is_refused() -> None:
    """SC-20: nothing of the child stays without an answer."""
    bridge = Bridge()
    bridge.call()
    child_id = bridge.got()["id"]

    bridge.child_asks(0)
    bridge.child_answers(child_id)
    bridge.pass_time(0.1)

    assert content(bridge) == DONE["content"]
    assert refused(bridge.got()) == (0, REFUSED)
    assert bridge.events == ["free"]


# ---- retries


def test_missing_answers_are_asked_for_again_under_their_old_keys() -> None:
    """HM-23."""
    bridge = Bridge()
    bridge.call()
    bridge.down()
    bridge.child_asks(0)
    bridge.child_asks(1)
    bridge.pass_time(0.1)
    state, _ = bridge.asked()

    bridge.call(state=state, inputResponses={"ask-2": ACCEPT, "another": ACCEPT, "odd": 5, "none": None})
    assert [line["id"] for line in bridge.down()] == [1]
    bridge.pass_time(0.1)

    again, requests = bridge.asked()
    assert again != state
    assert list(requests) == ["ask-1"]


@pytest.mark.parametrize("given", [{}, {"inputResponses": {}}])
def test_a_retry_without_answers_is_asked_again(given: Json) -> None:
    """HM-23."""
    bridge = Bridge()
    state, _ = pause(bridge)

    bridge.call(state=state, **given)
    bridge.pass_time(0.1)

    _, requests = bridge.asked()
    assert list(requests) == ["ask-1"]


MALFORMED: list[tuple[str, Any]] = [
    ("elicitation/create", 12345),
    ("elicitation/create", None),
    ("elicitation/create", {}),
    ("elicitation/create", {"action": "perhaps"}),
    ("elicitation/create", {"action": "accept", "content": []}),
    ("sampling/createMessage", {"role": "assistant", "content": "text", "model": "m"}),
    ("sampling/createMessage", {"role": "assistant", "content": {}}),
    ("roots/list", {"roots": {}}),
    ("roots/list", {}),
]


@pytest.mark.parametrize(("method", "answer"), MALFORMED)
def test_a_malformed_answer_is_refused_and_the_state_stays_good(method: str, answer: Any) -> None:
    """HM-23."""
    bridge = Bridge()
    state, _ = pause(bridge, method=method)

    bridge.retry(state, **{"ask-1": answer})

    assert bridge.answer()["error"]["code"] == -32602
    assert bridge.down() == []
    right = {"elicitation/create": ACCEPT, "sampling/createMessage": SAMPLED, "roots/list": ROOTS}[method]
    bridge.retry(state, **{"ask-1": right})
    assert bridge.got()["result"] == right


@pytest.mark.parametrize("responses", [None, [], 5, "x"])
def test_answers_that_are_no_object_are_refused_and_the_state_stays_good(responses: Any) -> None:
    """HM-23."""
    bridge = Bridge()
    state, _ = pause(bridge)

    bridge.call(state=state, inputResponses=responses)

    assert bridge.answer()["error"]["code"] == -32602
    bridge.retry(state, **{"ask-1": ACCEPT})
    assert bridge.got()["result"] == ACCEPT


@pytest.mark.parametrize("state", ["", "unknown", 5, None])
def test_a_state_that_was_never_given_is_refused(state: Any) -> None:
    """HM-22."""
    bridge = Bridge()
    pause(bridge)

    bridge.request("tools/call", {"name": "tool", "requestState": state, "inputResponses": {"ask-1": ACCEPT}})

    assert bridge.answer()["error"] == {"code": -32602, "message": "Invalid or expired requestState"}
    assert bridge.down() == []


def test_a_state_is_good_once() -> None:
    """HM-22: the tool goes on once, however often the retry is sent."""
    bridge = Bridge()
    state, child_id = pause(bridge)

    bridge.retry(state, **{"ask-1": ACCEPT})
    bridge.retry(state, **{"ask-1": ACCEPT})

    assert bridge.answer()["error"]["code"] == -32602
    assert [line["id"] for line in bridge.down()] == [0]
    bridge.child_answers(child_id)
    assert content(bridge) == DONE["content"]
    bridge.retry(state, **{"ask-1": ACCEPT})
    assert bridge.answer()["error"]["code"] == -32602


def test_a_state_is_no_good_for_another_method_or_where_nobody_can_be_asked() -> None:
    """HM-22."""
    bridge = Bridge()
    state, _ = pause(bridge)

    bridge.request("prompts/get", {"name": "tool", "requestState": state})
    assert bridge.answer()["error"]["code"] == -32602

    other = Bridge({})
    other.call(state=state)
    assert other.answer()["error"]["code"] == -32602
    assert other.down() == []


def test_an_answer_without_content_is_not_given_as_null() -> None:
    bridge = Bridge()
    state, _ = pause(bridge)

    bridge.retry(state, **{"ask-1": {"action": "decline", "content": None}})

    assert bridge.got()["result"] == {"action": "decline"}


def test_progress_and_logs_follow_the_retry() -> None:
    """HM-26, HM-27."""
    bridge = Bridge()
    bridge.call(progress=True, level="info")
    _, sent = bridge.down()
    child_id = sent["id"]
    bridge.child_asks(0)
    bridge.pass_time(0.1)
    state, _ = bridge.asked()

    def speak(n: int) -> None:
        bridge.child_tells("notifications/progress", {"progressToken": child_id, "progress": n})
        bridge.child_tells("notifications/message", {"level": "info", "data": n})

    speak(1)
    assert bridge.up() == []
    retry = bridge.call(state=state, inputResponses={"ask-1": ACCEPT}, progress=True, level="debug")
    speak(2)

    assert bridge.down()[0]["params"] == {"level": "debug"}
    progress, log = bridge.up()
    assert progress["params"] == {"progressToken": retry, "progress": 2}
    assert log["params"]["data"] == 2


def test_a_call_that_waits_for_its_client_has_no_say_in_how_much_is_logged() -> None:
    bridge = Bridge()
    bridge.call(level="debug")
    bridge.down()
    bridge.child_asks(0)
    bridge.pass_time(0.1)

    bridge.request("tools/list", level="error")

    assert bridge.down()[0]["params"] == {"level": "error"}


def test_what_runs_beside_the_turn_neither_asks_nor_gets_its_logs() -> None:
    """HM-26."""
    bridge = Bridge()
    bridge.call()
    bridge.request("tools/list", level="debug")
    *_, listing = bridge.down()

    bridge.child_tells("notifications/message", {"level": "info", "data": "of the call, perhaps"})
    bridge.child_answers(listing["id"], {"tools": []})

    assert [line.get("method") for line in bridge.up()] == [None]


def test_answers_that_came_before_the_question_are_used_for_questions_with_names() -> None:
    """A server that names its questions can be answered before it asks, as one that keeps no state."""
    bridge = Bridge()
    bridge.call(inputResponses={"user_name": ACCEPT, "ask-1": ACCEPT, "other": {}})
    child_id = bridge.got()["id"]

    bridge.child_asks("user_name")
    assert bridge.got() == {"jsonrpc": "2.0", "id": "user_name", "result": ACCEPT}
    bridge.child_asks(0)
    bridge.pass_time(0.1)
    state, requests = bridge.asked()

    assert list(requests) == ["ask-1"]
    bridge.retry(state, **{"ask-1": ACCEPT})
    bridge.child_answers(child_id)
    assert content(bridge) == DONE["content"]


@pytest.mark.parametrize("given", [{"user_name": {"action": "perhaps"}}, {"wrong": ACCEPT}])
def test_answers_that_came_before_and_do_not_fit_are_asked_for(given: Json) -> None:
    bridge = Bridge()
    bridge.call(inputResponses=given)
    bridge.down()

    bridge.child_asks("user_name")
    bridge.pass_time(0.1)

    _, requests = bridge.asked()
    assert list(requests) == ["user_name"]


@pytest.mark.parametrize("responses", [None, 5, {"user_name": 12345}])
def test_malformed_answers_without_a_state_are_refused_before_the_child_gets_the_call(responses: Any) -> None:
    """HM-23."""
    bridge = Bridge()

    bridge.call(inputResponses=responses)

    assert bridge.answer()["error"]["code"] == -32602
    assert bridge.down() == []
    assert not bridge.modern.is_leased
    assert bridge.events == ["free"]


# ---- the turn


def test_the_turn_lasts_through_every_pause() -> None:
    bridge = Bridge()
    leased = [bridge.modern.is_leased]

    state, child_id = pause(bridge)
    leased.append(bridge.modern.is_leased)
    bridge.retry(state, **{"ask-1": ACCEPT})
    leased.append(bridge.modern.is_leased)
    assert bridge.events == []
    bridge.child_answers(child_id)
    leased.append(bridge.modern.is_leased)

    assert leased == [False, True, True, False]
    assert bridge.events == ["free"]


def test_the_next_call_may_be_sent_as_soon_as_the_turn_is_over() -> None:
    bridge = Bridge()
    bridge.call("first")
    first = bridge.got()["id"]
    order: list[str] = []

    def follow() -> None:
        order.append(f"free after {len(bridge.said)}")
        bridge.call("second")

    bridge.when_free = follow

    bridge.child_answers(first)

    assert order == ["free after 1"]
    assert bridge.got()["params"]["name"] == "second"
    assert bridge.modern.is_leased


def test_a_call_out_of_turn_is_refused_and_harms_nobody() -> None:
    bridge = Bridge()
    bridge.call()
    child_id = bridge.got()["id"]

    bridge.call()

    assert bridge.answer()["error"]["code"] == -32603
    assert bridge.events == []
    bridge.child_answers(child_id)
    assert content(bridge) == DONE["content"]


def test_a_call_that_is_refused_before_its_turn_began_leaves_it_free() -> None:
    """Whoever stands above has made room for it and hears of nothing else."""
    bridge = Bridge()

    bridge.call(level="loud")

    assert bridge.answer()["error"]["code"] == -32602
    assert bridge.events == ["free"]


@pytest.mark.parametrize("params", [{"state": "unknown"}, {"inputResponses": None, "state": "unknown"}])
def test_a_refused_retry_ends_no_turn(params: Json) -> None:
    bridge = Bridge()
    pause(bridge)

    bridge.call(**params)

    assert bridge.answer()["error"]["code"] == -32602
    assert bridge.events == []


def test_everything_else_goes_on_beside_a_turn() -> None:
    bridge = Bridge()
    pause(bridge)

    listing = bridge.request("tools/list")
    bridge.child_answers(bridge.got()["id"], {"tools": []})

    assert bridge.answer()["id"] == listing
    assert bridge.modern.is_leased


def test_a_call_that_asks_one_question_after_the_other_is_told_of_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    bridge = Bridge()
    state, _ = pause(bridge, "q")

    with caplog.at_level(logging.WARNING):
        for round_ in range(2, ROUNDS_WARNED_AT + 2):
            assert (len(caplog.records) == 1) == (round_ > ROUNDS_WARNED_AT)
            bridge.retry(state, q=ACCEPT)
            bridge.child_asks("q")
            bridge.pass_time(0.1)
            state, _ = bridge.asked()


# ---- cancellation


def test_a_cancelled_call_keeps_its_turn_until_its_late_answer() -> None:
    """HM-07, SC-08."""
    bridge = Bridge()
    upper_id = bridge.call()
    child_id = bridge.got()["id"]

    bridge.cancel(upper_id)
    cancelled, ping = bridge.down()
    assert cancelled["params"]["requestId"] == child_id
    assert ping["method"] == "ping"
    assert bridge.modern.is_leased
    bridge.child_answers(child_id)

    assert bridge.up() == []
    assert bridge.events == ["free"]
    assert bridge.modern.open_count == 0
    bridge.child_answers(ping["id"], {})
    bridge.pass_time(100)
    assert bridge.events == ["free"]


def test_a_child_that_never_answers_what_is_cancelled_is_free_a_while_after_its_pong() -> None:
    """Servers on the SDKs answer a cancelled request with nothing."""
    bridge = Bridge(settle_seconds=1.0)
    upper_id = bridge.call()
    child_id = bridge.got()["id"]
    bridge.cancel(upper_id)
    _, ping = bridge.down()

    bridge.pass_time(5)
    bridge.child_answers(ping["id"], {})
    bridge.pass_time(0.5)
    assert bridge.events == []
    bridge.pass_time(0.6)
    assert bridge.events == ["free"]
    assert bridge.modern.open_count == 0

    bridge.child_answers(child_id)
    assert bridge.up() == []
    assert bridge.modern.open_count == 0


def test_a_child_that_does_not_even_answer_a_ping_is_stuck_and_said_to_be_once() -> None:
    bridge = Bridge(cancel_grace_seconds=10.0)
    bridge.cancel(bridge.call())

    bridge.pass_time(9.9)
    assert bridge.events == []
    bridge.pass_time(0.2)
    bridge.pass_time(10)

    assert bridge.events == ["stuck"]
    assert bridge.modern.is_leased


def test_a_cancelled_call_has_its_open_questions_refused_first() -> None:
    bridge = Bridge()
    state, child_id = pause(bridge)
    retry = bridge.retry(state)
    bridge.child_asks(1)

    bridge.cancel(retry)

    first, second, cancelled, _ = bridge.down()
    assert [refused(first), refused(second)] == [(0, REFUSED), (1, REFUSED)]
    assert cancelled["params"]["requestId"] == child_id
    bridge.pass_time(0.1)
    assert bridge.up() == []


def test_nothing_is_said_of_a_cancelled_call_any_more() -> None:
    """HM-07."""
    bridge = Bridge()
    upper_id = bridge.call(progress=True, level="debug")
    child_id = bridge.down()[-1]["id"]
    bridge.cancel(upper_id)
    bridge.down()

    bridge.child_tells("notifications/progress", {"progressToken": child_id, "progress": 1})
    bridge.child_tells("notifications/message", {"level": "error", "data": "x"})
    bridge.cancel(upper_id)

    assert (bridge.up(), bridge.down()) == ([], [])


def test_an_address_that_a_cancelled_call_needed_is_not_asked_for_with_the_next() -> None:
    bridge = Bridge()
    bridge.cancel(bridge.call())
    cancelled = bridge.down()[0]

    bridge.child_fails(cancelled["id"], -32042, data={"elicitations": [ADDRESS]})
    bridge.call()

    assert bridge.got()["method"] == "tools/call"
    assert bridge.up() == []


def test_a_question_of_a_cancelled_call_is_refused() -> None:
    bridge = Bridge()
    bridge.cancel(bridge.call())
    bridge.down()

    bridge.child_asks(0)

    assert refused(bridge.got()) == (0, -32600)


def test_a_cancellation_of_a_request_that_was_answered_with_a_question_is_ignored() -> None:
    """Its stream has ended with the result; that is no cancellation."""
    bridge = Bridge()
    upper_id = bridge.call()
    bridge.down()
    bridge.child_asks(0)
    bridge.pass_time(0.1)
    state, _ = bridge.asked()

    bridge.cancel(upper_id)
    assert bridge.down() == []
    bridge.retry(state, **{"ask-1": ACCEPT})

    assert bridge.got()["result"] == ACCEPT


def test_an_abandoned_pause_refuses_the_questions_and_cancels_the_call() -> None:
    bridge = Bridge()
    state, child_id = pause(bridge)

    bridge.modern.abandon("another")
    assert bridge.down() == []
    bridge.modern.abandon(state)

    question, cancelled, _ = bridge.down()
    assert refused(question) == (0, REFUSED)
    assert cancelled["params"]["requestId"] == child_id
    bridge.retry(state, **{"ask-1": ACCEPT})
    assert bridge.answer()["error"]["code"] == -32602
    bridge.child_fails(child_id, -1, "User rejected")
    assert bridge.events == ["free"]
    assert bridge.up() == []


# ---- the child changes its mind


def test_a_question_that_is_withdrawn_is_not_asked() -> None:
    bridge = Bridge()
    bridge.call()
    child_id = bridge.got()["id"]

    bridge.child_asks(0)
    bridge.child_tells("notifications/cancelled", {"requestId": 0})
    bridge.child_tells("notifications/cancelled", {"requestId": "0"})
    bridge.pass_time(0.1)
    assert bridge.up() == []

    bridge.child_answers(child_id)
    assert content(bridge) == DONE["content"]
    assert bridge.down() == []


def test_a_question_that_is_withdrawn_during_the_pause_gets_no_answer() -> None:
    bridge = Bridge()
    state, child_id = pause(bridge)

    bridge.child_tells("notifications/cancelled", {"requestId": 0})
    bridge.retry(state, **{"ask-1": ACCEPT})
    bridge.pass_time(0.1)
    assert (bridge.down(), bridge.up()) == ([], [])

    bridge.child_answers(child_id)
    assert content(bridge) == DONE["content"]


def test_an_answer_that_comes_during_the_pause_is_kept_for_the_retry() -> None:
    bridge = Bridge()
    state, child_id = pause(bridge)

    bridge.child_answers(child_id)
    assert refused(bridge.got()) == (0, REFUSED)
    assert (bridge.up(), bridge.events) == ([], [])
    bridge.child_asks(1)
    assert refused(bridge.got()) == (1, -32600)
    bridge.retry(state, **{"ask-1": {"action": "perhaps, but nobody cares any more"}})

    assert content(bridge) == DONE["content"]
    assert bridge.events == ["free"]


def test_an_answer_that_was_kept_goes_with_an_abandoned_pause() -> None:
    bridge = Bridge()
    state, child_id = pause(bridge)
    bridge.child_answers(child_id)
    bridge.down()

    bridge.modern.abandon(state)

    assert (bridge.down(), bridge.up(), bridge.events) == ([], [], ["free"])


# ---- the roots, asked for no call


def test_roots_that_nobody_can_be_asked_for_are_asked_with_the_next_call_before_the_child_gets_it() -> None:
    bridge = Bridge()
    bridge.child_asks(0, "roots/list")
    bridge.child_asks("named", "roots/list", {})
    assert bridge.down() == []

    bridge.call(arguments={"x": 1})
    state, requests = bridge.asked()
    assert list(requests) == ["ask-1", "named"]
    assert bridge.down() == []
    bridge.retry(state, **{"ask-1": ROOTS})
    assert bridge.got() == {"jsonrpc": "2.0", "id": 0, "result": ROOTS}
    state, requests = bridge.asked()
    assert list(requests) == ["named"]
    retry = bridge.call(state=state, inputResponses={"named": ROOTS}, arguments={"x": 1}, progress=True)

    answer, call = bridge.down()
    assert answer["id"] == "named"
    assert call["params"] == {
        "name": "tool",
        "arguments": {"x": 1},
        "_meta": {"progressToken": call["id"]},
    }
    bridge.child_answers(call["id"])
    assert bridge.answer()["id"] == retry


def test_a_call_that_cannot_ask_does_not_wait_for_the_roots() -> None:
    bridge = Bridge()
    bridge.child_asks(0, "roots/list")

    bridge.request("tools/list")

    assert bridge.got()["method"] == "tools/list"


def test_roots_that_nobody_asks_for_in_time_are_refused() -> None:
    bridge = Bridge(roots_wait_seconds=50.0)
    bridge.child_asks(0, "roots/list")

    bridge.pass_time(49)
    assert bridge.down() == []
    bridge.pass_time(2)

    assert refused(bridge.got()) == (0, REFUSED)
    assert bridge.modern.open_count == 0


def test_roots_withdrawn_while_they_wait_are_not_asked() -> None:
    bridge = Bridge()
    bridge.child_asks(0, "roots/list")
    bridge.child_tells("notifications/cancelled", {"requestId": 0})

    bridge.call()

    assert bridge.got()["method"] == "tools/call"


def test_a_pause_before_the_child_has_the_call_can_be_abandoned() -> None:
    bridge = Bridge()
    bridge.child_asks(0, "roots/list")
    bridge.call()
    state, _ = bridge.asked()

    bridge.modern.abandon(state)

    assert refused(bridge.got()) == (0, REFUSED)
    assert bridge.events == ["free"]
    bridge.call()
    assert bridge.got()["method"] == "tools/call"


def test_roots_during_a_turn_are_asked_for_that_call() -> None:
    bridge = Bridge()
    bridge.call()
    bridge.down()

    bridge.child_asks(0, "roots/list")
    bridge.pass_time(0.1)

    assert bridge.asked()[1]["ask-1"]["method"] == "roots/list"


def test_roots_of_a_call_that_was_cancelled_wait_for_the_next() -> None:
    bridge = Bridge()
    bridge.cancel(bridge.call())
    *_, ping = bridge.down()
    bridge.child_asks(0, "roots/list")
    bridge.child_answers(ping["id"], {})
    bridge.pass_time(2)

    bridge.call()

    assert bridge.asked()[1]["ask-1"]["method"] == "roots/list"


@pytest.mark.parametrize("method", ["sampling/createMessage", "elicitation/create"])
def test_other_questions_outside_of_a_call_are_refused(method: str) -> None:
    bridge = Bridge()

    bridge.child_asks(0, method)

    assert refused(bridge.got()) == (0, -32600)


# ---- -32042


def need_an_address(bridge: Bridge, elicitations: Any = None) -> int:
    """A call that needs an address opened first; returns its id at the child."""
    bridge.call()
    child_id: int = bridge.got()["id"]
    bridge.child_fails(
        child_id, -32042, "sign in", {"elicitations": [ADDRESS] if elicitations is None else elicitations}
    )
    return child_id


def test_a_call_that_needs_an_address_opened_asks_for_it_and_is_sent_again() -> None:
    """HM-28. Spec: 2025-11-25 client/elicitation, URL Elicitation Required Error."""
    bridge = Bridge()
    child_id = need_an_address(bridge)

    state, requests = bridge.asked()
    assert requests == {
        "ask-1": {"method": "elicitation/create", "params": {"mode": "url", "url": "https://x", "message": "Sign in"}}
    }
    assert bridge.modern.is_leased
    bridge.retry(state, **{"ask-1": {"action": "accept"}})

    again = bridge.got()
    assert (again["method"], again["params"]["name"]) == ("tools/call", "tool")
    assert again["id"] != child_id
    bridge.child_answers(again["id"])
    assert content(bridge) == DONE["content"]
    assert bridge.events == ["free"]


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_a_user_who_does_not_open_the_address_ends_the_call(action: str) -> None:
    bridge = Bridge()
    need_an_address(bridge)
    state, _ = bridge.asked()

    bridge.retry(state, **{"ask-1": {"action": action}})

    assert bridge.answer()["result"]["isError"] is True
    assert bridge.down() == []
    assert bridge.events == ["free"]


def test_an_address_that_is_needed_during_a_pause_is_asked_for_at_the_retry() -> None:
    bridge = Bridge()
    state, child_id = pause(bridge)
    bridge.child_fails(child_id, -32042, "sign in", {"elicitations": [ADDRESS]})
    bridge.down()
    assert bridge.up() == []

    bridge.retry(state, **{"ask-1": ACCEPT})

    state, requests = bridge.asked()
    assert requests["ask-2"]["params"]["mode"] == "url"
    bridge.modern.abandon(state)
    assert (bridge.down(), bridge.events) == ([], ["free"])


@pytest.mark.parametrize("elicitations", [[], {}, [{}], [5], [{"url": "x"}], [ADDRESS] * 17])
def test_an_address_that_is_not_named_legally_is_an_internal_error(elicitations: Any) -> None:
    """HM-28."""
    bridge = Bridge()
    need_an_address(bridge, elicitations)

    error = bridge.answer()["error"]
    assert error["code"] == -32603
    assert error["data"]["code"] == -32042
    assert bridge.events == ["free"]


# ---- capabilities, and limits


@pytest.mark.parametrize(
    ("capabilities", "method", "params", "required"),
    [
        ({"sampling": {}}, "elicitation/create", ELICIT, {"elicitation": {"form": {}}}),
        ({"elicitation": {}}, "sampling/createMessage", SAMPLE, {"sampling": {}}),
        ({"elicitation": {}}, "elicitation/create", ADDRESS, {"elicitation": {"url": {}}}),
        ({"elicitation": {"url": {}}}, "elicitation/create", ELICIT, {"elicitation": {"form": {}}}),
        ({"sampling": {}}, "sampling/createMessage", {**SAMPLE, "tools": []}, {"sampling": {"tools": {}}}),
        ({"sampling": {}}, "roots/list", None, {"roots": {}}),
    ],
)
def test_the_client_is_asked_only_what_it_has_declared(
    capabilities: Json, method: str, params: Json | None, required: Json
) -> None:
    """HM-16, HM-21."""
    bridge = Bridge(capabilities)
    bridge.call()
    child_id = bridge.got()["id"]

    bridge.child_asks(0, method, params)
    assert refused(bridge.got()) == (0, -32601)
    bridge.child_fails(child_id, -32603)

    error = bridge.answer()["error"]
    assert (error["code"], error["data"]["requiredCapabilities"]) == (-32021, required)


def test_a_child_with_too_many_questions_is_refused() -> None:
    bridge = Bridge()
    bridge.call()
    bridge.down()

    for ask_id in range(MAX_QUESTIONS + 1):
        bridge.child_asks(ask_id)

    assert refused(bridge.got()) == (MAX_QUESTIONS, REFUSED)
    bridge.pass_time(0.1)
    assert len(bridge.asked()[1]) == MAX_QUESTIONS


def test_a_child_with_too_large_questions_is_refused() -> None:
    bridge = Bridge()
    bridge.call()
    bridge.down()

    bridge.child_asks(0, params={"message": "x" * (MAX_QUESTION_BYTES // 2)})
    assert bridge.down() == []
    bridge.child_asks(1, params={"message": "x" * (MAX_QUESTION_BYTES // 2)})

    assert refused(bridge.got()) == (1, REFUSED)


def test_questions_for_roots_outside_of_calls_are_as_many() -> None:
    bridge = Bridge()

    for ask_id in range(MAX_QUESTIONS + 1):
        bridge.child_asks(ask_id, "roots/list")

    assert refused(bridge.got()) == (MAX_QUESTIONS, REFUSED)


def test_an_answer_that_cannot_be_read_ends_the_turn() -> None:
    bridge = Bridge()
    state, child_id = pause(bridge)

    bridge.child_says(b'{"jsonrpc":"2.0","id":%d,"result":nonsense}' % child_id)
    bridge.retry(state)

    assert bridge.answer()["error"]["code"] == -32603
    assert bridge.events == ["free"]


def test_a_timer_of_one_turn_does_not_fire_in_the_next() -> None:
    bridge = Bridge(debounce_seconds=1.0)
    bridge.call()
    child_id = bridge.got()["id"]
    bridge.child_asks(0)
    bridge.loop.now += 0.9
    bridge.child_answers(child_id)
    bridge.call()
    bridge.child_asks(1)
    bridge.up()

    bridge.pass_time(0.5)
    assert bridge.up() == []
    bridge.pass_time(0.6)

    assert list(bridge.asked()[1]) == ["ask-2"]

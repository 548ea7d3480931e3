"""Who listens to what on one child: the same is asked of it once, and told to each under its own id."""

import json
from typing import Any

import pytest
from msgspec import Raw

from proxy.errors import ChildExited, ProxyError, TooManyListens
from proxy.sessions.modern.listens import Listen
from tests.sessions.modern.muxes import Heard, Wires
from tests.support.modern import SUBSCRIPTION
from tests.support.parsed import a_call, a_request

Json = dict[str, Any]
ACK = "notifications/subscriptions/acknowledged"
CHANGED = "notifications/tools/list_changed"
TOOLS: Json = {"toolsListChanged": True}


def listening(wires: Wires, id_: int | str = 1, notifications: Any = None, **meta: Any) -> tuple[Listen, Heard]:
    sink = Heard()
    params = {"notifications": TOOLS if notifications is None else notifications}
    return wires.mux.listen(a_request(id_, "subscriptions/listen", params, **meta), sink), sink


def tell(wires: Wires, child_id: Any, method: str = CHANGED, **params: Any) -> None:
    wires.say({"method": method, "params": {**params, "_meta": {"x": 1, SUBSCRIPTION: child_id}}})


def acknowledge(wires: Wires, child_id: int, notifications: Any = None) -> None:
    tell(wires, child_id, ACK, notifications=TOOLS if notifications is None else notifications)


def heard(sink: Heard) -> list[tuple[str, Any]]:
    return [(each["method"], each["params"]["_meta"][SUBSCRIPTION]) for each in sink.told]


@pytest.mark.parametrize("id_", [1, 0, "1", "é\ud800", 2**60, ""])
def test_everything_names_the_subscription_by_its_clients_own_id(id_: int | str) -> None:
    """HM-24: the type is kept, whatever else is there stays."""
    wires = Wires()
    _, sink = listening(wires, id_)
    acknowledge(wires, 1)
    tell(wires, 1, "notifications/resources/updated", uri="a")
    wires.answer(1, {"resultType": "complete", "_meta": {SUBSCRIPTION: 1, "y": 2}})

    assert heard(sink) == [(ACK, id_), ("notifications/resources/updated", id_)]
    assert sink.told[1]["params"] == {"uri": "a", "_meta": {"x": 1, SUBSCRIPTION: id_}}
    assert sink.answers == [{"resultType": "complete", "_meta": {SUBSCRIPTION: id_, "y": 2}}]
    assert wires.mux.listen_count == 0


def test_a_result_without_meta_gets_one_and_an_error_stays_as_it_is() -> None:
    """HM-25."""
    wires = Wires()
    _, sink = listening(wires, "a")
    _, other = listening(wires, "b", {"promptsListChanged": True})
    wires.answer(1, {})
    wires.say({"id": 2, "error": {"code": -32603, "message": "Subscription limit reached"}})

    assert sink.answers == [{"_meta": {SUBSCRIPTION: "a"}}]
    assert other.answers == [{"code": -32603, "message": "Subscription limit reached"}]


def test_clients_that_ask_for_the_same_share_a_subscription_of_the_child() -> None:
    """D.2 step 5: a process of an SDK has 1,024."""
    wires = Wires()
    same = [{"toolsListChanged": True, "resourceSubscriptions": uris} for uris in (["a", "b"], ["b", "a"])]
    sinks = [listening(wires, id_, same[id_ % 2])[1] for id_ in range(4)]
    other = listening(wires, "other")[1]

    assert [each["id"] for each in wires.sent] == [1, 2]
    acknowledge(wires, 1, same[0])
    tell(wires, 1)

    assert [heard(sink) for sink in sinks] == [[(ACK, id_), (CHANGED, id_)] for id_ in range(4)]
    assert other.raw == []


DIFFERENT = [
    {},
    {"toolsListChanged": True},
    {"toolsListChanged": False},
    {"toolsListChanged": 1},
    {"promptsListChanged": True},
    {"toolsListChanged": True, "promptsListChanged": True},
    {"resourceSubscriptions": ["a"]},
    {"resourceSubscriptions": ["a", "b"]},
    {"resourceSubscriptions": ["a,b"]},
    {"resourceSubscriptions": [1]},
    {"resourceSubscriptions": ["1"]},
    {"resourceSubscriptions": "a"},
    {"resourceSubscriptions": {"a": 1}},
    {"later": ["a"]},
    [],
    "toolsListChanged",
]


def test_those_that_ask_for_something_else_do_not() -> None:
    wires = Wires()
    for notifications in DIFFERENT:
        listening(wires, 1, notifications)

    assert [each["params"]["notifications"] for each in wires.sent] == DIFFERENT


def test_the_child_may_be_asked_for_less_than_the_client_asks_for() -> None:
    wires = Wires()
    request = a_request("a", "subscriptions/listen", {"notifications": {"taskIds": ["theirs"]}}, progressToken=7)

    wires.mux.listen(request, Heard(), Raw(b"{}"))
    wires.mux.listen(a_request("b", "subscriptions/listen", {"notifications": {}}), Heard(), Raw(b"{}"))

    (sent,) = wires.sent
    assert (sent["params"]["notifications"], sent["params"]["_meta"]["progressToken"]) == ({}, 1)


def test_what_can_not_be_compared_is_compared_as_it_is_written() -> None:
    wires = Wires()
    for uri in ("\ud800", "\ud800", "\ud801"):
        listening(wires, 1, {"resourceSubscriptions": [uri]})

    assert len(wires.sent) == 2


def test_who_comes_later_is_acknowledged_at_once() -> None:
    wires = Wires()
    listening(wires, 1)
    acknowledge(wires, 1, {"toolsListChanged": True})
    tell(wires, 1)

    _, late = listening(wires, "late")

    assert heard(late) == [(ACK, "late")]
    assert late.told[0]["params"]["notifications"] == TOOLS
    tell(wires, 1)
    assert heard(late) == [(ACK, "late"), (CHANGED, "late")]


def test_nothing_comes_before_the_acknowledgement() -> None:
    """HM-24."""
    wires = Wires()
    _, sink = listening(wires)

    tell(wires, 1)
    assert sink.raw == []
    acknowledge(wires, 1)
    tell(wires, 1)

    assert [method for method, _ in heard(sink)] == [ACK, CHANGED]
    assert wires.counted == {"dropped.notification_before_acknowledgement": 1}


@pytest.mark.parametrize("child_id", [2, 99, "1", None, [1], 1.5])
def test_a_notification_for_another_subscription_is_nobodys(child_id: Any) -> None:
    wires = Wires()
    _, sink = listening(wires)
    acknowledge(wires, 1)

    tell(wires, child_id)

    assert [method for method, _ in heard(sink)] == [ACK]
    assert wires.counted == {"dropped.notification_of_no_listen": 1}


def test_the_child_is_told_when_the_last_one_goes() -> None:
    """D.2 step 5."""
    wires = Wires()
    (first, _), (second, sink) = (listening(wires, id_) for id_ in (1, 2))
    acknowledge(wires, 1)

    wires.mux.unlisten(first)
    assert wires.cancelled == []
    assert wires.mux.listen_count == 1
    tell(wires, 1)
    assert heard(sink)[-1] == (CHANGED, 2)
    wires.mux.unlisten(second)
    wires.mux.unlisten(second)

    assert wires.cancelled == [1]
    assert wires.mux.listen_count == 0
    listening(wires)
    assert wires.sent[-1]["id"] == 2


def test_one_that_goes_before_the_acknowledgement_takes_nothing_from_the_other() -> None:
    wires = Wires()
    (first, gone), (_, sink) = (listening(wires, id_) for id_ in (1, 2))

    wires.mux.unlisten(first)
    acknowledge(wires, 1)

    assert (gone.raw, heard(sink), wires.cancelled) == ([], [(ACK, 2)], [])


def test_the_child_may_end_a_subscription_abruptly() -> None:
    """H.1: clients listen again."""
    wires = Wires()
    (listen, sink), (_, other) = listening(wires, 1), listening(wires, 2, {"promptsListChanged": True})

    wires.say({"method": "notifications/cancelled", "params": {"requestId": 1}})

    assert [type(error) for error in sink.failures] == [ProxyError]
    assert not other.failures
    wires.mux.unlisten(listen)
    assert wires.cancelled == []
    assert wires.mux.listen_count == 1


@pytest.mark.parametrize("params", [{}, {"requestId": 7}, {"requestId": "1"}, {"requestId": None}])
def test_an_end_of_something_else_is_not_theirs(params: Json) -> None:
    wires = Wires()
    _, sink = listening(wires)

    wires.say({"method": "notifications/cancelled", "params": params})

    assert not sink.failures
    assert wires.counted == {"dropped.cancel_of_unknown_listen": 1}


def test_an_ended_subscription_is_shared_no_longer() -> None:
    wires = Wires()
    listening(wires, 1)
    acknowledge(wires, 1)
    wires.answer(1)

    _, sink = listening(wires, 2)
    tell(wires, 1)

    assert sink.raw == []
    assert [each["id"] for each in wires.sent] == [1, 2]
    acknowledge(wires, 2)
    assert heard(sink) == [(ACK, 2)]


def test_when_the_child_is_gone_all_break_off() -> None:
    wires = Wires()
    sinks = [listening(wires, id_)[1] for id_ in (1, 2)]
    error = ChildExited()

    wires.mux.fail_all(error)
    wires.mux.fail_all(error)

    assert [sink.failures for sink in sinks] == [[error], [error]]
    assert (wires.mux.listen_count, wires.cancelled) == (0, [])


def test_all_can_end_in_peace_while_calls_go_on() -> None:
    """HM-25."""
    wires = Wires()
    _, call = wires.begin(a_call(1))
    sinks = [listening(wires, id_)[1] for id_ in (1, "2")]
    acknowledge(wires, 2)

    wires.mux.complete_listens()
    tell(wires, 2)

    assert [sink.answers for sink in sinks] == [
        [{"resultType": "complete", "_meta": {SUBSCRIPTION: id_}}] for id_ in (1, "2")
    ]
    assert (wires.mux.calls_in_flight, call.failures) == (1, [])


def test_only_so_many_may_listen() -> None:
    wires = Wires(max_listens=2)
    (first, _), _ = listening(wires, 1), listening(wires, 2)

    with pytest.raises(TooManyListens):
        listening(wires, 3)
    wires.mux.unlisten(first)
    listening(wires, 4)

    assert (wires.mux.listen_count, len(wires.sent)) == (2, 1)


def test_a_refused_one_leaves_nothing() -> None:
    wires = Wires(max_listens=1)
    listen, _ = listening(wires, 1)

    with pytest.raises(TooManyListens):
        listening(wires, 2, {"promptsListChanged": True})
    wires.mux.unlisten(listen)

    assert wires.cancelled == [1]
    assert [each["method"] for each in wires.sent] == ["subscriptions/listen", "notifications/cancelled"]


def test_a_client_that_goes_while_it_is_told_leaves_the_others_theirs() -> None:
    wires = Wires()
    (listen, first), (_, second) = listening(wires, 1), listening(wires, 2)
    first.on_told = lambda: wires.mux.unlisten(listen)

    acknowledge(wires, 1)
    tell(wires, 1)

    assert (len(first.told), len(second.told), wires.mux.listen_count) == (1, 2, 1)


def test_what_a_notification_holds_is_passed_on_as_it_was_written() -> None:
    wires = Wires()
    _, sink = listening(wires)
    acknowledge(wires, 1)
    params = f'{{"n":9007199254740993.0,"s":"\\ud800","_meta":{{"{SUBSCRIPTION}":1}}}}'

    wires.say(f'{{"jsonrpc":"2.0","method":"{CHANGED}","more":[1.0],"params":{params}}}'.encode())

    assert sink.raw[-1] == f'{{"jsonrpc":"2.0","method":"{CHANGED}","more":[1.0],"params":{params}}}'.encode()


def test_a_result_that_is_no_object_is_passed_on() -> None:
    wires = Wires()
    _, sink = listening(wires)

    wires.answer(1, json.loads("[1]"))

    assert sink.answers == [[1]]

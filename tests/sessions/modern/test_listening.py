"""Changes at a modern server, as a client of the handshake era is told of them: lines in, lines out."""

from typing import Any

import pytest

from proxy.errors import AnswerUnusable, ChildExited
from proxy.sessions.backoff import LAST_SECONDS
from proxy.sessions.modern import listening
from tests.sessions.modern.between import OFFERS, SUBSCRIPTION, Between, Json

TOOLS = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"
KINDS = {"toolsListChanged": True, "resourcesListChanged": True}


def wanted(listen: Json) -> Json:
    """What a listen asks for."""
    found = listen["params"]["notifications"]
    assert isinstance(found, dict)
    return found


def result(id_: int) -> Json:
    return {"jsonrpc": "2.0", "id": id_, "result": {}}


def change(between: Between, method: str, listen: int, **params: Any) -> None:
    """The child tells of a change."""
    between.notify(method, {**params, "_meta": {SUBSCRIPTION: listen}})


def current(between: Between) -> int:
    """The id of the listen that was opened last."""
    id_ = between.at_child("subscriptions/listen")[-1]["id"]
    assert isinstance(id_, int)
    return id_


def subscribed(between: Between, *uris: str) -> int:
    """After the client has subscribed to these; the id of the listen."""
    for uri in uris:
        between.ask("resources/subscribe", {"uri": uri})
        between.acknowledge()
    between.to_client()
    between.to_child()
    return current(between)


# ---- lists


def test_a_client_that_is_ready_is_listened_for() -> None:
    """Spec: 2026-07-28 basic/patterns/subscriptions. SC-07. Only for the lists that the server tells the changes of."""
    between = Between().opened()

    (listen,) = between.at_child("subscriptions/listen")
    assert wanted(listen) == KINDS
    assert listen["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


def test_a_server_whose_lists_do_not_change_is_not_listened_to() -> None:
    between = Between().opened(offers={"tools": {}, "resources": {"subscribe": True}})

    assert between.at_child("subscriptions/listen") == []


def test_a_change_is_told_without_the_subscription_it_came_by() -> None:
    """SC-09."""
    between = Between().opened()

    change(between, TOOLS, current(between), more=1)

    assert between.to_client() == [{"jsonrpc": "2.0", "method": TOOLS, "params": {"more": 1}}]


@pytest.mark.parametrize("meta", [{}, {SUBSCRIPTION: 999}, {SUBSCRIPTION: "2"}, None])
def test_a_change_that_belongs_to_no_subscription_is_dropped(meta: Any) -> None:
    """SC-21; spec: 2026-07-28 basic/patterns/subscriptions: every message carries the id of its subscription."""
    between = Between().opened()

    between.notify(TOOLS, {"_meta": meta})
    between.notify(TOOLS)
    between.notify(UPDATED, {"uri": "a"})

    assert between.to_client() == []
    assert between.counts.snapshot() == {"dropped.change_not_subscribed": 3}


def test_nothing_is_told_before_the_acknowledgement() -> None:
    """HM-24, from the other side."""
    between = Between()
    between.as_legacy.attach(between.link)
    between.ask("initialize", {})
    between.answer_discover()
    between.tell("notifications/initialized")
    between.to_client()

    change(between, TOOLS, current(between))
    assert between.to_client() == []
    between.acknowledge()
    change(between, TOOLS, current(between))

    assert [each["method"] for each in between.to_client()] == [TOOLS]


def test_an_acknowledgement_of_no_listen_opens_none() -> None:
    between = Between().opened()
    before = current(between)
    between.ask("resources/subscribe", {"uri": "a"})

    between.notify("notifications/subscriptions/acknowledged", {"notifications": {}, "_meta": {SUBSCRIPTION: 999}})
    change(between, TOOLS, before)

    assert [each["method"] for each in between.to_client()] == [TOOLS]


# ---- resources


def test_a_subscription_is_answered_when_the_server_has_acknowledged_it() -> None:
    """Nothing that changes after the answer is missed. Spec: 2025-11-25 server/resources, Subscriptions."""
    between = Between().opened()
    before = current(between)

    id_ = between.ask("resources/subscribe", {"uri": "note://1"})
    (listen,) = between.to_child()
    assert wanted(listen) == {**KINDS, "resourceSubscriptions": ["note://1"]}
    assert between.to_client() == []

    between.acknowledge()
    assert between.to_client() == [result(id_)]
    assert [each["params"]["requestId"] for each in between.to_child()] == [before]
    change(between, UPDATED, listen["id"], uri="note://1/part")
    assert between.to_client() == [{"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": "note://1/part"}}]


def test_nothing_is_missed_and_nothing_heard_twice_while_one_listen_replaces_another() -> None:
    between = Between().opened()
    before = current(between)
    between.ask("resources/subscribe", {"uri": "a"})
    after = current(between)

    change(between, TOOLS, before, n=1)
    between.acknowledge()
    change(between, TOOLS, before, n=2)
    change(between, TOOLS, after, n=2)

    assert [each["params"]["n"] for each in between.to_client() if each.get("method") == TOOLS] == [1, 2]


def test_subscriptions_that_come_in_a_burst_share_a_listen() -> None:
    between = Between().opened()
    ids = [between.ask("resources/subscribe", {"uri": f"r{n}"}) for n in range(100)]
    between.acknowledge()
    between.acknowledge()

    listens = between.at_child("subscriptions/listen")
    assert [len(wanted(listen).get("resourceSubscriptions", [])) for listen in listens] == [0, 1, 100]
    assert [each["id"] for each in between.to_client()] == ids


def test_subscribing_twice_is_subscribing_once() -> None:
    between = Between().opened()
    first, second = (between.ask("resources/subscribe", {"uri": "a"}) for _ in range(2))
    between.acknowledge()
    third = between.ask("resources/subscribe", {"uri": "a"})

    assert between.to_client() == [result(first), result(second), result(third)]
    assert len(between.at_child("subscriptions/listen")) == 2


def test_a_resource_that_the_server_does_not_honour_is_refused() -> None:
    """Spec: 2026-07-28 basic/patterns/subscriptions: the acknowledgement names the honoured subset."""
    between = Between().opened()
    subscribed(between, "a")
    id_ = between.ask("resources/subscribe", {"uri": "b"})

    between.acknowledge(honoured={**KINDS, "resourceSubscriptions": ["a"]})

    assert [(each["id"], each["error"]["code"]) for each in between.to_client()] == [(id_, -32602)]
    again = between.ask("resources/subscribe", {"uri": "b"})
    assert wanted(between.at_child("subscriptions/listen")[-1])["resourceSubscriptions"] == ["a", "b"]
    between.acknowledge()
    assert between.to_client() == [result(again)]


def test_a_server_that_says_nothing_of_what_it_honours_honours_all() -> None:
    between = Between().opened()
    id_ = between.ask("resources/subscribe", {"uri": "a"})

    between.notify("notifications/subscriptions/acknowledged", {"_meta": {SUBSCRIPTION: current(between)}})

    assert between.to_client() == [result(id_)]


def test_a_listen_that_is_refused_refuses_what_was_new_in_it() -> None:
    between = Between().opened()
    before = current(between)
    id_ = between.ask("resources/subscribe", {"uri": "a"})

    error = {"code": -32603, "message": "Subscription limit reached"}
    between.child({"jsonrpc": "2.0", "id": current(between), "error": error})

    assert between.to_client() == [{"jsonrpc": "2.0", "id": id_, "error": error}]
    change(between, TOOLS, before)
    assert [each["method"] for each in between.to_client()] == [TOOLS]
    assert len(between.at_child("subscriptions/listen")) == 2


def test_a_listen_that_ends_before_it_began_fails_what_was_new_in_it() -> None:
    between = Between().opened(offers={"resources": {"subscribe": True}})
    id_ = between.ask("resources/subscribe", {"uri": "a"})

    between.result(current(between), {"resultType": "complete"})

    assert [(failed, type(error)) for failed, error in between.failed] == [(id_, AnswerUnusable)]
    between.later(LAST_SECONDS)
    assert len(between.at_child("subscriptions/listen")) == 1


def test_unsubscribing_ends_or_replaces_the_listen() -> None:
    between = Between().opened(offers={"resources": {"subscribe": True}})
    both = subscribed(between, "a", "b")

    first = between.ask("resources/unsubscribe", {"uri": "a"})
    assert between.to_client() == [result(first)]
    (listen,) = between.to_child()
    assert wanted(listen) == {"resourceSubscriptions": ["b"]}
    between.acknowledge()
    assert between.asked_child()["params"]["requestId"] == both

    between.ask("resources/unsubscribe", {"uri": "b"})
    assert between.asked_child()["params"]["requestId"] == listen["id"]
    change(between, UPDATED, listen["id"], uri="b")
    assert [each.get("method") for each in between.to_client()] == [None]


def test_unsubscribing_from_nothing_is_no_fault() -> None:
    between = Between().opened()

    id_ = between.ask("resources/unsubscribe", {"uri": "never"})

    assert between.to_client() == [result(id_)]
    assert between.to_child() == []


def test_a_subscription_that_is_taken_back_before_it_began_is_answered_too() -> None:
    between = Between().opened()
    first = between.ask("resources/subscribe", {"uri": "a"})
    second = between.ask("resources/unsubscribe", {"uri": "a"})
    assert between.to_client() == [result(first), result(second)]

    between.acknowledge()

    assert wanted(between.at_child("subscriptions/listen")[-1]) == KINDS


def test_a_subscription_can_be_cancelled() -> None:
    between = Between().opened()
    first, second = (between.ask("resources/subscribe", {"uri": "a"}) for _ in range(2))

    between.cancel(first)
    between.acknowledge()
    assert between.to_client() == [result(second)]

    third = between.ask("resources/subscribe", {"uri": "b"})
    between.cancel(third)
    between.acknowledge()
    assert between.to_client() == []
    assert wanted(between.at_child("subscriptions/listen")[-1])["resourceSubscriptions"] == ["a"]


@pytest.mark.parametrize("method", ["resources/subscribe", "resources/unsubscribe"])
@pytest.mark.parametrize("params", [{}, {"uri": 7}, {"uri": None}, None])
def test_a_subscription_without_a_uri_is_refused(method: str, params: Any) -> None:
    between = Between().opened()

    between.ask(method, params)

    assert between.said[0]["error"]["code"] == -32602


@pytest.mark.parametrize("offers", [{}, {"resources": {}}, {"resources": {"subscribe": False}}])
def test_a_server_without_subscriptions_has_no_such_method(offers: Json) -> None:
    between = Between().opened(offers=offers)

    between.ask("resources/subscribe", {"uri": "a"})
    between.ask("resources/unsubscribe", {"uri": "a"})

    assert [each["error"]["code"] for each in between.said] == [-32601, -32601]


def test_subscriptions_are_bounded_in_number_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MAX_SUBSCRIPTIONS", 2)
    monkeypatch.setattr(listening, "MAX_SUBSCRIBED_BYTES", 100)
    between = Between().opened()
    subscribed(between, "a")

    between.ask("resources/subscribe", {"uri": "x" * 100})
    assert between.to_client()[0]["error"]["code"] == -32603
    subscribed(between, "b")
    between.ask("resources/subscribe", {"uri": "c"})
    assert between.to_client()[0]["error"]["code"] == -32603

    for nth in range(100):
        between.ask("resources/unsubscribe", {"uri": "a"})
        between.ask("resources/subscribe", {"uri": "a"})
        between.acknowledge()
        between.acknowledge()
        assert [each.get("result") for each in between.to_client()] == [{}, {}], nth


def test_an_uri_is_passed_on_as_the_bytes_it_was() -> None:
    between = Between().opened()

    between.as_legacy.send(
        rb'{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a\/\ud800\u00e9"}}'
    )

    assert rb'"resourceSubscriptions":["a\/\ud800\u00e9"]' in between.link.sent_lines[-1]


# ---- listens that end


@pytest.mark.parametrize("gracefully", [True, False])
def test_a_listen_that_the_server_ends_is_opened_again_and_what_was_missed_is_told(gracefully: bool) -> None:
    """Spec: 2026-07-28 basic/patterns/subscriptions: there is no replay. Both ends are taken."""
    between = Between().opened()
    listen = subscribed(between, "a")

    if gracefully:
        between.result(listen, {"resultType": "complete", "_meta": {SUBSCRIPTION: listen}})
    else:
        between.notify("notifications/cancelled", {"requestId": listen})
    change(between, TOOLS, listen)
    assert between.to_client() == []
    assert between.to_child() == []

    between.later(1)
    (again,) = between.to_child()
    assert wanted(again) == {**KINDS, "resourceSubscriptions": ["a"]}
    between.acknowledge()
    told = [(each["method"], each.get("params")) for each in between.to_client()]
    assert told == [(TOOLS, None), ("notifications/resources/list_changed", None), (UPDATED, {"uri": "a"})]


def test_a_server_that_ends_every_listen_is_asked_ever_more_slowly() -> None:
    between = Between().opened()
    opened = []
    for _ in range(3000):
        if between.to_child():
            opened.append(between.now)
            between.notify("notifications/cancelled", {"requestId": current(between)})
        between.later(0.1)
        if not opened:
            between.notify("notifications/cancelled", {"requestId": current(between)})

    assert 8 <= len(opened) <= 35
    gaps = [after - before for before, after in zip(opened, opened[1:], strict=False)]
    assert max(gaps) <= LAST_SECONDS + 0.2
    assert gaps[-1] > 10


def test_who_subscribes_while_a_listen_is_waited_for_does_not_wait() -> None:
    between = Between().opened()
    between.notify("notifications/cancelled", {"requestId": current(between)})

    between.ask("resources/subscribe", {"uri": "a"})

    assert wanted(between.asked_child())["resourceSubscriptions"] == ["a"]
    between.later(LAST_SECONDS)
    assert between.to_child() == []


def test_a_cancellation_of_no_listen_does_nothing() -> None:
    between = Between().opened()

    between.notify("notifications/cancelled", {"requestId": 999})
    between.notify("notifications/cancelled")
    between.later(LAST_SECONDS)

    assert (between.to_client(), between.to_child()) == ([], [])


# ---- children that die


def test_a_new_child_is_listened_to_for_the_same_and_what_was_missed_is_told() -> None:
    """SC-09: listens are sent again after a restart."""
    between = Between().opened()
    subscribed(between, "a", "b")

    between.restart()
    between.answer_discover()

    (listen,) = between.at_child("subscriptions/listen")
    assert wanted(listen) == {**KINDS, "resourceSubscriptions": ["a", "b"]}
    between.acknowledge()
    told = [(each["method"], each.get("params")) for each in between.to_client()]
    assert told == [
        *((TOOLS, None), ("notifications/resources/list_changed", None)),
        *((UPDATED, {"uri": "a"}), (UPDATED, {"uri": "b"})),
    ]


def test_a_subscription_that_was_waiting_for_the_dead_child_fails() -> None:
    between = Between().opened()
    id_ = between.ask("resources/subscribe", {"uri": "a"})
    error = ChildExited()

    between.restart(error)
    between.answer_discover()

    assert between.failed == [(id_, error)]
    assert wanted(between.at_child("subscriptions/listen")[-1]) == KINDS


def test_a_new_child_that_has_become_another_server_is_listened_to_as_what_it_is() -> None:
    between = Between().opened()

    between.restart()
    between.answer_discover({**OFFERS, "tools": {}})

    assert wanted(between.at_child("subscriptions/listen")[-1]) == {"resourcesListChanged": True}


def test_a_client_that_was_not_ready_yet_is_listened_for_when_it_is() -> None:
    between = Between()
    between.as_legacy.attach(between.link)
    between.ask("initialize", {})
    between.answer_discover()
    between.restart()
    between.answer_discover()
    assert between.at_child("subscriptions/listen") == []

    between.tell("notifications/initialized")

    assert len(between.at_child("subscriptions/listen")) == 1

"""How the messages of many sessions cross to one child and back: every table, without a process."""

import json
from typing import Any

import pytest

from proxy.protocol import uris
from proxy.protocol.framing import OversizedLine
from proxy.protocol.input_requests import Declared
from proxy.sessions.shared import attribution, tasks, watching
from tests.sessions.shared.hubs import CAPABILITIES, LINGER_SECONDS, Stage


def heard(*clients: Any) -> list[list[Any]]:
    return [client.take() for client in clients]


def test_the_same_ids_of_many_clients_are_different_ones_for_the_child() -> None:
    stage = Stage()
    clients = stage.clients(20)
    for number, client in enumerate(clients):
        client.calls(1, name=f"tool-{number}")
    asked = {message["params"]["name"]: message["id"] for message in stage.take()}
    assert len(set(asked.values())) == 20

    for number in reversed(range(20)):
        stage.answers(asked[f"tool-{number}"], said=number)

    assert [client.take() for client in clients] == [
        [{"jsonrpc": "2.0", "id": 1, "result": {"said": number}}] for number in range(20)
    ]


def test_the_same_progress_tokens_of_two_clients_are_different_ones_for_the_child() -> None:
    stage = Stage()
    one, other, without = stage.clients(3)
    one.calls(1, name="x", _meta={"progressToken": 1, "kept": True})
    other.calls(1, name="x", _meta={"progressToken": "1"})
    without.calls(1, name="x", _meta={"kept": True})
    first, second, third = stage.take()
    assert first["params"]["_meta"] == {"progressToken": first["id"], "kept": True}
    assert second["params"]["_meta"] == {"progressToken": second["id"]}
    assert third["params"]["_meta"] == {"kept": True}

    stage.tells("notifications/progress", progressToken=second["id"], progress=1, message='a "progressToken":7, b')
    stage.tells("notifications/progress", progressToken=first["id"], progress=2)
    stage.tells("notifications/progress", progressToken=third["id"], progress=3)  # nobody wants to hear of that one
    stage.tells("notifications/progress", progressToken="1", progress=4)

    tokens = [[message["params"]["progressToken"] for message in each] for each in heard(one, other, without)]
    assert tokens == [[1], ["1"], []]
    assert stage.count("dropped.progress_of_no_call") == 2


@pytest.mark.parametrize("token", ["1.0", "1e0", "null", "true", "[1]", '"' + "1" * 5000 + '"'])
def test_a_token_that_is_none_does_not_reach_the_child_which_could_take_it_for_anothers(token: str) -> None:
    stage = Stage()
    client = stage.client()

    client.port.send(
        b'{"jsonrpc":"2.0","id":4,"method":"x","params":{"n":1.0,"_meta":{"progressToken":%s,"a":1}}}' % token.encode()
    )

    assert b'"params":{"n":1.0,"_meta":{"a":1}}' in stage.fake.sent_lines[-1]


def test_a_token_whose_name_is_written_with_escapes_is_one_all_the_same() -> None:
    stage = Stage()
    client = stage.client()

    client.port.send(
        b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"_m\\u0065ta":{"progress\\u0054oken":900}}}'
    )

    (message,) = stage.take()
    assert message["params"]["_meta"]["progressToken"] == message["id"] != 900


def test_what_a_client_says_is_passed_on_as_it_is_written() -> None:
    stage = Stage()
    client = stage.client()

    client.port.send(
        b'{"jsonrpc":"2.0","id":7,"method":"x/y","params":{"n":1.00, "s":"\\u00e9","big":123456789012345678901}}'
    )

    assert b'"params":{"n":1.00, "s":"\\u00e9","big":123456789012345678901}' in stage.fake.sent_lines[-1]


def test_an_answer_is_passed_on_as_it_is_written() -> None:
    stage = Stage()
    client = stage.client()
    client.calls(7)
    (asked,) = stage.take()

    stage.says(b'{"jsonrpc":"2.0","id":%d,"result":{"n":1.00, "big":123456789012345678901},"more":[1]}' % asked["id"])

    (line,) = client.heard
    assert line == b'{"jsonrpc":"2.0","id":7,"result":{"n":1.00, "big":123456789012345678901},"more":[1]}'


# ---- the handshake


@pytest.mark.parametrize(
    ("asked", "spoken", "agreed"),
    [
        ("2025-11-25", "2025-11-25", "2025-11-25"),
        ("2025-03-26", "2025-11-25", "2025-03-26"),
        ("2025-11-25", "2025-06-18", "2025-06-18"),
        ("2031-01-01", "2025-11-25", "2025-11-25"),
        ("1.0", "2025-11-25", "2025-11-25"),
        (None, "2025-06-18", "2025-06-18"),
        (7, "2025-06-18", "2025-06-18"),
    ],
)
def test_a_client_and_the_child_agree_on_the_older_revision(asked: Any, spoken: str, agreed: str) -> None:
    stage = Stage(version=spoken)
    client = stage.client()
    client.port.declared = None
    params = {"capabilities": {}} if asked is None else {"capabilities": {}, "protocolVersion": asked}

    client.calls(3, "initialize", **params)

    (answer,) = client.take()
    info = {"name": "x", "version": "1"}
    assert answer["result"] == {"protocolVersion": agreed, "capabilities": CAPABILITIES, "serverInfo": info}
    assert stage.take() == []  # the child has shaken hands already


def test_of_what_a_client_can_do_nothing_is_kept_but_what_it_can_be_asked() -> None:
    """A session would else hold the whole body of its `initialize`, which may have 16 MiB."""
    stage = Stage()

    client = stage.client(sampling={"tools": {}, "more": "x" * 1000}, experimental={"y": "y" * 1000})

    assert client.port.declared == Declared(sampling=True, tools=True)


def test_a_client_shakes_hands_once() -> None:
    stage = Stage()
    client = stage.client()

    client.calls(3, "initialize", protocolVersion="2025-11-25")

    assert client.take()[0]["error"]["code"] == -32600


def test_the_child_does_not_hear_that_a_client_is_initialized_or_has_other_roots() -> None:
    stage = Stage()
    client = stage.client()

    client.tells("notifications/initialized")
    client.tells("notifications/roots/list_changed")
    client.tells("notifications/of/its/own", x=1)

    assert [message["method"] for message in stage.take()] == ["notifications/of/its/own"]


# ---- cancellation


def test_a_cancellation_names_the_call_as_the_child_knows_it_and_hits_no_other() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    one.calls(1)
    other.calls(1)
    first, second = stage.take()

    other.tells("notifications/cancelled", requestId=1, reason="why not")

    assert [message["params"] for message in stage.take()] == [{"requestId": second["id"], "reason": "why not"}]
    stage.answers(second["id"])
    stage.answers(first["id"])
    assert [[m["id"] for m in each] for each in heard(one, other)] == [[1], []]


@pytest.mark.parametrize("request_id", [2, "1", None, 99999])
def test_a_cancellation_of_what_is_not_open_is_not_passed_on(request_id: Any) -> None:
    stage = Stage()
    one, other = stage.clients(2)
    one.calls(1)
    other.calls(5)
    stage.take()

    one.tells("notifications/cancelled", requestId=request_id)

    assert stage.take() == []


def test_the_end_of_a_session_cancels_its_calls_and_no_others() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    one.calls(1)
    one.calls(2)
    other.calls(1)
    first, second, third = stage.take()

    stage.hub.leave(one.port)
    stage.hub.leave(one.port)  # does nothing

    assert [message["params"]["requestId"] for message in stage.take()] == [first["id"], second["id"]]
    stage.answers(first["id"])
    stage.answers(third["id"], mine=True)
    assert heard(one, other) == [[], [{"jsonrpc": "2.0", "id": 1, "result": {"mine": True}}]]
    one.calls(3)
    assert stage.take() == []


# ---- bad lines


def test_an_answer_that_can_not_be_used_is_that_of_its_call() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    one.calls(1)
    other.calls(1)
    first, second = stage.take()

    stage.says(b'{"jsonrpc":"2.0","id":%d,"result":{"a":}}' % second["id"])
    stage.hub.received([OversizedLine(10_000_000, b'{"jsonrpc":"2.0","id":%d,"result":"' % first["id"], b'xx"}')])

    (spoiled,) = other.heard
    assert isinstance(spoiled, bytes) and b'"id":1,' in spoiled
    (oversized,) = one.heard
    assert isinstance(oversized, OversizedLine)
    assert (oversized.size_bytes, b'"id":1,' in oversized.head) == (10_000_000, True)
    stage.says(b"hello")
    assert stage.count("bad_line.not_json") == 1


def test_a_fault_of_one_session_costs_no_other_its_line() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    one.port.deliver_to(lambda _: 1 / 0)  # type: ignore[arg-type]

    stage.tells("notifications/tools/list_changed")

    assert len(other.take()) == 1


# ---- subscriptions


def subscribe(client: Any, id_: int, uri: str) -> None:
    client.calls(id_, "resources/subscribe", uri=uri)


def unsubscribe(client: Any, id_: int, uri: str) -> None:
    client.calls(id_, "resources/unsubscribe", uri=uri)


def test_the_child_hears_of_the_first_subscriber_and_of_the_end_of_the_last() -> None:
    stage = Stage()
    one, other, third = stage.clients(3)

    subscribe(one, 1, "file:///a")
    subscribe(other, 1, "file:///a")
    (asked,) = stage.take()
    assert (asked["method"], asked["params"]) == ("resources/subscribe", {"uri": "file:///a"})
    assert heard(one, other) == [[], []]
    stage.answers(asked["id"])
    subscribe(third, 9, "file:///a")
    done = [{"jsonrpc": "2.0", "id": 1, "result": {}}]
    assert heard(one, other, third) == [done, done, [{"jsonrpc": "2.0", "id": 9, "result": {}}]]
    assert stage.take() == []

    unsubscribe(one, 2, "file:///a")
    stage.hub.leave(third.port)
    assert (stage.take(), one.take()) == ([], [{"jsonrpc": "2.0", "id": 2, "result": {}}])
    unsubscribe(other, 2, "file:///a")
    (ended,) = stage.take()
    assert (ended["method"], ended["params"]) == ("resources/unsubscribe", {"uri": "file:///a"})
    stage.answers(ended["id"])
    assert other.take() == [{"jsonrpc": "2.0", "id": 2, "result": {}}]


def test_only_subscribers_hear_of_a_change() -> None:
    stage = Stage()
    one, other, third = stage.clients(3)
    for client, uri in ((one, "file:///a"), (other, "file:///a/"), (third, "file:///ab")):
        subscribe(client, 1, uri)
    for asked in stage.take():
        stage.answers(asked["id"])
    heard(one, other, third)

    def told(uri: str) -> list[int]:
        stage.tells("notifications/resources/updated", uri=uri)
        return [len(each) for each in heard(one, other, third)]

    assert told("file:///a") == [1, 0, 0]
    assert told("file:///a/b") == [1, 1, 0]
    assert told("file:///a/b/c") == [1, 1, 0]
    assert told("file:///ab") == [0, 0, 1]
    assert told("file:///other") == [0, 0, 0]
    assert stage.count("dropped.update_nobody_watches") == 1


def test_a_change_reaches_its_subscribers_however_the_child_spells_the_address() -> None:
    stage = Stage()
    one, other, third = stage.clients(3)
    for client, uri in ((one, "http://h"), (other, "http://h/"), (third, "http://h/a b")):
        subscribe(client, 1, uri)
    assert len(asked := stage.take()) == 3  # for the child they may be three
    for each in asked:
        stage.answers(each["id"])
    heard(one, other, third)

    stage.tells("notifications/resources/updated", uri="http://h/")
    assert [[m["params"]["uri"] for m in each] for each in heard(one, other, third)] == [["http://h/"]] * 2 + [[]]
    unsubscribe(other, 2, "http://h/")
    other.take()
    stage.tells("notifications/resources/updated", uri="http://h/a%20b")
    assert [len(each) for each in heard(one, other, third)] == [1, 0, 1]


def test_a_path_without_end_is_looked_up_only_so_far() -> None:
    stage = Stage()
    client = stage.client()
    subscribe(client, 1, "file:///")
    stage.answers(stage.take()[0]["id"])
    client.take()

    stage.tells("notifications/resources/updated", uri="file:///" + "a/" * (uris.MAX_PARENTS + 5))

    assert client.take() == []


def test_a_subscription_that_the_child_refuses_is_refused_to_all_who_asked_for_it() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    subscribe(one, 1, "file:///a")
    subscribe(other, 1, "file:///a")
    (asked,) = stage.take()

    stage.refuses(asked["id"])

    assert [[m["error"]["code"] for m in each] for each in heard(one, other)] == [[-32000], [-32000]]
    stage.tells("notifications/resources/updated", uri="file:///a")
    assert heard(one, other) == [[], []]
    subscribe(one, 2, "file:///a")
    assert len(stage.take()) == 1  # asked again


def test_a_subscription_outlives_the_client_that_asked_first() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    subscribe(one, 1, "file:///a")
    subscribe(other, 1, "file:///a")
    (asked,) = stage.take()

    stage.hub.leave(one.port)
    assert stage.take() == []
    stage.answers(asked["id"])

    stage.tells("notifications/resources/updated", uri="file:///a")
    assert [len(each) for each in heard(one, other)] == [0, 2]


@pytest.mark.parametrize("how", ["leave", "unsubscribe"])
def test_a_subscription_that_nobody_wants_when_it_is_there_is_ended(how: str) -> None:
    stage = Stage()
    client = stage.client()
    subscribe(client, 1, "file:///a")
    (asked,) = stage.take()

    if how == "leave":
        stage.hub.leave(client.port)
    else:
        unsubscribe(client, 2, "file:///a")
    stage.answers(asked["id"])

    assert [message["method"] for message in stage.take()] == ["resources/unsubscribe"]
    assert [m["id"] for m in client.take()] == ([] if how == "leave" else [2, 1])


def test_a_subscription_can_be_cancelled_while_the_child_thinks_about_it() -> None:
    stage = Stage()
    client = stage.client()
    subscribe(client, 1, "file:///a")
    (asked,) = stage.take()

    client.cancels(1)
    stage.answers(asked["id"])

    assert client.take() == []


def test_a_session_may_subscribe_only_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MAX_WATCHED", 2)
    stage = Stage()
    one, other = stage.clients(2)

    for number in range(3):
        subscribe(one, number, f"file:///{number}")
        subscribe(one, 10 + number, f"file:///{number}")  # once more changes nothing
    subscribe(other, 1, "file:///x")

    assert len(stage.take()) == 3
    assert {m["id"]: m["error"]["code"] for m in one.take()} == {2: -32603, 12: -32603}


@pytest.mark.parametrize("uri", [None, 7, ["file:///a"], "x" * 5000])
def test_a_subscription_to_what_is_no_address_is_refused(uri: Any) -> None:
    stage = Stage()
    client = stage.client()

    client.calls(1, "resources/subscribe", uri=uri)

    assert (client.take()[0]["error"]["code"], stage.take()) == (-32602, [])


@pytest.mark.parametrize("uri", ["file:///a", "http://h/", "http://H"])
def test_the_end_of_what_a_session_does_not_watch_is_not_passed_on(uri: str) -> None:
    """The child could take it for another session's subscription: http://h and http://h/ are the same to some."""
    stage = Stage()
    one, other = stage.clients(2)
    for number, watched in enumerate(("file:///a", "http://h")):
        subscribe(other, number, watched)
        stage.answers(stage.take()[0]["id"])

    unsubscribe(one, 1, uri)

    assert (stage.take(), one.take()) == ([], [{"jsonrpc": "2.0", "id": 1, "result": {}}])
    stage.tells("notifications/resources/updated", uri="file:///a")
    assert other.take()[-1]["method"] == "notifications/resources/updated"


def test_the_end_of_what_is_no_address_is_refused() -> None:
    stage = Stage()
    client = stage.client()

    unsubscribe(client, 1, 7)  # type: ignore[arg-type]

    assert (client.take()[0]["error"]["code"], stage.take()) == (-32602, [])


# ---- logs


def set_level(client: Any, id_: int, level: Any) -> None:
    client.calls(id_, "logging/setLevel", level=level)


def test_the_child_has_the_most_verbose_level_and_each_session_its_own() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    levels: list[str] = []

    def told() -> None:
        for message in stage.take():
            levels.append(message["params"]["level"])
            stage.answers(message["id"])

    set_level(one, 1, "error")  # the other has set none: it wants everything
    told()
    set_level(other, 1, "warning")
    told()
    assert levels == ["debug", "warning"]
    assert heard(one, other) == [[{"jsonrpc": "2.0", "id": 1, "result": {}}]] * 2

    stage.logs("a warning", "warning")
    stage.logs("an error", "error")
    stage.logs("nothing we know", "shout")
    texts = [[m["params"]["data"] for m in each] for each in heard(one, other)]
    assert texts == [["an error", "nothing we know"], ["a warning", "an error", "nothing we know"]]

    stage.hub.leave(other.port)
    told()
    third = stage.client()
    told()
    assert levels[2:] == ["error", "debug"]
    stage.logs("detail", "debug")
    assert [len(each) for each in heard(one, third)] == [0, 1]


def test_the_child_is_told_no_level_while_no_client_sets_one() -> None:
    stage = Stage()
    one, _ = stage.clients(2)

    stage.hub.leave(one.port)

    assert stage.take() == []


def test_a_level_that_the_child_refuses_is_not_set() -> None:
    stage = Stage()
    client = stage.client()
    set_level(client, 1, "error")
    stage.refuses(stage.take()[0]["id"])
    assert client.take()[0]["error"]["code"] == -32000

    stage.logs("detail", "debug")

    assert len(client.take()) == 1
    stage.client()
    assert stage.take() == []  # there is no level that it would have to change


@pytest.mark.parametrize("level", ["loud", "ERROR", 7, None])
def test_a_level_that_is_none_is_refused_before_the_child_can_take_it_for_one(level: Any) -> None:
    stage = Stage()
    client = stage.client()

    set_level(client, 1, level)

    assert (client.take()[0]["error"]["code"], stage.take()) == (-32602, [])


def test_a_log_goes_to_the_only_session_that_has_a_call() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    one.calls(1)
    one.calls(2)

    stage.logs("of one")

    assert [len(each) for each in heard(one, other)] == [1, 0]


def test_a_log_that_may_be_anothers_goes_to_nobody() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    one.calls(1)
    other.calls(1)
    first, second = stage.take()

    stage.logs("whose?")
    assert heard(one, other) == [[], []]
    assert stage.count("dropped.log_of_no_certain_session") == 1

    stage.answers(first["id"])
    stage.logs("of the other")
    stage.answers(second["id"])
    stage.logs("of the server")
    assert [[m["params"]["data"] for m in each if "params" in m] for each in heard(one, other)] == [
        ["of the server"],
        ["of the other", "of the server"],
    ]


def test_a_call_that_was_cancelled_may_be_talked_of_for_a_while() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    one.calls(1)
    other.calls(1)
    one.cancels(1)
    stage.logs("whose?")
    assert heard(one, other) == [[], []]

    stage.now += LINGER_SECONDS + 0.1
    stage.hub.check(stage.now)
    stage.logs("of the other")

    assert [len(each) for each in heard(one, other)] == [0, 1]


def test_what_a_session_that_has_left_had_cancelled_is_nobodys_talk() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    one.calls(1)
    stage.hub.leave(one.port)
    other.calls(1)

    stage.logs("may be of the one")
    stage.now += LINGER_SECONDS - 1
    stage.hub.check(stage.now)
    stage.logs("may be of the one still")

    assert (other.take(), stage.count("dropped.log_of_no_certain_session")) == ([], 2)


def test_a_late_answer_ends_the_talk_of_a_cancelled_call_at_once() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    one.calls(1)
    first = stage.take()
    other.calls(1)
    one.cancels(1)

    stage.answers(first[0]["id"])
    stage.logs("of the other")

    assert [len(each) for each in heard(one, other)] == [0, 1]


def test_nothing_is_certain_while_too_many_cancelled_calls_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribution, "MAX_LINGERING", 2)
    stage = Stage()
    one, other = stage.clients(2)
    other.calls(1)
    for client in (one, other, other):
        client.calls(7)
        client.cancels(7)

    stage.logs("may be of the one, whose cancelled call is forgotten")
    assert heard(one, other) == [[], []]

    stage.now += LINGER_SECONDS + 0.1
    stage.hub.check(stage.now)
    stage.logs("of the other")
    assert [len(each) for each in heard(one, other)] == [0, 1]


@pytest.mark.parametrize(
    ("method", "params"), [("resources/subscribe", {"uri": "file:///a"}), ("logging/setLevel", {"level": "debug"})]
)
def test_what_the_child_says_meanwhile_is_for_the_session_that_asked(method: str, params: Any) -> None:
    stage = Stage(may_ask=True)
    one, other = stage.client(sampling={}), stage.client(sampling={})
    one.calls(1, method, **params)
    (asked,) = stage.take()

    stage.logs("of the one")
    other.calls(1)
    stage.take()
    stage.logs("whose?")
    stage.asks("q")
    assert answers_of(stage) == [-32603]
    stage.answers(asked["id"])
    stage.logs("of the other")

    texts = [[m["params"]["data"] for m in each if "params" in m] for each in heard(one, other)]
    assert texts == [["of the one"], ["of the other"]]
    stage.asks("q")
    assert [m["id"] for m in other.take()] == ["q"]


def test_what_the_child_says_to_what_nobody_asked_for_is_nobodys() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    subscribe(one, 1, "file:///a")
    stage.answers(stage.take()[0]["id"])
    stage.hub.leave(one.port)
    (ended,) = stage.take()
    assert ended["method"] == "resources/unsubscribe"

    stage.logs("of the one, which is gone")
    stage.answers(ended["id"])
    stage.logs("of the server")

    assert [m["params"]["data"] for m in other.take()] == ["of the server"]


def test_list_changes_are_for_all() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    one.calls(1)
    for kind in ("tools", "prompts", "resources"):
        stage.tells(f"notifications/{kind}/list_changed")

    assert [len(each) for each in heard(one, other)] == [3, 3]


def test_what_nobody_has_invented_yet_is_for_whom_it_can_be() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    stage.tells("notifications/new", n=1)
    one.calls(1)
    stage.tells("notifications/new", n=2)
    other.calls(1)
    stage.tells("notifications/new", n=3)

    assert [[m["params"]["n"] for m in each] for each in heard(one, other)] == [[1, 2], [1]]
    assert stage.count("dropped.notification_of_no_certain_session") == 1


# ---- questions of the server


def answers_of(stage: Stage) -> list[Any]:
    return [message.get("error", {}).get("code", message.get("result")) for message in stage.take() if "id" in message]


def test_a_ping_of_the_child_is_answered_at_once() -> None:
    stage = Stage()
    stage.asks("p", "ping")

    assert stage.take() == [{"jsonrpc": "2.0", "id": "p", "result": {}}]


def test_a_question_is_refused_at_once_unless_the_operator_lets_the_server_ask() -> None:
    stage = Stage()
    client = stage.client(sampling={})
    client.calls(1)
    stage.take()

    stage.asks("q")

    assert (answers_of(stage), client.take()) == ([-32601], [])


def test_a_question_goes_to_the_client_with_the_only_call() -> None:
    stage = Stage(may_ask=True)
    asked, other = stage.client(sampling={}), stage.client(sampling={})
    asked.calls(1)
    stage.take()

    stage.asks("q", maxTokens=5)

    assert asked.take() == [
        {"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": {"maxTokens": 5}}
    ]
    other.says({"jsonrpc": "2.0", "id": "q", "result": {"mine": False}})  # was not asked
    assert stage.take() == []
    asked.says({"jsonrpc": "2.0", "id": "q", "result": {"mine": True}})
    asked.says({"jsonrpc": "2.0", "id": "q", "result": {"twice": True}})
    assert stage.take() == [{"jsonrpc": "2.0", "id": "q", "result": {"mine": True}}]
    assert stage.count("dropped.answer_nobody_waits_for") == 2


@pytest.mark.parametrize("calls", [0, 2])
def test_a_question_is_refused_while_not_exactly_one_call_is_open(calls: int) -> None:
    stage = Stage(may_ask=True)
    client = stage.client(sampling={})
    for number in range(calls):
        client.calls(number + 1)
    stage.take()

    stage.asks(0)

    assert (answers_of(stage), client.take()) == ([-32603], [])


def test_a_question_is_refused_while_a_cancelled_call_may_be_its_cause() -> None:
    stage = Stage(may_ask=True)
    client = stage.client(sampling={})
    client.calls(1)
    client.cancels(1)
    stage.take()

    stage.asks(0)

    assert (answers_of(stage), client.take()) == ([-32603], [])
    assert (stage.count("refused.ask_after_cancelled_call"), stage.hub.unanswered) == (1, 1)


@pytest.mark.parametrize("how", ["cancel", "leave"])
def test_a_cancelled_call_without_an_answer_can_ask_nobody_else_however_late(how: str) -> None:
    stage = Stage(may_ask=True)
    one, other = stage.client(sampling={}), stage.client(sampling={})
    one.calls(1)
    (cancelled,) = stage.take()
    if how == "cancel":
        one.cancels(1)
    else:
        stage.hub.leave(one.port)
    stage.now += LINGER_SECONDS + 0.1
    stage.hub.check(stage.now)
    other.calls(1)
    stage.take()

    stage.asks("q")
    assert (answers_of(stage), other.take()) == ([-32603], [])

    stage.answers(cancelled["id"])
    stage.asks("q")
    assert [m["id"] for m in other.take()] == ["q"]


def test_a_session_is_asked_after_a_call_of_its_own_that_was_cancelled_long_ago() -> None:
    stage = Stage(may_ask=True)
    client = stage.client(sampling={})
    client.calls(1)
    client.cancels(1)
    stage.now += LINGER_SECONDS + 0.1
    stage.hub.check(stage.now)
    client.calls(2)

    stage.asks("q")

    assert [m["id"] for m in client.take()] == ["q"]


def test_nobody_is_asked_once_a_cancelled_call_without_an_answer_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribution, "MAX_LINGERING", 1)
    stage = Stage(may_ask=True)
    one, other = stage.client(sampling={}), stage.client(sampling={})
    for client in (one, other):
        client.calls(1)
        client.cancels(1)
    stage.now += LINGER_SECONDS + 0.1
    stage.hub.check(stage.now)
    other.calls(2)
    stage.take()

    stage.asks("q")

    assert (answers_of(stage), other.take()) == ([-32603], [])


@pytest.mark.parametrize(
    ("declared", "method", "params"),
    [
        ({}, "sampling/createMessage", {}),
        ({"sampling": {}}, "elicitation/create", {}),
        ({"sampling": {}}, "sampling/createMessage", {"tools": []}),
        ({"elicitation": {}}, "elicitation/create", {"mode": "url"}),
        ({"elicitation": {}}, "roots/list", {}),
        ({"sampling": {}, "roots": {}, "elicitation": {}}, "tasks/list", {}),
    ],
)
def test_a_client_is_not_asked_what_it_has_not_declared(declared: Any, method: str, params: Any) -> None:
    stage = Stage(may_ask=True)
    client = stage.client(**declared)
    client.calls(1)
    stage.take()

    stage.asks(1, method, **params)

    assert (answers_of(stage), client.take()) == ([-32601], [])


def test_a_question_whose_client_leaves_is_refused() -> None:
    stage = Stage(may_ask=True)
    client = stage.client(roots={})
    client.calls(1)
    stage.asks(1, "roots/list")
    stage.take()

    stage.hub.leave(client.port)

    assert answers_of(stage) == [-32603]


def test_a_question_can_be_taken_back_and_its_answer_told_of() -> None:
    stage = Stage(may_ask=True)
    client, other = stage.client(sampling={}), stage.client(sampling={})
    client.calls(1)
    stage.asks(8, _meta={"progressToken": "t"})
    stage.take()

    client.tells("notifications/progress", progressToken="t", progress=1)
    client.tells("notifications/progress", progressToken="u", progress=1)
    other.tells("notifications/progress", progressToken="t", progress=1)
    assert [message["params"]["progressToken"] for message in stage.take()] == ["t"]

    stage.tells("notifications/cancelled", requestId=8)
    stage.tells("notifications/cancelled", requestId=9)
    assert [[m["method"] for m in each] for each in heard(client, other)] == [
        ["sampling/createMessage", "notifications/cancelled"],
        [],
    ]
    client.says({"jsonrpc": "2.0", "id": 8, "result": {}})
    assert stage.take() == []


def test_a_child_that_asks_and_reads_nothing_is_answered_only_so_often() -> None:
    stage = Stage()
    stage.fake.pending = 1

    for number in range(100):
        stage.asks(number)

    assert sum(map(len, stage.fake.sent_lines)) < 2000
    assert stage.count("dropped.reply_child_does_not_read") > 50


# ---- tasks


def begin_task(stage: Stage, client: Any, id_: int, task_id: str) -> None:
    client.calls(id_, name="x", task={"ttl": 1000})
    stage.answers(stage.take()[-1]["id"], task={"taskId": task_id, "status": "working"})
    assert client.take()[-1]["result"]["task"]["taskId"] == task_id


def test_a_task_is_for_the_session_that_has_begun_it() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    begin_task(stage, one, 1, "t1")
    begin_task(stage, other, 1, "t2")

    for method in ("tasks/get", "tasks/result", "tasks/cancel"):
        one.calls(2, method, taskId="t2")
        one.calls(3, method, taskId="unknown")
        one.calls(4, method)
        one.calls(5, method, taskId="t1")
        assert [(m["id"], m["error"]["code"]) for m in one.take()] == [(2, -32602), (3, -32602), (4, -32602)]
        assert [message["params"] for message in stage.take()] == [{"taskId": "t1"}]

    stage.tells("notifications/tasks/status", taskId="t2", status="completed")
    stage.tells("notifications/tasks/status", taskId="t3", status="completed")
    assert [len(each) for each in heard(one, other)] == [0, 1]
    assert stage.count("dropped.status_of_nobodys_task") == 1


def related(task_id: str) -> dict[str, Any]:
    return {"_meta": {"io.modelcontextprotocol/related-task": {"taskId": task_id}}}


def test_what_the_child_says_while_it_works_on_a_task_may_be_of_that() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    begin_task(stage, one, 1, "t1")
    stage.logs("of the one")
    other.calls(1)
    stage.logs("whose?")

    stage.tells("notifications/tasks/status", taskId="t1", status="working")
    stage.logs("whose?")
    stage.tells("notifications/tasks/status", taskId="t1", status="completed")
    stage.logs("of the other")

    texts = [[m["params"].get("data") or m["params"]["status"] for m in each] for each in heard(one, other)]
    assert texts == [["of the one", "working", "completed"], ["of the other"]]


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("tasks/get", {"taskId": "t1", "status": "completed"}),
        ("tasks/get", {"taskId": "t1", "status": "failed"}),
        ("tasks/result", {"content": []}),
        ("tasks/result", None),
    ],
)
def test_a_task_is_over_when_its_client_is_told_so(method: str, answer: dict[str, Any] | None) -> None:
    stage = Stage()
    one, other = stage.clients(2)
    begin_task(stage, one, 1, "t1")
    one.calls(2, method, taskId="t1")
    other.calls(1)
    asked, _ = stage.take()

    if answer is None:
        stage.refuses(asked["id"])
    else:
        stage.answers(asked["id"], **answer)
    stage.logs("of the other")

    assert [len(each) for each in heard(one, other)] == [1, 1]


@pytest.mark.parametrize("how", ["cancel", "leave"])
def test_a_task_that_is_cancelled_may_be_talked_of_for_a_while(how: str) -> None:
    """Spec: 2025-11-25 basic/utilities/tasks: it stays cancelled "even if execution continues"."""
    stage = Stage()
    one, other = stage.clients(2)
    begin_task(stage, one, 1, "t1")
    if how == "cancel":
        one.calls(2, "tasks/cancel", taskId="t1")
    else:
        stage.hub.leave(one.port)
    stage.answers(stage.take()[-1]["id"], taskId="t1", status="cancelled")
    other.calls(1)

    stage.logs("whose?")
    assert other.take() == []
    stage.now += LINGER_SECONDS + 0.1
    stage.hub.check(stage.now)
    stage.logs("of the other")
    assert len(other.take()) == 1


def test_a_task_that_was_over_already_when_its_session_left_is_talked_of_no_more() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    begin_task(stage, one, 1, "t1")
    stage.hub.leave(one.port)
    stage.refuses(stage.take()[-1]["id"], -32602)
    other.calls(1)

    stage.logs("of the other")

    assert len(other.take()) == 1


def test_what_names_its_task_is_for_the_session_of_the_task_whoever_else_calls() -> None:
    """Spec: 2025-11-25 basic/utilities/tasks, Related Task Metadata."""
    stage = Stage(may_ask=True)
    one, other = stage.client(sampling={}), stage.client(sampling={})
    begin_task(stage, one, 1, "t1")
    other.calls(1)
    one.calls(2)
    stage.take()

    stage.tells("notifications/message", level="info", data="of the task", **related("t1"))
    stage.asks("q", **related("t1"))
    assert [[m["method"] for m in each] for each in heard(one, other)] == [
        ["notifications/message", "sampling/createMessage"],
        [],
    ]
    one.says({"jsonrpc": "2.0", "id": "q", "result": {}})
    assert stage.take() == [{"jsonrpc": "2.0", "id": "q", "result": {}}]

    stage.tells("notifications/message", level="info", data="of nobody's", **related("t9"))
    stage.asks("r", **related("t9"))
    assert (heard(one, other), answers_of(stage)) == ([[], []], [-32603])


def test_the_progress_of_a_task_reaches_the_session_under_the_token_of_its_call() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    one.calls(1, name="x", task={}, _meta={"progressToken": "mine"})
    other.calls(1, name="x", _meta={"progressToken": "mine"})
    asked, of_other = stage.take()
    stage.answers(asked["id"], task={"taskId": "t1", "status": "working"})
    stage.answers(of_other["id"])
    heard(one, other)

    for each in (asked, of_other):
        stage.tells("notifications/progress", progressToken=each["id"], progress=1)
    assert [[m["params"]["progressToken"] for m in each] for each in heard(one, other)] == [["mine"], []]

    stage.hub.leave(one.port)
    stage.tells("notifications/progress", progressToken=asked["id"], progress=2)
    assert heard(one, other) == [[], []]
    assert stage.hub.calls._as_tasks == {}


def test_a_session_whose_task_asks_is_asked_while_it_waits_for_the_result() -> None:
    stage = Stage(may_ask=True)
    client = stage.client(sampling={})
    begin_task(stage, client, 1, "t1")
    client.calls(2, "tasks/result", taskId="t1")
    stage.take()

    stage.asks("q")

    assert [m["id"] for m in client.take()] == ["q"]


def test_what_a_child_does_not_offer_is_its_own_to_refuse() -> None:
    stage = Stage(capabilities={})
    client = stage.client()
    methods = ["tasks/get", "tasks/list", "resources/subscribe", "resources/unsubscribe", "logging/setLevel"]

    for id_, method in enumerate(methods):
        client.calls(id_, method, taskId="t", uri="file:///a", level="info")

    assert [message["method"] for message in stage.take()] == methods


def test_a_list_of_tasks_has_those_of_its_session_alone() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    begin_task(stage, one, 1, "t1")
    begin_task(stage, other, 1, "t2")
    one.calls(2, "tasks/list")
    listed = [{"taskId": "t1", "ttl": 1.5}, {"taskId": "t2"}, {"taskId": "t3"}, 7]
    stage.answers(stage.take()[0]["id"], tasks=listed, nextCursor="c")

    assert one.take()[0]["result"] == {"tasks": [{"taskId": "t1", "ttl": 1.5}], "nextCursor": "c"}
    other.calls(2, "tasks/list")
    stage.refuses(stage.take()[0]["id"])
    assert other.take()[0]["error"]["code"] == -32000


def test_the_tasks_of_a_session_end_with_it() -> None:
    stage = Stage()
    one, other = stage.clients(2)
    begin_task(stage, one, 1, "t1")
    begin_task(stage, other, 1, "t2")

    stage.hub.leave(one.port)

    assert [(m["method"], m["params"]) for m in stage.take()] == [("tasks/cancel", {"taskId": "t1"})]
    other.calls(2, "tasks/get", taskId="t1")
    assert other.take()[0]["error"]["code"] == -32602


def test_only_so_many_tasks_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MAX_TASKS", 1)
    stage = Stage()
    client = stage.client()
    begin_task(stage, client, 1, "t1")
    begin_task(stage, client, 2, "t2")

    client.calls(3, "tasks/get", taskId="t1")
    client.calls(4, "tasks/get", taskId="t2")

    assert ([m["id"] for m in client.take()], len(stage.take())) == ([3], 1)


def test_a_call_that_is_to_be_a_task_and_is_none_is_answered() -> None:
    stage = Stage()
    client = stage.client()
    client.calls(1, name="x", task={})
    client.calls(2, name="task", arguments={"task": 1})
    first, second = stage.take()
    stage.refuses(first["id"])
    stage.answers(second["id"], task={"taskId": "t"})

    assert [m["id"] for m in client.take()] == [1, 2]
    client.calls(3, "tasks/get", taskId="t")  # it was no task: its result only looks like one
    assert client.take()[0]["error"]["code"] == -32602


# ---- from one process to the next


@pytest.mark.parametrize("level", ["error", None])
def test_a_session_comes_to_another_process_with_its_level_and_what_it_watches(level: str | None) -> None:
    old, new = Stage(), Stage(capabilities={**CAPABILITIES, "tools": {"listChanged": True}})
    one, other = old.clients(2)
    there = new.client()
    for client in (one, other):
        subscribe(client, 1, "file:///a")
    old.answers(old.take()[0]["id"])
    if level is not None:
        set_level(one, 2, level)
        old.answers(old.take()[0]["id"])
    one.tells("notifications/initialized")
    heard(one, other)

    new.hub.take_over(one.port, old.hub)
    one.port.move_to(new)

    assert old.take() == []  # the other one still watches
    told = new.take()
    methods = ["logging/setLevel", "resources/subscribe"] if level is not None else ["resources/subscribe"]
    assert [message["method"] for message in told] == methods
    for message in told:
        new.answers(message["id"])
    changes = ["notifications/tools/list_changed", "notifications/resources/updated"]
    assert [m["method"] for m in one.take()] == changes
    for stage in (old, new):
        stage.tells("notifications/resources/updated", uri="file:///a")
        stage.logs("detail", "debug")
    assert [len(each) for each in heard(one, other, there)] == [1 if level else 2, 2, 1]
    one.calls(7)
    new.answers(new.take()[0]["id"], by="the new one")
    assert one.take()[0]["result"] == {"by": "the new one"}
    one.port.leave()
    assert [message["method"] for message in new.take()][-1:] == ["resources/unsubscribe"]
    assert (old.hub.port_count, new.hub.port_count) == (1, 1)


def test_a_session_that_has_something_open_stays() -> None:
    stage = Stage(may_ask=True)
    rests, calls, waits, asked, works, early = (stage.client(sampling={}) for _ in range(6))
    subscribe(waits, 1, "file:///a")
    begin_task(stage, works, 1, "t1")
    stage.take()
    asked.calls(1)
    (of_asked,) = stage.take()
    stage.asks("q", **related("t1"))
    early.port.declared = None
    calls.calls(1)
    of_calls = stage.take()[-1]

    def may_go() -> list[bool]:
        return [stage.hub.may_go(each.port) for each in (rests, calls, waits, asked, works, early)]

    assert may_go() == [True, False, False, False, False, False]
    stage.answers(of_asked["id"])
    calls.cancels(1)
    assert of_calls
    works.calls(2, "tasks/result", taskId="t1")
    stage.answers(stage.take()[-1]["id"])
    assert may_go() == [True, True, False, True, False, False]  # `works` owes an answer
    works.says({"jsonrpc": "2.0", "id": "q", "result": {}})
    assert may_go() == [True, True, False, True, True, False]


# ---- what is left


def test_nothing_is_kept_of_sessions_that_have_ended() -> None:
    stage = Stage(may_ask=True)
    for number in range(50):
        client = stage.client(sampling={})
        set_level(client, 1, "error")
        subscribe(client, 2, f"file:///{number}")
        client.calls(3)
        stage.asks(number)
        stage.hub.leave(client.port)
        for message in stage.take():
            if "method" in message and "id" in message:
                stage.answers(message["id"])
        for message in stage.take():
            if "method" in message and "id" in message:
                stage.answers(message["id"])

    hub = stage.hub
    kept: list[Any] = [
        hub._ports,
        hub.calls._calls,
        hub.calls._own,
        hub._levels._levels,
        hub._watching._resources,
        hub._watching._watched,
    ]
    assert [len(each) for each in kept] == [0] * 6
    owners = [*hub._attribution._busy, *hub._attribution._own.values(), *hub._attribution._silent.values()]
    assert set(owners) <= {None}
    assert (len(hub._questions._open), hub._attribution.is_quiet) == (0, True)


def test_a_line_that_is_no_message_does_no_harm() -> None:
    stage = Stage()
    client = stage.client()

    for line in (b"", b"[]", b"{}", b'{"jsonrpc":"2.0","method":7}', b"\xff"):
        client.port.send(line)
    stage.says(b"null", b"{}", json.dumps({"jsonrpc": "2.0", "id": None, "result": {}}).encode())

    assert (stage.take(), client.take()) == ([], [])

"""Listens of 2026-07-28 on a child of the handshake era, which has subscriptions and list changes instead."""

from typing import Any

import pytest

from proxy.sessions.modern import as_modern_listens
from proxy.sessions.modern.as_modern_listens import MAX_LISTENS, MAX_MISSED_BYTES, MAX_URI_BYTES, MAX_URIS
from tests.sessions.modern.bridge import INFO, OFFERED, PREFIX, SUBSCRIPTION, Bridge, Json

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
TOOLS = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"


def listen(bridge: Bridge, *uris: str, **changes: Any) -> int:
    wanted = {**changes, "resourceSubscriptions": list(uris)} if uris else changes
    return bridge.request("subscriptions/listen", {"notifications": wanted})


def answer_all(bridge: Bridge, *refused: str) -> list[tuple[str, str]]:
    """Let the child answer what it was asked; returns the methods and addresses of that."""
    asked = []
    for request in bridge.down():
        uri = request["params"]["uri"]
        asked.append((request["method"].removeprefix("resources/"), uri))
        if uri in refused:
            bridge.child_fails(request["id"], -32002)
        else:
            bridge.child_answers(request["id"], {})
    return asked


def updated(bridge: Bridge, uri: Any) -> None:
    bridge.child_tells(UPDATED, {"uri": uri})


def heard(bridge: Bridge) -> list[tuple[str, int]]:
    """The last word of the methods of what came up, and the listen it is for."""
    return [(line["method"].split("/")[-1], line["params"]["_meta"][SUBSCRIPTION]) for line in bridge.up()]


def test_the_acknowledgement_comes_first_and_says_what_the_child_can_tell_of() -> None:
    """Spec: 2026-07-28 basic/patterns/subscriptions. HM-24."""
    bridge = Bridge()

    listen_id = listen(
        bridge, toolsListChanged=True, promptsListChanged=True, resourcesListChanged=False, taskIds=["t"]
    )

    assert bridge.answer() == {
        "jsonrpc": "2.0",
        "method": ACKNOWLEDGED,
        "params": {"notifications": {"toolsListChanged": True}, "_meta": {SUBSCRIPTION: listen_id}},
    }
    assert bridge.down() == []


def test_a_change_is_told_to_every_listen_that_asked_for_it_and_to_no_other() -> None:
    """HM-24."""
    bridge = Bridge()
    tools, resources, both = (
        listen(bridge, toolsListChanged=True),
        listen(bridge, resourcesListChanged=True),
        listen(bridge, toolsListChanged=True, resourcesListChanged=True),
    )
    bridge.up()

    bridge.child_tells(TOOLS)
    bridge.child_tells("notifications/resources/list_changed", {"x": 2**70, "_meta": {"y": 1}})

    assert [(line["method"], line["params"]) for line in bridge.up()] == [
        (TOOLS, {"_meta": {SUBSCRIPTION: tools}}),
        (TOOLS, {"_meta": {SUBSCRIPTION: both}}),
        ("notifications/resources/list_changed", {"x": 2**70, "_meta": {"y": 1, SUBSCRIPTION: resources}}),
        ("notifications/resources/list_changed", {"x": 2**70, "_meta": {"y": 1, SUBSCRIPTION: both}}),
    ]


def test_a_change_that_nobody_listens_to_is_dropped() -> None:
    bridge = Bridge()
    listen(bridge, resourcesListChanged=True)
    bridge.up()

    bridge.child_tells(TOOLS)
    bridge.child_tells("notifications/prompts/list_changed")
    updated(bridge, "x:1")
    updated(bridge, 5)
    bridge.child_tells(UPDATED)

    assert bridge.up() == []
    assert bridge.count("dropped.change_nobody_listens_to") == 5


def test_a_listen_to_nothing_is_acknowledged_and_ended() -> None:
    """HM-25."""
    bridge = Bridge(offered={})

    listen_id = listen(bridge, "x:1", toolsListChanged=True)

    acknowledged, end = bridge.up()
    assert acknowledged["params"] == {"notifications": {}, "_meta": {SUBSCRIPTION: listen_id}}
    assert end == {
        "jsonrpc": "2.0",
        "id": listen_id,
        "result": {
            "resultType": "complete",
            "_meta": {SUBSCRIPTION: listen_id, f"{PREFIX}serverInfo": INFO},
        },
    }
    assert bridge.modern.open_count == 0


def test_a_resource_is_subscribed_to_once_for_all_who_want_it() -> None:
    bridge = Bridge()

    first = listen(bridge, "x:1", "x:2")
    assert bridge.up() == []
    assert answer_all(bridge) == [("subscribe", "x:1"), ("subscribe", "x:2")]
    assert bridge.up()[0]["params"]["notifications"] == {"resourceSubscriptions": ["x:1", "x:2"]}
    second = listen(bridge, "x:2")
    assert heard(bridge) == [("acknowledged", second)]
    assert bridge.down() == []

    updated(bridge, "x:1")
    updated(bridge, "x:2")
    assert heard(bridge) == [("updated", first), ("updated", first), ("updated", second)]

    bridge.cancel(first)
    assert answer_all(bridge) == [("unsubscribe", "x:1")]
    updated(bridge, "x:2")
    assert heard(bridge) == [("updated", second)]
    bridge.cancel(second)
    assert answer_all(bridge) == [("unsubscribe", "x:2")]
    assert bridge.modern.open_count == 0
    assert bridge.up() == []


def test_what_the_child_refuses_is_not_in_the_acknowledgement() -> None:
    """HM-24: the honoured subset."""
    bridge = Bridge()
    listen(bridge, "x:1", "x:2", toolsListChanged=True)

    answer_all(bridge, "x:1")

    assert bridge.answer()["params"]["notifications"] == {"toolsListChanged": True, "resourceSubscriptions": ["x:2"]}
    bridge.cancel(1)
    assert answer_all(bridge) == [("unsubscribe", "x:2")]
    assert bridge.modern.open_count == 0


def test_a_listen_of_which_the_child_refuses_everything_is_ended() -> None:
    bridge = Bridge()
    listen(bridge, "x:1")

    answer_all(bridge, "x:1")

    acknowledged, end = bridge.up()
    assert acknowledged["params"]["notifications"] == {}
    assert end["result"]["resultType"] == "complete"
    assert bridge.modern.open_count == 0


def test_a_child_that_does_not_answer_does_not_hold_the_acknowledgement_up_for_ever() -> None:
    bridge = Bridge(acknowledge_seconds=5.0)
    listen_id = listen(bridge, "x:1", "x:2")
    first, second = bridge.down()
    bridge.child_answers(first["id"], {})

    bridge.pass_time(4.9)
    assert bridge.up() == []
    bridge.pass_time(0.2)
    assert bridge.answer()["params"]["notifications"] == {"resourceSubscriptions": ["x:1", "x:2"]}

    bridge.child_answers(second["id"], {})
    updated(bridge, "x:2")
    assert heard(bridge) == [("updated", listen_id)]


def test_a_late_refusal_of_a_subscription_changes_nothing_for_the_others() -> None:
    bridge = Bridge(acknowledge_seconds=5.0)
    listen_id = listen(bridge, "x:1", toolsListChanged=True)
    (request,) = bridge.down()
    bridge.pass_time(6)
    bridge.up()

    bridge.child_fails(request["id"], -32601)
    bridge.child_tells(TOOLS)

    assert heard(bridge) == [("list_changed", listen_id)]
    bridge.cancel(listen_id)
    assert bridge.down() == []
    assert bridge.modern.open_count == 0


def test_what_comes_before_the_acknowledgement_comes_after_it_once() -> None:
    """HM-24: the acknowledgement is the first message."""
    bridge = Bridge()
    listen_id = listen(bridge, "x:1", toolsListChanged=True)

    for _ in range(3):
        bridge.child_tells(TOOLS)
        updated(bridge, "x:1")
    assert bridge.up() == []
    answer_all(bridge)

    assert heard(bridge) == [("acknowledged", listen_id), ("list_changed", listen_id), ("updated", listen_id)]


def test_what_comes_before_the_acknowledgement_is_kept_within_a_limit() -> None:
    bridge = Bridge()
    listen(bridge, "x:1", toolsListChanged=True)

    for n in range(3):
        bridge.child_tells(UPDATED, {"uri": f"x:1/{n}", "fill": "x" * (MAX_MISSED_BYTES // 3)})
    answer_all(bridge)

    assert len(bridge.up()) == 3
    assert bridge.count("dropped.change_before_acknowledgement") == 1


@pytest.mark.parametrize(
    ("told", "is_heard"),
    [
        ("file:///a/b", True),
        ("file:///a/b/", True),
        ("file:///a/b/c/d", True),
        ("file:///a/bc", False),
        ("file:///a", False),
        ("FILE://localhost/a/./%62", True),
        ("file:///a/b" + "/c" * 60, True),
        ("file:///a/b" + "/" * 5_000_000, False),
        ("/", False),
        ("", False),
    ],
)
def test_an_update_below_a_resource_is_one_of_it(told: str, is_heard: bool) -> None:
    """Spec: 2025-11-25 schema, ResourceUpdatedNotification: this might be a sub-resource."""
    bridge = Bridge()
    listen(bridge, "file:///a/b")
    answer_all(bridge)
    bridge.up()

    updated(bridge, told)

    assert bool(bridge.up()) == is_heard


def test_an_update_is_told_once_to_a_listen_that_wants_it_twice() -> None:
    bridge = Bridge()
    listen_id = listen(bridge, "file:///a", "file:///a/b", "file:///a")
    answer_all(bridge)
    bridge.up()

    updated(bridge, "file:///a/b")

    assert heard(bridge) == [("updated", listen_id)]


def test_subscribing_and_unsubscribing_wait_for_each_other() -> None:
    """A server may run two requests at once and finish the second one first."""
    bridge = Bridge()
    first = listen(bridge, "x:1")
    (subscribe,) = bridge.down()

    bridge.cancel(first)
    second = listen(bridge, "x:1")
    bridge.cancel(second)
    assert bridge.down() == []
    bridge.child_answers(subscribe["id"], {})
    (unsubscribe,) = bridge.down()
    third = listen(bridge, "x:1")
    assert (bridge.down(), bridge.up()) == ([], [])
    bridge.child_answers(unsubscribe["id"], {})
    (again,) = bridge.down()
    bridge.child_answers(again["id"], {})

    assert [m["method"] for m in (subscribe, unsubscribe, again)] == [
        "resources/subscribe",
        "resources/unsubscribe",
        "resources/subscribe",
    ]
    assert heard(bridge) == [("acknowledged", third)]


def test_a_listen_that_comes_while_the_subscription_is_opened_shares_it() -> None:
    bridge = Bridge()
    first = listen(bridge, "x:1")
    second = listen(bridge, "x:1")

    assert answer_all(bridge) == [("subscribe", "x:1")]

    assert heard(bridge) == [("acknowledged", first), ("acknowledged", second)]


def test_addresses_keep_their_bytes() -> None:
    bridge = Bridge()

    bridge.tell(
        b'{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":'
        b'{"resourceSubscriptions":["x:\\u00e9","x:\\ud800"]}}}'
    )

    assert [b'"uri":"x:\\u00e9"' in bridge.link.sent_lines[-2], b'"uri":"x:\\ud800"' in bridge.link.sent_lines[-1]] == [
        True,
        True,
    ]
    answer_all(bridge)
    bridge.up()
    bridge.child_tells(UPDATED, {"uri": "x:é"})
    assert heard(bridge) == [("updated", 1)]


@pytest.mark.parametrize(
    "notifications",
    [
        None,
        [],
        "x",
        {"resourceSubscriptions": {}},
        {"resourceSubscriptions": [1]},
        {"resourceSubscriptions": ["x" * (MAX_URI_BYTES + 1)]},
        {"resourceSubscriptions": [f"x:{n}" for n in range(MAX_URIS + 1)]},
    ],
)
def test_a_filter_that_is_none_is_refused(notifications: Any) -> None:
    bridge = Bridge()

    bridge.request("subscriptions/listen", {"notifications": notifications})

    assert bridge.answer()["error"]["code"] == -32602
    assert bridge.modern.open_count == 0


def test_null_for_the_resources_is_as_good_as_none() -> None:
    bridge = Bridge()

    bridge.request("subscriptions/listen", {"notifications": {"toolsListChanged": True, "resourceSubscriptions": None}})

    assert bridge.answer()["method"] == ACKNOWLEDGED


def test_more_listens_than_the_limit_are_refused() -> None:
    bridge = Bridge()
    for _ in range(MAX_LISTENS):
        listen(bridge, toolsListChanged=True)
    bridge.up()

    listen(bridge, toolsListChanged=True)
    assert bridge.answer()["error"] == {"code": -32603, "message": "Subscription limit reached"}
    bridge.cancel(1)
    last = listen(bridge, toolsListChanged=True)

    assert heard(bridge) == [("acknowledged", last)]


def test_more_resources_than_the_limit_are_refused_however_many_listens_they_come_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(as_modern_listens, "MAX_URIS", 3)
    bridge = Bridge()

    listen(bridge, "x:1", "x:2")
    listen(bridge, "x:1", "x:2")

    assert bridge.answer()["error"]["code"] == -32603


@pytest.mark.parametrize("flag", [1, "true", None, False, {}])
def test_only_true_asks_for_a_change(flag: Any) -> None:
    bridge = Bridge()

    listen(bridge, toolsListChanged=flag)

    acknowledged, _ = bridge.up()
    assert acknowledged["params"]["notifications"] == {}


def test_a_child_that_does_not_say_that_it_can_subscribe_is_not_asked_to() -> None:
    offered: Json = {**OFFERED, "resources": {"listChanged": True}}
    bridge = Bridge(offered=offered)

    listen(bridge, "x:1", resourcesListChanged=True)

    assert bridge.answer()["params"]["notifications"] == {"resourcesListChanged": True}
    assert bridge.down() == []

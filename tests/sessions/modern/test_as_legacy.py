"""A server that speaks only 2026-07-28, as a client of the handshake era sees it: lines in, lines out."""

import json
from typing import Any

import pytest

from proxy.errors import AnswerUnusable, ChildExited, ChildRestarting, ProxyError
from proxy.protocol.framing import OversizedLine
from proxy.sessions.modern.as_legacy import AsLegacy
from tests.sessions.modern.between import CAPABILITIES, PREFIX, Between, Json, client_info

ENVELOPE = {
    f"{PREFIX}protocolVersion": "2026-07-28",
    f"{PREFIX}clientCapabilities": {**CAPABILITIES, "roots": {}},
    f"{PREFIX}clientInfo": client_info(),
}
LEVEL = {f"{PREFIX}logLevel": "debug"}
LIST_CHANGED = "notifications/tools/list_changed"


def initialize(version: str = "2025-11-25") -> Json:
    return {"protocolVersion": version, "capabilities": CAPABILITIES, "clientInfo": client_info()}


# ---- the handshake


def test_initialize_becomes_an_enveloped_discover_and_its_answer() -> None:
    """Spec: 2026-07-28 server/discover; 2025-11-25 basic/lifecycle. SC-07, SC-10, HL-31."""
    between = Between()
    between.as_legacy.attach(between.link)

    id_ = between.ask("initialize", initialize("2025-06-18"))
    discover = between.link.messages[0]
    assert discover["method"] == "server/discover"
    assert discover["params"]["_meta"][f"{PREFIX}protocolVersion"] == "2026-07-28"
    assert discover["params"]["_meta"][f"{PREFIX}clientCapabilities"]["elicitation"] == {}
    assert between.said == []

    between.answer_discover()
    (answer,) = between.said
    assert answer["id"] == id_
    assert answer["result"]["protocolVersion"] == "2025-06-18"
    assert answer["result"]["serverInfo"] == {"name": "s", "version": "2"}
    assert "extensions" not in answer["result"]["capabilities"]
    assert between.ready == 1
    assert between.as_legacy.is_ready


def test_an_initialize_that_comes_before_the_child_waits_for_it() -> None:
    between = Between()

    between.ask("initialize", initialize())
    between.as_legacy.attach(between.link)

    assert [message["method"] for message in between.link.messages] == ["server/discover"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ({"code": -32022, "message": "no", "data": {"supported": ["2027-01-01"]}}, -32602),
        ({"code": -32601, "message": "no"}, -32601),
        ({"code": -32000, "message": "No key"}, -32000),
    ],
)
def test_a_server_that_refuses_to_be_discovered_refuses_the_client(error: Json, told: int) -> None:
    """Spec: 2025-11-25 basic/lifecycle, Error Handling."""
    between = Between()
    between.as_legacy.attach(between.link)
    id_ = between.ask("initialize", initialize())

    between.child({"jsonrpc": "2.0", "id": between.asked_child()["id"], "error": error})

    assert [(each["id"], each["error"]["code"]) for each in between.said] == [(id_, told)]
    assert between.refused == [error]
    assert not between.as_legacy.is_ready


def test_somebody_else_may_take_care_of_a_server_that_refuses() -> None:
    between = Between()
    between.takes_care = True
    between.as_legacy.attach(between.link)
    between.ask("initialize", initialize())

    between.child({"jsonrpc": "2.0", "id": between.asked_child()["id"], "error": {"code": -32601, "message": ""}})

    assert between.said == []


@pytest.mark.parametrize("member", ["capabilities", "clientInfo"])
def test_a_client_that_says_too_much_of_itself_is_refused(member: str) -> None:
    """Ours: all of it would be sent with each of its requests, and kept as long as its session lives."""
    between = Between()
    between.as_legacy.attach(between.link)
    params = initialize()
    params[member] = {**params[member], "sampling": {"x": "x" * 65_536}}

    between.ask("initialize", params)

    assert (between.said[0]["error"]["code"], between.to_child()) == (-32602, [])


def test_a_second_initialize_is_refused() -> None:
    between = Between().opened()

    between.ask("initialize", initialize())

    assert between.said[0]["error"]["code"] == -32600
    assert between.to_child() == []


# ---- requests and their answers


def test_a_request_crosses_with_the_envelope_and_comes_back_without_what_is_modern() -> None:
    """SC-07; spec: 2026-07-28 basic, Request metadata and Results."""
    between = Between().opened()
    id_ = between.ask("tools/call", {"name": "t", "arguments": {"a": 1}, "_meta": {"progressToken": "p"}})

    sent = between.asked_child()
    assert sent["params"] == {
        **{"name": "t", "arguments": {"a": 1}},
        "_meta": {"progressToken": "p", **ENVELOPE, **LEVEL},
    }
    between.result(sent["id"], {"resultType": "complete", "content": [], "_meta": {f"{PREFIX}serverInfo": {}}})
    assert between.to_client() == [{"jsonrpc": "2.0", "id": id_, "result": {"content": []}}]
    assert between.as_legacy.open_requests == 0


def test_ids_to_the_child_are_small_integers_and_none_is_used_twice() -> None:
    """SC-16, SC-18."""
    between = Between().opened()
    for _ in range(5):
        between.call()
    between.ask("resources/subscribe", {"uri": "a"})

    ids = [message["id"] for message in between.link.messages if "id" in message]
    assert len(set(ids)) == len(ids) == 8
    assert all(isinstance(id_, int) and 0 < id_ < 100 for id_ in ids)


def test_answers_come_back_to_their_own_request_in_any_order() -> None:
    between = Between().opened()
    first, second = between.call(n=1), between.call(n=2)
    sent = {message["params"]["arguments"]["n"]: message["id"] for message in between.to_child()}

    between.child(
        {"jsonrpc": "2.0", "id": sent[2], "result": {"content": [2]}},
        {"jsonrpc": "2.0", "id": sent[1], "error": {"code": 5, "message": "m"}},
    )

    assert between.to_client() == [
        {"jsonrpc": "2.0", "id": second, "result": {"content": [2]}},
        {"jsonrpc": "2.0", "id": first, "error": {"code": 5, "message": "m"}},
    ]


def test_a_result_is_passed_on_as_the_bytes_it_was() -> None:
    """Design part 4, bytes through."""
    value = rb'{"n":12345678901234567890.10,"s":"\ud800\/","sp" : [ 1 ],"twice":1,"twice":2}'
    between = Between().opened()
    id_ = between.call()
    sent = between.asked_child()["id"]

    between.child(b'{"jsonrpc":"2.0","x":1.0,"id":%d,"result":{"resultType":"complete","v":%b}}' % (sent, value))

    assert between.lines == [b'{"jsonrpc":"2.0","x":1.0,"id":%d,"result":{"v":%b}}' % (id_, value)]


@pytest.mark.parametrize(
    "result",
    [
        {"resultType": "task", "taskId": "x"},
        {"resultType": 7},
        {"resultType": "input_required"},
        {"resultType": "input_required", "requestState": 7},
        [],
        None,
    ],
)
def test_an_answer_that_no_client_could_use_fails_its_request(result: Any) -> None:
    """SC-12: an unknown resultType makes a result invalid."""
    between = Between().opened()
    id_ = between.call()

    between.result(between.asked_child()["id"], result)

    assert between.said == []
    assert [(failed, type(error)) for failed, error in between.failed] == [(id_, AnswerUnusable)]
    assert between.as_legacy.open_requests == 0


def test_only_three_methods_may_ask_for_input() -> None:
    """Spec: 2026-07-28 basic/patterns/mrtr. HM-21."""
    between = Between().opened()
    id_ = between.ask("tools/list")

    between.result(between.asked_child()["id"], {"resultType": "input_required", "requestState": "s"})

    assert [failed for failed, _ in between.failed] == [id_]


def test_a_tool_with_another_output_than_an_object_is_listed_and_answers_with_one() -> None:
    """Spec: 2025-11-25 server/tools, Output Schema."""
    between = Between().opened()
    between.ask("tools/list")
    between.result(
        between.asked_child()["id"],
        {"resultType": "complete", "tools": [{"name": "any", "outputSchema": {"anyOf": [{"type": "object"}]}}]},
    )
    between.call("any")
    between.result(between.asked_child()["id"], {"content": [], "structuredContent": {"a": 1}})

    listed, called = between.to_client()
    assert listed["result"]["tools"][0]["outputSchema"]["type"] == "object"
    assert called["result"]["structuredContent"] == {"result": {"a": 1}}


def test_methods_that_nobody_knows_cross_too() -> None:
    between = Between().opened()

    between.ask("vendor/own", {"a": 1})

    assert between.asked_child()["params"] == {"a": 1, "_meta": {**ENVELOPE, **LEVEL}}


def test_params_that_can_carry_no_envelope_are_refused() -> None:
    between = Between().opened()

    id_ = between.ask("vendor/own", [1])

    assert [(each["id"], each["error"]["code"]) for each in between.said] == [(id_, -32602)]
    assert between.to_child() == []


# ---- what is answered without the child


def test_a_ping_is_answered_here() -> None:
    """HL-32."""
    between = Between().opened()

    id_ = between.ask("ping")

    assert between.to_client() == [{"jsonrpc": "2.0", "id": id_, "result": {}}]
    assert between.to_child() == []


@pytest.mark.parametrize(
    "method",
    ["tasks/get", "tasks/list", "tasks/result", "tasks/cancel", "server/discover", "subscriptions/listen"],
)
def test_what_a_server_of_this_kind_never_had_is_not_found(method: str) -> None:
    """Core tasks of 2025-11-25 are gone; discover and listen were not there yet."""
    between = Between().opened()

    between.ask(method, {})

    assert between.said[0]["error"]["code"] == -32601
    assert between.to_child() == []


@pytest.mark.parametrize(
    "method",
    ["notifications/initialized", "notifications/roots/list_changed", "notifications/progress"],
)
def test_notifications_that_the_modern_era_lacks_stay_here(method: str) -> None:
    """Spec: 2026-07-28, Key changes: clients notify of nothing but cancellations."""
    between = Between().opened()

    between.tell(method, {"progressToken": 1, "progress": 1})

    assert between.to_child() == []


def test_a_notification_that_nobody_knows_crosses() -> None:
    between = Between().opened()

    between.tell("notifications/vendor", {"a": 1})

    assert between.to_child() == [{"jsonrpc": "2.0", "method": "notifications/vendor", "params": {"a": 1}}]


# ---- logs


def test_a_client_that_sets_no_level_gets_every_log() -> None:
    """As the SDK servers of the handshake era do it. Spec: 2025-11-25 server/utilities/logging."""
    between = Between().opened()
    log = {"level": "debug", "data": "x"}

    between.notify("notifications/message", log)

    assert between.to_client() == [{"jsonrpc": "2.0", "method": "notifications/message", "params": log}]


def test_a_level_is_asked_of_the_server_with_each_request_from_then_on() -> None:
    """Spec: 2026-07-28 server/utilities/logging. HM-26."""
    between = Between().opened()

    id_ = between.ask("logging/setLevel", {"level": "warning"})
    assert between.to_client() == [{"jsonrpc": "2.0", "id": id_, "result": {}}]
    between.call()
    assert between.asked_child()["params"]["_meta"][f"{PREFIX}logLevel"] == "warning"

    for level in ("info", "warning", "alert", "unheard-of"):
        between.notify("notifications/message", {"level": level, "data": 1})
    assert [each["params"]["level"] for each in between.to_client()] == ["warning", "alert", "unheard-of"]
    assert between.counts.snapshot() == {"dropped.log_not_asked_for": 1}


@pytest.mark.parametrize("params", [{"level": "loud"}, {}, None])
def test_a_level_that_does_not_exist_is_refused(params: Any) -> None:
    between = Between().opened()

    between.ask("logging/setLevel", params)

    assert between.said[0]["error"]["code"] == -32602


def test_a_server_without_logs_has_no_level_and_sends_none() -> None:
    between = Between().opened(offers={"tools": {}})

    between.ask("logging/setLevel", {"level": "info"})
    between.call()
    between.notify("notifications/message", {"level": "error", "data": 1})

    assert [each["error"]["code"] for each in between.to_client()] == [-32601]
    assert f"{PREFIX}logLevel" not in between.asked_child()["params"]["_meta"]


# ---- cancellation and progress


def test_a_cancellation_names_the_request_as_the_child_knows_it() -> None:
    """Spec: 2026-07-28 basic/patterns/cancellation. SC-08, HL-34."""
    between = Between().opened()
    id_ = between.call()
    child_id = between.asked_child()["id"]

    between.cancel(id_)

    assert between.to_child() == [
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": child_id, "reason": "enough"}}
    ]
    between.result(child_id, {"content": []})
    assert between.to_client() == []
    assert between.as_legacy.open_requests == 0
    assert between.counts.snapshot() == {"dropped.answer_to_no_call": 1}


@pytest.mark.parametrize("id_", [7, "x", None])
def test_a_cancellation_of_nothing_is_dropped(id_: Any) -> None:
    between = Between().opened()

    between.tell("notifications/cancelled", {"requestId": id_})

    assert between.to_child() == []


def test_progress_is_passed_on_untouched() -> None:
    """HL-35. The token is the client's own: this child serves nobody else."""
    between = Between().opened()
    line = b'{"jsonrpc": "2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1.0}}'

    between.child(line, line)

    assert between.lines == [line, line]


# ---- what a child does wrong


def test_a_request_of_a_modern_child_is_dropped_and_never_answered() -> None:
    """Spec: 2026-07-28 basic/transports/stdio. SC-06, SC-21."""
    between = Between().opened()

    between.child({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {}})

    assert (between.to_client(), between.to_child()) == ([], [])
    assert between.counts.snapshot() == {"dropped.request_of_modern_child": 1}


def test_nothing_that_the_client_says_becomes_a_response_for_the_child() -> None:
    """SC-06."""
    between = Between().opened()

    between.send({"jsonrpc": "2.0", "id": 1, "result": {}})
    between.send({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": ""}})

    assert between.to_child() == []
    assert between.counts.snapshot() == {"dropped.answer_to_no_question": 2}


def test_a_bad_line_fails_the_request_that_it_answers() -> None:
    between = Between().opened()
    first, second = between.call(), between.call()
    ids = [message["id"] for message in between.to_child()]

    between.child(b'{"jsonrpc":"2.0","id":%d,"result":{"a":}' % ids[0])
    head = b'{"jsonrpc":"2.0","id":%d,"result":{"a":"' % ids[1]
    between.as_legacy.received([OversizedLine(1 << 20, head, b'"}}')])

    assert [(id_, type(error)) for id_, error in between.failed] == [(first, AnswerUnusable), (second, AnswerUnusable)]
    assert between.counts.snapshot() == {"bad_line.not_json": 1, "bad_line.oversized": 1}
    assert between.as_legacy.open_requests == 0


def test_noise_is_left_to_who_counts_it() -> None:
    between = Between().opened()

    between.child(b"npm WARN", b"\xff")

    assert between.lines == [b"npm WARN", b"\xff"]


def test_a_batch_of_a_child_is_taken_apart() -> None:
    between = Between().opened()
    first, second = between.call(), between.call()
    answers = [{"jsonrpc": "2.0", "id": each["id"], "result": {}} for each in between.to_child()]

    between.child(json.dumps(answers).encode())

    assert [each["id"] for each in between.to_client()] == [first, second]


# ---- faults of our own


def test_a_bug_costs_one_answer_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    between = Between().opened()
    id_ = between.ask("tools/list")
    other = between.call()
    ids = [message["id"] for message in between.to_child()]

    def fail(*_: Any) -> Any:
        raise LookupError

    monkeypatch.setattr("proxy.protocol.output_schemas.ToolOutputs.listed", fail)
    between.child({"jsonrpc": "2.0", "id": ids[0], "result": {}}, {"jsonrpc": "2.0", "id": ids[1], "result": {}})

    assert [failed for failed, _ in between.failed] == [id_]
    assert [each["id"] for each in between.to_client()] == [other]


def test_a_bug_on_the_way_down_fails_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    between = Between().opened()

    def fail(*_: Any, **__: Any) -> Any:
        raise LookupError

    monkeypatch.setattr("proxy.sessions.modern.crossings.enveloped", fail)
    id_ = between.call()
    between.tell("notifications/initialized")

    assert [(failed, type(error)) for failed, error in between.failed] == [(id_, ProxyError)]


# ---- the child's life


def test_the_death_of_the_child_fails_what_is_with_it_at_once() -> None:
    between = Between().opened()
    ids = [between.call(), between.ask("tools/list")]
    error = ChildExited("gone")

    between.restart(error)

    assert between.failed == [(id_, error) for id_ in ids]
    assert between.as_legacy.open_requests == 0


def test_the_session_goes_on_with_another_child() -> None:
    """SC-11, SC-13; the state of the session is not that of a child."""
    between = Between().opened()
    between.ask("logging/setLevel", {"level": "error"})
    between.restart()

    before = between.as_legacy.is_ready
    between.answer_discover()
    assert (before, between.as_legacy.is_ready, between.ready) == (False, True, 2)
    between.to_child()
    between.to_client()

    id_ = between.call()
    sent = between.asked_child()
    assert sent["params"]["_meta"] == {**ENVELOPE, f"{PREFIX}logLevel": "error"}
    between.result(sent["id"], {"content": []})
    assert between.to_client() == [{"jsonrpc": "2.0", "id": id_, "result": {"content": []}}]


def test_nothing_but_a_discover_goes_to_a_child_that_has_not_answered_it() -> None:
    between = Between().opened()
    between.restart()

    id_, other = between.call(), between.ask("resources/subscribe", {"uri": "a"})
    pinged = between.ask("ping")

    assert [message["method"] for message in between.link.messages] == ["server/discover"]
    assert [(failed, type(error)) for failed, error in between.failed] == [
        (id_, ChildRestarting),
        (other, ChildRestarting),
    ]
    assert [each["id"] for each in between.to_client()] == [pinged]


def test_late_lines_of_a_dead_child_are_nobodys() -> None:
    between = Between().opened()
    between.as_legacy.child_gone(ChildExited())

    between.notify("notifications/message", {"level": "error"})

    assert between.to_client() == []


def test_a_new_child_of_another_kind_is_refused_without_a_word_to_the_client() -> None:
    between = Between().opened()
    between.restart()

    between.child({"jsonrpc": "2.0", "id": between.asked_child()["id"], "error": {"code": -32601, "message": "no"}})

    assert [error["code"] for error in between.refused] == [-32601]
    assert between.to_client() == []


@pytest.mark.parametrize(
    ("method", "needs_one"),
    [("ping", False), ("logging/setLevel", False), ("initialize", False), ("tools/call", True), ("x", True)],
)
def test_most_requests_wait_for_a_child(method: str, needs_one: bool) -> None:
    assert AsLegacy.needs_child(method) is needs_one


# ---- as a link


async def test_it_is_as_full_and_as_stuck_as_its_child() -> None:
    between = Between().opened()
    between.link.pending, between.link.stuck = 7, 3.0

    assert (between.as_legacy.pending_bytes, between.as_legacy.stuck_seconds()) == (7, 3.0)
    await between.as_legacy.sent()
    assert between.link.pending == 0

    between.as_legacy.child_gone(ChildExited())
    assert (between.as_legacy.pending_bytes, between.as_legacy.stuck_seconds()) == (0, 0.0)
    await between.as_legacy.sent()


def test_a_child_that_comes_while_nobody_reads_is_left_unread_too() -> None:
    """Else its output would pile up behind the slow reader for whom the one before was paused."""
    between = Between().opened()
    between.as_legacy.pause()
    paused = [between.link.paused]

    link = between.restart()
    paused.append(link.paused)
    between.as_legacy.resume()
    paused.append(link.paused)

    assert paused == [True, True, False]
    between.as_legacy.child_gone(ChildExited())
    between.as_legacy.pause()
    between.as_legacy.resume()
    assert not between.restart().paused

"""A child of the handshake era, asked in the words of 2026-07-28: the handshake, and all that many may do at once."""

import json
from typing import Any

import pytest

from proxy.child.link import Line
from proxy.observe import Counts
from proxy.protocol.badlines import MAX_NOISE_LINES
from proxy.protocol.framing import OversizedLine
from proxy.protocol.ids import IdMinter
from proxy.sessions.modern.as_modern import AsModern
from proxy.sessions.modern.as_modern_routes import MAX_EARLY_LINES
from tests.sessions.modern.bridge import (
    DONE,
    EVERYTHING,
    INFO,
    OFFERED,
    PREFIX,
    SAMPLE,
    Bridge,
    FakeLoop,
    Json,
)
from tests.support.fake_link import FakeLink

META: Json = {f"{PREFIX}serverInfo": INFO}
NOTHING: Json = {}


def result(bridge: Bridge) -> Any:
    return bridge.answer()["result"]


def error(bridge: Bridge) -> Any:
    return bridge.answer()["error"]


# ---- the handshake


def test_the_child_is_told_what_the_client_can_do_and_who_it_is() -> None:
    """Spec: 2025-11-25 basic/lifecycle, Initialization. SC-03."""
    client = {"name": "web", "version": "2", "icons": []}
    capabilities = {**EVERYTHING, "experimental": {"x": {}}, "extensions": {f"{PREFIX}tasks": {}}}
    bridge = Bridge(capabilities, client_info=client, is_ready=False)

    (hello,) = bridge.down()

    assert hello["method"] == "initialize"
    assert hello["params"] == {
        "protocolVersion": "2025-11-25",
        "capabilities": {**EVERYTHING, "roots": {"listChanged": False}, "experimental": {"x": {}}},
        "clientInfo": client,
    }


def test_the_handshake_ends_with_initialized_and_then_it_is_ready() -> None:
    """SC-03."""
    bridge = Bridge(is_ready=False)
    (hello,) = bridge.down()

    bridge.child_answers(hello["id"], {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": INFO})

    assert bridge.got() == {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert bridge.events == ["ready"]


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ({"error": {"code": -32603, "message": "no"}}, "refused -32603 no []"),
        (
            {"error": {"code": -32022, "message": "new only", "data": {"supported": ["2026-07-28", 7]}}},
            "refused -32022 new only ['2026-07-28']",
        ),
        ({"error": {}}, "refused -32603 The server's answer to initialize could not be used []"),
        ({"result": None}, "refused -32603 The server's answer to initialize could not be used []"),
    ],
)
def test_a_refused_handshake_is_told_with_the_revisions_it_names(answer: Json, refused: str) -> None:
    bridge = Bridge(is_ready=False)
    (hello,) = bridge.down()

    bridge.child_says({"jsonrpc": "2.0", "id": hello["id"], **answer})

    assert bridge.events == [refused]
    assert bridge.down() == []


def test_what_comes_before_the_end_of_the_handshake_waits_for_it() -> None:
    bridge = Bridge(is_ready=False)
    (hello,) = bridge.down()

    bridge.call("first")
    bridge.cancel(bridge.call("second"))
    bridge.cancel(bridge.request("tools/list"))
    assert bridge.down() == []
    assert bridge.events == ["free"]
    bridge.child_answers(hello["id"], {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": INFO})

    _, call = bridge.down()
    assert call["params"]["name"] == "first"
    assert bridge.modern.open_count == 1


def test_a_few_may_wait_for_the_handshake_and_the_next_is_refused() -> None:
    bridge = Bridge(is_ready=False)

    for _ in range(MAX_EARLY_LINES):
        bridge.request("tools/list")
    assert bridge.up() == []
    bridge.request("tools/list")

    assert error(bridge)["code"] == -32603


def test_ids_go_on_where_those_of_an_earlier_probe_have_ended() -> None:
    """SC-16: an id is used once in the life of a process."""
    link, minter = FakeLink(), IdMinter()
    minter.mint()
    loop = FakeLoop()

    def nothing(*_: object) -> None:
        pass

    modern = AsModern(
        capabilities={},
        client_info=None,
        on_lines=nothing,
        on_ready=nothing,
        on_refused=nothing,
        on_free=nothing,
        on_stuck=nothing,
        clock=loop.time,
        later=loop.call_later,
        counts=Counts(),
        tag="test",
        minter=minter,
    )
    modern.attach(link)

    assert [message["id"] for message in link.messages] == [2]


def test_discover_says_what_the_handshake_said() -> None:
    """Spec: 2026-07-28 server/discover. HM-18, HM-19, HM-20."""
    bridge = Bridge(offered={**OFFERED, "tasks": {}, "extensions": {f"{PREFIX}tasks": {}}})

    bridge.request("server/discover")

    assert result(bridge) == {
        "supportedVersions": ["2026-07-28"],
        "capabilities": OFFERED,
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": META,
    }
    assert bridge.down() == []


# ---- requests and results


def test_a_request_loses_its_envelope_and_nothing_else() -> None:
    """SC-18: the child gets a small integer, as its id and as its token."""
    bridge = Bridge(NOTHING)
    bridge.request("tools/list")
    bridge.down()

    bridge.request("completion/complete", {"ref": {"x": 2**70}, "more": None}, progress=True, traceparent="t")

    assert bridge.got() == {
        "jsonrpc": "2.0",
        "id": 3,
        "method": "completion/complete",
        "params": {"ref": {"x": 2**70}, "more": None, "_meta": {"progressToken": 3, "traceparent": "t"}},
    }


def test_a_token_nobody_asked_for_is_not_added_and_an_empty_meta_is_left_out() -> None:
    bridge = Bridge(NOTHING)

    bridge.request("tools/list")

    assert bridge.got()["params"] == {}


def test_a_listing_says_that_it_holds_for_no_time_and_for_nobody_else() -> None:
    """HM-19, HM-20."""
    bridge = Bridge()
    upper_id = bridge.request("tools/list")
    tool = {"name": "t", "inputSchema": {}, "x": 2**70}

    bridge.child_answers(bridge.got()["id"], {"tools": [{**tool, "execution": {"taskSupport": "optional"}}]})

    assert bridge.answer() == {
        "jsonrpc": "2.0",
        "id": upper_id,
        "result": {"tools": [tool], "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "_meta": META},
    }


def test_bytes_that_need_not_change_do_not() -> None:
    bridge = Bridge(NOTHING)
    bridge.tell(
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"n":1.0e2,"s":"\\ud800"}}}'
    )
    assert b'"arguments":{"n":1.0e2,"s":"\\ud800"}' in bridge.link.sent_lines[-1]

    bridge.child_says(b'{"jsonrpc": "2.0", "id": %d, "result": {"a": [1.50], "b":"\\ud800"}}' % bridge.got()["id"])

    assert b'{"a":[1.50],"b":"\\ud800","resultType"' in bridge.lines[-1]


def test_a_message_on_several_lines_is_one_line_on_the_other_side() -> None:
    """SC-01."""
    bridge = Bridge(NOTHING)
    bridge.tell(b'{"jsonrpc":"2.0","id":1,"method":"x/y","params":{"a":{\r\n"b":1\n}}}')
    assert bridge.got()["params"] == {"a": {"b": 1}}

    bridge.child_says(b'{"jsonrpc":"2.0","id":2,"result":{"a":{\r"b":1}}}')

    assert result(bridge)["a"] == {"b": 1}
    assert b"\r" not in bridge.lines[-1]


@pytest.mark.parametrize(
    "method",
    ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/get"],
)
def test_a_method_that_the_new_revision_has_not_does_not_reach_the_child(method: str) -> None:
    """HM-14."""
    bridge = Bridge()

    bridge.request(method)

    assert error(bridge)["code"] == -32601
    assert bridge.down() == []


def test_a_method_that_nobody_knows_is_up_to_the_child() -> None:
    """HM-14."""
    bridge = Bridge()

    bridge.request("vendor/thing", {"requestState": 7})
    sent = bridge.got()
    bridge.child_fails(sent["id"], -32601, "unknown")

    assert (sent["method"], sent["params"]) == ("vendor/thing", {"requestState": 7})
    assert error(bridge) == {"code": -32601, "message": "unknown"}


def test_a_legacy_error_code_is_one_that_the_new_revision_has() -> None:
    """HM-28."""
    bridge = Bridge()
    bridge.request("resources/list")

    bridge.child_fails(bridge.got()["id"], -32002, "not found", {"uri": "x"})

    assert error(bridge) == {"code": -32602, "message": "not found", "data": {"uri": "x"}}


def test_many_requests_are_at_the_child_at_once_and_each_gets_its_own_answer() -> None:
    bridge = Bridge(NOTHING)
    upper = [bridge.call(f"t{n}") for n in range(5)]

    for sent in reversed(bridge.down()):
        bridge.child_answers(sent["id"], {"name": sent["params"]["name"]})

    assert {line["id"]: line["result"]["name"] for line in bridge.up()} == {
        upper_id: f"t{n}" for n, upper_id in enumerate(upper)
    }
    assert bridge.modern.open_count == 0


def test_a_result_that_is_no_object_is_an_error() -> None:
    bridge = Bridge()
    bridge.request("tools/list")

    bridge.child_answers(bridge.got()["id"], [1])

    assert error(bridge)["code"] == -32603


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":$ID,"result":{"a":\xff}}',
        b'{"jsonrpc":"2.0","id":$ID,"result":{"a":tru}}',
        OversizedLine(1 << 30, b'{"jsonrpc":"2.0","id":$ID,"result":{', b"}}"),
    ],
)
def test_an_answer_that_cannot_be_read_fails_its_call_only(line: Line) -> None:
    bridge = Bridge(NOTHING)
    bridge.call("a")
    bridge.call("b")
    child_id = b"%d" % bridge.down()[0]["id"]
    if isinstance(line, bytes):
        line = line.replace(b"$ID", child_id)
    else:
        line = OversizedLine(line.size_bytes, line.head.replace(b"$ID", child_id), line.tail)

    bridge.modern.received([line])

    assert [(each["id"], each["error"]["code"]) for each in bridge.up()] == [(1, -32603)]
    assert bridge.modern.open_count == 1


def test_noise_is_counted_and_costs_nothing_else() -> None:
    bridge = Bridge(NOTHING)
    bridge.call()
    child_id = bridge.got()["id"]

    bridge.modern.received([b"noise"] * (MAX_NOISE_LINES + 5))
    bridge.child_answers(child_id)

    assert bridge.count("bad_line.not_json") == MAX_NOISE_LINES + 5
    assert result(bridge)["content"] == DONE["content"]


def test_an_answer_to_nothing_is_dropped() -> None:
    bridge = Bridge()

    bridge.child_answers(77)
    bridge.child_says({"jsonrpc": "2.0", "id": "1", "result": {}})
    bridge.child_fails(88, -1)

    assert bridge.up() == []
    assert bridge.count("dropped.answer_to_no_call") == 3


# ---- cancellation


def test_a_cancelled_request_is_cancelled_at_the_child_and_its_late_answer_dropped() -> None:
    """HM-07, SC-08."""
    bridge = Bridge(NOTHING)
    upper_id = bridge.call()
    child_id = bridge.got()["id"]

    bridge.tell(
        {
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": {"requestId": upper_id, "reason": "tired"},
        }
    )
    bridge.child_answers(child_id)

    told = bridge.got()
    assert (told["method"], told["params"]) == ("notifications/cancelled", {"requestId": child_id, "reason": "tired"})
    assert bridge.up() == []
    assert bridge.modern.open_count == 0


@pytest.mark.parametrize("request_id", [99, "1", None, 1.5])
def test_a_cancellation_of_nothing_is_ignored(request_id: Any) -> None:
    """HL-34."""
    bridge = Bridge(NOTHING)
    bridge.call()
    bridge.down()

    bridge.tell({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}})

    assert bridge.down() == []
    assert bridge.modern.open_count == 1


def test_notifications_of_another_era_end_here_and_others_pass() -> None:
    bridge = Bridge()
    for method in ("initialized", "progress", "roots/list_changed"):
        bridge.tell({"jsonrpc": "2.0", "method": f"notifications/{method}"})
    bridge.child_tells("notifications/elicitation/complete", {"elicitationId": "e"})
    assert (bridge.down(), bridge.up()) == ([], [])

    bridge.tell({"jsonrpc": "2.0", "method": "notifications/vendor"})
    bridge.child_tells("notifications/other", {"x": 1})

    assert bridge.got()["method"] == "notifications/vendor"
    assert bridge.answer() == {"jsonrpc": "2.0", "method": "notifications/other", "params": {"x": 1}}


# ---- progress and logs


def test_progress_comes_under_the_token_of_the_request() -> None:
    """HM-27."""
    bridge = Bridge(NOTHING)
    bridge.call()
    upper_id = bridge.call(progress=True)
    _, sent = bridge.down()

    bridge.child_tells("notifications/progress", {"progressToken": sent["params"]["_meta"]["progressToken"], "n": 1.0})

    assert bridge.answer()["params"] == {"progressToken": upper_id, "n": 1.0}


def test_progress_nobody_wants_is_dropped() -> None:
    """HM-27."""
    bridge = Bridge(NOTHING)
    bridge.call()
    child_id = bridge.got()["id"]

    bridge.child_tells("notifications/progress", {"progressToken": child_id})
    bridge.child_tells("notifications/progress", {"progressToken": 99})
    bridge.child_tells("notifications/progress", {"progressToken": "1"})

    assert bridge.up() == []


def log(level: Any = "info") -> Json:
    return {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": level, "data": "x"}}


def test_the_child_is_told_the_most_talkative_level_when_it_changes() -> None:
    bridge = Bridge(NOTHING)

    levels = ["info", "error", "debug", "debug", "warning"]
    told = []
    for level in levels:
        bridge.call(level=level)
        told.append([sent["params"]["level"] for sent in bridge.down() if sent["method"] == "logging/setLevel"])

    assert told == [["info"], [], ["debug"], [], []]


def test_a_child_that_cannot_log_is_not_told_how() -> None:
    bridge = Bridge(NOTHING, offered={})

    bridge.call(level="info")

    assert bridge.got()["method"] == "tools/call"


def test_requests_to_set_the_level_leave_nothing_behind_even_if_they_are_never_answered() -> None:
    bridge = Bridge(NOTHING)
    for n in range(20):
        bridge.call(level="info" if n % 2 else "debug")
        bridge.child_answers(bridge.down()[-1]["id"])

    assert bridge.modern.open_count == 1


def test_a_log_message_goes_to_the_only_call_there_is_if_that_wants_it() -> None:
    """HM-26."""
    bridge = Bridge(NOTHING)
    bridge.call(level="warning")

    bridge.child_says(log("info"), log("warning"), log("emergency"), log("loud"), log(None))

    assert [line["params"]["level"] for line in bridge.up()] == ["warning", "emergency"]


def test_a_log_message_that_may_be_another_calls_is_dropped() -> None:
    """HM-26: the other call has not asked for it, but nothing says that it is not that one's."""
    bridge = Bridge(NOTHING)
    bridge.call(level="debug")
    bridge.call()

    bridge.child_says(log())

    assert bridge.up() == []
    assert bridge.count("dropped.log_of_no_call") == 1


def test_a_level_that_does_not_exist_is_refused() -> None:
    bridge = Bridge(NOTHING)

    bridge.call(level="loud")

    assert error(bridge)["code"] == -32602
    assert bridge.down() == []


# ---- questions of a child whose client can't be asked


def test_a_ping_of_the_child_is_answered_at_once() -> None:
    """SC-20."""
    bridge = Bridge(is_ready=False)
    bridge.down()

    bridge.child_says({"jsonrpc": "2.0", "id": "p", "method": "ping"})

    assert bridge.got() == {"jsonrpc": "2.0", "id": "p", "result": {}}


@pytest.mark.parametrize("method", ["sampling/createMessage", "elicitation/create", "roots/list", "tasks/get", "x"])
def test_a_question_that_nobody_can_answer_is_refused(method: str) -> None:
    """HM-21, SC-20."""
    bridge = Bridge(NOTHING)

    bridge.child_asks(0, method)

    refused = bridge.got()
    assert (refused["id"], refused["error"]["code"]) == (0, -32601)


@pytest.mark.parametrize(
    "answer",
    [{"error": {"code": -32603, "message": "no"}}, {"result": {"content": [], "isError": True}}],
)
def test_a_call_that_failed_for_want_of_a_capability_says_which(answer: Json) -> None:
    """HM-16."""
    bridge = Bridge(NOTHING)
    bridge.call()
    child_id = bridge.got()["id"]

    bridge.child_asks(0, "sampling/createMessage", SAMPLE)
    bridge.child_says({"jsonrpc": "2.0", "id": child_id, **answer})

    refused = error(bridge)
    assert refused["code"] == -32021
    assert refused["data"]["requiredCapabilities"] == {"sampling": {}}


def test_a_call_that_got_over_the_refusal_keeps_its_result() -> None:
    bridge = Bridge(NOTHING)
    bridge.call()
    child_id = bridge.got()["id"]

    bridge.child_asks(0, "roots/list")
    bridge.child_answers(child_id)

    assert result(bridge)["content"] == DONE["content"]


def test_which_of_two_calls_wanted_to_ask_is_not_guessed() -> None:
    bridge = Bridge(NOTHING)
    bridge.call()
    bridge.call()
    first, _ = bridge.down()

    bridge.child_asks(0)
    bridge.child_fails(first["id"], -32603)

    assert error(bridge)["code"] == -32603


def test_a_call_that_needs_an_address_opened_says_so_to_a_client_that_cannot() -> None:
    """HM-16, HM-28."""
    bridge = Bridge({"elicitation": {}})
    bridge.call()

    bridge.child_fails(bridge.got()["id"], -32042, "sign in", {"elicitations": [{"url": "https://x", "message": "m"}]})

    refused = error(bridge)
    assert refused["code"] == -32021
    assert refused["data"]["requiredCapabilities"] == {"elicitation": {"url": {}}}


# ---- limits, and what never happens


def test_a_child_that_asks_and_reads_nothing_is_answered_within_a_limit() -> None:
    bridge = Bridge(NOTHING, reply_backlog_bytes=1000)
    bridge.link.pending = 1

    for n in range(100):
        bridge.child_says({"jsonrpc": "2.0", "id": n, "method": "ping"})
    answered = len(bridge.down())
    bridge.link.pending = 0
    bridge.child_says({"jsonrpc": "2.0", "id": 100, "method": "ping"})

    assert 1000 < answered * 37 < 1100
    assert bridge.got()["id"] == 100
    bridge.link.pending = 1
    bridge.child_says({"jsonrpc": "2.0", "id": 101, "method": "ping"})
    assert bridge.got()["id"] == 101


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"nonsense", b"{}", b'{"jsonrpc":"2.0","id":5}', b'{"jsonrpc":"2.0","id":5,"method":null}']
)
def test_nothing_is_ever_raised(line: bytes, caplog: pytest.LogCaptureFixture) -> None:
    bridge = Bridge()

    bridge.tell(line)
    bridge.modern.received([line])
    bridge.modern.abandon("nothing")
    bridge.modern.check(1e9)

    assert not [message for message in bridge.down() if "method" not in message]


def test_whoever_stands_above_may_come_back_in_the_middle_of_an_answer() -> None:
    bridge = Bridge(NOTHING)
    said: list[Json] = []
    depth = 0

    def again(lines: list[Line]) -> None:
        nonlocal depth
        depth += 1
        assert depth == 1
        said.extend(json.loads(line) for line in lines if isinstance(line, bytes))
        if len(said) < 5:
            bridge.request("server/discover")
        depth -= 1

    bridge.modern._on_lines = again
    bridge.request("server/discover")

    assert [line["id"] for line in said] == [1, 2, 3, 4, 5]


def test_a_fault_above_costs_one_message(caplog: pytest.LogCaptureFixture) -> None:
    bridge = Bridge(NOTHING)

    def fail(lines: list[Line]) -> None:
        raise ValueError

    well, bridge.modern._on_lines = bridge.modern._on_lines, fail
    bridge.request("server/discover")
    bridge.modern._on_lines = well
    second = bridge.request("server/discover")

    assert bridge.answer()["id"] == second
    assert "what is above failed" in caplog.text


def test_after_its_end_nothing_is_said_or_sent() -> None:
    bridge = Bridge()
    bridge.call()
    child_id = bridge.got()["id"]
    bridge.child_asks(0)

    bridge.modern.close()
    bridge.pass_time(100)
    bridge.child_answers(child_id)
    bridge.request("tools/list")

    assert (bridge.up(), bridge.down(), bridge.events) == ([], [], [])


async def test_it_is_as_full_and_as_stuck_as_its_child() -> None:
    bridge = Bridge()
    bridge.link.pending, bridge.link.stuck = 7, 3.0

    assert (bridge.modern.pending_bytes, bridge.modern.stuck_seconds()) == (7, 3.0)
    bridge.modern.pause()
    paused = [bridge.link.paused]
    bridge.modern.resume()
    assert [*paused, bridge.link.paused] == [True, False]
    await bridge.modern.sent()
    assert bridge.modern.pending_bytes == 0

"""How requests of many clients share one child: each gets what is its own, under the names that it gave."""

import json
from typing import Any

import pytest
from msgspec import Raw

from proxy.child.link import Line
from proxy.errors import AnswerUnusable, CallTimedOut, ChildExited, ChildNotReading
from proxy.protocol.child_lines import parse_child_line
from proxy.protocol.framing import OversizedLine
from tests.sessions.modern.muxes import Heard, Wires
from tests.support.modern import PREFIX, modern
from tests.support.parsed import a_call, a_request, read

Json = dict[str, Any]


def with_token(token: int | str, id_: int | str = 1) -> Any:
    return a_call(id_, meta={"progressToken": token})


def wanting_logs(level: str = "info") -> Any:
    return a_call(1, meta={f"{PREFIX}logLevel": level})


# ---- ids and answers


def test_requests_with_one_id_are_told_apart_by_those_that_the_child_knows() -> None:
    """SC-16, SC-18: small integers, never one twice; no client's id is refused for being in use."""
    wires = Wires()
    sinks = [wires.begin(a_call(id_))[1] for id_ in (7, 7, "7", 0)]

    assert [each["id"] for each in wires.sent] == [1, 2, 3, 4]
    for child_id in (3, 1, 4, 2):
        wires.answer(child_id, {"n": child_id})
    assert [sink.answers for sink in sinks] == [[{"n": 1}], [{"n": 2}], [{"n": 3}], [{"n": 4}]]
    assert wires.mux.calls_in_flight == 0
    wires.begin(a_call(7))
    assert wires.sent[-1]["id"] == 5


def test_the_child_gets_the_request_as_its_client_wrote_it() -> None:
    """SC-07."""
    wires = Wires()
    message = modern("a", "tools/call", {"name": "t", "arguments": {"n": 2**64}, "more": None}, capabilities={"x": {}})

    wires.begin(read(message))

    assert wires.sent == [{**message, "id": 1}]


@pytest.mark.parametrize(
    "response",
    [
        {"id": 2, "result": {}},
        {"id": "1", "result": {}},
        {"id": -1, "result": {}},
        {"id": None, "error": {"code": -32700, "message": "?"}},
        {"id": 2**70, "result": {}},
    ],
)
def test_an_answer_to_no_call_is_nobodys(response: Json) -> None:
    wires = Wires()
    _, sink = wires.begin(a_call(1))

    wires.say(response)

    assert not sink.answers
    assert wires.mux.calls_in_flight == 1


def test_only_the_first_of_two_answers_counts() -> None:
    wires = Wires()
    _, sink = wires.begin(a_call(1))

    wires.answer(1, {"n": 1})
    wires.answer(1, {"n": 2})

    assert sink.answers == [{"n": 1}]
    assert wires.counted == {"dropped.answer_to_no_call": 1}


def test_members_of_the_params_can_be_others_for_the_child() -> None:
    wires = Wires()
    request = a_request(1, "tools/call", {"name": "t", "requestState": "theirs"})

    wires.begin(request, changed={"requestState": Raw(b'"ours"')})
    wires.begin(request, changed={"requestState": None})

    assert [each["params"].get("requestState") for each in wires.sent] == ["ours", None]


def test_the_bridges_own_questions_are_no_clients_calls() -> None:
    wires = Wires()
    call, sink = wires.begin(a_request(1, "server/discover"), is_own=True)
    assert wires.mux.calls_in_flight == 0

    wires.begin(a_call(1))
    assert wires.mux.calls_in_flight == 1
    wires.answer(call.child_id)
    assert (wires.mux.calls_in_flight, len(sink.answers)) == (1, 1)
    wires.answer(2)
    assert wires.mux.calls_in_flight == 0


# ---- cancellation


def test_a_cancelled_call_is_told_to_the_child_and_its_late_answer_dropped() -> None:
    """SC-08, D.0.2."""
    wires = Wires()
    call, sink = wires.begin(with_token("t"))

    wires.mux.cancel(call, "gone")
    wires.mux.cancel(call, "gone")
    wires.progress(1)
    wires.answer(1)

    assert wires.cancelled == [1]
    assert wires.sent[-1]["params"]["reason"] == "gone"
    assert (sink.raw, sink.answers, sink.failures) == ([], [], [])
    assert wires.counted == {"dropped.answer_to_no_call": 1, "dropped.progress_of_no_call": 1}


def test_an_answered_call_is_not_cancelled() -> None:
    wires = Wires()
    call, _ = wires.begin(a_call(1))
    wires.answer(1)

    wires.mux.cancel(call, "gone")

    assert wires.cancelled == []


# ---- progress


@pytest.mark.parametrize("token", [0, 1, 7, "7", "0", "é\u2028", 2**60, "", '"progressToken":5'])
def test_progress_comes_under_the_clients_own_token(token: int | str) -> None:
    """HM-27: its type is kept; two clients may use the same."""
    wires = Wires()
    sinks = [wires.begin(with_token(token))[1] for _ in range(2)]
    assert [each["params"]["_meta"]["progressToken"] for each in wires.sent] == [1, 2]

    wires.progress(2, 5, total=10.5, message='say "progressToken":1, twice')

    assert sinks[0].told == []
    params = {"progressToken": token, "progress": 5, "total": 10.5, "message": 'say "progressToken":1, twice'}
    assert sinks[1].told == [{"jsonrpc": "2.0", "method": "notifications/progress", "params": params}]


SPELLINGS = [
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1,"progressToken":1}}',
    b'{ "params" : { "progressToken" :  1 , "progress" : 1 } , "method" : "notifications/progress" , "jsonrpc":"2.0"}',
    b'{"jsonrpc":"2.0","method":"notifications\\/progress","params":{"progressToken":1,"progress":1}}',
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress\\u0054oken":1,"progress":1}}',
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,'
    b'"_meta":{"progressToken":1}}}',
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"_meta":{"progressToken":9},"progressToken":1,'
    b'"progress":1}}',
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress\\u0054oken":1,"progress":1,'
    b'"_meta":{"progressToken":9}}}',
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,"x":"\\ud800"}}',
    b'noise {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}',
    b'[{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}]',
]


@pytest.mark.parametrize("line", SPELLINGS)
def test_however_the_child_writes_it(line: bytes) -> None:
    wires = Wires()
    _, sink = wires.begin(with_token("mine"))

    wires.say(line)

    (told,) = sink.told
    assert told["params"]["progressToken"] == "mine"
    expected = json.loads(line[line.index(b"{") : line.rindex(b"}") + 1])
    expected["params"]["progressToken"] = "mine"
    assert told == expected


@pytest.mark.parametrize("token", [2, "1", -1, 0, "x", None, 1.5, [1]])
def test_progress_that_names_no_call_is_nobodys(token: Any) -> None:
    wires = Wires()
    _, sink = wires.begin(with_token("t"))

    wires.say({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})

    assert sink.raw == []


def test_a_client_that_gave_no_token_gets_no_progress() -> None:
    """D.0.2: never add a token that the client did not ask for."""
    wires = Wires()
    _, sink = wires.begin(a_call(1))
    assert "progressToken" not in wires.sent[0]["params"]["_meta"]

    wires.progress(1)

    assert sink.raw == []
    assert wires.counted == {"dropped.progress_of_no_call": 1}


def test_progress_after_the_answer_is_dropped() -> None:
    wires = Wires()
    _, sink = wires.begin(with_token(1))
    wires.answer(1)

    wires.progress(1)

    assert sink.raw == []


# ---- log messages


def test_a_log_message_is_passed_on_when_one_call_alone_can_be_meant() -> None:
    """HM-26."""
    wires = Wires()
    _, other = wires.begin(a_call(1))
    _, sink = wires.begin(wanting_logs())

    wires.log("warning", "hi")

    assert [each["params"]["data"] for each in sink.told] == ["hi"]
    assert other.raw == []


def test_with_two_that_ask_nobody_gets_it_until_one_has_ended() -> None:
    wires = Wires()
    sinks = [wires.begin(wanting_logs())[1] for _ in range(2)]

    wires.log()
    assert [sink.raw for sink in sinks] == [[], []]
    wires.answer(1)
    wires.log()

    assert len(sinks[1].told) == 1
    assert wires.counted == {"dropped.log_of_no_certain_call": 1}


def test_a_cancelled_call_asks_for_logs_no_longer() -> None:
    wires = Wires()
    call, _ = wires.begin(wanting_logs())
    _, sink = wires.begin(wanting_logs())
    wires.mux.cancel(call, "gone")

    wires.log()

    assert len(sink.told) == 1


def test_without_one_that_asks_nobody_gets_it() -> None:
    wires = Wires()
    _, sink = wires.begin(a_call(1))

    wires.log("emergency")

    assert sink.raw == []
    assert wires.counted == {"dropped.log_of_no_certain_call": 1}


@pytest.mark.parametrize(
    ("wanted", "level", "passes"),
    [
        ("debug", "debug", True),
        ("warning", "error", True),
        ("warning", "info", False),
        ("warning", "loud", False),
        ("debug", 7, False),
        ("debug", None, False),
    ],
)
def test_a_log_message_has_the_level_that_was_asked_for(wanted: str, level: Any, passes: bool) -> None:
    wires = Wires()
    _, sink = wires.begin(wanting_logs(wanted))

    wires.log(level)

    assert len(sink.told) == passes
    assert wires.counted == ({} if passes else {"dropped.log_below_level": 1})


@pytest.mark.parametrize(
    "params", [b"", b',"params":null', b',"params":[]', b',"params":{}', b',"params":{"level":[]}']
)
def test_one_without_a_level_is_dropped(params: bytes) -> None:
    wires = Wires()
    _, sink = wires.begin(wanting_logs("debug"))

    wires.say(b'{"jsonrpc":"2.0","method":"notifications/message"%b}' % params)

    assert sink.raw == []


# ---- what a modern child must not say


@pytest.mark.parametrize("method", ["elicitation/create", "sampling/createMessage", "roots/list", "ping"])
def test_a_request_of_the_child_is_dropped_and_never_answered(method: str) -> None:
    """SC-06, SC-21."""
    wires = Wires()
    _, sink = wires.begin(a_call(1))

    wires.say({"id": 1, "method": method, "params": {}})

    assert len(wires.sent) == 1
    assert (sink.raw, sink.answers, sink.failures) == ([], [], [])
    assert wires.counted == {"dropped.request_of_modern_child": 1}


@pytest.mark.parametrize(
    "notification",
    [
        {"method": "notifications/tools/list_changed"},
        {"method": "notifications/resources/updated", "params": {"uri": "x"}},
        {"method": "notifications/nobody/knows", "params": []},
        {"method": "notifications/cancelled", "params": {"requestId": 1}},
        {"method": "notifications/cancelled"},
        {"method": "notifications/initialized"},
    ],
)
def test_a_notification_that_belongs_to_no_subscription_is_dropped(notification: Json) -> None:
    """D.2 step 7: also a cancellation of a call, which only clients have."""
    wires = Wires()
    _, sink = wires.begin(a_call(1))

    wires.say(notification)

    assert (sink.raw, sink.answers, sink.failures) == ([], [], [])
    assert sum(wires.counted.values()) == 1
    wires.answer(1)
    assert len(sink.answers) == 1


# ---- lines that can't be used

BAD_LINES: list[tuple[Line, str]] = [
    (b'{"jsonrpc":"2.0","id":1,"result":{"x":\xff}}', "not_utf8"),
    (b'{"jsonrpc":"2.0","id":1,"result":{"x":NaN}}', "not_json"),
    (b'{"jsonrpc":"2.0","id":1,"result":{', "not_json"),
    (b'{"id":1,"result":{}}', "not_jsonrpc"),
    (b'{"jsonrpc":"2.0","id":1.0,"result":{}}', "not_jsonrpc"),
    (b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', "not_jsonrpc"),
    (b'{"jsonrpc":"2.0","id":1}', "not_jsonrpc"),
    (OversizedLine(1 << 30, b'{"jsonrpc":"2.0","id":1,"result":{"x":"aaa', b'aaa"}}'), "oversized"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=range(len(BAD_LINES)))
def test_an_answer_that_can_not_be_read_fails_its_call_and_no_other(line: Line, reason: str) -> None:
    wires = Wires()
    sinks = [wires.begin(a_call(1))[1] for _ in range(2)]

    wires.mux.received([line])

    assert [[type(error) for error in sink.failures] for sink in sinks] == [[AnswerUnusable], []]
    assert wires.counted == {f"bad_line.{reason}": 1}
    assert wires.mux.calls_in_flight == 1


def test_noise_costs_nothing_else() -> None:
    wires = Wires()
    _, sink = wires.begin(a_call(1))

    wires.mux.received([*(b"noise %d" % n for n in range(5000)), b"{", b"[]", b"[1]", b"{}"])
    wires.answer(1)

    assert len(sink.answers) == 1
    assert wires.counted["bad_line.not_json"] >= 5000


def test_a_fault_of_ours_costs_one_line(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    wires = Wires()
    _, sink = wires.begin(a_call(1))
    name = "proxy.sessions.reader.parse_child_line"

    def fail_once(line: Line) -> Any:
        monkeypatch.setattr(name, parse_child_line)
        raise RuntimeError("injected")

    monkeypatch.setattr(name, fail_once)
    wires.say({"id": 9, "result": {}}, {"id": 1, "result": {}})

    assert len(sink.answers) == 1
    assert "line of the child not handled" in caplog.text


# ---- ends


def test_when_the_child_is_gone_every_call_fails_at_once() -> None:
    wires = Wires()
    sinks = [wires.begin(a_call(1))[1] for _ in range(3)]
    question = Heard()
    wires.mux.begin(a_request(1, "server/discover"), question, is_own=True)
    error = ChildExited()

    wires.mux.fail_all(error)
    wires.mux.fail_all(error)

    assert [sink.failures for sink in (*sinks, question)] == [[error]] * 4
    assert wires.mux.calls_in_flight == 0
    assert wires.cancelled == []


def test_a_sink_may_begin_another_call_when_its_own_fails() -> None:
    wires = Wires()
    again: list[Heard] = []

    class Stubborn(Heard):
        def failed(self, error: Any) -> None:
            again.append(wires.begin(a_call(2))[1])

    wires.mux.begin(a_call(1), Stubborn())
    wires.mux.fail_all(ChildExited())

    assert (len(again), again[0].failures, wires.mux.calls_in_flight) == (1, [], 1)


def test_a_call_without_progress_times_out_and_the_child_is_told() -> None:
    """SC-14."""
    wires = Wires(call_timeout_seconds=10.0)
    _, silent = wires.begin(a_call(1))
    _, busy = wires.begin(with_token(1))

    wires.now += 9
    wires.progress(2)
    wires.mux.check(wires.now)
    assert not silent.failures
    wires.now += 2
    wires.mux.check(wires.now)
    assert [type(error) for error in silent.failures] == [CallTimedOut]
    assert (busy.failures, wires.cancelled) == ([], [1])
    wires.now += 9
    wires.mux.check(wires.now)

    assert [type(error) for error in busy.failures] == [CallTimedOut]
    assert wires.cancelled == [1, 2]
    wires.answer(1)
    assert silent.answers == []


def test_a_call_with_progress_has_its_time_in_all() -> None:
    wires = Wires(call_timeout_total_seconds=10.0)
    _, sink = wires.begin(with_token(1))

    for _ in range(3):
        wires.now += 4
        wires.progress(1)
        wires.mux.check(wires.now)

    assert [type(error) for error in sink.failures] == [CallTimedOut]


def test_without_limits_a_call_takes_what_it_takes() -> None:
    wires = Wires()
    _, sink = wires.begin(a_call(1))

    wires.now += 1e6
    wires.mux.check(wires.now)

    assert sink.failures == []


def test_the_bridges_own_questions_have_limits_of_their_own() -> None:
    """Of a start, say, which may take longer than any call."""
    wires = Wires(call_timeout_seconds=1.0, call_timeout_total_seconds=2.0, stdin_stall_timeout_seconds=3.0)
    _, sink = wires.begin(a_request(1, "server/discover"), is_own=True)

    wires.now += 10
    wires.link.stuck = 10.0
    wires.mux.check(wires.now)

    assert (sink.failures, wires.cancelled) == ([], [])


def test_a_child_that_does_not_read_fails_its_calls() -> None:
    wires = Wires(stdin_stall_timeout_seconds=30.0)
    _, sink = wires.begin(a_call(1))

    wires.link.stuck = 30.0
    wires.mux.check(wires.now)
    assert sink.failures == []
    wires.link.stuck = 31.0
    wires.mux.check(wires.now)

    assert [type(error) for error in sink.failures] == [ChildNotReading]

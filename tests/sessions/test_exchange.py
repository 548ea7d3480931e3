"""How messages cross between a client's streams and a child: every table, without a process."""

import json
import tracemalloc
from typing import Any

import pytest
from msgspec import Raw

from proxy.errors import (
    AnswerUnusable,
    CallCancelled,
    CallTimedOut,
    ChildExited,
    ChildNotReading,
    DuplicateId,
    EventsGone,
    ProxyError,
    SessionEnded,
    TooManyStreams,
)
from proxy.observe import Counts
from proxy.protocol.badlines import MAX_NOISE_LINES
from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.messages import Notification, Request, Response
from proxy.sessions import streams as streams_module
from proxy.sessions.asks import MAX_OPEN_ASKS
from proxy.sessions.exchange import Exchange
from proxy.sessions.limits import SessionLimits
from proxy.sessions.stream import SEEN_ELSEWHERE, Ask, Failure, Stream
from tests.support.fake_link import FakeLink

Json = dict[str, Any]


class Pair:
    """An exchange between a client, which is the test, and a child, which is the test too."""

    def __init__(self, **limits: Any) -> None:
        self.now = 100.0
        self.counts = Counts()
        self.link = FakeLink()
        self.exchange = Exchange(limits=SessionLimits(**limits), counts=self.counts, clock=lambda: self.now, tag="test")
        self.exchange.attach(self.link)
        self.exchange.streams.open_to_client()

    def call(self, request_id: Any, method: str = "tools/call", params: Json | None = None) -> Stream:
        message = parse({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params or {}})
        assert isinstance(message, Request)
        stream = self.exchange.streams.new(message.raw_id)
        self.exchange.check_new_ids([message])
        self.exchange.begin(message, stream)
        return stream

    def tells(self, method: str, params: Json | None = None) -> None:
        message = parse({"jsonrpc": "2.0", "method": method, "params": params or {}})
        assert isinstance(message, Notification)
        self.exchange.notify(message)

    def answers(self, ask_id: Any, result: Json) -> None:
        message = parse({"jsonrpc": "2.0", "id": ask_id, "result": result})
        assert isinstance(message, Response)
        self.exchange.answer(message)

    def child_says(self, *messages: Json | bytes) -> None:
        self.exchange.received([m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages])

    def child_answers(self, child_id: int, result: Json | None = None) -> None:
        self.child_says({"jsonrpc": "2.0", "id": child_id, "result": result or {}})

    def child_asks(self, child_id: Any, method: str = "sampling/createMessage") -> None:
        self.child_says({"jsonrpc": "2.0", "id": child_id, "method": method, "params": {}})

    @property
    def last_sent(self) -> Json:
        return self.link.messages[-1]


def parse(message: Json) -> Any:
    return parse_client_message(json.dumps(message).encode())


def got(stream: Stream) -> list[Json]:
    """What waits on a stream, taken from it."""
    items = []
    for item in stream.take()[1]:
        if isinstance(item, Failure):
            raise AssertionError(f"a failure: {item.error!r}")
        items.append(json.loads(item.message if isinstance(item, Ask) else item))
    return items


def failure(stream: Stream) -> ProxyError:
    _, (item,) = stream.take()
    assert isinstance(item, Failure)
    return item.error


LIST_CHANGED: Json = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
LOG: Json = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}


# ---- calls


CREATED = {"task": {"taskId": "t", "status": "working"}}


@pytest.mark.parametrize(("result", "is_heard"), [(CREATED, True), ({"task": {}}, False), ({"taskId": "t"}, False)])
def test_a_call_that_goes_on_as_a_task_keeps_its_progress_token(result: Json, is_heard: bool) -> None:
    """Spec: 2025-11-25 basic/utilities/tasks, Progress: it is used "throughout the task's lifetime"."""
    pair = Pair()
    listen = pair.exchange.streams.listen()
    pair.call(1, params={"_meta": {"progressToken": 5}, "task": {}})
    pair.child_answers(pair.last_sent["id"], result)

    pair.child_says({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 5}})
    pair.child_says({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "5"}})

    assert [m["params"] for m in got(listen)] == ([{"progressToken": 5}] if is_heard else [])
    assert pair.counts.snapshot()["dropped.progress_of_no_call"] == (1 if is_heard else 2)


@pytest.mark.parametrize("request_id", [0, "0", 7, "7", -1, 2**63 + 1, "", "\u2028"])
def test_an_answer_carries_the_clients_id_with_its_type(request_id: Any) -> None:
    pair = Pair()

    stream = pair.call(request_id)
    child_id = pair.last_sent["id"]
    pair.child_answers(child_id, {"x": 1})

    assert isinstance(child_id, int)
    assert got(stream) == [{"jsonrpc": "2.0", "id": request_id, "result": {"x": 1}}]
    assert stream.has_ended


def test_ids_that_look_alike_are_two_calls() -> None:
    pair = Pair()
    number, text = pair.call(1), pair.call("1")

    pair.child_answers(pair.link.messages[1]["id"], {"for": "text"})
    pair.child_answers(pair.link.messages[0]["id"], {"for": "number"})

    assert got(number)[0]["result"] == {"for": "number"}
    assert got(text)[0]["result"] == {"for": "text"}


def test_an_id_in_flight_is_refused_and_free_again_after_its_answer() -> None:
    pair = Pair()
    pair.call(1)

    with pytest.raises(DuplicateId):
        pair.call(1)
    pair.child_answers(pair.last_sent["id"])
    pair.call(1)

    assert pair.exchange.calls_in_flight == 1


def test_an_id_twice_in_one_batch_is_refused() -> None:
    message = parse({"jsonrpc": "2.0", "id": 1, "method": "ping"})

    with pytest.raises(DuplicateId):
        Pair().exchange.check_new_ids([message, message])


def test_an_answer_that_comes_twice_is_delivered_once() -> None:
    pair = Pair()
    stream = pair.call(1)

    pair.child_answers(pair.last_sent["id"])
    pair.child_answers(pair.last_sent["id"])

    assert len(got(stream)) == 1
    assert pair.counts.snapshot() == {"dropped.answer_to_no_call": 1}


def test_an_answer_with_the_id_as_text_is_nobodys() -> None:
    pair = Pair()
    stream = pair.call(1)

    pair.child_says({"jsonrpc": "2.0", "id": str(pair.last_sent["id"]), "result": {}})

    assert got(stream) == []


def test_progress_goes_to_the_call_with_its_token_and_moves_its_time_out() -> None:
    pair = Pair(call_timeout_seconds=10.0)
    number = pair.call(1, params={"_meta": {"progressToken": 5}})
    text = pair.call(2, params={"_meta": {"progressToken": "5"}})

    pair.now += 8
    pair.child_says(
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "5", "progress": 1}}
    )
    pair.now += 8
    pair.exchange.check(pair.now)

    assert [m["method"] for m in got(text)] == ["notifications/progress"]
    assert isinstance(failure(number), CallTimedOut)
    assert pair.counts.snapshot()["timed_out.call"] == 1


@pytest.mark.parametrize(("written", "found"), [(5, 5), ("5", "5"), (5.0, None), (None, None)])
def test_the_child_knows_progress_by_a_token_of_ours_where_it_serves_others_too(written: Any, found: Any) -> None:
    pair = Pair()
    pair.exchange.mints_tokens = True
    stream = pair.call(1, params={"_meta": {"progressToken": written, "a": 1}})
    child_id, meta = pair.last_sent["id"], pair.last_sent["params"]["_meta"]
    assert meta == ({"progressToken": child_id, "a": 1} if found is not None else {"a": 1})

    for token in (child_id, "5", 5):
        pair.child_says({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token}})

    tokens = [json.loads(item)["params"]["progressToken"] for item in stream.items if isinstance(item, bytes)]
    assert tokens == ([found] if found is not None else [])
    pair.child_answers(child_id)
    assert pair.exchange._by_token == {}


@pytest.mark.parametrize(
    "params", [{}, {"progressToken": None}, {"progressToken": [5]}, {"progressToken": "nobody"}, []]
)
def test_progress_of_no_call_is_nobodys(params: Any) -> None:
    pair = Pair()
    stream = pair.call(1, params={"_meta": {"progressToken": 5}})

    pair.child_says({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})

    assert got(stream) == []
    assert pair.counts.snapshot() == {"dropped.progress_of_no_call": 1}


def test_progress_of_a_finished_call_is_dropped() -> None:
    pair = Pair()
    stream = pair.call(1, params={"_meta": {"progressToken": 5}})
    pair.child_answers(pair.last_sent["id"])
    got(stream)

    pair.child_says(
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 5, "progress": 1}}
    )

    assert got(stream) == []
    assert pair.counts.snapshot() == {"dropped.progress_of_no_call": 1}


# ---- cancellation


def test_a_cancellation_reaches_the_child_with_its_id_and_ends_the_call() -> None:
    pair = Pair()
    stream = pair.call("seven")
    child_id = pair.last_sent["id"]

    pair.tells("notifications/cancelled", {"requestId": "seven", "reason": "enough"})

    assert pair.last_sent["params"] == {"requestId": child_id, "reason": "enough"}
    assert isinstance(failure(stream), CallCancelled)
    pair.child_answers(child_id)
    assert got(stream) == []


@pytest.mark.parametrize("params", [{"requestId": 9}, {}, {"requestId": None}, {"requestId": "1"}])
def test_a_cancellation_of_nothing_is_dropped(params: Json) -> None:
    pair = Pair()
    pair.call(1)

    pair.tells("notifications/cancelled", params)

    assert len(pair.link.messages) == 1
    assert pair.exchange.calls_in_flight == 1


def test_initialize_can_not_be_cancelled() -> None:
    """Spec: 2025-11-25 basic/utilities/cancellation: "The initialize request MUST NOT be cancelled by clients"."""
    pair = Pair()
    pair.call(1, "initialize")

    pair.tells("notifications/cancelled", {"requestId": 1})

    assert len(pair.link.messages) == 1


def test_any_other_notification_is_passed_on_as_it_is() -> None:
    pair = Pair()

    pair.tells("notifications/made_up", {"requestId": 1})

    assert pair.last_sent == {"jsonrpc": "2.0", "method": "notifications/made_up", "params": {"requestId": 1}}


# ---- requests of the child


def test_a_question_comes_under_an_id_of_ours_and_its_answer_goes_back_under_the_childs() -> None:
    pair = Pair()
    stream = pair.call(0)
    pair.child_asks("zero")
    (question,) = got(stream)

    pair.answers(question["id"], {"roots": []})

    assert question["method"] == "sampling/createMessage"
    assert pair.last_sent == {"jsonrpc": "2.0", "id": "zero", "result": {"roots": []}}


def test_an_answer_nobody_waits_for_reaches_no_child() -> None:
    pair = Pair()
    stream = pair.call(0)
    pair.child_asks(3)
    (question,) = got(stream)

    for ask_id in (question["id"] + 1, str(question["id"])):
        pair.answers(ask_id, {})
    pair.answers(question["id"], {})
    pair.answers(question["id"], {})

    assert [m["id"] for m in pair.link.messages if "result" in m] == [3]


def test_the_child_can_withdraw_its_question() -> None:
    pair = Pair()
    stream = pair.call(0)
    pair.child_asks(3)
    (question,) = got(stream)

    pair.child_says({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3}})
    (withdrawal,) = got(stream)
    pair.answers(question["id"], {})

    assert withdrawal["params"]["requestId"] == question["id"]
    assert not any("result" in m for m in pair.link.messages)


def test_a_question_withdrawn_before_anybody_saw_it_is_never_seen() -> None:
    pair = Pair()
    pair.child_asks(3)

    pair.child_says({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3}})

    assert got(pair.exchange.streams.listen()) == []


def test_a_question_without_a_client_is_refused_in_time() -> None:
    pair = Pair(server_request_timeout_seconds=50.0)
    pair.child_asks(3)

    pair.exchange.check(pair.now + 49)
    assert pair.link.messages == []
    pair.exchange.check(pair.now + 51)

    assert pair.last_sent["id"] == 3
    assert pair.last_sent["error"]["code"] == -32603
    assert got(pair.exchange.streams.listen()) == []


def test_a_question_whose_client_has_left_is_refused_in_time_but_can_be_answered_until_then() -> None:
    pair = Pair(server_request_timeout_seconds=50.0)
    stream = pair.call(0)
    pair.child_asks(3)
    pair.child_asks(4)
    first, _ = got(stream)

    pair.exchange.disconnected(stream)
    pair.answers(first["id"], {"late": True})
    pair.exchange.check(pair.now + 51)

    assert [(m["id"], "result" in m) for m in pair.link.messages[1:]] == [(3, True), (4, False)]


def test_a_question_that_was_not_sent_when_its_client_left_goes_to_the_next() -> None:
    pair = Pair()
    stream = pair.call(0)
    pair.child_asks(3)

    pair.exchange.disconnected(stream)
    later = pair.exchange.streams.listen()

    assert [m["method"] for m in got(later)] == ["sampling/createMessage"]


def test_pings_are_answered_when_no_client_is_there_and_passed_on_when_one_is() -> None:
    pair = Pair()
    pair.child_asks(1, "ping")
    assert pair.last_sent == {"jsonrpc": "2.0", "id": 1, "result": {}}

    listen = pair.exchange.streams.listen()
    pair.child_asks(2, "ping")

    assert [m["method"] for m in got(listen)] == ["ping"]


def test_a_child_that_never_stops_asking_is_refused() -> None:
    pair = Pair(waiting_messages=10 * MAX_OPEN_ASKS)
    for number in range(MAX_OPEN_ASKS + 1):
        pair.child_asks(number)

    assert [m["id"] for m in pair.link.messages] == [MAX_OPEN_ASKS]


@pytest.mark.parametrize("method", ["ping", "roots/list"])
def test_what_we_answer_to_a_child_that_reads_nothing_is_bounded(method: str) -> None:
    """Neither the refusals of a child that asks in a loop nor the answers to its pings may fill our memory."""
    pair = Pair(stream_backlog_bytes=1000, waiting_messages=1)
    for number in range(100):
        pair.child_asks(number, method)
    while_it_reads = len(pair.link.sent_lines)
    pair.link.pending = 1

    for number in range(100, 200):
        pair.child_asks(number, method)

    waiting = pair.link.sent_lines[while_it_reads:]
    assert sum(map(len, waiting)) < 1000 + 2 * max(map(len, waiting))
    assert while_it_reads >= 99
    assert pair.counts.snapshot()["dropped.reply_child_does_not_read"] == 100 - len(waiting)
    pair.link.pending = 0
    pair.child_asks(1000, "ping")
    assert pair.last_sent == {"jsonrpc": "2.0", "id": 1000, "result": {}}


def test_a_large_argument_that_the_child_still_reads_costs_it_no_answer() -> None:
    pair = Pair(stream_backlog_bytes=1000)
    pair.link.pending = 10_000_000

    pair.child_asks(1, "ping")

    assert pair.last_sent == {"jsonrpc": "2.0", "id": 1, "result": {}}


@pytest.mark.parametrize("side", ["client", "child"])
def test_an_open_request_does_not_keep_its_arguments_in_memory(side: str) -> None:
    """A call may take hours, and the stream of one that is over waits for its client for minutes."""
    pair = Pair()
    stream = pair.call(0)
    tracemalloc.start()
    try:
        for number in range(1, 6):
            text = b'{"jsonrpc":"2.0","id":%d,"method":"x","params":{"text":"%b"}}' % (number, b"x" * 1_000_000)
            if side == "client":
                message = parse_client_message(text)
                assert isinstance(message, Request)
                pair.exchange.begin(message, stream)
                del message
            else:
                pair.exchange.received([text])
                stream.take()
            del text
            pair.link.sent_lines.clear()
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert used < 100_000


# ---- which stream


def test_a_question_goes_to_the_only_call_although_somebody_listens() -> None:
    pair = Pair()
    listen, call = pair.exchange.streams.listen(), pair.call(1)

    pair.child_asks(1)
    pair.child_says(LOG)

    assert (len(got(call)), len(got(listen))) == (2, 0)


def test_with_several_calls_a_question_goes_to_the_listener_else_to_the_newest_call() -> None:
    pair = Pair()
    first, second = pair.call(1), pair.call(2)

    pair.child_asks(1)
    listen = pair.exchange.streams.listen()
    pair.child_asks(2)

    assert [len(got(stream)) for stream in (first, second, listen)] == [0, 1, 1]


def test_a_question_whose_call_is_known_goes_to_the_stream_of_that_call() -> None:
    """Spec: 2025-11-25 basic/transports, Sending Messages 6. HL-09."""
    pair = Pair()
    first = pair.call(1)
    owner = pair.last_sent["id"]
    newest = pair.call(2)
    listener = pair.exchange.streams.listen()
    pair.exchange.owner_of = {7: owner, 8: 999}.get

    pair.child_asks(7)
    pair.child_asks(8)

    assert [question["method"] for question in got(first)] == ["sampling/createMessage"]
    assert len(got(listener)) == 1
    assert got(newest) == []


def test_a_question_whose_call_has_no_client_goes_where_others_go() -> None:
    pair = Pair()
    first, newest = pair.call(1), pair.call(2)
    pair.exchange.owner_of = {7: 1}.get
    pair.exchange.disconnected(first)

    pair.child_asks(7)

    assert len(got(newest)) == 1


def test_a_call_whose_client_has_left_gets_nothing() -> None:
    pair = Pair()
    gone, there = pair.call(1), pair.call(2)
    pair.exchange.disconnected(gone)

    pair.child_asks(1)

    assert (len(got(gone)), len(got(there))) == (0, 1)


def test_changes_go_to_the_newest_listener_only() -> None:
    pair = Pair()
    call, old, new = pair.call(1), pair.exchange.streams.listen(), pair.exchange.streams.listen()

    pair.child_says(LIST_CHANGED, {"jsonrpc": "2.0", "method": "notifications/made_up"})

    assert [len(got(stream)) for stream in (call, old, new)] == [0, 0, 2]


def test_changes_go_to_a_call_only_while_nobody_has_ever_listened() -> None:
    """DECISIONS: list changes on a call's stream for clients that never listen."""
    pair = Pair()
    call = pair.call(1)
    pair.child_says(LIST_CHANGED)
    assert len(got(call)) == 1

    pair.exchange.disconnected(pair.exchange.streams.listen())
    pair.child_says(LIST_CHANGED)
    assert got(call) == []

    assert len(got(pair.exchange.streams.listen())) == 1


def test_what_nobody_hears_waits_in_order_and_the_oldest_makes_room() -> None:
    pair = Pair(waiting_messages=3)
    for number in range(5):
        pair.child_says({"jsonrpc": "2.0", "method": "notifications/made_up", "params": {"n": number}})

    assert [m["params"]["n"] for m in got(pair.exchange.streams.listen())] == [2, 3, 4]
    assert pair.counts.snapshot() == {"dropped.waiting_room_full": 2}


def test_what_waits_is_bounded_in_bytes() -> None:
    pair = Pair(waiting_size_bytes=1000)
    for number in range(5):
        pair.child_says({"jsonrpc": "2.0", "method": "x", "params": {"n": number, "pad": "x" * 400}})

    assert [m["params"]["n"] for m in got(pair.exchange.streams.listen())] == [3, 4]


def test_a_question_that_makes_room_is_refused() -> None:
    pair = Pair(waiting_messages=1)
    pair.child_asks(1)
    pair.child_asks(2)

    assert [(m["id"], m["error"]["code"]) for m in pair.link.messages] == [(1, -32603)]


def test_nothing_goes_to_a_session_that_no_client_knows_yet() -> None:
    pair = Pair()
    pair.exchange.streams._is_open_to_client = False
    initialize = pair.call(0, "initialize")

    pair.child_says(LOG)
    pair.child_asks(1)
    assert got(initialize) == []
    pair.child_answers(pair.link.messages[0]["id"])
    pair.exchange.streams.open_to_client()

    assert len(got(pair.exchange.streams.listen())) == 2


def test_one_listener_too_many_is_refused_and_a_place_is_free_when_one_leaves() -> None:
    pair = Pair(max_get_streams=2)
    first = pair.exchange.streams.listen()
    pair.exchange.streams.listen()

    with pytest.raises(TooManyStreams):
        pair.exchange.streams.listen()
    pair.exchange.disconnected(first)
    pair.exchange.streams.listen()


# ---- what takes too long, and what is broken


def test_a_call_that_is_quiet_too_long_is_answered_and_the_child_told() -> None:
    pair = Pair(call_timeout_seconds=5.0)
    stream = pair.call(1)
    child_id = pair.last_sent["id"]

    pair.exchange.check(pair.now + 4.9)
    assert pair.exchange.calls_in_flight == 1
    pair.exchange.check(pair.now + 5.1)

    assert isinstance(failure(stream), CallTimedOut)
    assert pair.last_sent["method"] == "notifications/cancelled"
    assert pair.last_sent["params"]["requestId"] == child_id


def test_progress_does_not_move_the_absolute_limit() -> None:
    pair = Pair(call_timeout_total_seconds=5.0)
    stream = pair.call(1, params={"_meta": {"progressToken": 1}})
    pair.now += 4
    pair.child_says(
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}
    )
    got(stream)

    pair.exchange.check(pair.now + 1.1)

    assert isinstance(failure(stream), CallTimedOut)


def test_a_child_that_does_not_read_fails_its_calls() -> None:
    pair = Pair(stdin_stall_timeout_seconds=30.0)
    stream = pair.call(1)
    pair.link.stuck = 31.0

    pair.exchange.check(pair.now)

    assert isinstance(failure(stream), ChildNotReading)


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":%d,"result":{"half":',
        b'{"jsonrpc":"2.0","id": %d,"result":"\xff"}',
        b'{"id":%d,"result":{}}',
        b'{"jsonrpc":"2.0","id":%d,"result":{},"error":{}}',
        b'{"result":{"text":"' + b"x" * 20000 + b'"},"jsonrpc":"2.0","id":%d',
    ],
)
def test_a_broken_answer_fails_its_call_instead_of_leaving_it_waiting(line: bytes) -> None:
    pair = Pair()
    stream, other = pair.call(1), pair.call(2)

    pair.child_says(line % pair.link.messages[0]["id"])

    assert isinstance(failure(stream), AnswerUnusable)
    assert got(other) == []


@pytest.mark.parametrize(
    "line",
    [
        b'{"level":"info","id":%d,"msg":"served"}',
        b"id %d done",
        b'"id":%d',
        b"\xff\xfe",
        b'{"jsonrpc":"2.0","method":"x","params":{"id":%d,"x":"\xff"}}',
    ],
)
def test_noise_costs_no_call_anything(line: bytes) -> None:
    pair = Pair()
    stream = pair.call(1)

    pair.child_says(line % pair.last_sent["id"] if b"%d" in line else line)

    assert got(stream) == []
    assert sum(pair.counts.snapshot().values()) == 1


def test_one_call_can_fail_without_the_others() -> None:
    pair = Pair()
    first, second = pair.call("a"), pair.call("b")
    error = ChildExited()

    pair.exchange.fail(1, error)
    pair.exchange.fail(1, error)
    pair.exchange.fail(999, error)

    assert failure(first) is error
    assert pair.exchange.calls_in_flight == 1
    pair.child_answers(2)
    assert len(got(second)) == 1


def test_an_initialize_without_an_answer_can_be_sent_to_somebody_else() -> None:
    pair = Pair()
    stream = pair.call("i", "initialize", {"protocolVersion": "2025-11-25", "x": 1.0})
    first = pair.link.sent_lines[0]
    pair.link = FakeLink()

    pair.exchange.attach(pair.link)
    assert pair.exchange.is_in_flight(1)
    pair.exchange.initialize_again()

    assert pair.link.sent_lines == [first]
    pair.child_answers(1)
    assert [answer["id"] for answer in got(stream)] == ["i"]
    pair.call(2)
    sent = len(pair.link.sent_lines)
    pair.exchange.initialize_again()
    assert len(pair.link.sent_lines) == sent
    assert [pair.exchange.is_in_flight(id_) for id_ in (1, "2", None, 2)] == [False, False, False, True]


def test_the_end_answers_every_call_and_ends_every_stream() -> None:
    pair = Pair()
    call, listen = pair.call(1), pair.exchange.streams.listen()

    pair.exchange.fail_all(SessionEnded())

    assert isinstance(failure(call), SessionEnded)
    assert listen.has_ended
    assert pair.exchange.calls_in_flight == 0


# ---- slow readers


def big(number: int) -> Json:
    return {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x" * 600, "n": number}}


def test_the_child_waits_for_a_slow_reader_while_nobody_else_needs_it() -> None:
    pair = Pair(stream_backlog_bytes=1000)
    stream = pair.call(1)

    history = []
    for number in (1, 2):
        pair.child_says(big(number))
        history.append(pair.link.paused)
    assert [m["params"]["n"] for m in got(stream)] == [1, 2]

    assert [*history, pair.link.paused] == [False, True, False]


def test_a_slow_reader_is_not_waited_for_longer_than_its_time() -> None:
    pair = Pair(stream_backlog_bytes=1000, slow_reader_timeout_seconds=30.0)
    stream = pair.call(1)
    pair.child_says(big(1), big(2))

    history = []
    for seconds in (29, 31):
        pair.exchange.check(pair.now + seconds)
        history.append(stream.is_live)

    assert history == [True, False]
    assert not pair.link.paused
    assert pair.exchange.calls_in_flight == 1


@pytest.mark.parametrize("who", ["a call before", "a call after", "an unfinished write"])
def test_a_slow_reader_is_cut_off_when_somebody_else_needs_the_child(who: str) -> None:
    pair = Pair(stream_backlog_bytes=1000)
    if who == "a call before":
        pair.exchange.streams.listen()
        pair.call(1)
        slow = pair.exchange.streams.listen()
        pair.child_says(*({**LIST_CHANGED, "params": {"pad": "x" * 600}} for _ in range(2)))
    else:
        slow = pair.call(1)
        pair.link.pending = 1 if who == "an unfinished write" else 0
        pair.child_says(big(1), big(2))
    if who == "a call after":
        assert slow.is_live
        pair.call(2)

    assert not slow.is_live
    assert not pair.link.paused
    assert pair.counts.snapshot()["cut.slow_reader"] == 1


def test_the_tables_are_empty_when_all_is_answered() -> None:
    pair = Pair()
    for number in range(100):
        stream = pair.call(number, params={"_meta": {"progressToken": number}})
        pair.child_asks(number)
        pair.answers(got(stream)[0]["id"], {})
        pair.child_answers(pair.link.messages[2 * number]["id"])

    exchange = pair.exchange
    assert (exchange._calls, exchange._child_ids, exchange._by_token, len(exchange._asks)) == ({}, {}, {}, 0)


def test_a_raw_id_is_given_back_byte_for_byte() -> None:
    pair = Pair()
    stream = pair.exchange.streams.new(Raw(b"1"))
    message = parse_client_message(rb'{"jsonrpc":"2.0","id":"\u0041\ud800","method":"ping"}')
    assert isinstance(message, Request)

    pair.exchange.begin(message, stream)
    pair.child_answers(pair.last_sent["id"])

    _, (answer,) = stream.take()
    assert isinstance(answer, bytes)
    assert rb'"id":"\u0041\ud800"' in answer
    assert isinstance(message.raw_id, Raw)


def test_an_answer_is_never_too_large_for_its_stream() -> None:
    pair = Pair(stream_backlog_bytes=1000)
    other, stream = pair.call(1), pair.call(2)
    pair.child_says(big(1))

    pair.child_answers(pair.last_sent["id"], {"text": "x" * 5000})

    assert len(got(stream)[-1]["result"]["text"]) == 5000
    assert other.is_live
    assert "cut.slow_reader" not in pair.counts.snapshot()


def test_one_large_message_alone_is_not_too_much() -> None:
    pair = Pair(stream_backlog_bytes=1000)
    other, stream = pair.call(1, params={"_meta": {"progressToken": 1}}), pair.call(2)

    pair.child_says(
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "message": "x" * 5000}}
    )

    assert len(got(other)) == 1
    assert stream.is_live


# ---- clients that come back


def progress(number: int, token: Any = 1) -> Json:
    return {
        "jsonrpc": "2.0",
        "method": "notifications/progress",
        "params": {"progressToken": token, "progress": number},
    }


def streaming(pair: Pair, request_id: int | str = 1) -> Stream:
    """A call whose response has begun as a stream."""
    stream = pair.call(request_id, params={"_meta": {"progressToken": request_id}})
    pair.exchange.streams.begin(stream)
    return stream


def test_what_followed_the_last_event_comes_again_and_then_what_is_new() -> None:
    """Spec: 2025-11-25 basic/transports, Resumability and Redelivery."""
    pair = Pair()
    stream = streaming(pair)
    pair.child_says(progress(1), progress(2))
    assert len(got(stream)) == 2
    pair.exchange.disconnected(stream)
    pair.child_says(progress(3))

    resumed = pair.exchange.resume(f"{stream.number}-1")
    assert resumed is stream
    first, items = stream.take()
    assert (first, len(items)) == (2, 2)
    pair.child_answers(pair.last_sent["id"])

    assert [message.get("method", "answer") for message in got(stream)] == ["answer"]
    assert stream.has_ended


def test_an_answer_waits_for_a_client_that_has_left() -> None:
    pair = Pair()
    stream = streaming(pair)
    pair.exchange.disconnected(stream)
    pair.child_answers(pair.last_sent["id"], {"late": True})

    assert pair.exchange.resume(f"{stream.number}-0") is stream

    assert [message["result"] for message in got(stream)] == [{"late": True}]
    assert "dropped.client_gone" not in pair.counts.snapshot()


def test_a_stream_of_which_everything_was_delivered_has_nothing_more_to_say() -> None:
    pair = Pair()
    stream = streaming(pair)
    pair.child_answers(pair.last_sent["id"])
    got(stream)

    assert pair.exchange.resume(f"{stream.number}-1") is stream

    assert (stream.has_ended, stream.items) == (True, [])


@pytest.mark.parametrize("last_event_id", ["", "x", "99-0", "1-99", "0-0", "1"])
def test_an_event_that_is_none_of_ours_is_unknown(last_event_id: str) -> None:
    pair = Pair()
    streaming(pair)

    assert pair.exchange.resume(last_event_id) is None
    assert pair.counts.snapshot() == {"resumed.unknown": 1}


def test_an_answer_that_is_kept_no_more_is_an_error() -> None:
    pair = Pair(replay_events=2)
    stream = streaming(pair, 7)
    pair.exchange.disconnected(stream)
    pair.child_answers(pair.last_sent["id"])
    other = streaming(pair, 8)
    pair.child_says(*(progress(number, 8) for number in range(5)))
    assert len(got(other)) == 5

    assert pair.exchange.resume(f"{stream.number}-0") is stream

    error = failure(stream)
    assert isinstance(error, EventsGone)
    assert stream.has_ended
    assert other.is_live


def test_an_answer_outlives_what_was_said_before_it() -> None:
    pair = Pair(replay_events=3)
    stream = streaming(pair)
    pair.exchange.disconnected(stream)
    pair.child_says(*(progress(number) for number in range(10)))
    pair.child_answers(pair.last_sent["id"], {"kept": True})

    assert pair.exchange.resume(f"{stream.number}-0") is stream

    assert got(stream)[-1]["result"] == {"kept": True}
    assert pair.counts.snapshot()["resumed.with_gap"] == 1


def test_an_answer_of_any_size_is_kept() -> None:
    pair = Pair(replay_size_bytes=1024)
    stream = streaming(pair)
    pair.exchange.disconnected(stream)
    pair.child_answers(pair.last_sent["id"], {"text": "x" * 100_000})

    assert pair.exchange.resume(f"{stream.number}-0") is stream

    assert len(got(stream)[0]["result"]["text"]) == 100_000


def test_a_slow_reader_that_was_cut_off_finds_the_answer_when_it_comes_back() -> None:
    """Design: what it had not sent is its replay, the final answer always kept."""
    pair = Pair(stream_backlog_bytes=1000, replay_size_bytes=1024)
    stream = streaming(pair)
    child_id = pair.last_sent["id"]
    pair.child_says(big(1), big(2))
    pair.call(2)
    assert stream.was_cut
    pair.child_answers(child_id, {"here": True})

    pair.exchange.resume(f"{stream.number}-0")

    assert got(stream)[-1]["result"] == {"here": True}


def test_coming_back_takes_over_only_the_stream_it_names() -> None:
    pair = Pair()
    one, two = streaming(pair, 1), streaming(pair, 2)
    connections = one.connection, two.connection

    pair.exchange.resume(f"{one.number}-0")

    assert (one.connection, two.connection) == (connections[0] + 1, connections[1])


def test_a_question_is_seen_once_however_its_client_comes_back() -> None:
    """Never on two streams: one that nobody saw goes to the next stream, and is gone from the first."""
    pair = Pair()
    stream = streaming(pair)
    pair.child_asks(3)
    pair.exchange.disconnected(stream)
    listen = pair.exchange.streams.listen()

    pair.exchange.resume(f"{stream.number}-0")

    assert len(got(listen)) == 1
    assert stream.take()[1] == [SEEN_ELSEWHERE]


def test_a_question_that_was_lost_on_the_way_comes_again_and_can_be_answered() -> None:
    pair = Pair(server_request_timeout_seconds=50.0)
    stream = streaming(pair)
    pair.child_asks(3)
    got(stream)
    pair.exchange.disconnected(stream)
    pair.now += 40

    pair.exchange.resume(f"{stream.number}-0")
    (question,) = got(stream)
    pair.exchange.check(pair.now + 20)
    pair.answers(question["id"], {"ok": 1})

    assert pair.last_sent == {"jsonrpc": "2.0", "id": 3, "result": {"ok": 1}}


def test_a_listener_comes_back_to_its_own_stream_and_is_one_again() -> None:
    pair = Pair(max_get_streams=1)
    listen = pair.exchange.streams.listen()
    pair.child_says(LIST_CHANGED)
    got(listen)
    pair.exchange.disconnected(listen)

    assert pair.exchange.resume(f"{listen.number}-0") is listen
    pair.child_says(LIST_CHANGED)

    assert len(got(listen)) == 2
    with pytest.raises(TooManyStreams):
        pair.exchange.streams.listen()


def test_streams_are_forgotten_in_time_and_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "MAX_NUMBERED", 3)
    pair = Pair(replay_age_seconds=300.0)
    numbers = []
    for request_id in range(4):
        stream = streaming(pair, request_id)
        pair.child_answers(pair.last_sent["id"])
        numbers.append(stream.number)

    assert pair.exchange.resume(f"{numbers[0]}-0") is None
    pair.exchange.check(pair.now)
    pair.exchange.check(pair.now + 301)

    assert pair.exchange.resume(f"{numbers[3]}-0") is None
    assert (len(pair.exchange.streams._replay), pair.exchange.streams._numbered) == (0, {})


def test_of_too_many_streams_those_are_forgotten_first_that_nobody_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GET that has been open for long is the oldest, and the one that its client comes back to."""
    monkeypatch.setattr(streams_module, "MAX_NUMBERED", 3)
    pair = Pair()
    listen = pair.exchange.streams.listen()
    left = streaming(pair, "left")
    pair.exchange.disconnected(left)
    ended = streaming(pair, "ended")
    pair.child_answers(pair.last_sent["id"])

    kept = [listen, left, ended]
    for newer, forgotten in (("a", ended), ("b", left), ("c", listen)):
        kept = [*(stream for stream in kept if stream is not forgotten), streaming(pair, newer)]
        assert list(pair.exchange.streams._numbered.values()) == kept


def test_what_comes_again_keeps_its_places_however_often_it_comes() -> None:
    pair = Pair()
    stream = streaming(pair)
    pair.child_says(progress(1), progress(2), progress(3))
    for place in (0, 1, 0):
        pair.exchange.disconnected(stream)
        pair.exchange.resume(f"{stream.number}-{place}")
        first, items = stream.take()
        assert (first, len(items)) == (place + 1, 3 - place)

    assert len(pair.exchange.streams._replay) == 3


def test_a_bug_costs_one_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pair = Pair()
    stream = pair.call(1)
    monkeypatch.setattr(pair.exchange, "_told", lambda _: 1 / 0)

    pair.child_says(LOG, {"jsonrpc": "2.0", "id": pair.last_sent["id"], "result": {}})

    assert len(got(stream)) == 1
    assert "ZeroDivisionError" in caplog.text


def test_what_still_waited_for_the_old_response_is_on_the_new_one() -> None:
    """A client that changed its network comes back while the old connection still seems alive."""
    pair = Pair()
    stream = streaming(pair)
    pair.child_says(progress(1), progress(2))
    pair.child_asks(3)
    pair.child_answers(pair.link.messages[0]["id"])

    pair.exchange.resume(f"{stream.number}-0")

    first, items = stream.take()
    assert first == 1
    assert [json.loads(item).get("method", "answer") for item in items if isinstance(item, bytes) and item] == [
        "notifications/progress",
        "notifications/progress",
        "answer",
    ]


def test_a_stream_is_taken_in_pieces_that_keep_their_places() -> None:
    pair = Pair()
    stream = streaming(pair)
    pair.child_says(*(big(number) for number in range(4)))

    pieces = [stream.take(1000) for _ in range(2)]

    assert [(first, len(items)) for first, items in pieces] == [(1, 2), (3, 2)]
    pair.exchange.resume(f"{stream.number}-1")
    assert stream.take()[0] == 2


def test_a_reader_that_takes_a_piece_now_and_then_is_not_cut_off() -> None:
    """Of one large message, say: nothing else leaves the queue meanwhile."""
    pair = Pair(stream_backlog_bytes=3000, slow_reader_timeout_seconds=30.0)
    stream = streaming(pair)
    pair.child_says(*(big(number) for number in range(6)))
    assert pair.link.paused

    for _ in range(3):
        pair.now += 20
        stream.pieces_taken += 1
        pair.exchange.check(pair.now)

    assert stream.is_live


def test_a_flood_of_noise_is_counted_and_hides_nothing() -> None:
    pair = Pair()
    stream = pair.call(1)
    noise = [b"noise"] * (MAX_NOISE_LINES + 50)

    pair.child_says(*noise, {"jsonrpc": "2.0", "id": pair.last_sent["id"], "result": {}})

    assert len(got(stream)) == 1
    assert pair.counts.snapshot() == {"bad_line.not_json": len(noise)}

"""Whatever client and server say, in whatever order, and however often the server dies: every request has one end."""

import logging
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.sessions.modern.between import ROOTS, SAMPLE, Between, Json, elicit, input_required

ANSWERS: list[Any] = [
    {"resultType": "complete", "content": []},
    {"content": [], "structuredContent": [1]},
    input_required("s"),
    input_required(None, a=elicit(), b=SAMPLE),
    input_required("s", a=ROOTS),
    {"resultType": "input_required"},
    {"resultType": "odd"},
    [],
]
REPLIES: list[Json] = [
    {"result": {"action": "decline"}},
    {"result": None},
    {"error": {"code": -1, "message": "no"}},
]
METHODS = ("tools/call", "prompts/get", "tools/list", "ping", "resources/subscribe", "resources/unsubscribe")
RECENT = 5
"""What was said a while ago is mostly over, and seldom of interest."""


class Faults(logging.Handler):
    """Exceptions that were caught and logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(f"{record.getMessage()}: {record.exc_info}")


class Crossing(RuleBasedStateMachine):
    """A client, a server, and the time between them."""

    def __init__(self) -> None:
        super().__init__()
        self.between = Between().opened()
        self.asked: list[int] = []
        self.cancelled: set[int] = set()
        self.told: list[Json] = []
        self.faults = Faults()
        logging.getLogger("proxy").addHandler(self.faults)

    @rule(method=st.sampled_from(METHODS), uri=st.sampled_from("abc"), answer=st.sampled_from([None, *ANSWERS]))
    def ask(self, method: str, uri: str, answer: Any) -> None:
        """Ask, and let the server answer at once, or not."""
        before = len(self.between.link.messages)
        self.asked.append(self.between.ask(method, {"name": "t", "uri": uri}))
        sent = self.between.link.messages[before:]
        if answer is not None and sent and sent[0]["method"] == method:
            self.between.result(sent[0]["id"], answer)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        ends = self.ends()
        unended = [id_ for id_ in self.asked if id_ not in ends and id_ not in self.cancelled]
        if self.asked:
            id_ = data.draw(st.sampled_from(unended or self.asked))
            if id_ not in ends:
                self.cancelled.add(id_)
            self.between.cancel(id_)

    @rule(answer=st.sampled_from(ANSWERS), data=st.data())
    def answer(self, answer: Any, data: st.DataObject) -> None:
        ids = self.ids_at_child()
        if ids:
            self.between.result(data.draw(st.sampled_from(ids)), answer)

    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        ids = self.ids_at_child()
        if ids:
            error = {"code": -32603, "message": "no"}
            self.between.child({"jsonrpc": "2.0", "id": data.draw(st.sampled_from(ids)), "error": error})

    @rule(reply=st.sampled_from(REPLIES), data=st.data())
    def reply(self, reply: Json, data: st.DataObject) -> None:
        questions = [each["id"] for each in self.everything_told() if "method" in each and "id" in each]
        if questions:
            self.between.send({"jsonrpc": "2.0", "id": data.draw(st.sampled_from(questions[-RECENT:])), **reply})

    @rule()
    def acknowledge(self) -> None:
        if self.between.at_child("subscriptions/listen"):
            self.between.acknowledge()

    @rule()
    def end_listen(self) -> None:
        for listen in self.between.at_child("subscriptions/listen")[-1:]:
            self.between.notify("notifications/cancelled", {"requestId": listen["id"]})

    @rule(is_ready=st.booleans())
    def restart(self, is_ready: bool) -> None:
        self.between.restart()
        if is_ready:
            self.discovered()

    @rule()
    def discovered(self) -> None:
        unanswered = [each for each in self.between.to_child() if each["method"] == "server/discover"]
        if unanswered:
            offers = {"tools": {}, "resources": {"subscribe": True, "listChanged": True}}
            result = {"supportedVersions": ["2026-07-28"], "capabilities": offers}
            self.between.result(unanswered[-1]["id"], result)

    @rule(seconds=st.sampled_from([0.1, 1.0, 11.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.between.later(seconds)

    def ids_at_child(self) -> list[int]:
        """The last requests to the child, whether or not it has answered them."""
        return [message["id"] for message in self.between.link.messages if "id" in message][-RECENT:]

    def everything_told(self) -> list[Json]:
        self.told += self.between.to_client()
        return self.told

    def ends(self) -> Counter[int]:
        """How often each request came to an end other than by its cancellation."""
        told = (each["id"] for each in self.everything_told() if "id" in each and "method" not in each)
        return Counter([*told, *(id_ for id_, _ in self.between.failed)])

    @invariant()
    def every_request_has_at_most_one_end(self) -> None:
        ends = self.ends()
        assert all(count == 1 for count in ends.values()), ends
        assert not (self.cancelled & ends.keys())

    @invariant()
    def a_modern_child_is_never_answered(self) -> None:
        """SC-06."""
        assert all("method" in message for message in self.between.link.messages)

    @invariant()
    def nothing_goes_wrong_in_silence(self) -> None:
        assert self.faults.seen == []

    @invariant()
    def no_id_is_used_twice(self) -> None:
        """SC-16."""
        ids = [message["id"] for message in self.between.link.messages if "id" in message]
        assert len(set(ids)) == len(ids)

    def teardown(self) -> None:
        for id_ in self.asked:
            if id_ not in self.ends():
                self.cancelled.add(id_)
            self.between.cancel(id_)
        self.between.later(1000)  # what was not given up would be sent again
        logging.getLogger("proxy").removeHandler(self.faults)
        assert self.between.as_legacy.open_requests == 0
        assert list(self.between.as_legacy._crossings.ids_at_child) == []
        assert self.ends().keys() | self.cancelled == set(self.asked)


TestCrossing = Crossing.TestCase
TestCrossing.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)

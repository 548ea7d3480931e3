"""Whatever a child of the handshake era and its clients do in whatever order: every turn ends, every question of the
child is answered once, and every call reaches the child once and is answered once, or never if it was cancelled."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.sessions.modern.bridge import ACCEPT, DONE, SAMPLE, SAMPLED, Bridge, Json

GOOD: Json = {"elicitation/create": ACCEPT, "sampling/createMessage": SAMPLED, "roots/list": {"roots": []}}
PARAMS: Json = {"elicitation/create": None, "sampling/createMessage": SAMPLE, "roots/list": None}
METHODS = sorted(GOOD)


class Bridged(RuleBasedStateMachine):
    """A bridge, and what a child and its clients know of each other.

    Attributes:
        waiting: Requests from above without an answer, by their ids: the number of the call, or 0 for a listing.
        paused: The number of the call that waits for its client, the state it was given, and its questions.
        turns: How many calls had a turn.
        reached: How often each call reached the child.
        addresses: How often each was answered with -32042, so that it may be sent again.
        working: What the child is working on, by its ids: as `waiting`.
        open: Its questions without an answer, by their ids.
        pings: Those that it has not answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bridge = Bridge()
        self.waiting: dict[int, int] = {}
        self.paused: tuple[int, str, Json] | None = None
        self.turns = 0
        self.reached: dict[int, int] = {}
        self.addresses: dict[int, int] = {}
        self.working: dict[int, int] = {}
        self.open: dict[Any, str] = {}
        self.pings: list[int] = []
        self.cancelled: set[int] = set()  # ids at the child
        self.asks = 0
        self.states = ["", "made-up"]  # that are good no more, or never were

    # ---- above

    @precondition(lambda self: not self.bridge.modern.is_leased)
    @rule(given=st.booleans())
    def call(self, given: bool) -> None:
        self.turns += 1
        answers: Json = {"inputResponses": {f"q-{self.asks + 1}": ACCEPT}} if given else {}
        self.waiting[self.bridge.call(arguments={"n": self.turns}, progress=True, level="debug", **answers)] = (
            self.turns
        )
        self.look()

    @precondition(lambda self: not self.bridge.modern.is_leased)
    @rule()
    def call_badly(self) -> None:
        self.turns += 1
        self.waiting[self.bridge.call(inputResponses=None)] = 0
        self.refused_as_invalid()

    @rule()
    def list_tools(self) -> None:
        self.waiting[self.bridge.request("tools/list")] = 0
        self.look()

    @precondition(lambda self: self.paused)
    @rule(data=st.data(), malformed=st.booleans())
    def retry(self, data: st.DataObject, malformed: bool) -> None:
        assert self.paused is not None
        number, state, questions = self.paused
        keys = data.draw(st.sets(st.sampled_from(sorted(questions))), label="answered")
        answers: Any = {key: GOOD[questions[key]["method"]] for key in keys} | {"unknown": ACCEPT}
        for key in keys:
            if questions[key]["method"] == "elicitation/create":
                answers[key] = data.draw(st.sampled_from([ACCEPT, {"action": "decline"}, {"action": "cancel"}]))
        if malformed:
            answers = data.draw(st.sampled_from([None, 5, []]), label="malformed")
        else:
            self.paused = None
            self.states.append(state)
        self.waiting[self.bridge.call(state=state, inputResponses=answers, arguments={"n": number}, progress=True)] = (
            number
        )
        if malformed:
            self.refused_as_invalid()
        self.look()

    @rule(data=st.data())
    def forge(self, data: st.DataObject) -> None:
        state = data.draw(st.sampled_from(self.states[-2:]), label="state")
        self.waiting[self.bridge.call(state=state, inputResponses={})] = 0
        self.refused_as_invalid()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.waiting)), label="cancelled")
        del self.waiting[request_id]
        self.bridge.cancel(request_id)
        self.look()
        self.bridge.cancel(request_id)
        assert self.bridge.down() == []

    @precondition(lambda self: self.paused)
    @rule()
    def abandon(self) -> None:
        assert self.paused is not None
        self.bridge.modern.abandon(self.paused[1])
        self.states.append(self.paused[1])
        self.paused = None
        self.look()

    # ---- the child

    @rule(method=st.sampled_from(METHODS), named=st.booleans())
    def ask(self, method: str, named: bool) -> None:
        self.asks += 1
        ask_id = f"q-{self.asks}" if named else self.asks
        self.open[ask_id] = method
        self.bridge.child_asks(ask_id, method, PARAMS[method])
        self.look()

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        ask_id = data.draw(st.sampled_from(sorted(self.open, key=str)), label="withdrawn")
        del self.open[ask_id]
        self.bridge.child_tells("notifications/cancelled", {"requestId": ask_id})
        self.look()

    @precondition(lambda self: self.working)
    @rule(data=st.data(), kind=st.sampled_from(["result", "error", "address", "twice"]))
    def answer(self, data: st.DataObject, kind: str) -> None:
        child_id = data.draw(st.sampled_from(sorted(self.working)), label="answered")
        number = self.working.pop(child_id)
        if kind == "error":
            self.bridge.child_fails(child_id, -32602)
        elif kind == "address" and number:
            self.addresses[number] = self.addresses.get(number, 0) + 1
            self.bridge.child_fails(
                child_id, -32042, data={"elicitations": [{"mode": "url", "url": "https://x", "message": "m"}]}
            )
        else:
            self.bridge.child_answers(child_id)
            if kind == "twice":
                self.bridge.child_answers(child_id, {"content": "again"})
        self.look()

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        child_id = data.draw(st.sampled_from(sorted(self.working)), label="moved")
        self.bridge.child_tells("notifications/progress", {"progressToken": child_id, "progress": 1})
        self.bridge.child_tells("notifications/message", {"level": "error", "data": 1})
        tokens = [line["params"].get("progressToken") for line in self.bridge.up()]
        assert all(token is None or self.waiting[token] == self.working[child_id] for token in tokens)

    @precondition(lambda self: self.pings)
    @rule()
    def pong(self) -> None:
        self.bridge.child_answers(self.pings.pop(), {})
        self.look()

    @rule(seconds=st.sampled_from([0.005, 0.02, 1.5, 12.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.bridge.pass_time(seconds)
        self.look()

    # ---- what is seen

    def look(self) -> None:
        """Note what came out on both sides, and see that it may."""
        for line in self.bridge.up():
            number = self.waiting.pop(line["id"])  # fails if it was answered, or cancelled, before
            result = line.get("result", {})
            if result.get("resultType") == "input_required":
                assert self.paused is None
                assert number
                self.paused = (number, result["requestState"], result["inputRequests"])
                shown = [question["method"] for question in result["inputRequests"].values()]
                for method in METHODS:
                    assert shown.count(method) <= list(self.open.values()).count(method) + 1
            elif "content" in result and not result.get("isError"):
                assert result["content"] == DONE["content"]
        for message in self.bridge.down():
            self.look_at_child(message)

    def look_at_child(self, message: Json) -> None:
        method = message.get("method")
        if method is None:
            asked = self.open.pop(message["id"])  # fails if it was answered, or withdrawn, before
            assert "error" in message or message["result"] in (GOOD[asked], {"action": "decline"}, {"action": "cancel"})
        elif method == "ping":
            self.pings.append(message["id"])
        elif method == "notifications/cancelled":
            child_id = message["params"]["requestId"]
            assert child_id in self.working
            assert child_id not in self.cancelled
            self.cancelled.add(child_id)
        elif method == "tools/call":
            number = message["params"]["arguments"]["n"]
            self.working[message["id"]] = number
            self.reached[number] = self.reached.get(number, 0) + 1
            assert self.reached[number] <= 1 + self.addresses.get(number, 0)
            assert set(message["params"]) == {"name", "arguments", "_meta"}
        elif method == "logging/setLevel":
            self.bridge.child_answers(message["id"], {})
        else:
            assert method == "tools/list"
            self.working[message["id"]] = 0

    def refused_as_invalid(self) -> None:
        refused = self.bridge.answer()
        assert refused["error"]["code"] == -32602
        del self.waiting[refused["id"]]

    @invariant()
    def what_nobody_knows_of_is_not_kept(self) -> None:
        modern = self.bridge.modern
        assert self.bridge.events.count("free") == self.turns - modern.is_leased
        assert modern.is_leased or self.paused is None
        if not modern.is_leased:
            assert all(method == "roots/list" for method in self.open.values())
        questions = len(self.open) + 1  # and the address that the bridge asks for
        assert modern.open_count <= len(self.working) + questions + len(self.pings)

    def teardown(self) -> None:
        """When all have done what they must do some day, nothing is left."""
        for request_id in list(self.waiting):
            del self.waiting[request_id]
            self.bridge.cancel(request_id)
            self.look()
        if self.paused is not None:
            self.abandon()
        for child_id in list(self.working):
            self.bridge.child_answers(child_id)
        self.working.clear()
        self.bridge.pass_time(60.0)
        self.look()

        assert not self.bridge.modern.is_leased
        assert self.open == {}
        assert self.bridge.modern.open_count == 0
        assert self.bridge.events.count("free") == self.turns


TestBridged = Bridged.TestCase
TestBridged.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

"""The server that tests of eras run behind the proxy does what its text says, spoken to over its pipes."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parent / "programs" / "modern.py"
PATIENCE_SECONDS = 10.0

Message = dict[str, Any]
PREFIX = "io.modelcontextprotocol/"
SUBSCRIPTION = PREFIX + "subscriptionId"
EVERYTHING: Message = {
    "elicitation": {"form": {}, "url": {}},
    "sampling": {},
    "roots": {},
    "extensions": {PREFIX + "tasks": {}},
}
ANSWERS: dict[str, Message] = {
    "elicitation/create": {"action": "accept", "content": {"name": "Ada"}},
    "sampling/createMessage": {"role": "assistant", "content": {"type": "text", "text": "word"}, "model": "m"},
    "roots/list": {"roots": [{"uri": "file:///srv"}]},
}


class Peer:
    """The parent of the program: ids count from 1, and every wait is bounded."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.last_id = 0
        self._rest = b""

    def say(self, message: Message) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self, *, seconds: float = PATIENCE_SECONDS) -> Message:
        """The next message. Raises EOFError if there will be none, TimeoutError if there is none in time."""
        assert self.process.stdout is not None
        until = time.monotonic() + seconds
        while b"\n" not in self._rest:
            if not select.select([self.process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise EOFError
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        message: Message = json.loads(line)
        assert message.pop("jsonrpc") == "2.0"
        return message

    def send(self, method: str, params: Message | None = None, *, id_: Any = None) -> int:
        """Send a request without an envelope; returns its id."""
        self.last_id += 1
        self.say({"id": self.last_id if id_ is None else id_, "method": method, "params": params or {}})
        return self.last_id

    def send_modern(self, method: str, params: Message | None = None, **meta: Any) -> int:
        """Send a request with an envelope; returns its id. `meta` without prefix; None leaves a key out."""
        envelope = {"protocolVersion": "2026-07-28", "clientCapabilities": EVERYTHING, **meta}
        token = {"progressToken": envelope.pop("progressToken")} if "progressToken" in envelope else {}
        full = {PREFIX + key: value for key, value in envelope.items() if value is not None}
        return self.send(method, {**(params or {}), "_meta": {**full, **token}})

    def ask(self, method: str, params: Message | None = None) -> Message:
        """Send a request without an envelope; the next message must be its answer."""
        return self._answer(self.send(method, params))

    def ask_modern(self, method: str, params: Message | None = None, **meta: Any) -> Message:
        """Send a request with an envelope; the next message must be its answer."""
        return self._answer(self.send_modern(method, params, **meta))

    def call(self, tool: str, **arguments: Any) -> Message:
        """Call a tool as the era of the process has it; its structured content."""
        result = self.raw_call(tool, **arguments)["result"]
        value: Message = result["structuredContent"]
        assert json.loads(result["content"][0]["text"]) == value
        return value

    def raw_call(self, tool: str, **arguments: Any) -> Message:
        params = {"name": tool, "arguments": arguments}
        return self.ask("tools/call", params) if self.is_legacy else self.ask_modern("tools/call", params)

    is_legacy = False

    def shake_hands(self, capabilities: Message | None = None) -> Message:
        """The handshake; its result."""
        self.is_legacy = True
        capabilities = EVERYTHING if capabilities is None else capabilities
        answer = self.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": capabilities})
        result: Message = answer["result"]
        self.say({"method": "notifications/initialized"})
        return result

    def answer_questions(self, count: int = 1) -> list[Message]:
        """Legacy: hear so many requests, answer them; returns them."""
        questions = [self.hear() for _ in range(count)]
        for question in questions:
            self.say({"id": question["id"], "result": ANSWERS[question["method"]]})
        return questions

    def open(self) -> Message:
        """What is open at the server."""
        return self.call("open")

    def end(self) -> int:
        """Close stdin and wait for the end; returns the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE_SECONDS)

    def _answer(self, id_: int) -> Message:
        answer = self.hear()
        assert answer.pop("id") == id_, answer
        return answer


@contextmanager
def running(*modes: str) -> Iterator[Peer]:
    """The program in these modes."""
    argv = [sys.executable, "-I", "-S", str(PROGRAM), *modes]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Peer(process)
        finally:
            process.kill()


@pytest.fixture
def modern() -> Iterator[Peer]:
    with running("modern-only") as peer:
        yield peer


@pytest.fixture
def legacy() -> Iterator[Peer]:
    with running("legacy-only") as peer:
        peer.shake_hands()
        yield peer


def code(answer: Message) -> int:
    value = answer["error"]["code"]
    assert isinstance(value, int)
    return value


# Eras.


def test_a_dual_server_takes_the_era_of_the_first_request() -> None:
    with running() as peer:
        assert peer.ask_modern("server/discover")["result"]["supportedVersions"] == ["2026-07-28"]
        refused = peer.ask("initialize", {"protocolVersion": "2025-11-25"})
        assert refused["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2025-11-25"}
        assert code(refused) == -32022
        assert code(peer.ask("tools/list")) == -32602
    with running("dual") as peer:
        assert peer.shake_hands()["protocolVersion"] == "2025-11-25"
        assert code(peer.ask_modern("tools/list")) == -32600
        assert peer.call("echo", a=1) == {"echo": {"a": 1}}
    with running() as peer:
        assert code(peer.ask("server/discover")) == -32601
        assert code(peer.ask("tools/list")) == -32602
        assert code(peer.ask_modern("tools/list")) == -32600


def test_an_answered_discover_does_not_pin_a_server_like_the_typescript_one() -> None:
    with running("dual-ts") as peer:
        assert "result" in peer.ask_modern("server/discover")
        assert peer.shake_hands()["protocolVersion"] == "2025-11-25"
        assert code(peer.ask_modern("server/discover")) == -32601
        assert "resultType" not in peer.ask_modern("tools/list")["result"]
    with running("dual-ts") as peer:
        assert peer.ask_modern("tools/list")["result"]["resultType"] == "complete"
        assert code(peer.ask("initialize")) == -32022


def test_a_modern_server_refuses_the_handshake(modern: Peer) -> None:
    assert code(modern.ask("initialize", {"protocolVersion": "2025-06-18"})) == -32022
    assert code(modern.ask_modern("ping")) == -32601
    assert code(modern.ask_modern("resources/subscribe", {"uri": "note://1"})) == -32601


def test_a_legacy_server_knows_no_discover_and_looks_at_no_envelope() -> None:
    with running("legacy-only") as peer:
        assert code(peer.ask_modern("server/discover")) == -32601
        result = peer.ask_modern("tools/call", {"name": "echo", "arguments": {}})["result"]
        assert result.keys() == {"content", "structuredContent"}
        assert peer.shake_hands()["protocolVersion"] == "2025-11-25"


def test_a_silent_server_answers_the_handshake_on_the_same_process() -> None:
    with running("legacy-silent") as peer:
        peer.send_modern("server/discover")
        peer.send("ping")
        peer.shake_hands()
        assert peer.ask("ping") == {"result": {}}


def test_a_server_may_exit_on_anything_but_the_handshake() -> None:
    with running("legacy-exits") as peer:
        peer.shake_hands()
    with running("legacy-exits") as peer:
        peer.send_modern("server/discover")
        with pytest.raises(EOFError):
            peer.hear()
    with running("exit-on-discover=7") as peer:
        peer.send_modern("server/discover")
        assert peer.process.wait(PATIENCE_SECONDS) == 7


def test_discover_can_be_late_while_other_messages_are_read() -> None:
    with running("late-discover=0.3") as peer:
        discover = peer.send_modern("server/discover")
        assert peer.call("echo") == {"echo": {}}
        assert peer.hear()["id"] == discover


def test_revisions_can_be_chosen() -> None:
    with running("version=2024-11-05") as peer:
        assert peer.shake_hands()["protocolVersion"] == "2024-11-05"
    with running("supported=2027-01-01,2026-07-28") as peer:
        assert peer.ask_modern("server/discover")["result"]["supportedVersions"] == ["2027-01-01", "2026-07-28"]
        refused = peer.ask_modern("tools/list", protocolVersion="2025-11-25")
        assert refused["error"]["data"] == {"supported": ["2027-01-01", "2026-07-28"], "requested": "2025-11-25"}


def test_a_misspelt_mode_is_refused() -> None:
    with running("legacy") as peer:
        assert peer.process.wait(PATIENCE_SECONDS) == 1


# The modern envelope, and what results carry.


@pytest.mark.parametrize(
    "meta",
    [
        {"protocolVersion": None},
        {"protocolVersion": 20260728},
        {"clientCapabilities": None},
        {"clientCapabilities": []},
        {"logLevel": "loud"},
    ],
)
def test_a_request_without_its_envelope_is_refused_and_remembered(modern: Peer, meta: Message) -> None:
    assert code(modern.ask_modern("tools/list", **meta)) == -32602
    assert len(modern.call("faults")["faults"]) == 1


def test_results_carry_type_name_and_cache_hints(modern: Peer) -> None:
    listed = modern.ask_modern("tools/list")["result"]
    assert (listed["resultType"], listed["ttlMs"], listed["cacheScope"]) == ("complete", 5000, "public")
    assert listed["_meta"] == {PREFIX + "serverInfo": {"name": "modern", "version": "1"}}
    called = modern.raw_call("echo")["result"]
    assert called.keys() == {"resultType", "content", "structuredContent", "_meta"}
    with running("no-ttl", "no-result-type") as peer:
        assert peer.ask_modern("tools/list")["result"].keys() == {"tools", "_meta"}
    with running("ttl=7", "scope=private") as peer:
        read = peer.ask_modern("resources/read", {"uri": "note://1"})["result"]
        assert (read["ttlMs"], read["cacheScope"]) == (7, "private")


def test_what_the_parent_does_wrong_is_remembered(modern: Peer) -> None:
    modern.send_modern("tools/call", {"name": "hold"}, progressToken="t")
    modern.ask_modern("tools/list", progressToken="t")
    modern.say({"id": 5, "result": {}})
    modern.say({"method": "notifications/initialized"})
    modern.send("tools/list", id_="7")
    assert code(modern.hear()) == -32600
    modern.send("tools/list", id_=1)
    assert code(modern.hear()) == -32602  # no envelope
    assert modern.call("faults")["faults"] == [
        'the progress token "t" is in use',
        "a response on a modern process",
        "notifications/initialized on a modern process",
        'the id of tools/list is not an integer: "7"',
        "the id 1 was used before",
        "tools/list with a bad protocolVersion",
    ]


def test_lists_have_pages_and_can_go_round_in_circles() -> None:
    with running("page-size=30", "cursor-loop", "bad-headers") as peer:
        first = peer.ask_modern("tools/list")["result"]
        second = peer.ask_modern("tools/list", {"cursor": first["nextCursor"]})["result"]
        assert second["nextCursor"] == "0"
        tools = {tool["name"]: tool for tool in first["tools"] + second["tools"]}
        assert tools["headers"]["inputSchema"]["properties"]["region"]["x-mcp-header"] == "Region"
        assert tools["numbers"]["outputSchema"]["type"] == "array"
        assert "bad-headers" in tools
        assert code(peer.ask_modern("tools/list", {"cursor": "x"})) == -32602


# Both eras.


@pytest.fixture(params=["modern-only", "legacy-only"])
def either(request: pytest.FixtureRequest) -> Iterator[Peer]:
    with running(request.param) as peer:
        if request.param == "legacy-only":
            peer.shake_hands()
        yield peer


def ask_either(peer: Peer, method: str, params: Message | None = None) -> Message:
    return peer.ask(method, params) if peer.is_legacy else peer.ask_modern(method, params)


def send_either(peer: Peer, tool: str, **arguments: Any) -> int:
    params = {"name": tool, "arguments": arguments}
    if peer.is_legacy:
        return peer.send("tools/call", {**params, "_meta": {"progressToken": 9}})
    return peer.send_modern("tools/call", params, progressToken=9, logLevel="warning")


def test_a_held_call_is_released_by_its_key(either: Peer) -> None:
    held = send_either(either, "hold", key="k")
    assert either.call("release", key="other") == {"count": 0}
    release = either.send_modern if not either.is_legacy else either.send
    id_ = release("tools/call", {"name": "release", "arguments": {"key": "k"}})
    first, second = either.hear(), either.hear()
    assert (first["id"], first["result"]["structuredContent"]) == (held, {"released": "k"})
    assert (second["id"], second["result"]["structuredContent"]) == (id_, {"count": 1})


def test_a_cancelled_call_is_never_answered_and_remembered(either: Peer) -> None:
    for id_ in (send_either(either, "hold", key="k"), 4711):
        either.say({"method": "notifications/cancelled", "params": {"requestId": id_}})
    known, unknown = either.call("told")["told"]
    assert (known["name"], known["key"], known["known"]) == ("hold", "k", True)
    assert unknown == {"id": 4711, "known": False}
    assert either.call("release", key="k") == {"count": 0}
    assert either.open()["calls"] == []
    late = send_either(either, "late")
    either.say({"method": "notifications/cancelled", "params": {"requestId": late}})
    assert either.hear()["id"] == late


def test_progress_and_log_messages_come_before_the_answer(either: Peer) -> None:
    id_ = send_either(either, "progress", count=2)
    steps = [either.hear()["params"] for _ in range(2)]
    assert [(step["progressToken"], step["progress"]) for step in steps] == [(9, 1), (9, 2)]
    assert either.hear()["id"] == id_
    send_either(either, "log", level="error", text="hot")
    assert either.hear()["params"] == {"level": "error", "logger": "modern", "data": "hot"}
    either.hear()
    if either.is_legacy:
        either.ask("logging/setLevel", {"level": "warning"})
    quiet = send_either(either, "log", level="info")
    assert either.hear()["id"] == quiet
    if not either.is_legacy:
        assert either.call("log", level="error") == {"logged": False}  # did not ask


def test_everything_else_is_offered_too(either: Peer) -> None:
    assert ask_either(either, "resources/templates/list")["result"]["resourceTemplates"]
    assert ask_either(either, "prompts/list")["result"]["prompts"][0]["name"] == "greet"
    greeted = ask_either(either, "prompts/get", {"name": "greet", "arguments": {"name": "Ada"}})
    assert '"Ada"' in greeted["result"]["messages"][0]["content"]["text"]
    completed = ask_either(either, "completion/complete", {"argument": {"name": "name", "value": "e"}})
    assert completed["result"]["completion"]["values"] == ["epsilon", "eta"]
    missing = ask_either(either, "resources/read", {"uri": "note://none"})
    assert (code(missing), missing["error"]["data"]) == (-32002 if either.is_legacy else -32602, {"uri": "note://none"})
    assert code(ask_either(either, "prompts/get", {"name": "none"})) == -32602
    assert code(either.raw_call("none")) == -32602
    assert code(ask_either(either, "no/such")) == -32601
    assert either.call("pid") == {"pid": either.process.pid}
    assert either.call("sleep", seconds=0.01) == {"slept": True}
    assert either.call("client")["era"] == ("legacy" if either.is_legacy else "modern")
    assert isinstance(either.raw_call("numbers")["result"].get("structuredContent"), list) is not either.is_legacy
    lines = either.call("seen")["lines"]
    assert '"seen"' in lines[-1]
    assert either.call("faults") == {"faults": []}
    assert either.end() == 0


def test_a_server_can_exit(either: Peer) -> None:
    assert either.call("exit-after", code=3) == {}
    assert either.process.wait(PATIENCE_SECONDS) == 3
    with running() as peer:
        peer.send_modern("tools/call", {"name": "exit", "arguments": {"code": 4}})
        assert peer.process.wait(PATIENCE_SECONDS) == 4


def test_starts_and_executions_are_counted_in_files(tmp_path: Path) -> None:
    starts, counts = tmp_path / "starts", tmp_path / "counts"
    for _ in range(2):
        with running(f"starts-file={starts}", f"counts-file={counts}") as peer:
            peer.call("echo", key="a")
            asked = peer.raw_call("ask-n", rounds=2, key="b")["result"]
            answers = {"q1": ANSWERS["elicitation/create"]}
            peer.ask_modern(
                "tools/call",
                {
                    "name": "ask-n",
                    "arguments": {"rounds": 2, "key": "b"},
                    "inputResponses": answers,
                    "requestState": asked["requestState"],
                },
            )
    assert len(set(starts.read_text().split())) == 2
    assert counts.read_text().splitlines() == ["echo\ta\t0", "ask-n\tb\t0", "ask-n\tb\t1"] * 2


# Questions.


def test_a_legacy_server_sends_its_questions_and_waits(legacy: Peer) -> None:
    for tool, methods in {
        "ask-elicit": ["elicitation/create"],
        "ask-sample": ["sampling/createMessage"],
        "ask-roots": ["roots/list"],
        "ask-both": ["elicitation/create", "sampling/createMessage"],
    }.items():
        id_ = legacy.send("tools/call", {"name": tool})
        questions = legacy.answer_questions(len(methods))
        assert [question["method"] for question in questions] == methods
        answer = legacy.hear()
        assert answer["id"] == id_
        [answers] = answer["result"]["structuredContent"]["rounds"]
        assert list(answers.values()) == [ANSWERS[method] for method in methods]
    assert questions[0]["id"] == 3  # from 0, in a space of their own
    assert questions[0]["params"]["_meta"] == {"progressToken": 0}


def test_a_legacy_server_takes_errors_cancellations_and_its_own_questions_back(legacy: Peer) -> None:
    legacy.send("tools/call", {"name": "ask-elicit"})
    legacy.say({"id": legacy.hear()["id"], "error": {"code": -1, "message": "no"}})
    [answers] = legacy.hear()["result"]["structuredContent"]["rounds"]
    assert answers == {"name": {"error": {"code": -1, "message": "no"}}}

    cancelled = legacy.send("tools/call", {"name": "ask-elicit", "arguments": {"key": "c"}})
    question = legacy.hear()["id"]
    assert legacy.open()["questions"] == 1
    legacy.say({"method": "notifications/cancelled", "params": {"requestId": cancelled}})
    legacy.say({"id": question, "result": {}})
    assert legacy.open()["questions"] == 0
    assert legacy.call("faults")["faults"] == ["a response to nothing: 1"]

    legacy.send("tools/call", {"name": "ask-elicit", "arguments": {"take_back": 0.01}})
    question = legacy.hear()["id"]
    assert legacy.hear()["params"]["requestId"] == question
    assert legacy.hear()["result"]["structuredContent"] == {"taken_back": True}


def test_urls_in_the_legacy_era(legacy: Peer) -> None:
    legacy.send("tools/call", {"name": "ask-url", "arguments": {"key": "u"}})
    [question] = legacy.answer_questions()
    assert (question["params"]["mode"], question["params"]["elicitationId"]) == ("url", "elicitation-u")
    assert legacy.hear() == {
        "method": "notifications/elicitation/complete",
        "params": {"elicitationId": "elicitation-u"},
    }
    assert "result" in legacy.hear()
    refused = legacy.raw_call("url-required", key="r")
    assert (code(refused), refused["error"]["data"]["elicitations"][0]["mode"]) == (-32042, "url")
    legacy.send("tools/call", {"name": "url-required", "arguments": {"key": "r"}})
    legacy.answer_questions()
    assert "result" in legacy.hear()


def test_roots_are_asked_for_on_nobodys_behalf() -> None:
    with running("early-roots") as peer:
        peer.shake_hands()
        peer.answer_questions()
        assert peer.call("client")["roots"] == ANSWERS["roots/list"]
    with running("early-roots") as peer:
        peer.shake_hands({})
        assert peer.call("client")["roots"] is None


RETRIED = [
    ("tools/call", {"name": "ask-elicit", "arguments": {"message": "Who?"}}),
    ("tools/call", {"name": "ask-sample"}),
    ("tools/call", {"name": "ask-roots"}),
    ("tools/call", {"name": "ask-both"}),
    ("tools/call", {"name": "ask-url", "arguments": {"key": 1}}),
    ("tools/call", {"name": "ask-n", "arguments": {"rounds": 3}}),
    ("tools/call", {"name": "state-only", "arguments": {"times": 2}}),
    ("prompts/get", {"name": "ask"}),
    ("resources/read", {"uri": "ask://elicit"}),
]


@pytest.mark.parametrize(("method", "params"), RETRIED)
def test_a_modern_server_asks_by_its_result_until_it_knows_all(modern: Peer, method: str, params: Message) -> None:
    result = modern.ask_modern(method, params)["result"]
    rounds = 0
    while result["resultType"] == "input_required":
        rounds += 1
        assert "ttlMs" not in result
        requests = result.get("inputRequests", {})
        answers = {key: ANSWERS[question["method"]] for key, question in requests.items()}
        retry = {**params, "inputResponses": answers, "requestState": result["requestState"]}
        result = modern.ask_modern(method, retry)["result"]
    name = params.get("name", "")
    assert rounds == {"ask-n": 3, "state-only": 2}.get(name, 1)
    assert '"rounds": [{' in json.dumps(result).replace("\\", "")
    assert modern.open()["calls"] == []


def test_a_retry_must_bring_the_very_state_and_well_formed_answers(modern: Peer) -> None:
    params: Message = {"name": "ask-both", "arguments": {"key": "k"}}
    asked = modern.ask_modern("tools/call", params)["result"]
    state = asked["requestState"]
    name, word = ANSWERS["elicitation/create"], ANSWERS["sampling/createMessage"]

    def retry(responses: Any, state: Any = state, **other: Any) -> Message:
        return modern.ask_modern("tools/call", {**params, **other, "inputResponses": responses, "requestState": state})

    for forged in (state + " ", state[:-1], state.strip("é"), "", None, 5):
        assert code(retry({"name": name, "word": word}, forged)) == -32602
    assert code(retry({"name": name, "word": word}, arguments={"key": "other"})) == -32602
    assert code(retry({"name": {"action": "perhaps"}, "word": word})) == -32602
    assert code(retry({"name": name, "word": {"text": "word"}})) == -32602
    assert code(retry([name])) == -32602

    partial = retry({"name": name, "unknown": 1})["result"]
    assert partial["inputRequests"].keys() == {"word"}
    done = retry({"word": word}, partial["requestState"])["result"]
    assert done["structuredContent"] == {"rounds": [{"name": name, "word": word}]}
    assert "result" in retry({"name": name, "word": word})  # a replay is not noticed here


def test_only_what_a_client_declared_is_asked(modern: Peer) -> None:
    params: Message = {"name": "ask-both"}
    refused = modern.ask_modern("tools/call", params, clientCapabilities={"elicitation": {}})
    assert (code(refused), refused["error"]["data"]) == (-32021, {"requiredCapabilities": {"sampling": {}}})
    url = modern.ask_modern("tools/call", {"name": "ask-url"}, clientCapabilities={"elicitation": {}})
    assert url["error"]["data"] == {"requiredCapabilities": {"elicitation": {"url": {}}}}
    forced = modern.ask_modern("tools/call", {"name": "ask-roots", "arguments": {"force": 1}}, clientCapabilities={})
    assert forced["result"]["resultType"] == "input_required"
    with running() as peer:
        peer.shake_hands({})
        assert code(peer.raw_call("ask-elicit")) == -32602
        peer.send("tools/call", {"name": "ask-elicit", "arguments": {"force": 1}})
        assert peer.hear()["method"] == "elicitation/create"


# Changes.


def test_a_legacy_server_tells_of_changes(legacy: Peer) -> None:
    for kind in ("tool", "prompt", "resource"):
        legacy.send("tools/call", {"name": f"add-{kind}", "arguments": {"name": f"new://{kind}"}})
        assert legacy.hear() == {"method": f"notifications/{kind}s/list_changed"}
        legacy.hear()
    assert legacy.call("new://tool") == {"added": "new://tool"}
    assert "result" in legacy.ask("resources/read", {"uri": "new://resource"})
    legacy.call("touch", uri="note://1")  # nobody subscribed
    legacy.ask("resources/subscribe", {"uri": "note://1"})
    legacy.send("tools/call", {"name": "touch", "arguments": {"uri": "note://1"}})
    assert legacy.hear() == {"method": "notifications/resources/updated", "params": {"uri": "note://1"}}
    legacy.hear()
    legacy.ask("resources/unsubscribe", {"uri": "note://1"})
    assert legacy.call("touch", uri="note://1") == {"touched": "note://1"}


def listen(peer: Peer, **wanted: Any) -> int:
    id_ = peer.send_modern("subscriptions/listen", {"notifications": wanted})
    acknowledged = peer.hear()
    assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
    assert acknowledged["params"] == {
        "notifications": {key: value for key, value in wanted.items() if value},
        "_meta": {SUBSCRIPTION: id_},
    }
    return id_


def test_a_modern_server_tells_those_who_listen_of_what_they_asked_for(modern: Peer) -> None:
    first = listen(modern, toolsListChanged=True, promptsListChanged=False)
    second = listen(modern, toolsListChanged=True, resourceSubscriptions=["note://1"])
    modern.send_modern("tools/call", {"name": "add-tool", "arguments": {"name": "new"}})
    assert [modern.hear()["params"]["_meta"][SUBSCRIPTION] for _ in range(2)] == [first, second]
    modern.hear()
    assert modern.call("add-prompt", name="new") == {"added": "new"}
    modern.send_modern("tools/call", {"name": "touch", "arguments": {"uri": "note://1"}})
    assert modern.hear()["params"] == {"uri": "note://1", "_meta": {SUBSCRIPTION: second}}
    modern.hear()
    modern.say({"method": "notifications/cancelled", "params": {"requestId": first}})
    assert len(modern.open()["listens"]) == 1
    modern.send_modern("tools/call", {"name": "end-listens"})
    ended = modern.hear()
    assert (ended["id"], ended["result"]["_meta"][SUBSCRIPTION]) == (second, second)
    modern.hear()
    third = listen(modern, resourcesListChanged=True)
    modern.send_modern("tools/call", {"name": "drop-listens"})
    assert modern.hear()["params"]["requestId"] == third
    modern.hear()
    assert modern.open()["listens"] == []


def test_listens_are_limited() -> None:
    with running("max-listens=1") as peer:
        first = listen(peer, toolsListChanged=True)
        assert code(peer.ask_modern("subscriptions/listen", {"notifications": {}})) == -32603
        peer.say({"method": "notifications/cancelled", "params": {"requestId": first}})
        listen(peer, toolsListChanged=True)
        assert code(peer.ask_modern("subscriptions/listen")) == -32602


# Tasks, and what no server should do.


def test_tasks(modern: Peer) -> None:
    assert modern.ask_modern("tools/call", {"name": "task"}, clientCapabilities={})["result"]["structuredContent"] == {
        "task": False
    }
    created = modern.raw_call("task")["result"]
    assert (created["resultType"], created["status"]) == ("task", "working")
    id_ = created["taskId"]
    listener = listen(modern, taskIds=[id_])
    assert modern.ask_modern("tasks/get", {"taskId": id_})["result"]["status"] == "working"
    assert code(modern.ask_modern("tasks/get", {"taskId": id_}, clientCapabilities={})) == -32021
    assert code(modern.ask_modern("tasks/get", {"taskId": "none"})) == -32602
    modern.send_modern("tools/call", {"name": "finish-task", "arguments": {"taskId": id_}})
    told = modern.hear()
    assert (told["method"], told["params"]["status"]) == ("notifications/tasks", "completed")
    assert told["params"]["_meta"] == {SUBSCRIPTION: listener}
    modern.hear()
    got = modern.ask_modern("tasks/get", {"taskId": id_})["result"]
    assert got["result"]["structuredContent"] == {"finished": True}

    asking = modern.raw_call("task", ask=True)["result"]["taskId"]
    assert modern.ask_modern("tasks/get", {"taskId": asking})["result"]["inputRequests"].keys() == {"name"}
    update = {"taskId": asking, "inputResponses": {"name": ANSWERS["elicitation/create"]}}
    assert modern.ask_modern("tasks/update", update)["result"]["resultType"] == "complete"
    assert modern.ask_modern("tasks/get", {"taskId": asking})["result"]["status"] == "completed"

    last = modern.raw_call("task")["result"]["taskId"]
    modern.ask_modern("tasks/cancel", {"taskId": last})
    assert modern.ask_modern("tasks/get", {"taskId": last})["result"]["status"] == "cancelled"


def test_misbehaviour(modern: Peer) -> None:
    modern.send_modern("tools/call", {"name": "send-request"})
    assert modern.hear().keys() == {"id", "method", "params"}
    modern.hear()
    modern.send_modern("tools/call", {"name": "stray-changes"})
    assert [modern.hear()["method"].rpartition("/")[2] for _ in range(3)] == ["list_changed", "updated", "list_changed"]
    modern.hear()
    id_ = modern.send_modern("tools/call", {"name": "twice"})
    assert [modern.hear()["id"], modern.hear()["id"]] == [id_, id_]
    assert modern.raw_call("odd-result")["result"]["resultType"] == "odd"
    modern.send_modern("tools/call", {"name": "log", "arguments": {"stray": 1}})
    assert modern.hear()["method"] == "notifications/message"
    modern.hear()
    id_ = modern.send_modern("tools/call", {"name": "write", "arguments": {"text": '{"jsonrpc":"2.0","id":$ID}\n'}})
    assert modern.hear() == {"id": id_}

"""What `modern.py` asks the client before it answers: requests of its own, or `input_required`.

Every call that asks has a script: rounds of questions, each with a key. A round is over when all its questions are
answered. A legacy call keeps its place in the script here; a modern one keeps it in its requestState, which is signed,
bound to method, name and arguments, and accepted any number of times: it is the proxy that must not run a call twice.
"""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from typing import Any

from tests.programs.modern_wire import Call, Json, Refused

Question = Json
"""Method and params of one question, without what only one era has."""
Script = list[dict[str, Question]]

STATE_BEGINS = 'é\u2028\\"/ '
"""What a state must survive on its way through the client and back."""
FORM = {"type": "object", "properties": {"name": {"type": "string"}}}


def elicit(message: str = "Your name?", schema: Json | None = None) -> Question:
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema or FORM}}


def open_url(key: Any) -> Question:
    params = {"mode": "url", "message": "Please sign in", "url": f"https://example.com/sign-in?key={key}"}
    return {"method": "elicitation/create", "params": params}


def sample() -> Question:
    messages = [{"role": "user", "content": {"type": "text", "text": "Say a word"}}]
    return {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": 10}}


def script_of(call: Call) -> Script:
    """The rounds of questions of a call; none if it does not ask."""
    arguments = call.arguments
    if call.name in ("ask-elicit", "ask", "ask://elicit"):
        return [{"name": elicit(arguments.get("message", "Your name?"), arguments.get("schema"))}]
    if call.name == "ask-sample":
        return [{"word": sample()}]
    if call.name == "ask-roots":
        return [{"roots": {"method": "roots/list"}}]
    if call.name == "ask-both":
        return [{"name": elicit(), "word": sample()}]
    if call.name in ("ask-url", "url-required"):
        return [{"url": open_url(arguments.get("key"))}]
    if call.name == "ask-n":
        return [{f"q{nth}": elicit(f"Question {nth}?")} for nth in range(1, int(arguments.get("rounds", 2)) + 1)]
    if call.name == "state-only":
        return [{} for _ in range(int(arguments.get("times", 1)))]
    return []


class Asking:
    """The places of all calls in their scripts."""

    def __init__(self) -> None:
        self._key = os.urandom(16)  # a state does not survive its process
        self._announced: set[Any] = set()

    def questions(self, call: Call) -> dict[str, Question] | None:
        """What a call must ask next; None if nothing, and it can be answered.

        Raises:
            Refused: If the client can't be asked.
        """
        script = script_of(call)
        if len(call.rounds) >= len(script):
            return None
        questions = {key: value for key, value in script[len(call.rounds)].items() if key not in call.answers}
        missing = required_capabilities(questions, call.capabilities)
        if missing and not call.arguments.get("force"):
            raise Refused(
                -32021 if call.is_modern else -32602, "The client can't be asked", {"requiredCapabilities": missing}
            )
        return questions

    def announce_urls(self, call: Call) -> None:
        """`url-required`, legacy: refuse the first call of a key, naming where to go.

        Raises:
            Refused: With -32042 and the addresses.
        """
        key = call.arguments.get("key")
        if call.name != "url-required" or call.is_modern or key in self._announced:
            return
        self._announced.add(key)
        elicitation = {**open_url(key)["params"], "elicitationId": elicitation_id(call)}
        raise Refused(-32042, "This request needs a URL elicitation", {"elicitations": [elicitation]})

    def resume(self, call: Call) -> None:
        """Take what a modern retry brings.

        Raises:
            Refused: If the state is not ours, or was made for another call; if an answer is malformed.
        """
        state = self._opened(call)
        responses = call.params.get("inputResponses", {})
        if not isinstance(responses, dict):
            raise Refused(-32602, "Invalid params: inputResponses")
        call.rounds, call.answers = state["rounds"], state["answers"]
        questions = script_of(call)[len(call.rounds)]
        for key, question in questions.items():
            if key in responses:
                check_answer(key, question["method"], responses[key])
                call.answers[key] = responses[key]
        if call.answers.keys() >= questions.keys():
            call.rounds, call.answers = [*call.rounds, call.answers], {}

    def input_required(self, call: Call, questions: dict[str, Question]) -> Json:
        """The interim result of a modern call."""
        asked = {"inputRequests": questions} if questions else {}
        place = {"rounds": call.rounds, "answers": call.answers}
        return {"resultType": "input_required", **asked, "requestState": self._sealed(call, place)}

    def _sealed(self, call: Call, place: Json) -> str:
        payload = base64.b64encode(json.dumps(place).encode()).decode()
        return f"{STATE_BEGINS}{payload}.{self._signature(call, payload)}"

    def _opened(self, call: Call) -> Json:
        state = call.params["requestState"]
        payload, _, signature = (
            state.removeprefix(STATE_BEGINS).partition(".") if isinstance(state, str) else ("", "", "")
        )
        expected = f"{STATE_BEGINS}{payload}.{self._signature(call, payload)}"
        if not isinstance(state, str) or not hmac.compare_digest(state.encode(), expected.encode()):
            raise Refused(-32602, "Invalid or expired requestState")
        place: Json = json.loads(base64.b64decode(payload))
        return place

    def _signature(self, call: Call, payload: str) -> str:
        bound = json.dumps([call.method, call.name, call.arguments, payload], sort_keys=True)
        return hmac.new(self._key, bound.encode(), hashlib.sha256).hexdigest()


def required_capabilities(questions: Mapping[str, Question], declared: Json) -> Json:
    """What a client would have to declare to be asked these, and did not."""
    missing: Json = {}
    for question in questions.values():
        if question["method"] == "roots/list" and "roots" not in declared:
            missing["roots"] = {}
        elif question["method"] == "sampling/createMessage" and "sampling" not in declared:
            missing["sampling"] = {}
        elif question["method"] == "elicitation/create":
            elicitation = declared.get("elicitation")
            mode = question["params"].get("mode", "form")
            is_form_only = elicitation == {} and mode == "form"
            if not isinstance(elicitation, dict) or not (is_form_only or mode in elicitation):
                missing["elicitation"] = {mode: {}}
    return missing


def check_answer(key: str, method: str, answer: Any) -> None:
    """Raises Refused if a client's answer does not have the shape of its kind."""
    is_right = isinstance(answer, dict)
    if is_right and method == "elicitation/create":
        is_right = answer.get("action") in ("accept", "decline", "cancel")
    elif is_right and method == "sampling/createMessage":
        is_right = answer.keys() >= {"role", "content", "model"}
    elif is_right:
        is_right = isinstance(answer.get("roots"), list)
    if not is_right:
        raise Refused(-32602, f"Invalid params: inputResponses.{key}")


def legacy_params(question: Question, call: Call) -> Json | None:
    """The params of a question as a request: with the token and the id that servers of the handshake era send along."""
    if question["method"] != "elicitation/create":
        return question.get("params")
    is_url = question["params"].get("mode") == "url"
    named = {"elicitationId": elicitation_id(call)} if is_url else {}
    return {**question["params"], **named, "_meta": {"progressToken": 0}}


def elicitation_id(call: Call) -> str:
    return f"elicitation-{call.arguments.get('key')}"

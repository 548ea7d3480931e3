"""The server that the official conformance suite wants to meet, in the handshake era alone; standard library only.

Started as `python -I -S tests/programs/conformance_legacy.py`, ready in milliseconds: some scenarios of 2026-07-28 give
a server half a second, and behind the bridge that must do for the start of a child. What asks by `input_required` in
2026-07-28 asks here with requests of its own. The id of each is the name of the question, if no other has had it.
"""

import json
import os
import select
import sys
import time
from collections.abc import Callable
from functools import partial

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # not there under -I

from tests.programs import conformance_content as content
from tests.programs.modern_wire import LEVELS, Call, Json, Refused, as_object, notify, send

HANDSHAKES = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
READ_BYTES = 1 << 16


class Server:
    """The process; one thread, which waits for input or for the next thing to be due."""

    def __init__(self) -> None:
        self.handshake: Json = {}
        self.level = "debug"
        self.subscribed: set[str] = set()
        self.extra_tool = False
        self.extra_prompt = False
        self.calls: dict[object, Call] = {}
        self.asked: dict[str, Call] = {}
        self.used: set[str] = set()
        self.due: list[tuple[float, Callable[[], None]]] = []

    def serve(self) -> None:
        """Read and answer until stdin ends."""
        rest = b""
        while True:
            now = time.monotonic()
            for entry in [entry for entry in self.due if entry[0] <= now]:
                self.due.remove(entry)
                entry[1]()
            wait = max(0.0, min(moment for moment, _ in self.due) - now) if self.due else None
            if not select.select([0], [], [], wait)[0]:
                continue
            data = os.read(0, READ_BYTES)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.take(json.loads(line))

    def take(self, message: Json) -> None:
        """Take one message."""
        method = message.get("method")
        if method is None:
            self.take_response(message)
        elif "id" in message:
            call = Call(message, is_modern=False, handshake=self.handshake)
            self.calls[call.id] = call
            try:
                self.dispatch(call)
            except Refused as refused:
                self.refuse(call, refused)
        elif method == "notifications/cancelled":
            self.forget(self.calls.get(as_object(message.get("params")).get("requestId")))

    def take_response(self, message: Json) -> None:
        """The answer to a question of ours."""
        call = self.asked.pop(message["id"], None)
        if call is None:
            return
        name = call.waiting.pop(message["id"])
        if "error" in message:
            error = message["error"]
            self.refuse(call, Refused(error["code"], error["message"]))
            return
        call.answers[name] = message["result"]
        if not call.waiting:
            call.rounds.append(call.answers)
            call.answers = {}
            self.ask(call)

    def dispatch(self, call: Call) -> None:
        """Answer a request, or begin to."""
        method, params = call.method, call.params
        if method == "initialize":
            self.initialize(call)
        elif not self.handshake and method != "ping":
            raise Refused(-32601 if method == "server/discover" else -32602, "Not initialized")
        elif method == "tools/call":
            self.call_tool(call)
        elif method == "tools/list":
            self.answer(call, {"tools": [*content.TOOLS, *([content.EXTRA_TOOL] if self.extra_tool else [])]})
        elif method == "prompts/get":
            self.get_prompt(call)
        elif method == "prompts/list":
            self.answer(call, {"prompts": content.list_prompts(self.prompts())})
        elif method == "resources/list":
            self.answer(call, {"resources": content.list_resources()})
        elif method == "resources/templates/list":
            self.answer(call, {"resourceTemplates": [content.TEMPLATE]})
        elif method == "resources/read":
            contents = content.contents_of(params["uri"])
            if contents is None:
                raise Refused(-32002, "Resource not found", {"uri": params["uri"]})
            self.answer(call, {"contents": [contents]})
        elif method == "completion/complete":
            self.answer(call, {"completion": content.complete(params["argument"]["value"])})
        else:
            self.set(call)

    def set(self, call: Call) -> None:
        """The requests that only change what this session gets."""
        if call.method == "logging/setLevel":
            self.level = call.params["level"]
        elif call.method == "resources/subscribe":
            self.subscribed.add(call.params["uri"])
        elif call.method == "resources/unsubscribe":
            self.subscribed.discard(call.params["uri"])
        elif call.method != "ping":
            raise Refused(-32601, "Method not found")
        self.answer(call, {})

    def initialize(self, call: Call) -> None:
        self.handshake = call.params
        asked = call.params["protocolVersion"]
        changing = {"listChanged": True}
        capabilities = {"tools": changing, "prompts": changing, "resources": {"subscribe": True}}
        answer = {
            "protocolVersion": asked if asked in HANDSHAKES else HANDSHAKES[-1],
            "capabilities": {**capabilities, "logging": {}, "completions": {}},
            "serverInfo": {"name": "conformance-legacy", "version": "1.0.0"},
        }
        self.answer(call, answer)

    def prompts(self) -> list[str]:
        """The names of the prompts that there are now."""
        return [*content.PROMPTS, *([content.EXTRA_PROMPT] if self.extra_prompt else [])]

    def get_prompt(self, call: Call) -> None:
        missing = set(content.PROMPTS.get(call.name, ())) - call.arguments.keys()
        if missing or call.name not in self.prompts():
            raise Refused(-32602, "No such prompt, or missing arguments")
        if call.name in content.SCRIPTS:
            self.ask(call)
        else:
            self.prompt(call, content.prompt_of(call.name, call.arguments))

    def call_tool(self, call: Call) -> None:
        """Do what the tool of this name does."""
        if call.name in content.ANSWERS:
            self.answer(call, {"content": content.ANSWERS[call.name]})
        elif call.name == "test_tool_with_logging":
            self.step_by_step(call, [partial(self.log, words) for words in content.LOGS])
        elif call.name == "test_tool_with_progress":
            self.step_by_step(call, [partial(self.progress, call, step) for step in content.PROGRESS])
        elif call.name == "test_reconnection":
            self.step_by_step(call, [lambda: None] * 5)
        elif call.name == "test_error_handling":
            self.answer(call, {"content": [content.text(content.FAILURE)], "isError": True})
        elif call.name == "test_logging_tool":
            self.log(content.LOGS[0])
            self.done(call)
        elif call.name == "test_trigger_tool_change":
            self.extra_tool = not self.extra_tool
            notify("notifications/tools/list_changed")
            self.done(call)
        elif call.name == "test_trigger_prompt_change":
            self.extra_prompt = not self.extra_prompt
            notify("notifications/prompts/list_changed")
            self.done(call)
        elif self.extra_tool and call.name == content.EXTRA_TOOL["name"]:
            self.done(call)
        else:
            self.ask(call)

    def step_by_step(self, call: Call, steps: list[Callable[[], None]]) -> None:
        """Do these one after the other with pauses, then answer."""
        if call.id not in self.calls:
            return
        if not steps:
            self.done(call)
            return
        steps[0]()
        self.due.append((time.monotonic() + content.PAUSE_SECONDS, lambda: self.step_by_step(call, steps[1:])))

    def log(self, words: str) -> None:
        if LEVELS.index("info") >= LEVELS.index(self.level):
            notify("notifications/message", {"level": "info", "data": words})

    def progress(self, call: Call, step: int) -> None:
        if "progressToken" in call.meta:
            params = {"progressToken": call.meta["progressToken"], "progress": step, "total": content.PROGRESS[-1]}
            notify("notifications/progress", params)

    def ask(self, call: Call) -> None:
        """Send the next round of questions, all at once, or answer.

        A client is asked although it did not say that it can be: so do servers that don't look.

        Raises:
            Refused: If there is no such tool.
        """
        script = content.script_of(call.name, call.arguments, call.capabilities)
        if script is None:
            raise Refused(-32602, "Unknown tool")
        if len(call.rounds) == len(script):
            words = content.text(json.dumps(call.rounds))
            if call.method == "prompts/get":
                self.prompt(call, [words])
            else:
                self.answer(call, {"content": [words]})
            return
        for name, question in script[len(call.rounds)].items():
            id_ = name if name not in self.used else f"{name}-{len(self.used)}"
            self.used.add(id_)
            self.asked[id_], call.waiting[id_] = call, name
            send({"id": id_, **question})

    def done(self, call: Call) -> None:
        """Answer a call of a tool that has nothing to say."""
        self.answer(call, {"content": [content.text(f"{call.name} executed successfully")]})

    def prompt(self, call: Call, blocks: list[Json]) -> None:
        self.answer(call, {"messages": [{"role": "user", "content": block} for block in blocks]})

    def answer(self, call: Call, result: Json) -> None:
        self.forget(call)
        send({"id": call.id, "result": result})

    def refuse(self, call: Call, refused: Refused) -> None:
        self.forget(call)
        data = {} if refused.data is None else {"data": refused.data}
        send({"id": call.id, "error": {"code": refused.code, "message": refused.message, **data}})

    def forget(self, call: Call | None) -> None:
        """A call is over, and so are its questions."""
        if call is not None:
            self.calls.pop(call.id, None)
            for id_ in call.waiting:
                self.asked.pop(id_, None)


if __name__ == "__main__":
    Server().serve()

"""One stdio MCP server for tests of both eras: revision 2026-07-28, the handshake, or both, in every order.

Started as `python -I -S tests/programs/modern.py [mode...]`; standard library only, ready in milliseconds. Without a
mode it is like a server on the Python SDK: the first request decides the era of the process, for good.

Modes, eras:
    dual (default)         the first request decides; then `initialize` is -32022, or an envelope -32600
    dual-ts                an answered `server/discover` decides nothing; after the handshake no envelope is looked at
    modern-only            `initialize` is -32022
    legacy-only            envelopes are not looked at: discover is -32601, and other requests are served at once
    legacy-silent          the same, but nothing is answered before `initialize`
    legacy-exits           the same, but any request before `initialize` is the end
    late-discover=SECONDS  discover is answered later; other messages are read meanwhile
    exit-on-discover=CODE  read discover, then exit
    version=VERSION        answer `initialize` with this revision, whatever was asked for
    supported=V[,V]        the modern revisions, instead of 2026-07-28

Modes, behaviour:
    no-ttl                 results without ttlMs and cacheScope
    no-result-type         results without resultType, if complete
    ttl=MS, scope=SCOPE    ttlMs (5000) and cacheScope ("public") of lists, reads and discover
    max-listens=N          so many `subscriptions/listen` at once (1024), then -32603
    page-size=N            lists in pages of so many
    cursor-loop            the last page of a list names the first one
    bad-headers            one more tool, `bad-headers`, with an annotation that is not allowed
    early-roots            legacy: ask for the roots right after `notifications/initialized`
    starts-file=PATH       append the process id, a line, at start
    counts-file=PATH       append a line whenever a tool runs: its name, the argument `key`, and how many rounds of
                           questions were answered before, with tabs in between

Tools: see `modern_tools.py`. A result holds an object twice, as text and as structuredContent. `seen`, `faults`,
`told`, `open` and `client` say what this process knows of its parent.
Resources: `note://1` and those that were added; `ask://elicit` asks before it is read. Prompts: `greet` [name?], `ask`.
Completion: the Greek letters that begin like the value.
"""

import json
import os
import select
import sys
import time
from collections.abc import Callable

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # not there under -I

from tests.programs.modern_asking import Asking, elicitation_id, legacy_params
from tests.programs.modern_tools import ASKING_TOOLS, TOOLS, Tasks, describe
from tests.programs.modern_wire import (
    LEVELS,
    PREFIX,
    SUBSCRIPTION,
    TASKS,
    Call,
    Json,
    Refused,
    as_object,
    leave,
    notify,
    send,
    tool_result,
)

MODES = frozenset(
    "dual dual-ts modern-only legacy-only legacy-silent legacy-exits late-discover exit-on-discover version supported "
    "no-ttl no-result-type ttl scope max-listens page-size cursor-loop bad-headers early-roots starts-file "
    "counts-file".split()
)
HANDSHAKES = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN = "2026-07-28"
SERVER_INFO = {"name": "modern", "version": "1"}
CACHEABLE = frozenset(
    {"server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"}
)
LISTENS = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}
LETTERS = ("alpha", "beta", "gamma", "delta", "epsilon", "eta", "theta", "zeta")
READ_BYTES = 1 << 18


class Server:
    """The process; one thread, which waits for input or for the next thing to be due.

    Attributes:
        era: Of the process, once it is decided.
        handshake: The params of `initialize`, once it was answered.
        seen: Every line read.
        faults: What the parent did that the protocol forbids.
        told: The `notifications/cancelled` that came.
        calls: What is open, by id.
        held: Calls of `hold` and `late` among them.
        listens: Filters of the open `subscriptions/listen`, by id.
        added: Names of what tools have added, by kind.
    """

    def __init__(self, modes: dict[str, str]) -> None:
        self.modes = modes
        self.era: str | None = "modern" if "modern-only" in modes else None
        if modes.keys() & {"legacy-only", "legacy-silent", "legacy-exits"}:
            self.era = "legacy"
        self.supported = modes["supported"].split(",") if "supported" in modes else [MODERN]
        self.handshake: Json = {}
        self.seen: list[bytes] = []
        self.faults: list[str] = []
        self.told: list[Json] = []
        self.used_ids: set[int] = set()
        self.calls: dict[int, Call] = {}
        self.held: set[int] = set()
        self.asked: dict[int, Call] = {}
        self.next_ask = 0  # a legal id, and the first one of the official servers
        self.roots: object = None
        self.listens: dict[int, Json] = {}
        self.subscribed: set[str] = set()
        self.level = "debug"
        self.added: dict[str, list[str]] = {"tools": [], "prompts": [], "resources": ["note://1"]}
        self.asking = Asking()
        self.tasks = Tasks()
        self.due: list[tuple[float, Callable[[], object]]] = []
        self.rest = b""

    # The process.

    def serve(self) -> None:
        """Read and answer until stdin ends."""
        self.append("starts-file", str(os.getpid()))
        while True:
            now = time.monotonic()
            for entry in [entry for entry in self.due if entry[0] <= now]:
                self.due.remove(entry)
                entry[1]()
            wait = max(0.0, min(moment for moment, _ in self.due) - now) if self.due else None
            readable, _, _ = select.select([0], [], [], wait)
            if not readable:
                continue
            data = os.read(0, READ_BYTES)
            if not data:
                return
            *lines, self.rest = (self.rest + data).split(b"\n")
            for line in lines:
                self.take(line)

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something in so many seconds."""
        self.due.append((time.monotonic() + seconds, action))

    def append(self, mode: str, line: str) -> None:
        """Append a line to the file that a mode names, in one write: several processes may share it."""
        if mode in self.modes:
            with open(self.modes[mode], "ab", buffering=0) as file:
                file.write(line.encode() + b"\n")

    # What comes in.

    def take(self, line: bytes) -> None:
        """Take one line."""
        self.seen.append(line)
        try:
            message = json.loads(line)
        except ValueError:
            self.faults.append("not JSON")
            return
        if not isinstance(message, dict):
            self.faults.append("not an object")
        elif "method" not in message:
            self.take_response(message)
        elif "id" not in message:
            self.take_notification(message["method"], as_object(message.get("params")))
        elif type(message["id"]) is not int:
            self.faults.append(f"the id of {message['method']} is not an integer: {json.dumps(message['id'])}")
            send({"id": message["id"], "error": {"code": -32600, "message": "the id is not an integer"}})
        else:
            self.take_request(message)

    def take_response(self, message: Json) -> None:
        """The answer to a question of ours."""
        if self.era == "modern":
            self.faults.append("a response on a modern process")
            return
        id_ = message.get("id")
        call = self.asked.pop(id_, None) if type(id_) is int else None
        if call is None:
            self.faults.append(f"a response to nothing: {json.dumps(id_)}")
        elif call.method == "roots/list":
            self.roots = message.get("result", message.get("error"))
        else:
            key = call.waiting.pop(message["id"])
            call.answers[key] = message["result"] if "result" in message else {"error": message.get("error")}
            if not call.waiting:
                call.rounds, call.answers = [*call.rounds, call.answers], {}
                self.count(call)
                self.ask(call)

    def take_notification(self, method: str, params: Json) -> None:
        """A notification."""
        if method == "notifications/cancelled":
            self.cancel(params.get("requestId"))
        elif self.era == "modern":
            self.faults.append(f"{method} on a modern process")
        elif method == "notifications/initialized":
            if "early-roots" in self.modes:
                self.ask_for_roots()
        elif method == "notifications/roots/list_changed":
            self.ask_for_roots()

    def ask_for_roots(self) -> None:
        """Ask on nobody's behalf, as many servers do."""
        if "roots" in as_object(self.handshake.get("capabilities")):
            nobody = Call({"id": None, "method": "roots/list"}, is_modern=False, handshake=self.handshake)
            self.request(nobody, "roots/list", None)

    def cancel(self, id_: object) -> None:
        """Give up what is cancelled; nothing is said of it any more."""
        call = self.calls.get(id_) if type(id_) is int else None
        if call is None:
            self.told.append({"id": id_, "known": False})
            return
        self.told.append(
            {"id": id_, "known": True, "method": call.method, "name": call.name, "key": call.arguments.get("key")}
        )
        if call.method == "initialize":
            self.faults.append("initialize was cancelled")
        if call.name == "late":
            self.value(call, {"late": True})
        else:
            self.forget(call)

    def forget(self, call: Call) -> None:
        """A call is over, and so are its questions."""
        self.calls.pop(call.id, None)
        self.held.discard(call.id)
        self.listens.pop(call.id, None)
        for id_ in call.waiting:
            self.asked.pop(id_, None)

    def take_request(self, message: Json) -> None:
        """A request: decide its era, and see whether it may be served."""
        id_, method = message["id"], message["method"]
        if id_ in self.used_ids:
            self.faults.append(f"the id {id_} was used before")
        self.used_ids.add(id_)
        if method != "initialize" and not self.handshake:
            if "legacy-silent" in self.modes:
                return
            if "legacy-exits" in self.modes:
                leave(1)
        call = Call(message, is_modern=False, handshake=self.handshake)
        try:
            call = Call(message, is_modern=self.is_modern(message), handshake=self.handshake)
            self.check_token(call)
            self.calls[id_] = call
            if call.is_modern:
                self.check_envelope(call)
            elif not self.handshake and self.is_like_python and method not in ("initialize", "ping"):
                raise Refused(-32601 if method == "server/discover" else -32602, "Not initialized")
            self.dispatch(call)
        except Refused as refused:
            self.refuse(call, refused)

    def is_modern(self, message: Json) -> bool:
        """The era that a request is served in; it may decide that of the process.

        Raises:
            Refused: If the process serves the other one.
        """
        method, params = message["method"], as_object(message.get("params"))
        is_enveloped = PREFIX + "protocolVersion" in as_object(params.get("_meta"))
        if method == "initialize":
            if self.era == "modern":
                data = {"supported": self.supported, "requested": params.get("protocolVersion")}
                raise Refused(-32022, "Unsupported protocol version", data)
            self.era = "legacy"
        elif self.era is None:
            if "dual-ts" in self.modes and is_enveloped and method == "server/discover":
                return True
            self.era = "modern" if is_enveloped else "legacy"
        elif self.era == "legacy" and is_enveloped and self.is_like_python:
            raise Refused(-32600, "This process serves the handshake era")
        return self.era == "modern"

    @property
    def is_like_python(self) -> bool:
        """Whether it is as strict about eras as the Python SDK."""
        return not self.modes.keys() & {"dual-ts", "legacy-only", "legacy-silent", "legacy-exits"}

    def check_token(self, call: Call) -> None:
        token = call.meta.get("progressToken")
        if token is not None and any(other.meta.get("progressToken") == token for other in self.calls.values()):
            self.faults.append(f"the progress token {json.dumps(token)} is in use")

    def check_envelope(self, call: Call) -> None:
        """Raises Refused if a modern request is not one, or of a revision that is not served."""
        version = call.meta.get(PREFIX + "protocolVersion")
        level = call.meta.get(PREFIX + "logLevel")
        fault = None
        if not isinstance(version, str):
            fault = "protocolVersion"
        elif not isinstance(call.meta.get(PREFIX + "clientCapabilities"), dict):
            fault = "clientCapabilities"
        elif level is not None and level not in LEVELS:
            fault = "logLevel"
        if fault:
            self.faults.append(f"{call.method} with a bad {fault}")
            raise Refused(-32602, f"Invalid params: _meta.{PREFIX}{fault}")
        if version not in self.supported:
            data = {"supported": self.supported, "requested": version}
            raise Refused(-32022, "Unsupported protocol version", data)

    # What is offered.

    def dispatch(self, call: Call) -> None:
        """Answer a request, or begin to."""
        method, params = call.method, call.params
        if method == "server/discover" and call.is_modern:
            self.discover(call)
        elif method == "tools/call":
            self.call_tool(call)
        elif method in ("prompts/get", "resources/read"):
            self.begin_to_ask(call)
        elif method in ("tools/list", "prompts/list", "resources/list", "resources/templates/list"):
            self.list(call)
        elif method == "completion/complete":
            values = [word for word in LETTERS if word.startswith(str((params.get("argument") or {}).get("value", "")))]
            self.answer(call, {"completion": {"values": values, "total": len(values), "hasMore": False}})
        elif method == "subscriptions/listen" and call.is_modern:
            self.listen(call)
        elif method in ("tasks/get", "tasks/update", "tasks/cancel") and call.is_modern:
            self.answer(call, self.tasks.take(self, call))
        elif call.is_modern:
            raise Refused(-32601, f"Method not found: {method}")
        else:
            self.dispatch_legacy(call)

    def dispatch_legacy(self, call: Call) -> None:
        """What only the handshake era has."""
        if call.method == "initialize":
            self.initialize(call)
        elif call.method == "ping":
            self.answer(call, {})
        elif call.method == "logging/setLevel":
            self.level = call.params["level"]
            self.answer(call, {})
        elif call.method == "resources/subscribe":
            self.subscribed.add(call.params["uri"])
            self.answer(call, {})
        elif call.method == "resources/unsubscribe":
            self.subscribed.discard(call.params["uri"])
            self.answer(call, {})
        else:
            raise Refused(-32601, f"Method not found: {call.method}")

    def offers(self, *, is_modern: bool) -> Json:
        """The capabilities."""
        changing = {"listChanged": True}
        core = {"tools": changing, "prompts": changing, "resources": {**changing, "subscribe": True}}
        return {**core, "completions": {}, "logging": {}, **({"extensions": {TASKS: {}}} if is_modern else {})}

    def initialize(self, call: Call) -> None:
        if self.handshake:
            self.faults.append("initialize twice")
        self.handshake = call.params
        asked = call.params.get("protocolVersion")
        version = self.modes.get("version") or (asked if asked in HANDSHAKES else HANDSHAKES[-1])
        answer = {"protocolVersion": version, "capabilities": self.offers(is_modern=False), "serverInfo": SERVER_INFO}
        self.answer(call, {**answer, "instructions": "For tests."})

    def discover(self, call: Call) -> None:
        if "exit-on-discover" in self.modes:
            leave(int(self.modes["exit-on-discover"] or 0))
        found = {"supportedVersions": self.supported, "capabilities": self.offers(is_modern=True)}
        answer = {**found, "instructions": "For tests."}
        if "late-discover" in self.modes:
            self.later(float(self.modes["late-discover"]), lambda: self.answer_if_open(call, answer))
        else:
            self.answer(call, answer)

    def list(self, call: Call) -> None:
        """One page of a list."""
        kind = {"tools/list": "tools", "prompts/list": "prompts", "resources/list": "resources"}.get(
            call.method, "resourceTemplates"
        )
        if kind == "tools":
            entries = describe(call, self.added["tools"], bad_headers="bad-headers" in self.modes)
        elif kind == "prompts":
            arguments = [{"name": "name", "required": False}]
            entries = [{"name": name, "arguments": arguments} for name in ("greet", "ask", *self.added["prompts"])]
        elif kind == "resources":
            entries = [{"uri": uri, "name": uri} for uri in (*self.added["resources"], "ask://elicit")]
        else:
            entries = [{"uriTemplate": "note://{number}", "name": "note"}]
        size = int(self.modes.get("page-size", len(entries)))
        cursor = call.params.get("cursor", "0")
        if not (isinstance(cursor, str) and cursor.isdecimal() and int(cursor) < len(entries)):
            raise Refused(-32602, "Invalid cursor")
        start = int(cursor)
        page: Json = {kind: entries[start : start + size]}
        if start + size < len(entries):
            page["nextCursor"] = str(start + size)
        elif "cursor-loop" in self.modes:
            page["nextCursor"] = "0"
        self.answer(call, page)

    def listen(self, call: Call) -> None:
        """Open a listen: the acknowledgement first, then what it asks for, until it is ended."""
        wanted = call.params.get("notifications")
        if not isinstance(wanted, dict):
            raise Refused(-32602, "Invalid params: notifications")
        if len(self.listens) >= int(self.modes.get("max-listens", 1024)):
            raise Refused(-32603, "Subscription limit reached")
        honoured = {key: value for key, value in wanted.items() if value}
        self.listens[call.id] = honoured
        acknowledged = {"notifications": honoured, "_meta": {SUBSCRIPTION: call.id}}
        notify("notifications/subscriptions/acknowledged", acknowledged)

    def end_listens(self, *, gracefully: bool) -> int:
        """End every listen; returns how many there were."""
        calls = [self.calls[id_] for id_ in self.listens]
        for call in calls:
            if gracefully:
                self.answer(call, {"_meta": {SUBSCRIPTION: call.id}})
            else:
                self.forget(call)
                notify("notifications/cancelled", {"requestId": call.id, "reason": "dropped"})
        return len(calls)

    def tell_change(self, is_modern: bool, method: str, params: Json | None = None) -> None:
        """Tell of a change, as the era does it."""
        params = params or {}
        if not is_modern:
            if method in LISTENS or params.get("uri") in self.subscribed:
                notify(method, params or None)
            return
        for id_, wanted in self.listens.items():
            if (
                wanted.get(LISTENS.get(method, ""))
                or params.get("uri") in wanted.get("resourceSubscriptions", ())
                or params.get("taskId") in wanted.get("taskIds", ())
            ):
                notify(method, {**params, "_meta": {SUBSCRIPTION: id_}})

    # Calls.

    def call_tool(self, call: Call) -> None:
        """Begin, or go on with, a call of a tool."""
        if call.name in TOOLS:
            self.count(call)
            value = TOOLS[call.name](self, call)
            if value is not None:
                self.value(call, value)
        elif call.name in ASKING_TOOLS:
            self.asking.announce_urls(call)
            self.begin_to_ask(call)
        elif call.name in self.added["tools"]:
            self.count(call)
            self.value(call, {"added": call.name})
        else:
            raise Refused(-32602, f"Unknown tool: {call.name}")

    def begin_to_ask(self, call: Call) -> None:
        """A new call, or a retry of one that was asked something."""
        if call.is_modern and "requestState" in call.params:
            self.asking.resume(call)
        self.count(call)
        self.ask(call)

    def ask(self, call: Call) -> None:
        """Ask what is to be asked next, or answer."""
        while (questions := self.asking.questions(call)) is not None:
            if call.is_modern:
                self.answer(call, self.asking.input_required(call, questions))
                return
            if questions:
                for key, question in questions.items():
                    call.waiting[self.request(call, question["method"], legacy_params(question, call))] = key
                if "take_back" in call.arguments:
                    self.later(float(call.arguments["take_back"]), lambda: self.take_back(call))
                return
            call.rounds = [*call.rounds, {}]
        self.finish(call)

    def take_back(self, call: Call) -> None:
        """Withdraw the questions of a call, and answer it."""
        if self.calls.get(call.id) is call:
            for id_ in call.waiting:
                notify("notifications/cancelled", {"requestId": id_, "reason": "changed my mind"})
            self.value(call, {"taken_back": True})

    def finish(self, call: Call) -> None:
        """Answer a request that has nothing to ask any more."""
        if call.method == "tools/call":
            if call.name == "ask-url" and not call.is_modern:
                notify("notifications/elicitation/complete", {"elicitationId": elicitation_id(call)})
            self.value(call, {"rounds": call.rounds})
        elif call.method == "resources/read":
            if call.name not in (*self.added["resources"], "ask://elicit"):
                raise Refused(-32602 if call.is_modern else -32002, "Resource not found", {"uri": call.name})
            text = json.dumps({"uri": call.name, "rounds": call.rounds})
            self.answer(call, {"contents": [{"uri": call.name, "mimeType": "application/json", "text": text}]})
        else:
            if call.name not in ("greet", "ask", *self.added["prompts"]):
                raise Refused(-32602, f"Unknown prompt: {call.name}")
            text = json.dumps({"hello": call.arguments.get("name"), "rounds": call.rounds})
            self.answer(call, {"messages": [{"role": "user", "content": {"type": "text", "text": text}}]})

    def count(self, call: Call) -> None:
        """Note that a tool runs, or runs on."""
        if call.method == "tools/call":
            self.append("counts-file", f"{call.name}\t{call.arguments.get('key', '')}\t{len(call.rounds)}")

    # What goes out.

    def value(self, call: Call, value: Json) -> None:
        """Answer a call of a tool with an object."""
        self.answer(call, tool_result(value))

    def answer_if_open(self, call: Call, result: Json) -> None:
        """Answer a request unless it was cancelled meanwhile."""
        if self.calls.get(call.id) is call:
            self.answer(call, result)

    def answer(self, call: Call, result: Json) -> None:
        """Answer a request, as its era does it."""
        self.forget(call)
        send({"id": call.id, "result": self.stamped(call, result) if call.is_modern else result})

    def stamped(self, call: Call, result: Json) -> Json:
        """A modern result: its type, how long it holds, and whose it is."""
        is_complete = result.get("resultType", "complete") == "complete"
        head: Json = {} if "no-result-type" in self.modes and is_complete else {"resultType": "complete"}
        if call.method in CACHEABLE and is_complete and "no-ttl" not in self.modes:
            head |= {"ttlMs": int(self.modes.get("ttl", 5000)), "cacheScope": self.modes.get("scope", "public")}
        meta = {PREFIX + "serverInfo": SERVER_INFO, **result.get("_meta", {})}
        return {**head, **result, "_meta": meta}

    def refuse(self, call: Call, refused: Refused) -> None:
        """Answer a request with an error."""
        self.forget(call)
        error: Json = {"code": refused.code, "message": refused.message}
        if refused.data is not None:
            error["data"] = refused.data
        send({"id": call.id, "error": error})

    def request(self, call: Call, method: str, params: Json | None) -> int:
        """Legacy: ask the client; returns the id of the question."""
        id_, self.next_ask = self.next_ask, self.next_ask + 1
        self.asked[id_] = call
        send({"id": id_, "method": method, **({} if params is None else {"params": params})})
        return id_


def parse_modes(argv: list[str]) -> dict[str, str]:
    """The modes by name. Raises SystemExit for one that does not exist: a test would pass for want of it."""
    modes = {name: value for name, _, value in (word.partition("=") for word in argv)}
    unknown = modes.keys() - MODES
    if unknown:
        raise SystemExit(f"no such mode: {', '.join(sorted(unknown))}")
    return modes


if __name__ == "__main__":
    Server(parse_modes(sys.argv[1:])).serve()

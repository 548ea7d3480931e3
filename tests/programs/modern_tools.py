"""The tools of `modern.py`. In brackets their arguments; `?` marks those that may be left out.

echo [anything]              the arguments
hold [key?], release [key?]  no answer until `release` of the same key; cancelled: none at all
late [key?]                  held like `hold`, but answered when it is cancelled
sleep [seconds]              answer later
progress [count]             `count` notifications if the call has a token, then the answer
log [level, text, stray?]    a log message; modern: only if the call asked for its level, or `stray`
pid                          process id
seen                         every line read so far
faults                       what the parent did wrong so far, a sentence each
told                         the cancellations that came: `known` says whether the call was open
open                         what is open now: calls (without this one), listens, subscriptions, questions, tasks
client                       era, revision, clientInfo and capabilities of the caller; the roots if they came early
exit [code?]                 exit without an answer
exit-after [code?]           answer, then exit
add-tool, add-prompt, add-resource [name]   add one, and tell of it as the era does
touch [uri]                  say that a resource was updated
headers [region?, count?, dry?, where?]     the arguments; the first three, and `where.zone`, are annotated for headers
numbers                      structuredContent that is an array, with its outputSchema (modern)
ask-elicit [message?, schema?], ask-sample, ask-roots, ask-both, ask-n [rounds], ask-url [key?]
                             ask the client; the answer holds its answers, a round each. With `force` also a client
                             that can't be asked; with `take_back` [seconds] a legacy question is withdrawn
url-required [key?]          like ask-url; legacy: -32042 first
state-only [times]           input_required without questions, so often (modern)
task [key?, ask?, id?]       a task, if the client knows the extension; `ask`: it needs an answer; `id`: its name
finish-task [taskId]         complete it, and tell its listeners
end-listens, drop-listens    end all `subscriptions/listen`: with their result, or with notifications/cancelled
write [text]                 these bytes as they are; `$ID` is the call's id. Not answered by itself
send-request [method?]       a request to the client, then the answer: forbidden in the modern era
stray-changes                list changes that belong to no listen, then the answer
twice                        two answers
odd-result                   a resultType nobody knows
"""

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.programs.modern_asking import elicit, legacy_params
from tests.programs.modern_wire import (
    LEVELS,
    PREFIX,
    SUBSCRIPTION,
    TASKS,
    Call,
    Json,
    Refused,
    encode,
    leave,
    notify,
    send,
    tool_result,
    write,
)

if TYPE_CHECKING:
    from tests.programs.modern import Server

Run = Callable[["Server", Call], Json | None]
"""Do what a tool does; None means that it is answered later, or never."""

TOOLS: dict[str, Run] = {}
ASKING_TOOLS = (
    "ask-elicit",
    "ask-sample",
    "ask-roots",
    "ask-both",
    "ask-n",
    "ask-url",
    "url-required",
    "state-only",
)
ANNOTATED: Json = {
    "region": {"type": "string", "x-mcp-header": "Region"},
    "count": {"type": "integer", "x-mcp-header": "Count"},
    "dry": {"type": "boolean", "x-mcp-header": "Dry-Run"},
    "where": {"type": "object", "properties": {"zone": {"type": "string", "x-mcp-header": "Zone"}}},
}
MOMENT = "2026-11-21T00:00:00Z"


def tool(name: str) -> Callable[[Run], Run]:
    """Offer a function as a tool."""

    def register(run: Run) -> Run:
        TOOLS[name] = run
        return run

    return register


def describe(call: Call, added: list[str], *, bad_headers: bool) -> list[Json]:
    """The entries of `tools/list`, as the era can express them."""
    entries: list[Json] = [
        {"name": name, "description": f"The tool {name}", "inputSchema": {"type": "object"}}
        for name in (*TOOLS, *ASKING_TOOLS, *added)
    ]
    for entry in entries:
        if entry["name"] == "headers":
            entry["inputSchema"]["properties"] = ANNOTATED
        elif entry["name"] == "numbers" and call.is_modern:
            entry["outputSchema"] = {"type": "array", "items": {"type": "integer"}}
    if bad_headers:
        properties = {"share": {"type": "number", "x-mcp-header": "Share"}}
        entries.append({"name": "bad-headers", "inputSchema": {"type": "object", "properties": properties}})
    return entries


@tool("echo")
def echo(server: "Server", call: Call) -> Json | None:
    return {"echo": call.arguments}


@tool("headers")
def headers(server: "Server", call: Call) -> Json | None:
    return {"headers": call.arguments}


@tool("hold")
def hold(server: "Server", call: Call) -> Json | None:
    server.held.add(call.id)
    return None


@tool("late")
def late(server: "Server", call: Call) -> Json | None:
    server.held.add(call.id)
    return None


@tool("release")
def release(server: "Server", call: Call) -> Json | None:
    held = [server.calls[id_] for id_ in sorted(server.held)]
    chosen = [other for other in held if other.arguments.get("key") == call.arguments.get("key")]
    for other in chosen:
        server.value(other, {"released": call.arguments.get("key")})
    return {"count": len(chosen)}


@tool("sleep")
def sleep(server: "Server", call: Call) -> Json | None:
    slept = tool_result({"slept": True})
    server.later(float(call.arguments["seconds"]), lambda: server.answer_if_open(call, slept))
    return None


@tool("progress")
def progress(server: "Server", call: Call) -> Json | None:
    count = int(call.arguments["count"])
    if "progressToken" in call.meta:
        head = {"progressToken": call.meta["progressToken"], "total": count}
        steps = ({**head, "progress": step, "message": f"step {step}"} for step in range(1, count + 1))
        lines = [encode({"method": "notifications/progress", "params": params}) for params in steps]
        write(b"".join(lines))  # in one piece, as a fast server does
    return {"count": count}


@tool("log")
def log(server: "Server", call: Call) -> Json | None:
    level = call.arguments.get("level", "info")
    least = call.meta.get(PREFIX + "logLevel") if call.is_modern else server.level
    is_wanted = least is not None and LEVELS.index(level) >= LEVELS.index(least)
    if is_wanted or call.arguments.get("stray"):
        params = {"level": level, "logger": "modern", "data": call.arguments.get("text", "")}
        notify("notifications/message", params)
    return {"logged": is_wanted}


@tool("pid")
def pid(server: "Server", call: Call) -> Json | None:
    return {"pid": os.getpid()}


@tool("seen")
def seen(server: "Server", call: Call) -> Json | None:
    return {"lines": [line.decode("latin-1") for line in server.seen]}


@tool("faults")
def faults(server: "Server", call: Call) -> Json | None:
    return {"faults": server.faults}


@tool("told")
def told(server: "Server", call: Call) -> Json | None:
    return {"told": server.told}


@tool("open")
def open_(server: "Server", call: Call) -> Json | None:
    calls = [{"method": other.method, "name": other.name} for other in server.calls.values() if other is not call]
    return {
        "calls": [other for other in calls if other["method"] != "subscriptions/listen"],
        "listens": list(server.listens.values()),
        "subscribed": sorted(server.subscribed),
        "questions": len(server.asked),
        "tasks": {id_: task["status"] for id_, task in server.tasks.known.items()},
    }


@tool("client")
def client(server: "Server", call: Call) -> Json | None:
    return {**call.client, "capabilities": call.capabilities, "roots": server.roots}


@tool("exit")
def exit_(server: "Server", call: Call) -> Json | None:
    leave(int(call.arguments.get("code", 0)))


@tool("exit-after")
def exit_after(server: "Server", call: Call) -> Json | None:
    server.value(call, {})
    leave(int(call.arguments.get("code", 0)))


@tool("add-tool")
def add_tool(server: "Server", call: Call) -> Json | None:
    return add(server, call, "tools")


@tool("add-prompt")
def add_prompt(server: "Server", call: Call) -> Json | None:
    return add(server, call, "prompts")


@tool("add-resource")
def add_resource(server: "Server", call: Call) -> Json | None:
    return add(server, call, "resources")


def add(server: "Server", call: Call, kind: str) -> Json:
    server.added[kind].append(str(call.arguments["name"]))
    server.tell_change(call.is_modern, f"notifications/{kind}/list_changed")
    return {"added": call.arguments["name"]}


@tool("touch")
def touch(server: "Server", call: Call) -> Json | None:
    server.tell_change(call.is_modern, "notifications/resources/updated", {"uri": call.arguments["uri"]})
    return {"touched": call.arguments["uri"]}


@tool("numbers")
def numbers(server: "Server", call: Call) -> Json | None:
    result: Json = {"content": [{"type": "text", "text": "[1, 2, 3]"}]}
    server.answer(call, {**result, "structuredContent": [1, 2, 3]} if call.is_modern else result)
    return None


@tool("task")
def task(server: "Server", call: Call) -> Json | None:
    if not call.is_modern or TASKS not in (call.capabilities.get("extensions") or {}):
        return {"task": False}
    server.answer(call, {"resultType": "task", **server.tasks.begin(call)})
    return None


@tool("finish-task")
def finish_task(server: "Server", call: Call) -> Json | None:
    server.tasks.finish(server, call.arguments["taskId"], {"finished": True})
    return {}


@tool("end-listens")
def end_listens(server: "Server", call: Call) -> Json | None:
    return {"count": server.end_listens(gracefully=True)}


@tool("drop-listens")
def drop_listens(server: "Server", call: Call) -> Json | None:
    return {"count": server.end_listens(gracefully=False)}


@tool("write")
def write_(server: "Server", call: Call) -> Json | None:
    write(call.arguments["text"].encode().replace(b"$ID", json.dumps(call.id).encode()))
    return None


@tool("send-request")
def send_request(server: "Server", call: Call) -> Json | None:
    question = elicit()
    send(
        {
            "id": 999_999,
            "method": call.arguments.get("method", question["method"]),
            "params": legacy_params(question, call),
        }
    )
    return {"sent": 999_999}


@tool("stray-changes")
def stray_changes(server: "Server", call: Call) -> Json | None:
    notify("notifications/tools/list_changed")
    notify("notifications/resources/updated", {"uri": "note://1"})
    notify("notifications/tools/list_changed", {"_meta": {SUBSCRIPTION: 999_999}})
    return {}


@tool("twice")
def twice(server: "Server", call: Call) -> Json | None:
    server.value(call, {"answer": 1})
    return {"answer": 2}


@tool("odd-result")
def odd_result(server: "Server", call: Call) -> Json | None:
    server.answer(call, {"resultType": "odd", "odd": True})
    return None


class Tasks:
    """The tasks of the extension.

    Attributes:
        known: Every task, in the shape that `tasks/get` answers with, by its id.
    """

    def __init__(self) -> None:
        self.known: dict[str, Json] = {}

    def begin(self, call: Call) -> Json:
        """Make a task; returns what names it to the client."""
        id_ = call.arguments.get("id") or os.urandom(8).hex()
        asks = bool(call.arguments.get("ask"))
        head = {"taskId": id_, "createdAt": MOMENT, "lastUpdatedAt": MOMENT, "ttlMs": 60_000, "pollIntervalMs": 50}
        self.known[id_] = {**head, "status": "input_required" if asks else "working"}
        if asks:
            self.known[id_]["inputRequests"] = {"name": elicit()}
        return {**head, "status": "working"}

    def finish(self, server: "Server", id_: str, value: Json) -> None:
        """Complete a task with an object, and tell those who listen."""
        task = self.known[id_]
        task.pop("inputRequests", None)
        task |= {"status": "completed", "result": tool_result(value)}
        server.tell_change(True, "notifications/tasks", task)

    def take(self, server: "Server", call: Call) -> Json:
        """Answer `tasks/get`, `tasks/update` or `tasks/cancel`.

        Raises:
            Refused: If the client does not know the extension, or the server not the task.
        """
        if TASKS not in (call.capabilities.get("extensions") or {}):
            required: Json = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
            raise Refused(-32021, "The client did not declare the tasks extension", required)
        id_ = call.params.get("taskId")
        task: Any = self.known.get(id_) if isinstance(id_, str) else None
        if task is None:
            raise Refused(-32602, "Unknown task")
        if call.method == "tasks/get":
            return dict(task)
        if call.method == "tasks/cancel":
            task.pop("inputRequests", None)
            task["status"] = "cancelled"
            server.tell_change(True, "notifications/tasks", task)
        elif task["status"] == "input_required":
            self.finish(server, task["taskId"], {"answers": call.params.get("inputResponses")})
        return {}

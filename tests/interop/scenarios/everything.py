"""@modelcontextprotocol/server-everything: the reference server that uses every feature."""

import json
import re

from tests.interop.steps import (
    ELICITATION,
    LOG,
    RESOURCES_CHANGED,
    ROOTS,
    SAMPLING,
    TASK_STATUS,
    TOOLS_CHANGED,
    UPDATED,
    Json,
    Rule,
    Scenario,
    Step,
    answer,
    call,
    cancel,
    listing,
    prompt,
    read,
    request,
    together,
)

SHARED_ENVIRONMENT = frozenset({"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "INTEROP_GREETING"})
"""What both SDK clients pass to a child, and the one variable that the tests add."""

DOCUMENTS = (
    "architecture.md",
    "extension.md",
    "features.md",
    "how-it-works.md",
    "instructions.md",
    "startup.md",
    "structure.md",
)
LINK = "https://example.invalid/consent"
DATA = "data:text/plain,compress%20me"
AWKWARD = 'quotes " and \\ and \u2028\u2029 and 日本語 and 🧪 and \u0000\u001f\u007f'


def comparable_environment(outcome: Json) -> Json:
    """A proxy may pass on more than the SDK clients do (npm_config_*, UV_*); secrets it may not."""
    environment = json.loads(outcome["result"]["content"][0]["text"])
    shared = {name: value for name, value in environment.items() if name in SHARED_ENVIRONMENT}
    return {"result": shared, "leaked": sorted(name for name in environment if "CANARY" in name)}


def comparable_log(params: Json) -> Json:
    """The simulated log picks one of eight messages, each with its own level, at random."""
    if re.fullmatch(r"[A-Z][a-z]+[- ]level[- ]message", str(params["data"])):
        return {"level": "<random>", "data": "<random>"}
    return params


def steps() -> list[Step]:
    return [
        *connection(),
        *plain_tools(),
        *resources(),
        *prompts_and_completions(),
        *logging(),
        *long_running(),
        *sampling_and_elicitation(),
        *roots(),
        *tasks(),
        *refusals(),
        Step("ping"),
    ]


def connection() -> list[Step]:
    # The server registers its conditional tools on "initialized" and asks for the roots 350 ms later.
    return [
        Step("ping", expect={TOOLS_CHANGED: 5, ROOTS: 1, LOG: 1}).only_for("python"),
        Step("ping", expect={TOOLS_CHANGED: 7, ROOTS: 1, LOG: 1}).only_for("typescript"),
        listing("list_tools", "trigger-long-running-operation"),
    ]


def plain_tools() -> list[Step]:
    big = "0123456789abcdef" * 12_500
    return [
        call("echo", {"message": AWKWARD}, says="日本語 and 🧪"),
        call("echo", {"message": big}, says=big),
        call("get-sum", {"a": 0.1, "b": 9007199254740991}, says="The sum of 0.1 and 9007199254740991"),
        call("get-sum", {"a": "not a number", "b": 1}, ends="tool error", says="-32602"),
        call("get-env", says="INTEROP_GREETING"),
        call("get-tiny-image", says='"mimeType": "image/png"'),
        call("get-annotated-message", {"messageType": "error", "includeImage": True}, says='"priority": 1'),
        call("get-annotated-message", {"messageType": "success"}, says='"priority": 0.7'),
        call("get-annotated-message", {"messageType": "debug"}, says='"assistant"'),
        call("get-resource-links", {"count": 4}, says="demo://resource/dynamic/text/4"),
        call("get-resource-reference", {"resourceType": "Text", "resourceId": 7}, says="Resource 7"),
        call("get-resource-reference", {"resourceType": "Blob", "resourceId": 8}, says="blob"),
        call("get-structured-content", {"location": "Chicago"}, says='"humidity": 82'),
        call("get-structured-content", {"location": "Atlantis"}, ends="tool error", says="Invalid"),
    ]


def resources() -> list[Step]:
    static = [f"demo://resource/static/document/{name}" for name in DOCUMENTS]
    dynamic = "demo://resource/dynamic/text/1"
    return [
        listing("list_resources", static[0]),
        listing("list_resource_templates", "demo://resource/dynamic/blob/{resourceId}"),
        *(read(uri, says="text/markdown") for uri in static),
        read(dynamic, says="Resource 1: This is a plaintext resource"),
        read("demo://resource/dynamic/blob/2", says="blob"),
        call(
            "gzip-file-as-resource",
            {"name": "note.gz", "data": DATA, "outputType": "resourceLink"},
            says="demo://resource/session/note.gz",
            expect={RESOURCES_CHANGED: 1},
        ),
        read("demo://resource/session/note.gz", says="application/gzip"),
        call(
            "gzip-file-as-resource",
            {"name": "other.gz", "data": DATA, "outputType": "resource"},
            says="application/gzip",
            expect={RESOURCES_CHANGED: 1},
        ),
        listing("list_resources", "demo://resource/session/other.gz"),
        read("demo://resource/session/other.gz", says="application/gzip"),
        Step("subscribe", {"uri": dynamic}, expect={LOG: 1}),
        Step("subscribe", {"uri": static[0]}, expect={LOG: 1}),
        call("toggle-subscriber-updates", says="Started simulated", expect={UPDATED: 2}),
        call("toggle-subscriber-updates", says="Stopped simulated"),
        Step("unsubscribe", {"uri": dynamic}, expect={LOG: 1}),
        call("toggle-subscriber-updates", says="Started simulated", expect={UPDATED: 1}),
        call("toggle-subscriber-updates", says="Stopped simulated"),
        Step("unsubscribe", {"uri": static[0]}, expect={LOG: 1}),
    ]


def prompts_and_completions() -> list[Step]:
    team = {"type": "ref/prompt", "name": "completable-prompt"}
    embedded = {"type": "ref/prompt", "name": "resource-prompt"}
    template = {"type": "ref/resource", "uri": "demo://resource/dynamic/text/{resourceId}"}
    known = {"arguments": {"department": "Sales"}}

    def complete(ref: Json, name: str, value: str, says: str, **more: Json) -> Step:
        return Step("complete", {"ref": ref, "argument": {"name": name, "value": value}, **more}, says=says)

    return [
        listing("list_prompts", "completable-prompt"),
        prompt("simple-prompt", says="without arguments"),
        prompt("args-prompt", {"city": "Zürich", "state": "ZH"}, says="weather in Zürich, ZH"),
        prompt("args-prompt", {}, ends="error", says="-32602"),
        prompt("completable-prompt", {"department": "Sales", "name": "Eve"}, says="promote Eve"),
        prompt("resource-prompt", {"resourceType": "Text", "resourceId": "3"}, says="dynamic/text/3"),
        prompt("resource-prompt", {"resourceType": "Blob", "resourceId": "4"}, says="dynamic/blob/4"),
        complete(team, "department", "S", says="Support"),
        complete(team, "name", "E", says="Eve", context=known),
        complete(embedded, "resourceType", "B", says="Blob"),
        complete(template, "resourceId", "12", says='"12"'),
        complete(template, "resourceId", "none", says='"values": []'),
    ]


def logging() -> list[Step]:
    document = "demo://resource/static/document/features.md"
    return [
        Step("set_level", {"level": "debug"}),
        call("toggle-simulated-logging", says="Started simulated", expect={LOG: 1}),
        call("toggle-simulated-logging", says="Stopped simulated"),
        Step("set_level", {"level": "error"}),
        # Logged at "info", so nothing may come.
        Step("subscribe", {"uri": document}),
        Step("unsubscribe", {"uri": document}),
        Step("set_level", {"level": "info"}),
        Step("subscribe", {"uri": document}, expect={LOG: 1}),
        Step("unsubscribe", {"uri": document}, expect={LOG: 1}),
    ]


def long_running() -> list[Step]:
    operation = "trigger-long-running-operation"
    return [
        call(operation, {"duration": 0.4, "steps": 4}, says="Duration: 0.4 seconds, Steps: 4", progress=4),
        together(
            call(operation, {"duration": 0.6, "steps": 2}, says="Steps: 2", progress=2),
            call(operation, {"duration": 0.5, "steps": 5}, says="Steps: 5", progress=5),
            call("echo", {"message": "meanwhile"}, says="Echo: meanwhile"),
            call(operation, {"duration": 0.3, "steps": 3}, says="Steps: 3", progress=3),
        ),
        cancel(operation, {"duration": 1, "steps": 10}, after={"progress": 2}),
        call("echo", {"message": "after the cancelled call"}, says="Echo: after"),
    ]


def sampling_and_elicitation() -> list[Step]:
    url = {"url": LINK, "elicitationId": "consent-1"}
    sampled = {"prompt": "What is a proxy?", "maxTokens": 17}
    return [
        call("trigger-sampling-request", sampled, says="A sampled answer", expect={SAMPLING: 1}),
        answer(SAMPLING, error={"code": -1, "message": "The user declined to sample"}),
        call("trigger-sampling-request", sampled, ends="tool error", says="declined", expect={SAMPLING: 1}),
        call("trigger-elicitation-request", says="- Name: Ada Lovelace", expect={ELICITATION: 1}),
        answer(ELICITATION, {"action": "decline"}),
        call("trigger-elicitation-request", says="User declined", expect={ELICITATION: 1}),
        answer(ELICITATION, {"action": "cancel"}),
        call("trigger-elicitation-request", says="User cancelled", expect={ELICITATION: 1}),
        answer(ELICITATION, {"action": "accept"}),
        call("trigger-url-elicitation", url, says="User completed the URL", expect={ELICITATION: 1}),
        call("trigger-url-elicitation", {**url, "errorPath": True}, ends="error", says="-32042"),
        call(
            "trigger-url-elicitation",
            {**url, "errorPath": True},
            says="User completed the URL",
            expect={ELICITATION: 1},
        ),
    ]


def roots() -> list[Step]:
    return [
        call("get-roots-list", says="1. Workspace"),
        answer(ROOTS, {"roots": [{"uri": "file:///srv/one"}, {"uri": "file:///srv/two", "name": "Two"}]}),
        Step("roots_changed", expect={ROOTS: 1, LOG: 1}),
        call("get-roots-list", says="2. Two"),
    ]


def tasks() -> list[Step]:
    """The experimental tasks of 2025-11-25, which only the TypeScript client has."""
    research = {"topic": "python", "ambiguous": True}
    picked = {"action": "accept", "content": {"interpretation": "snake"}}
    accepted = {"action": "accept", "content": {"name": "Grace", "favoriteColor": "Blue"}}
    sampled = {"role": "assistant", "model": "interop", "content": {"type": "text", "text": "Later"}}
    steps = [
        answer(ELICITATION, picked),
        Step(
            "task_call",
            {"name": "simulate-research-query", "arguments": research},
            says='"status": "working"',
            expect={TASK_STATUS: 1},
        ),
        Step("task_get", says='"status": "working"'),
        Step("task_list", says='"tasks"'),
        Step("task_result", says="python (snake)", expect={ELICITATION: 1, TASK_STATUS: 7}),
        Step("task_get", says='"status": "completed"'),
        Step(
            "task_call",
            {"name": "simulate-research-query", "arguments": {"topic": "tides"}},
            says='"status": "working"',
            expect={TASK_STATUS: 1},
        ),
        Step("task_cancel", says='"status": "cancelled"'),
        answer(SAMPLING, sampled),
        call("trigger-sampling-request-async", {"prompt": "Later?"}, says="[COMPLETED]", expect={SAMPLING: 1}),
        answer(ELICITATION, accepted),
        call("trigger-elicitation-request-async", says="- Name: Grace", expect={ELICITATION: 1}),
    ]
    return [step.only_for("typescript") for step in steps]


def refusals() -> list[Step]:
    return [
        call("no-such-tool", ends="tool error", says="no-such-tool"),
        read("demo://resource/none", ends="error", says="-32602"),
        prompt("no-such-prompt", ends="error", says="-32602"),
        request("interop/unknown", {"deep": [{"null": None}]}, ends="error", says="-32601"),
        # A raw request, because this client refuses to send the call.
        request(
            "tools/call",
            {"name": "simulate-research-query", "arguments": {"topic": "no task"}},
            ends="tool error",
            says="task",
        ).only_for("typescript"),
        call("simulate-research-query", {"topic": "no task"}, ends="tool error", says="task").only_for("python"),
    ]


SCENARIO = Scenario(
    steps=steps(),
    roots=({"uri": "file:///srv/workspace", "name": "Workspace"},),
    views={"call get-env": comparable_environment},
    inbound_views={LOG: comparable_log},
    rules=(
        Rule(
            "dynamic resources say when they were made",
            re.compile(r"(created at )\d{1,2}:\d\d:\d\d( [AP]M)?"),
            r"\1<time>",
        ),
        Rule("ids of elicitations", re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<uuid>"),
        Rule("ids of tasks", re.compile(r"\b[0-9a-f]{32}\b"), "<task>", ("typescript",)),
        Rule(
            "times of tasks",
            re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"),
            "<instant>",
            ("typescript",),
        ),
    ),
    unreachable_tools={"python": frozenset({"simulate-research-query"})},
)

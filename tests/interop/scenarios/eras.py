"""Scenarios in words that both eras have, for clients that may end up in either.

Left out: `ping`, `logging/setLevel`, changed roots, tasks and refused sampling, which only the handshake era has, and
all that a server sends there without being asked for it.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.interop.scenarios import everything, filesystem
from tests.interop.steps import (
    ALL_CLIENTS,
    ELICITATION,
    LOG,
    RESOURCES_CHANGED,
    ROOTS,
    SAMPLING,
    TOOLS_CHANGED,
    UPDATED,
    Client,
    Json,
    Scenario,
    Step,
    answer,
    call,
    cancel,
    listing,
    prompt,
    read,
    together,
    unwatch,
    watch,
)

MODERN_CLIENTS: tuple[Client, ...] = ("python auto", "typescript 2 auto")
LEGACY_CLIENTS: tuple[Client, ...] = ("python", "typescript", "typescript 2")

ONE_ERA_ONLY = frozenset(
    {"resultType", "ttlMs", "cacheScope", "execution", "elicitationId", "protocolVersion", "tasks", "extensions"}
)
"""Members of results, requests and capabilities."""


def in_either_era(value: Any) -> Any:
    """The same without what only one era says."""
    if isinstance(value, list):
        return [in_either_era(part) for part in value]
    if not isinstance(value, dict):
        return value
    kept = {name: in_either_era(part) for name, part in value.items() if name not in ONE_ERA_ONLY}
    if kept.get("mode") == "form":
        del kept["mode"]
    if isinstance(meta := kept.get("_meta"), dict):
        own = {name: part for name, part in meta.items() if not name.startswith("io.modelcontextprotocol/")}
        own.pop("progressToken", None)
        kept = {**kept, "_meta": own} if own else {name: part for name, part in kept.items() if name != "_meta"}
    return kept


def the_same(value: Json) -> Json:
    seen: Json = in_either_era(value)
    return seen


# Published servers, of the handshake era.

NOTE = "demo://resource/dynamic/text/1"
FEATURES = "demo://resource/static/document/features.md"

EVERYTHING = Scenario(
    steps=[
        listing("list_tools", "trigger-long-running-operation"),
        *everything.plain_tools(),
        listing("list_resources", FEATURES),
        listing("list_resource_templates", "demo://resource/dynamic/blob/{resourceId}"),
        *(read(f"demo://resource/static/document/{name}", says="text/markdown") for name in everything.DOCUMENTS),
        watch(NOTE, FEATURES),
        call(
            "gzip-file-as-resource",
            {"name": "note.gz", "data": everything.DATA, "outputType": "resourceLink"},
            says="demo://resource/session/note.gz",
            expect={RESOURCES_CHANGED: 1},
        ),
        listing("list_resources", "demo://resource/session/note.gz"),
        read("demo://resource/session/note.gz", says="application/gzip"),
        call("toggle-subscriber-updates", says="Started simulated", expect={UPDATED: 2}),
        call("toggle-subscriber-updates", says="Stopped simulated"),
        unwatch(NOTE, FEATURES),
        call("toggle-simulated-logging", says="Started simulated"),
        call("toggle-simulated-logging", says="Stopped simulated"),
        *everything.prompts_and_completions(),
        *everything.long_running(),
        call(
            "trigger-sampling-request",
            {"prompt": "What is a proxy?", "maxTokens": 17},
            says="A sampled answer",
            expect={SAMPLING: 1},
        ),
        call("trigger-elicitation-request", says="- Name: Ada Lovelace", expect={ELICITATION: 1}),
        answer(ELICITATION, {"action": "decline"}),
        call("trigger-elicitation-request", says="User declined", expect={ELICITATION: 1}),
        answer(ELICITATION, {"action": "accept"}),
        call(
            "trigger-url-elicitation",
            {"url": everything.LINK, "elicitationId": "consent-1"},
            says="User completed the URL",
            expect={ELICITATION: 1},
        ),
        # Asked for once, some time after the start.
        call("get-roots-list", until="Workspace", says="1. Workspace", expect={ROOTS: 1}),
        call("no-such-tool", ends="tool error", says="no-such-tool"),
        read("demo://resource/none", ends="error", says="-32602"),
        listing("list_tools", "trigger-long-running-operation"),
    ],
    roots=everything.SCENARIO.roots,
    rules=[rule for rule in everything.SCENARIO.rules if rule.why.startswith("dynamic resources")],
    views=everything.SCENARIO.views,
    view=the_same,
    ignored=frozenset({LOG, TOOLS_CHANGED, "notifications/elicitation/complete"}),
    unreachable_tools={client: frozenset({"simulate-research-query"}) for client in (*LEGACY_CLIENTS, *MODERN_CLIENTS)},
)


def filesystem_steps() -> Sequence[Step]:
    first, *others = [step for step in filesystem.STEPS if step.name == "call list_allowed_directories"]
    changed = [step for step in filesystem.STEPS if step.op in ("ping", "roots_changed", "set_answer")]
    needs_changed_roots = [step for step in filesystem.STEPS if step.says == "open now"]
    left_out = [*changed, *others, *needs_changed_roots]
    steps = [step for step in filesystem.STEPS if not any(step is each for each in left_out)]
    return [replace(step, expect={ROOTS: 1}) if step is first else step for step in steps]


FILESYSTEM = replace(filesystem.SCENARIO, steps=filesystem_steps(), view=the_same)


# A server on the Python SDK, of both eras.


def sdk_steps() -> list[Step]:
    return [
        listing("list_tools", "greet_user"),
        call("echo", {"words": everything.AWKWARD}, says="日本語 and 🧪"),
        call("add", {"a": 2, "b": 9007199254740991}, says='"sum": 9007199254740993'),
        call("add", {"a": "two", "b": 1}, ends="tool error", says="integer"),
        call("count", {"steps": 3}, says="counted to 3", progress=3),
        together(
            call("count", {"steps": 5}, says="counted to 5", progress=5),
            call("echo", {"words": "meanwhile"}, says="meanwhile"),
            call("count", {"steps": 2}, says="counted to 2", progress=2),
        ),
        call("log", {"words": "hot"}, says="logged", expect={LOG: 1}),
        call("think", says="A sampled answer", expect={SAMPLING: 1}),
        call("greet_user", says="Hello, Ada Lovelace!", expect={ELICITATION: 1}),
        answer(ELICITATION, {"action": "decline"}),
        call("greet_user", ends="tool error", says="decline", expect={ELICITATION: 1}),
        answer(ELICITATION, {"action": "accept", "content": {"name": "Grace"}}),
        call("show_roots", says="file:///srv/workspace", expect={ROOTS: 1}),
        watch("note://first"),
        listing("list_resources", "note://first"),
        call("add_note", {"name": "second"}, says="note://second", expect={RESOURCES_CHANGED: 1}),
        listing("list_resources", "note://second"),
        read("note://second", says="The note second"),
        call("touch_note", {"name": "first"}, says="note://first", expect={UPDATED: 1}),
        call("touch_note", {"name": "second"}, says="note://second"),
        unwatch("note://first"),
        read("note://first", says="The first note"),
        listing("list_resource_templates", "paper://{number}"),
        read("paper://7", says="Paper 7"),
        read("note://none", ends="error", says="-32602"),
        listing("list_prompts", "introduce"),
        prompt("introduce", {"name": "Ada"}, says="This is Ada."),
        Step(
            "complete",
            {"ref": {"type": "ref/prompt", "name": "introduce"}, "argument": {"name": "name", "value": "A"}},
            says="Alan",
        ),
        cancel("count_forever", {}, after={"progress": 2}),
        call("count_holds", until="1 of 1", says="1 of 1 cancelled"),
        call("classic", says="accept: Grace", expect={ELICITATION: 1}).only_for(*LEGACY_CLIENTS),
    ]


def without_title(entry: Json) -> Json:
    """The SDK gives forms no title in 2026-07-28."""
    schema = {name: part for name, part in entry["params"]["requestedSchema"].items() if name != "title"}
    return {**entry, "params": {**entry["params"], "requestedSchema": schema}}


SDK = Scenario(
    steps=sdk_steps(),
    inbound_views={ELICITATION: without_title},
    roots=everything.SCENARIO.roots,
    view=the_same,
    ignored=frozenset({"notifications/subscriptions/acknowledged"}),
    unreachable_tools={
        "python auto": frozenset({"classic", "count_forever"}),
        "typescript 2 auto": frozenset({"classic", "count_forever"}),
        **{client: frozenset({"count_forever"}) for client in LEGACY_CLIENTS},
    },
)

ACROSS = replace(
    SDK,
    steps=[step for step in sdk_steps() if step.only == ALL_CLIENTS],
    unreachable_tools={client: frozenset({"classic", "count_forever"}) for client in LEGACY_CLIENTS},
)
"""What the server's 2026-07-28 side can serve clients of the handshake era."""

CLASSIC = replace(
    SDK,
    steps=[replace(step, only=ALL_CLIENTS) for step in sdk_steps()],
    unreachable_tools={client: frozenset({"count_forever"}) for client in ALL_CLIENTS},
)
"""With the tool that only the server's handshake side can serve, for all clients."""


def missing_resource(outcome: Json) -> Json:
    """The handshake era has a code of its own for it, which its servers on the Python SDK don't use."""
    same: Json = json.loads(json.dumps(outcome).replace("-32002", "-32602"))
    return same


MODERN_SDK = replace(
    SDK,
    steps=[step for step in sdk_steps() if step.name != "call classic"],
    views={"read note://none": missing_resource},
    unreachable_tools={client: frozenset({"classic", "count_forever"}) for client in ALL_CLIENTS},
)
"""Without it, for all clients."""

"""Runs a scenario with one client, checks that it said what it should, and makes it comparable."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from tests.interop.steps import ELICITATION, ROOTS, SAMPLING, Client, Json, Rule, Scenario, Step

DRIVERS = Path(__file__).parent / "drivers"
PYTHON = [sys.executable, str(DRIVERS / "client.py")]
NODE = ["node", str(DRIVERS / "client.mjs")]
COMMANDS: dict[Client, list[str]] = {
    "python": PYTHON,
    "python auto": PYTHON,
    "typescript": NODE,
    "typescript 2": NODE,
    "typescript 2 auto": NODE,
}
LIMIT_SECONDS = 10.0
"""For one operation and for one wait in a driver."""
GIVE_UP_AFTER_SECONDS = 60.0
"""Then a driver takes no further step, but still hands in its transcript."""
RUN_LIMIT_SECONDS = 90.0
LEGACY = "2025-11-25"
"""The revision that all clients agree on with every one of the servers in the handshake."""

ANSWERS: Json = {
    SAMPLING: {
        "result": {
            "role": "assistant",
            "model": "interop-model",
            "content": {"type": "text", "text": "A sampled answer"},
            "stopReason": "endTurn",
        }
    },
    ELICITATION: {
        "result": {
            "action": "accept",
            "content": {
                "name": "Ada Lovelace",
                "check": True,
                "email": "ada@example.invalid",
                "integer": 7,
                "number": 2.5,
                "untitledMultipleSelectEnum": ["Piano", "Violin"],
            },
        }
    },
}


@dataclass
class Run:
    """One driver process that plays a scenario."""

    client: Client
    scenario: Scenario
    substitutions: dict[str, str]
    """Marker in the scenario to what it stands for in this run."""
    process: "subprocess.Popen[bytes]"
    out: IO[bytes]
    err: IO[bytes]

    @classmethod
    def start(
        cls,
        stack: ExitStack,
        client: Client,
        scenario: Scenario,
        connect: Json,
        substitutions: dict[str, str],
        *,
        log_level: str | None = None,
    ) -> "Run":
        """Start the driver; whatever happens, it is gone when the stack closes."""
        scenario = scenario.for_client(client)
        # Files, not pipes: nobody reads or writes while two drivers run side by side.
        job, out, err = (stack.enter_context(TemporaryFile()) for _ in range(3))
        job.write(job_text(client, scenario, connect, substitutions, log_level).encode())
        job.seek(0)
        process = subprocess.Popen(COMMANDS[client], stdin=job, stdout=out, stderr=err)
        stack.callback(stop, process)
        return cls(client, scenario, substitutions, process, out, err)

    def finish(self) -> Json:
        """Wait for the driver and give its transcript, with this run's places replaced by their markers."""
        try:
            code = self.process.wait(RUN_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        assert code == 0, f"the {self.client} client ended with {code}; its stderr:\n{whole(self.err)}"
        text = whole(self.out)
        for marker, value in self.substitutions.items():
            text = text.replace(value, marker)
        transcript: Json = json.loads(text)
        return transcript


def job_text(
    client: Client, scenario: Scenario, connect: Json, substitutions: dict[str, str], log_level: str | None
) -> str:
    text = json.dumps(
        {
            "connect": connect,
            "mode": "auto" if client.endswith("auto") else "legacy",
            "package": "sdk" if client == "typescript" else "client",
            "logLevel": log_level,
            "clientInfo": {"name": "interop", "version": "1.0"},
            "limitSeconds": LIMIT_SECONDS,
            "giveUpAfterSeconds": GIVE_UP_AFTER_SECONDS,
            "answers": {**ANSWERS, ROOTS: {"result": {"roots": list(scenario.roots)}}},
            "steps": [step.as_json() for step in scenario.steps],
        }
    )
    for marker, value in substitutions.items():
        text = text.replace(marker, value)
    return text


def stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def whole(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def text_of(value: Any) -> str:
    """JSON as the scenarios quote it, with the text of text blocks as it is, for their ``says``."""
    return "\n".join([json.dumps(value, ensure_ascii=False), *strings_in(value)])


def strings_in(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for part in parts for found in strings_in(part)]


def problems_of(scenario: Scenario, transcript: Json, *, expected_version: str = LEGACY) -> list[str]:
    """Where a transcript does not carry the evidence that its scenario demands."""
    version = transcript["server"]["protocolVersion"]
    problems = [] if version == expected_version else [f"the client speaks {version}, not {expected_version}"]
    wanted: dict[str, int] = {}
    for step, outcome in zip(scenario.steps, transcript["steps"], strict=True):
        problems += step_problems(step, outcome)
        for method, count in step.expect.items():
            wanted[method] = wanted.get(method, 0) + count
    seen = {method: len(entries) for method, entries in heard(scenario, transcript).items()}
    if seen != wanted:
        problems.append(f"from the server came {seen}, not {wanted}")
    return problems


def heard(scenario: Scenario, transcript: Json) -> dict[str, list[Json]]:
    """What the server sent by itself, as far as the scenario cares."""
    return {method: entries for method, entries in transcript["inbound"].items() if method not in scenario.ignored}


def step_problems(step: Step, outcome: Json) -> list[str]:
    if step.op == "together":
        pairs = zip(step.args["steps"], outcome["result"], strict=True)
        return [problem for part, its in pairs for problem in step_problems(part, its)]
    problems = [f"{step.name}: {outcome['missing']}"] if "missing" in outcome else []
    if (ending := ending_of(outcome)) != step.ends:
        problems.append(f"{step.name}: ended with {ending}, not {step.ends}: {str(outcome)[:500]}")
    if step.says not in text_of(outcome):
        problems.append(f"{step.name}: does not say {step.says[:80]!r}: {str(outcome)[:500]}")
    if (progressed := len(outcome.get("progress", ()))) != step.progress:
        problems.append(f"{step.name}: {progressed} progress notifications, not {step.progress}")
    return problems


def ending_of(outcome: Json) -> str:
    if "error" in outcome:
        return "error"
    result = outcome["result"]
    if isinstance(result, dict) and "cancelled" in result:
        return "cancelled"
    return "tool error" if isinstance(result, dict) and result.get("isError") else "result"


def uncovered(client: Client, scenario: Scenario, transcript: Json) -> set[str]:
    """What the server lists and no step has brought to a good end."""
    listed: set[str] = set()
    reached = set(scenario.unreachable_tools.get(client, ()))
    for step, outcome in _flat(scenario.steps, transcript["steps"]):
        if ending_of(outcome) != "result":
            continue
        match step.op, outcome["result"]:
            case "list_tools", {"tools": entries}:
                listed |= {entry["name"] for entry in entries}
            case "list_prompts", {"prompts": entries}:
                listed |= {f"prompt {entry['name']}" for entry in entries}
            case "list_resources", {"resources": entries}:
                listed |= {entry["uri"] for entry in entries}
            case "call" | "task_call", _:
                reached.add(step.args["name"])
            case "get_prompt", _:
                reached.add(f"prompt {step.args['name']}")
            case "read", _:
                reached.add(step.args["uri"])
            case _:
                pass
    return listed - reached


def _flat(steps: Iterable[Step], outcomes: Iterable[Json]) -> Iterator[tuple[Step, Json]]:
    for step, outcome in zip(steps, outcomes, strict=True):
        if step.op == "together":
            yield from _flat(step.args["steps"], outcome["result"])
        else:
            yield step, outcome


def comparable(scenario: Scenario, transcript: Json) -> Json:
    """The transcript without what may differ between two runs, all of which the scenario names.

    Not compared at all: how notifications of different kinds interleave, for over HTTP they may travel
    on different streams. Within one kind the order counts.
    """
    steps = [
        {"name": step.name, **scenario.view(scenario.views.get(step.name, _same)(outcome))}
        for step, outcome in zip(scenario.steps, transcript["steps"], strict=True)
    ]
    inbound = {
        method: [scenario.view(scenario.inbound_views.get(method, _same)(entry)) for entry in entries]
        for method, entries in sorted(heard(scenario, transcript).items())
    }
    server = scenario.view(transcript["server"])
    ruled: Json = _apply({"server": server, "steps": steps, "inbound": inbound}, scenario.rules)
    return ruled


def _apply(value: Any, rules: Sequence[Rule]) -> Any:
    match value:
        case dict():
            return {key: _apply(_legible(part) if key == "blob" else part, rules) for key, part in value.items()}
        case list():
            return [_apply(part, rules) for part in value]
        case str():
            for rule in rules:
                value = rule.pattern.sub(rule.replacement, value)
            return value
        case _:
            return value


def _legible(blob: Any) -> Any:
    """Text inside base64 as text, so that the rules reach it; anything else as it is."""
    if not isinstance(blob, str):
        return blob
    try:
        return "base64 of " + base64.b64decode(blob, validate=True).decode()
    except ValueError:
        return blob


def unused_rules(scenario: Scenario, transcript: Json) -> list[str]:
    """Rules that match nothing, and so could only hide something one day."""
    return [rule.why for rule in scenario.rules if _apply(transcript, [rule]) == _apply(transcript, [])]


def differences(plain: Json, proxied: Json) -> list[str]:
    """Readable lines, one entry for each step or kind of notification that differs."""
    pairs = [("server", plain["server"], proxied["server"])]
    steps = zip(plain["steps"], proxied["steps"], strict=True)
    pairs += [(one["name"], one, other) for one, other in steps]
    for method in sorted({*plain["inbound"], *proxied["inbound"]}):
        one, other = plain["inbound"].get(method, []), proxied["inbound"].get(method, [])
        pairs.append((f"{method} ({len(one)} plain, {len(other)} proxied)", one, other))
    return [
        f"{what}:\n  plain   {shorten(one)}\n  proxied {shorten(other)}" for what, one, other in pairs if one != other
    ]


def shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 1500 else f"{text[:1500]} ... ({len(text)} characters)"


def _same(outcome: Json) -> Json:
    return outcome

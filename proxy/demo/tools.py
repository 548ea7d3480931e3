"""Which tools are there, and what is a tool? These answer by themselves; `asking.py` has those that ask back.

Spec: 2025-11-25 server/tools.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy.demo.content import COUNTER, NOTE_PREFIX
from proxy.demo.messages import Json, is_id
from proxy.demo.rpc import Call
from proxy.demo.session import LOG_LEVELS, Session


@dataclass(frozen=True)
class Use:
    """One use of a tool: who asks, with which arguments, and how to tell the client something meanwhile."""

    session: Session
    call: Call
    arguments: Json
    notify: Callable[[str, Json | None], None]

    def report_progress(self, progress: float, total: float, message: str) -> None:
        """Tell how far it is, if the client asked to be told.

        Spec: 2025-11-25 basic/utilities/progress; `message` is there since 2025-03-26.
        """
        token = self.call.params.get("_meta", {}).get("progressToken")
        if not is_id(token):
            return
        params = {"progressToken": token, "progress": progress, "total": total}
        if self.session.revision >= "2025-03-26":
            params["message"] = message
        self.notify("notifications/progress", params)


@dataclass(frozen=True)
class Tool:
    """A tool as it is listed, and what it does.

    Attributes:
        definition: As in tools/list at the newest revision; the arguments are checked with its schema.
        run: Gives the result of tools/call at the newest revision.
        waits: If `run` takes time, and so gets a thread of its own.
    """

    definition: Json
    run: Callable[[Use], Json]
    waits: bool = False


def text_result(text: str, structured: Json | None = None) -> Json:
    """Give a result of one text. Spec: Structured Content; who has it SHOULD also return it as text."""
    result: Json = {"content": [{"type": "text", "text": text}]}
    return result if structured is None else result | {"structuredContent": structured}


def failure(text: str) -> Json:
    """Give a result that says what went wrong. Spec: Error Handling, Tool Execution Errors."""
    return text_result(text) | {"isError": True}


def object_schema(properties: Json, *required: str) -> Json:
    """Give the schema of an object that has these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def hints(*, reads_only: bool, is_open: bool = False) -> Json:
    """Give annotations; no tool here destroys anything. Spec: 2025-11-25 schema, ToolAnnotations."""
    annotations: Json = {"readOnlyHint": reads_only, "openWorldHint": is_open}
    return annotations if reads_only else annotations | {"destructiveHint": False, "idempotentHint": False}


def _echo(use: Use) -> Json:
    return text_result(use.arguments["text"])


def _add(use: Use) -> Json:
    try:
        total: Any = use.arguments["a"] + use.arguments["b"]
    except OverflowError:  # An integer too big for a float, and a float.
        total = math.inf
    if isinstance(total, float) and not math.isfinite(total):
        return failure("the sum is too big a number")
    return text_result(str(total), {"sum": total})


def _slow(use: Use) -> Json:
    steps = int(use.arguments.get("steps", 5))
    seconds = use.arguments.get("seconds", 0.5)
    use.report_progress(0, steps, "started")
    for step in range(1, steps + 1):
        use.call.pause(seconds)
        use.report_progress(step, steps, f"step {step} of {steps}")
    return text_result(f"{steps} steps done")


def _log(use: Use) -> Json:
    level = use.arguments.get("level", "info")
    if not use.session.wants_log(level):
        return text_result(f"held back: the level is set to {use.session.log_level}")
    data = use.arguments.get("text", "Hello from the demo server")
    use.notify("notifications/message", {"level": level, "logger": "demo", "data": data})
    return text_result(f"sent at level {level}")


def _touch(use: Use) -> Json:
    session = use.session
    result = text_result(f"{COUNTER} is now {session.library.counter + 1}")
    if (name := use.arguments.get("add")) is not None:
        try:
            is_new = session.library.add_note(name)
        except ValueError as exc:
            return failure(str(exc))
        if is_new:
            use.notify("notifications/resources/list_changed", None)
        # 2025-06-18 server/tools, Resource Links. Earlier revisions do not have them.
        if session.revision >= "2025-06-18":
            result["content"].append({"type": "resource_link", "uri": NOTE_PREFIX + name, "name": name})
    session.library.counter += 1
    if COUNTER in session.subscriptions:
        use.notify("notifications/resources/updated", {"uri": COUNTER})
    return result


_NUMBER = {"type": "number"}
_NOTE_NAME = {
    "type": "string",
    "pattern": "^[a-z0-9-]{1,32}$",
    "description": "Also add the resource demo://note/ and this name",
}

TOOLS = (
    Tool(
        {
            "name": "echo",
            "title": "Echo",
            "description": "Gives the text back",
            "inputSchema": object_schema({"text": {"type": "string"}}, "text"),
            "annotations": hints(reads_only=True),
        },
        _echo,
    ),
    Tool(
        {
            "name": "add",
            "title": "Add",
            "description": "Adds two numbers; structured output",
            "inputSchema": object_schema({"a": _NUMBER, "b": _NUMBER}, "a", "b"),
            "outputSchema": object_schema({"sum": _NUMBER}, "sum"),
            "annotations": hints(reads_only=True),
        },
        _add,
    ),
    Tool(
        {
            "name": "slow",
            "title": "Slow",
            "description": "Takes its time: reports progress, and can be cancelled",
            "inputSchema": object_schema(
                {
                    "steps": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 5},
                    "seconds": {
                        "type": "number",
                        "minimum": 0,
                        "maximum": 60,
                        "default": 0.5,
                        "description": "Seconds per step",
                    },
                }
            ),
            "annotations": hints(reads_only=True),
        },
        _slow,
        waits=True,
    ),
    Tool(
        {
            "name": "log",
            "title": "Log",
            "description": "Sends a log message, unless the level set by the client is higher",
            "inputSchema": object_schema(
                {
                    "level": {"type": "string", "enum": list(LOG_LEVELS), "default": "info"},
                    "text": {"type": "string"},
                }
            ),
            "annotations": hints(reads_only=True),
        },
        _log,
    ),
    Tool(
        {
            "name": "touch",
            "title": "Touch",
            "description": f"Counts {COUNTER} up, which its subscribers are told",
            "inputSchema": object_schema({"add": _NOTE_NAME}),
            "annotations": hints(reads_only=False),
        },
        _touch,
    ),
)

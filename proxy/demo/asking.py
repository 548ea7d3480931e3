"""Which tools ask the client something before they answer?

Spec: 2025-11-25 client/sampling, client/elicitation, client/roots.
"""

import json
from collections.abc import Callable
from typing import Any

from proxy.demo.messages import Json
from proxy.demo.rpc import ClientRefused
from proxy.demo.tools import Tool, Use, failure, hints, object_schema, text_result

FORM: Json = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Name", "description": "What shall we call you?"},
        "colour": {"type": "string", "title": "Favourite colour", "enum": ["red", "green", "blue"]},
        "age": {"type": "integer", "title": "Age", "minimum": 0, "maximum": 150},
        "newsletter": {"type": "boolean", "title": "Newsletter", "default": False},
    },
    "required": ["name"],
}
"""One field of each kind. 2025-11-25 client/elicitation, Requested Schema: flat, primitive types only."""


def _asks(
    capability: str, since: str, method: str, make_params: Callable[[Use], Json], read: Callable[[Json], Json]
) -> Callable[[Use], Json]:
    """Make what a tool does of a question and a reading of the answer.

    What goes wrong becomes a result with isError, so that the model can see what is missing.
    """

    def run(use: Use) -> Json:
        if obstacle := use.session.find_obstacle(capability, since):
            return failure(obstacle)
        try:
            return read(use.call.ask(method, make_params(use)))
        except ClientRefused as exc:
            return failure(str(exc))
        except (KeyError, TypeError, ValueError):
            return failure(f"the client answered {method} with something else than the specification says")

    return run


def _sampling_params(use: Use) -> Json:
    text = {"type": "text", "text": use.arguments["prompt"]}
    return {
        "messages": [{"role": "user", "content": text}],
        "maxTokens": int(use.arguments.get("maxTokens", 200)),
    }


def _read_sample(answer: Json) -> Json:
    content: Any = answer["content"]
    # Since 2025-11-25 it may be several blocks.
    blocks = content if isinstance(content, list) else [content]
    texts = [block["text"] if block["type"] == "text" else f"[{block['type']}]" for block in blocks]
    return text_result("\n".join(texts))


def _elicitation_params(use: Use) -> Json:
    message = use.arguments.get("message", "Please tell the demo server about yourself")
    params: Json = {"message": message, "requestedSchema": FORM}
    return {"mode": "form"} | params if use.session.revision >= "2025-11-25" else params


def _read_elicitation(answer: Json) -> Json:
    if answer["action"] not in ("accept", "decline", "cancel"):
        raise ValueError("no such action")
    outcome: Json = {"action": answer["action"]}
    if answer["action"] == "accept":
        outcome["content"] = dict(answer.get("content") or {})
    return text_result(json.dumps(outcome), outcome)


def _no_params(use: Use) -> Json:
    return {}


def _read_roots(answer: Json) -> Json:
    roots = [{"uri": root["uri"]} | ({"name": root["name"]} if "name" in root else {}) for root in answer["roots"]]
    return text_result(json.dumps(roots), {"roots": roots})


_STRING = {"type": "string"}
_ROOT = {"type": "object", "properties": {"uri": _STRING, "name": _STRING}, "required": ["uri"]}

ASKING_TOOLS = (
    Tool(
        {
            "name": "sample",
            "title": "Sample",
            "description": "Asks the model of the client (sampling/createMessage) and gives its answer",
            "inputSchema": object_schema(
                {
                    "prompt": {"type": "string"},
                    "maxTokens": {"type": "integer", "minimum": 1, "maximum": 100_000, "default": 200},
                },
                "prompt",
            ),
            "annotations": hints(reads_only=True, is_open=True),
        },
        _asks("sampling", "2024-11-05", "sampling/createMessage", _sampling_params, _read_sample),
        waits=True,
    ),
    Tool(
        {
            "name": "elicit",
            "title": "Elicit",
            "description": "Asks the user to fill in a form (elicitation/create) and gives the answer",
            "inputSchema": object_schema({"message": {"type": "string"}}),
            "outputSchema": object_schema(
                {
                    "action": {"type": "string", "enum": ["accept", "decline", "cancel"]},
                    "content": {"type": "object"},
                },
                "action",
            ),
            "annotations": hints(reads_only=True, is_open=True),
        },
        _asks("elicitation", "2025-06-18", "elicitation/create", _elicitation_params, _read_elicitation),
        waits=True,
    ),
    Tool(
        {
            "name": "roots",
            "title": "Roots",
            "description": "Asks the client for its roots (roots/list) and lists them",
            "inputSchema": object_schema({}),
            "outputSchema": object_schema({"roots": {"type": "array", "items": _ROOT}}, "roots"),
            "annotations": hints(reads_only=True),
        },
        _asks("roots", "2024-11-05", "roots/list", _no_params, _read_roots),
        waits=True,
    ),
)

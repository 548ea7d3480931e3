"""What the official conformance suite wants a server to offer, as it stands on the wire. Standard library only.

Names, texts and schemas are prescribed by the server scenarios of `@modelcontextprotocol/conformance`.
"""

import json
import re
from typing import Any

Json = dict[str, Any]
Question = Json
"""Method and params of a request to the client."""

RED_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC"  # PNG
SILENCE = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQIAAACAgA=="  # WAV
PAUSE_SECONDS = 0.05
"""Between two notifications of a call; the suite asks for about 50 ms."""

STRING = {"type": "string"}
BOOLEAN = {"type": "boolean"}


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def picture() -> Json:
    return {"type": "image", "data": RED_PIXEL, "mimeType": "image/png"}


def embedded(uri: str, mime_type: str, words: str) -> Json:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime_type, "text": words}}


# Tools.


def tool(name: str, description: str, properties: Json | None = None, /, **schema: Any) -> Json:
    """A tool as `tools/list` shows it; all its properties are required."""
    properties = properties or {}
    whole = {"type": "object", "properties": properties, "required": list(properties), **schema}
    return {"name": name, "description": description, "inputSchema": whole}


ANSWERS: dict[str, list[Json]] = {
    "test_simple_text": [text("This is a simple text response for testing.")],
    "test_image_content": [picture()],
    "test_audio_content": [{"type": "audio", "data": SILENCE, "mimeType": "audio/wav"}],
    "test_embedded_resource": [
        embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    ],
    "test_multiple_content_types": [
        text("Multiple content types test:"),
        picture(),
        embedded("test://mixed-content-resource", "application/json", json.dumps({"test": "data", "value": 123})),
    ],
    "json_schema_2020_12_tool": [text("JSON Schema 2020-12 tool called")],
    "test_header_argument": [text("The header was right.")],
}
"""Of the tools that only answer."""

LOGS = ("Tool execution started", "Tool processing data", "Tool execution completed")
PROGRESS = (0, 50, 100)
FAILURE = "This tool intentionally returns an error for testing"

TOOLS = [
    tool("test_simple_text", "Answers with a text"),
    tool("test_image_content", "Answers with an image"),
    tool("test_audio_content", "Answers with audio"),
    tool("test_embedded_resource", "Answers with an embedded resource"),
    tool("test_multiple_content_types", "Answers with text, image and resource"),
    tool("test_tool_with_logging", "Logs three times while it runs"),
    tool("test_tool_with_progress", "Reports progress three times"),
    tool("test_error_handling", "Always fails"),
    tool(
        "test_sampling",
        "Asks the client's model",
        {"prompt": {**STRING, "description": "The prompt to send to the LLM"}},
    ),
    tool("test_elicitation", "Asks the user", {"message": {**STRING, "description": "The message to show the user"}}),
    tool("test_elicitation_sep1034_defaults", "Asks the user, with a default of each type"),
    tool("test_elicitation_sep1330_enums", "Asks the user, with each kind of enumeration"),
    tool("test_reconnection", "Closes its stream while it runs, if whoever serves it lets it"),
    tool(
        "json_schema_2020_12_tool",
        "Tool with JSON Schema 2020-12 features",
        {
            "name": STRING,
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {**STRING, "enum": ["phone", "email"]},
            "phone": STRING,
            "email": STRING,
        },
        required=[],
        **{
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": {
                "address": {
                    "$anchor": "addressDef",
                    "type": "object",
                    "properties": {"street": STRING, "city": STRING},
                }
            },
            "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
            "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
            "then": {"required": ["phone"]},
            "else": {"required": ["email"]},
            "additionalProperties": False,
        },
    ),
    tool("test_header_argument", "Has a header for an argument", {"region": {**STRING, "x-mcp-header": "Region"}}),
    tool("test_missing_capability", "Needs sampling"),
    tool("test_streaming_elicitation", "Asks the user while its stream is open"),
    tool("test_logging_tool", "Logs once"),
    tool("test_trigger_tool_change", "Changes the list of tools"),
    tool("test_trigger_prompt_change", "Changes the list of prompts"),
    tool("test_input_required_result_elicitation", "Asks for a name"),
    tool("test_input_required_result_sampling", "Asks the client's model for a capital"),
    tool("test_input_required_result_list_roots", "Asks for the roots"),
    tool("test_input_required_result_request_state", "Keeps a state"),
    tool("test_input_required_result_multiple_inputs", "Asks three things at once"),
    tool("test_input_required_result_multi_round", "Asks twice"),
    tool("test_input_required_result_tampered_state", "Keeps a state that nobody can forge"),
    tool("test_input_required_result_capabilities", "Asks what the client can be asked"),
]
EXTRA_TOOL = tool("test_tool_that_comes_and_goes", "Comes and goes with test_trigger_tool_change")


# What tools and prompts ask the client.


def form(message: str, **properties: Json) -> Question:
    """A question for the user; all the properties are required."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}}


def sampling(prompt: str, *, max_tokens: int = 100) -> Question:
    """A question for the client's model."""
    messages = [{"role": "user", "content": text(prompt)}]
    return {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": max_tokens}}


ROOTS: Question = {"method": "roots/list"}
TITLED = [{"const": f"value{n}", "title": f"{nth} Choice"} for n, nth in ((1, "First"), (2, "Second"), (3, "Third"))]
OPTIONS = {**STRING, "enum": ["option1", "option2", "option3"]}

NAME = form("What is your name?", name=STRING)
CONFIRM = form("Please confirm", ok=BOOLEAN)
DEFAULTS = form(
    "Please review and update the form fields with defaults",
    name={**STRING, "description": "User name", "default": "John Doe"},
    age={"type": "integer", "description": "User age", "default": 30},
    score={"type": "number", "description": "User score", "default": 95.5},
    status={**STRING, "enum": ["active", "inactive", "pending"], "default": "active"},
    verified={**BOOLEAN, "description": "Verification status", "default": True},
)
ENUMS = form(
    "Please select options from the enum fields",
    untitledSingle=OPTIONS,
    titledSingle={**STRING, "oneOf": TITLED},
    legacyEnum={
        **STRING,
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    untitledMulti={"type": "array", "items": OPTIONS},
    titledMulti={"type": "array", "items": {"anyOf": TITLED}},
)

SCRIPTS: dict[str, list[dict[str, Question]]] = {
    "test_elicitation_sep1034_defaults": [{"fields": DEFAULTS}],
    "test_elicitation_sep1330_enums": [{"fields": ENUMS}],
    "test_streaming_elicitation": [{"confirm": CONFIRM}],
    "test_missing_capability": [{"completion": sampling("Are you there?")}],
    "test_input_required_result_elicitation": [{"user_name": NAME}],
    "test_input_required_result_sampling": [{"capital_question": sampling("What is the capital of France?")}],
    "test_input_required_result_list_roots": [{"client_roots": ROOTS}],
    "test_input_required_result_request_state": [{"confirm": CONFIRM}],
    "test_input_required_result_tampered_state": [{"confirm": CONFIRM}],
    "test_input_required_result_multiple_inputs": [
        {"user_name": NAME, "greeting": sampling("Generate a greeting", max_tokens=50), "client_roots": ROOTS}
    ],
    "test_input_required_result_multi_round": [
        {"step1": form("Step 1: What is your name?", name=STRING)},
        {"step2": form("Step 2: What is your favorite color?", color=STRING)},
    ],
    "test_input_required_result_prompt": [
        {"user_context": form("What context should the prompt use?", context=STRING)}
    ],
}
"""The rounds of questions of tools and prompts, each with a name."""


def script_of(name: str, arguments: Json, capabilities: Json) -> list[dict[str, Question]] | None:
    """The rounds of questions of a tool or prompt; None if it asks nothing.

    Args:
        arguments: Of the call.
        capabilities: That the client has declared.
    """
    if name == "test_sampling":
        return [{"completion": sampling(arguments["prompt"])}]
    if name == "test_elicitation":
        username = {**STRING, "description": "User's response"}
        email = {**STRING, "description": "User's email address"}
        return [{"fields": form(arguments["message"], username=username, email=email)}]
    if name == "test_input_required_result_capabilities":
        asked = {"elicitation": {"user_name": NAME}, "sampling": {"greeting": sampling("Generate a greeting")}}
        return [questions for capability, questions in asked.items() if capability in capabilities]
    return SCRIPTS.get(name)


def capability_for(question: Question) -> str:
    """What a client must declare to be asked this."""
    capability: str = question["method"].partition("/")[0]
    return capability


# Resources, prompts, completion.

RESOURCES: list[Json] = [
    {
        "uri": "test://static-text",
        "mimeType": "text/plain",
        "text": "This is the content of the static text resource.",
    },
    {"uri": "test://static-binary", "mimeType": "image/png", "blob": RED_PIXEL},
    {"uri": "test://watched-resource", "mimeType": "text/plain", "text": "Watched resource content"},
]
TEMPLATE = {
    "name": "template",
    "uriTemplate": "test://template/{id}/data",
    "description": "A resource with a parameter",
    "mimeType": "application/json",
}


def list_resources() -> list[Json]:
    """The resources as `resources/list` shows them."""
    return [
        {
            "name": contents["uri"].removeprefix("test://"),
            "uri": contents["uri"],
            "description": "A resource for testing",
            "mimeType": contents["mimeType"],
        }
        for contents in RESOURCES
    ]


def contents_of(uri: str) -> Json | None:
    """What is read there; None if there is nothing."""
    if found := re.fullmatch(r"test://template/([^/]+)/data", uri):
        data = {"id": found[1], "templateTest": True, "data": f"Data for ID: {found[1]}"}
        return {"uri": uri, "mimeType": "application/json", "text": json.dumps(data)}
    return next((contents for contents in RESOURCES if contents["uri"] == uri), None)


PROMPTS: dict[str, tuple[str, ...]] = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
    "test_input_required_result_prompt": (),
}
"""The arguments of each prompt, all required."""
EXTRA_PROMPT = "test_prompt_that_comes_and_goes"


def list_prompts(names: list[str]) -> list[Json]:
    """The prompts as `prompts/list` shows them."""
    return [
        {
            "name": name,
            "description": "A prompt for testing",
            "arguments": [{"name": argument, "required": True} for argument in PROMPTS.get(name, ())],
        }
        for name in names
    ]


def prompt_of(name: str, arguments: dict[str, str]) -> list[Json]:
    """The content of a prompt that asks nothing."""
    if name == "test_prompt_with_arguments":
        return [text("Prompt with arguments: arg1='{arg1}', arg2='{arg2}'".format_map(arguments))]
    if name == "test_prompt_with_embedded_resource":
        resource = embedded(arguments["resourceUri"], "text/plain", "Embedded resource content for testing.")
        return [resource, text("Please process the embedded resource above.")]
    if name == "test_prompt_with_image":
        return [picture(), text("Please analyze the image above.")]
    return [text("This is a simple prompt for testing.")]


def complete(value: str) -> Json:
    """A completion of a value."""
    words = [word for word in ("paris", "park", "party", "test") if word.startswith(value)]
    return {"values": words, "total": len(words), "hasMore": False}

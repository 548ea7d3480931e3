"""The server that the official conformance suite wants to meet, on the official SDK.

Started without arguments it speaks stdio, as a child of the proxy. With `--http PORT` the SDK itself serves it on
loopback, which tells whether a failed scenario is the fault of this program or of the proxy.

Names, texts and schemas are prescribed by the server scenarios of `@modelcontextprotocol/conformance`; what a
handler does beyond them is in their prose (`setLevel` filters, `unsubscribe` forgets).
"""

import argparse
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, get_args

import anyio
import mcp_types as mcp
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata

Context = ServerRequestContext[Any, Any]
Arguments = dict[str, Any]
Content = list[mcp.ContentBlock]
JsonSchema = dict[str, Any]
Answer = TypeVar("Answer", bound=mcp.Result)

PAUSE_SECONDS = 0.05
"""Between two notifications of a call; the suite asks for about 50 ms."""
RETRY_MILLISECONDS = 500

RED_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC"  # PNG
SILENCE = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQIAAACAgA=="  # WAV

LEVELS = list(get_args(mcp.LoggingLevel))


def text(words: str) -> mcp.TextContent:
    return mcp.TextContent(text=words)


def picture() -> mcp.ImageContent:
    return mcp.ImageContent(data=RED_PIXEL, mime_type="image/png")


def embedded(uri: str, mime_type: str, words: str) -> mcp.EmbeddedResource:
    return mcp.EmbeddedResource(resource=mcp.TextResourceContents(uri=uri, mime_type=mime_type, text=words))


# Tools.

ToolBody = Callable[[Context, Arguments], Awaitable[Content]]
TOOLS: dict[str, tuple[mcp.Tool, ToolBody]] = {}


def tool(description: str, **properties: JsonSchema) -> Callable[[ToolBody], ToolBody]:
    """Offer a function as the tool of its name; all its properties are required."""

    def register(body: ToolBody) -> ToolBody:
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        TOOLS[body.__name__] = mcp.Tool(name=body.__name__, description=description, input_schema=schema), body
        return body

    return register


@tool("Answers with a text")
async def test_simple_text(context: Context, arguments: Arguments) -> Content:
    return [text("This is a simple text response for testing.")]


@tool("Answers with an image")
async def test_image_content(context: Context, arguments: Arguments) -> Content:
    return [picture()]


@tool("Answers with audio")
async def test_audio_content(context: Context, arguments: Arguments) -> Content:
    return [mcp.AudioContent(data=SILENCE, mime_type="audio/wav")]


@tool("Answers with an embedded resource")
async def test_embedded_resource(context: Context, arguments: Arguments) -> Content:
    return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


@tool("Answers with text, image and resource")
async def test_multiple_content_types(context: Context, arguments: Arguments) -> Content:
    data = json.dumps({"test": "data", "value": 123})
    resource = embedded("test://mixed-content-resource", "application/json", data)
    return [text("Multiple content types test:"), picture(), resource]


@tool("Logs three times while it runs")
async def test_tool_with_logging(context: Context, arguments: Arguments) -> Content:
    for nth, words in enumerate(("Tool execution started", "Tool processing data", "Tool execution completed")):
        await anyio.sleep(PAUSE_SECONDS if nth else 0)
        await log(context, "info", words)
    return [text("Tool with logging executed successfully")]


@tool("Reports progress three times")
async def test_tool_with_progress(context: Context, arguments: Arguments) -> Content:
    for progress in (0, 50, 100):
        await anyio.sleep(PAUSE_SECONDS if progress else 0)
        await context.session.report_progress(progress, 100)
    return [text("Tool with progress executed successfully")]


@tool("Always fails")
async def test_error_handling(context: Context, arguments: Arguments) -> Content:
    raise ToolFailed("This tool intentionally returns an error for testing")


@tool("Asks the client's model", prompt={"type": "string", "description": "The prompt to send to the LLM"})
async def test_sampling(context: Context, arguments: Arguments) -> Content:
    require(context, mcp.ClientCapabilities(sampling=mcp.SamplingCapability()), "sampling")
    message = mcp.SamplingMessage(role="user", content=text(arguments["prompt"]))
    params = mcp.CreateMessageRequestParams(messages=[message], max_tokens=100)
    result = await ask(context, mcp.CreateMessageRequest(params=params), mcp.CreateMessageResult)
    words = result.content.text if isinstance(result.content, mcp.TextContent) else result.content.type
    return [text(f"LLM response: {words}")]


@tool("Asks the user", message={"type": "string", "description": "The message to show the user"})
async def test_elicitation(context: Context, arguments: Arguments) -> Content:
    username = {"type": "string", "description": "User's response"}
    email = {"type": "string", "description": "User's email address"}
    answer = await elicit(context, arguments["message"], {"username": username, "email": email})
    return [text(f"User response: {answer}")]


@tool("Asks the user, with a default of each type")
async def test_elicitation_sep1034_defaults(context: Context, arguments: Arguments) -> Content:
    properties = {
        "name": {"type": "string", "description": "User name", "default": "John Doe"},
        "age": {"type": "integer", "description": "User age", "default": 30},
        "score": {"type": "number", "description": "User score", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "description": "Verification status", "default": True},
    }
    answer = await elicit(context, "Please review and update the form fields with defaults", properties)
    return [text(f"Elicitation completed: {answer}")]


@tool("Asks the user, with each kind of enumeration")
async def test_elicitation_sep1330_enums(context: Context, arguments: Arguments) -> Content:
    options = ["option1", "option2", "option3"]
    titled = [
        {"const": f"value{n}", "title": f"{nth} Choice"} for n, nth in ((1, "First"), (2, "Second"), (3, "Third"))
    ]
    properties = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    answer = await elicit(context, "Please select options from the enum fields", properties)
    return [text(f"Elicitation completed: {answer}")]


@tool("Closes its stream while it runs, if whoever serves it lets it")
async def test_reconnection(context: Context, arguments: Arguments) -> Content:
    await anyio.sleep(PAUSE_SECONDS)
    if context.close_sse_stream is not None:
        await context.close_sse_stream()
    await anyio.sleep(4 * PAUSE_SECONDS)
    return [text("Reconnection test completed successfully")]


@tool("Tool with JSON Schema 2020-12 features")
async def json_schema_2020_12_tool(context: Context, arguments: Arguments) -> Content:
    return [text(f"JSON Schema 2020-12 tool called with: {json.dumps(arguments)}")]


TOOLS["json_schema_2020_12_tool"][0].input_schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


class ToolFailed(Exception):
    """Becomes a result with `isError`."""


def require(context: Context, capability: mcp.ClientCapabilities, name: str) -> None:
    if not context.session.check_client_capability(capability):
        raise ToolFailed(f"the client does not support {name}")


async def elicit(context: Context, message: str, properties: JsonSchema) -> str:
    """Ask the user for these properties; returns the answer in words."""
    require(context, mcp.ClientCapabilities(elicitation=mcp.ElicitationCapability()), "elicitation")
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    params = mcp.ElicitRequestFormParams(message=message, requested_schema=schema)
    result = await ask(context, mcp.ElicitRequest(params=params), mcp.ElicitResult)
    return f"action={result.action}, content={json.dumps(result.content or {})}"


async def ask(context: Context, request: mcp.ServerRequest, answer: type[Answer]) -> Answer:
    """Send the client a request that belongs to the call in progress."""
    related = ServerMessageMetadata(related_request_id=context.request_id)
    return await context.session.send_request(request, answer, metadata=related)


# Resources and prompts.

Contents = mcp.TextResourceContents | mcp.BlobResourceContents
RESOURCES: list[Contents] = [
    mcp.TextResourceContents(
        uri="test://static-text", mime_type="text/plain", text="This is the content of the static text resource."
    ),
    mcp.BlobResourceContents(uri="test://static-binary", mime_type="image/png", blob=RED_PIXEL),
    mcp.TextResourceContents(uri="test://watched-resource", mime_type="text/plain", text="Watched resource content"),
]
TEMPLATE = mcp.ResourceTemplate(
    name="template",
    uri_template="test://template/{id}/data",
    description="A resource with a parameter",
    mime_type="application/json",
)


def contents_of(uri: str) -> Contents:
    if found := re.fullmatch(r"test://template/([^/]+)/data", uri):
        data = {"id": found[1], "templateTest": True, "data": f"Data for ID: {found[1]}"}
        return mcp.TextResourceContents(uri=uri, mime_type="application/json", text=json.dumps(data))
    for contents in RESOURCES:
        if contents.uri == uri:
            return contents
    raise MCPError(mcp.INVALID_PARAMS, "Resource not found", {"uri": uri})


PROMPTS = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
}


def prompt_text(name: str, arguments: dict[str, str]) -> Content:
    match name:
        case "test_simple_prompt":
            return [text("This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            return [text("Prompt with arguments: arg1='{arg1}', arg2='{arg2}'".format_map(arguments))]
        case "test_prompt_with_embedded_resource":
            resource = embedded(arguments["resourceUri"], "text/plain", "Embedded resource content for testing.")
            return [resource, text("Please process the embedded resource above.")]
        case "test_prompt_with_image":
            return [picture(), text("Please analyze the image above.")]
        case _:
            raise MCPError(mcp.INVALID_PARAMS, f"Unknown prompt: {name}")


# Handlers.


async def list_tools(context: Context, params: mcp.PaginatedRequestParams | None) -> mcp.ListToolsResult:
    return mcp.ListToolsResult(tools=[tool for tool, _ in TOOLS.values()])


async def call_tool(context: Context, params: mcp.CallToolRequestParams) -> mcp.CallToolResult:
    if params.name not in TOOLS:
        raise MCPError(mcp.INVALID_PARAMS, f"Unknown tool: {params.name}")
    _, body = TOOLS[params.name]
    try:
        return mcp.CallToolResult(content=await body(context, params.arguments or {}))
    except ToolFailed as exc:
        return mcp.CallToolResult(content=[text(str(exc))], is_error=True)


async def list_resources(context: Context, params: mcp.PaginatedRequestParams | None) -> mcp.ListResourcesResult:
    return mcp.ListResourcesResult(
        resources=[
            mcp.Resource(
                name=contents.uri.removeprefix("test://"),
                uri=contents.uri,
                description="A resource for testing",
                mime_type=contents.mime_type,
            )
            for contents in RESOURCES
        ]
    )


async def list_templates(
    context: Context, params: mcp.PaginatedRequestParams | None
) -> mcp.ListResourceTemplatesResult:
    return mcp.ListResourceTemplatesResult(resource_templates=[TEMPLATE])


async def read_resource(context: Context, params: mcp.ReadResourceRequestParams) -> mcp.ReadResourceResult:
    return mcp.ReadResourceResult(contents=[contents_of(params.uri)])


async def list_prompts(context: Context, params: mcp.PaginatedRequestParams | None) -> mcp.ListPromptsResult:
    return mcp.ListPromptsResult(
        prompts=[
            mcp.Prompt(
                name=name,
                description="A prompt for testing",
                arguments=[mcp.PromptArgument(name=argument, required=True) for argument in arguments],
            )
            for name, arguments in PROMPTS.items()
        ]
    )


async def get_prompt(context: Context, params: mcp.GetPromptRequestParams) -> mcp.GetPromptResult:
    arguments = params.arguments or {}
    missing = set(PROMPTS.get(params.name, ())) - arguments.keys()
    if missing:
        raise MCPError(mcp.INVALID_PARAMS, f"Missing arguments: {', '.join(sorted(missing))}")
    content = prompt_text(params.name, arguments)
    return mcp.GetPromptResult(messages=[mcp.PromptMessage(role="user", content=each) for each in content])


async def complete(context: Context, params: mcp.CompleteRequestParams) -> mcp.CompleteResult:
    words = [word for word in ("paris", "park", "party", "test") if word.startswith(params.argument.value)]
    return mcp.CompleteResult(completion=mcp.Completion(values=words, total=len(words), has_more=False))


class Session:
    """What a client has set. Over stdio it has the process for itself; over HTTP all share one, which will do."""

    def __init__(self) -> None:
        self.log_level: mcp.LoggingLevel = "debug"
        self.subscribed: set[str] = set()

    async def set_log_level(self, context: Context, params: mcp.SetLevelRequestParams) -> mcp.EmptyResult:
        self.log_level = params.level
        return mcp.EmptyResult()

    async def subscribe(self, context: Context, params: mcp.SubscribeRequestParams) -> mcp.EmptyResult:
        self.subscribed.add(params.uri)
        return mcp.EmptyResult()

    async def unsubscribe(self, context: Context, params: mcp.UnsubscribeRequestParams) -> mcp.EmptyResult:
        self.subscribed.discard(params.uri)
        return mcp.EmptyResult()


SESSION = Session()


async def log(context: Context, level: mcp.LoggingLevel, words: str) -> None:
    if LEVELS.index(level) >= LEVELS.index(SESSION.log_level):
        params = mcp.LoggingMessageNotificationParams(level=level, data=words)
        await context.session.send_notification(mcp.LoggingMessageNotification(params=params), context.request_id)


def make_server() -> Server[Any]:
    server: Server[Any] = Server(
        "conformance",
        version="1.0.0",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=SESSION.subscribe,
        on_unsubscribe_resource=SESSION.unsubscribe,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
    )
    # Not as an argument of Server: there it warns, since logging is deprecated from 2026-07-28.
    server.add_request_handler("logging/setLevel", mcp.SetLevelRequestParams, SESSION.set_log_level)
    return server


# Serving.


class Events(EventStore):
    """Every event since the start, so that the SDK can close a stream and resume it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, mcp.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: mcp.JSONRPCMessage | None) -> str:
        self.events.append((stream_id, message))
        return str(len(self.events) - 1)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        stream_id, _ = self.events[int(last_event_id)]
        for nth, (owner, message) in enumerate(self.events[int(last_event_id) + 1 :], int(last_event_id) + 1):
            if owner == stream_id and message is not None:
                await send_callback(EventMessage(message, str(nth)))
        return stream_id


async def serve_stdio(server: Server[Any]) -> None:
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--http", type=int, metavar="PORT", help="serve streamable HTTP at /mcp instead of stdio")
    port = parser.parse_args().http
    server = make_server()
    if port is None:
        anyio.run(serve_stdio, server)
    else:
        import uvicorn  # only here: stdio starts a process for each session

        app = server.streamable_http_app(event_store=Events(), retry_interval=RETRY_MILLISECONDS)
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()

"""The server that the official conformance suite wants to meet, on the official SDK, in both eras.

Started without arguments it speaks stdio, as a child of the proxy; with `--modern-only` it refuses the handshake. With
`--http PORT` the SDK itself serves it on loopback, which tells whether a failed scenario is the fault of this program
or of the proxy.

What a handler does beyond the prescribed content is in the prose of the scenarios (`setLevel` filters, `unsubscribe`
forgets).
"""

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import Any

import anyio
import mcp_types as mcp
from mcp.server.context import HandlerResult
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.runner import _serve_modern_stream
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPError

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.programs import conformance_content as content
from tests.programs import conformance_tasks, conformance_tools
from tests.programs.conformance_asking import BUS, SESSION, Context, InputRequired, Json, ask_all, text

RETRY_MILLISECONDS = 500


# Handlers.


async def list_tools(context: Context, params: mcp.PaginatedRequestParams | None) -> mcp.ListToolsResult:
    return mcp.ListToolsResult(tools=[*conformance_tools.list_tools(), *conformance_tasks.TOOLS.values()])


async def call_tool(context: Context, params: mcp.CallToolRequestParams) -> HandlerResult:
    try:
        if params.name in conformance_tasks.TOOLS:
            return await conformance_tasks.call(context, params)
        answer = await conformance_tools.call_tool(context, params.name, params.arguments or {})
        return mcp.CallToolResult(content=answer)
    except conformance_tools.ToolFailed as exc:
        return mcp.CallToolResult(content=[text(str(exc))], is_error=True)
    except InputRequired as exc:
        return exc.result


async def list_resources(context: Context, params: mcp.PaginatedRequestParams | None) -> mcp.ListResourcesResult:
    return mcp.ListResourcesResult.model_validate({"resources": content.list_resources()})


async def list_templates(
    context: Context, params: mcp.PaginatedRequestParams | None
) -> mcp.ListResourceTemplatesResult:
    return mcp.ListResourceTemplatesResult.model_validate({"resourceTemplates": [content.TEMPLATE]})


async def read_resource(context: Context, params: mcp.ReadResourceRequestParams) -> mcp.ReadResourceResult:
    contents = content.contents_of(params.uri)
    if contents is None:
        raise MCPError(mcp.INVALID_PARAMS, "Resource not found", {"uri": params.uri})
    return mcp.ReadResourceResult.model_validate({"contents": [contents]})


def prompts() -> list[str]:
    """The names of the prompts that there are now."""
    return [*content.PROMPTS, *([content.EXTRA_PROMPT] if conformance_tools.EXTRAS["prompt"] else [])]


async def list_prompts(context: Context, params: mcp.PaginatedRequestParams | None) -> mcp.ListPromptsResult:
    return mcp.ListPromptsResult.model_validate({"prompts": content.list_prompts(prompts())})


async def get_prompt(
    context: Context, params: mcp.GetPromptRequestParams
) -> mcp.GetPromptResult | mcp.InputRequiredResult:
    arguments = params.arguments or {}
    missing = set(content.PROMPTS.get(params.name, ())) - arguments.keys()
    if missing or params.name not in prompts():
        raise MCPError(mcp.INVALID_PARAMS, f"No such prompt, or missing arguments: {', '.join(sorted(missing))}")
    if params.name in content.SCRIPTS:
        try:
            blocks = [content.text(json.dumps(await ask_all(context, params.name, arguments)))]
        except InputRequired as exc:
            return exc.result
    else:
        blocks = content.prompt_of(params.name, arguments)
    return mcp.GetPromptResult.model_validate({"messages": [{"role": "user", "content": each} for each in blocks]})


async def complete(context: Context, params: mcp.CompleteRequestParams) -> mcp.CompleteResult:
    return mcp.CompleteResult.model_validate({"completion": content.complete(params.argument.value)})


def input_schema(name: str) -> Json | None:
    return next((tool["inputSchema"] for tool in content.TOOLS if tool["name"] == name), None)


def make_server() -> Server[Any]:
    server: Server[Any] = Server(
        "conformance",
        version="1.0.0",
        get_tool_input_schema=input_schema,
        on_list_tools=list_tools,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=SESSION.subscribe,
        on_unsubscribe_resource=SESSION.unsubscribe,
        on_subscriptions_listen=ListenHandler(BUS),
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
    )
    server.add_request_handler("tools/call", mcp.CallToolRequestParams, call_tool)  # an argument could answer no tasks
    conformance_tasks.offer_tasks(server)
    # Not as an argument of Server: there it warns, since logging is deprecated from 2026-07-28.
    server.add_request_handler("logging/setLevel", mcp.SetLevelRequestParams, SESSION.set_log_level)
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=server.name))
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


async def serve_stdio(server: Server[Any], *, is_modern_only: bool) -> None:
    async with stdio_server() as (incoming, outgoing):
        if is_modern_only:
            # The SDK takes the era of the first request. This is what it runs once that is the modern one.
            async with server.lifespan(server) as state:
                await _serve_modern_stream(server, incoming, outgoing, lifespan_state=state, raise_exceptions=False)
        else:
            changes = NotificationOptions(prompts_changed=True, tools_changed=True)
            await server.run(incoming, outgoing, server.create_initialization_options(changes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--http", type=int, metavar="PORT", help="serve streamable HTTP at /mcp instead of stdio")
    parser.add_argument("--modern-only", action="store_true", help="over stdio, refuse the handshake")
    arguments = parser.parse_args()
    server = make_server()
    if arguments.http is None:
        anyio.run(functools.partial(serve_stdio, server, is_modern_only=arguments.modern_only))
    else:
        import uvicorn  # only here: stdio starts a process for each session

        app = server.streamable_http_app(event_store=Events(), retry_interval=RETRY_MILLISECONDS)
        uvicorn.run(app, host="127.0.0.1", port=arguments.http, log_level="warning", http="h11")


if __name__ == "__main__":
    main()

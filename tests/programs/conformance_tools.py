"""The tools of `conformance_server.py` that end with the call."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import mcp_types as mcp

from tests.programs import conformance_content as content
from tests.programs.conformance_asking import Context, ask_all, log, tell_prompts_changed, tell_tools_changed, text

Arguments = dict[str, Any]
Content = list[mcp.ContentBlock]
ToolBody = Callable[[Context], Awaitable[Content]]
BODIES: dict[str, ToolBody] = {}

EXTRAS: dict[str, bool] = {"tool": False, "prompt": False}
"""Whether there is one more tool or prompt now."""


class ToolFailed(Exception):
    """Becomes a result with `isError`."""


def list_tools() -> list[mcp.Tool]:
    tools = [*content.TOOLS, *([content.EXTRA_TOOL] if EXTRAS["tool"] else [])]
    return [mcp.Tool.model_validate(tool) for tool in tools]


async def call_tool(context: Context, name: str, arguments: Arguments) -> Content:
    """Do what a tool does.

    Raises:
        KeyError: If there is no such tool.
        ToolFailed: If it fails.
        InputRequired, MCPError: As `ask_all`.
    """
    if name in content.ANSWERS:
        return blocks(content.ANSWERS[name])
    if name in BODIES:
        return await BODIES[name](context)
    if EXTRAS["tool"] and name == content.EXTRA_TOOL["name"]:
        return blocks(content.ANSWERS["test_simple_text"])
    answers = await ask_all(context, name, arguments)
    return [text(f"{name}: {json.dumps(answers)}")]


def blocks(wire: list[dict[str, Any]]) -> Content:
    return mcp.CallToolResult.model_validate({"content": wire}).content


def tool(body: ToolBody) -> ToolBody:
    """Offer a function as the tool of its name."""
    BODIES[body.__name__] = body
    return body


@tool
async def test_tool_with_logging(context: Context) -> Content:
    for words in content.LOGS:
        await log(context, "info", words)
        await anyio.sleep(content.PAUSE_SECONDS)
    return [text("Tool with logging executed successfully")]


@tool
async def test_tool_with_progress(context: Context) -> Content:
    for progress in content.PROGRESS:
        await context.session.report_progress(progress, content.PROGRESS[-1])
        await anyio.sleep(content.PAUSE_SECONDS)
    return [text("Tool with progress executed successfully")]


@tool
async def test_error_handling(context: Context) -> Content:
    raise ToolFailed(content.FAILURE)


@tool
async def test_logging_tool(context: Context) -> Content:
    await log(context, "info", content.LOGS[0])
    return [text("Logged")]


@tool
async def test_reconnection(context: Context) -> Content:
    await anyio.sleep(content.PAUSE_SECONDS)
    if context.close_sse_stream is not None:
        await context.close_sse_stream()
    await anyio.sleep(4 * content.PAUSE_SECONDS)
    return [text("Reconnection test completed successfully")]


@tool
async def test_trigger_tool_change(context: Context) -> Content:
    EXTRAS["tool"] = not EXTRAS["tool"]
    await tell_tools_changed(context)
    return [text("Changed")]


@tool
async def test_trigger_prompt_change(context: Context) -> Content:
    EXTRAS["prompt"] = not EXTRAS["prompt"]
    await tell_prompts_changed(context)
    return [text("Changed")]

"""A server as people write them with the high-level part of the official Python SDK, for both eras.

Started without arguments it speaks stdio in the era that its client begins with; with `--modern-only` it refuses the
handshake. `classic` asks as tools did before 2026-07-28, which works in the handshake era alone.
"""

import argparse
import functools
import itertools
from typing import Annotated, Any

import anyio
import mcp_types as mcp
from mcp.server.lowlevel import NotificationOptions
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from mcp.server.mcpserver.resources import TextResource
from mcp.server.runner import _serve_modern_stream
from mcp.server.stdio import stdio_server
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel

server = MCPServer("sdk", version="1.0.0", instructions="For tests.", log_level="WARNING")
subscribed: set[str] = set()
holds = {"held": 0, "cancelled": 0}


class Name(BaseModel):
    name: str


class Sum(BaseModel):
    sum: int


def is_modern(context: Context) -> bool:
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


# Tools.


@server.tool()
async def echo(words: str) -> str:
    """Answers with its argument."""
    return words


@server.tool()
async def add(a: int, b: int) -> Sum:
    """Answers with an object."""
    return Sum(sum=a + b)


@server.tool()
async def count(steps: int, context: Context) -> str:
    """Reports progress."""
    for step in range(1, steps + 1):
        await context.report_progress(step, steps, f"step {step}")
    return f"counted to {steps}"


@server.tool()
async def log(words: str, context: Context) -> str:
    """Logs."""
    await context.info(words)
    return "logged"


async def ask_name() -> Elicit[Name]:
    return Elicit("What is your name?", Name)


@server.tool()
async def greet_user(name: Annotated[Name, Resolve(ask_name)]) -> str:
    """Asks the user, in both eras."""
    return f"Hello, {name.name}!"


async def ask_model() -> Sample:
    message = mcp.SamplingMessage(role="user", content=mcp.TextContent(text="What is a proxy?"))
    return Sample([message], max_tokens=17)


@server.tool()
async def think(answer: Annotated[mcp.CreateMessageResult, Resolve(ask_model)]) -> str:
    """Asks the client's model, in both eras."""
    return answer.content.text if isinstance(answer.content, mcp.TextContent) else answer.content.type


async def ask_roots() -> ListRoots:
    return ListRoots()


@server.tool()
async def show_roots(found: Annotated[mcp.ListRootsResult, Resolve(ask_roots)]) -> str:
    """Asks for the roots, in both eras."""
    return "\n".join(str(root.uri) for root in found.roots)


@server.tool()
async def classic(context: Context) -> str:
    """Asks the user as tools did before 2026-07-28."""
    answer = await context.elicit("What is your name?", Name)
    return f"{answer.action}: {answer.data.name}" if answer.action == "accept" else answer.action


@server.tool()
async def count_forever(context: Context) -> str:
    """Reports progress until it is cancelled."""
    holds["held"] += 1
    try:
        for step in itertools.count(1):
            await context.report_progress(step)
            await anyio.sleep(0.05)
    finally:
        holds["cancelled"] += 1
    return "never"


@server.tool()
async def count_holds() -> str:
    """Says how many calls of count_forever have come, and how many were cancelled."""
    return f"{holds['cancelled']} of {holds['held']} cancelled"


@server.tool()
async def add_note(name: str, context: Context) -> str:
    """Adds a resource, and tells of it."""
    server.add_resource(TextResource(uri=f"note://{name}", name=name, text=f"The note {name}"))
    await context.notify_resources_changed()
    if not is_modern(context):
        await context.session.send_resource_list_changed()
    return f"note://{name}"


@server.tool()
async def touch_note(name: str, context: Context) -> str:
    """Says that a resource was updated."""
    uri = f"note://{name}"
    await context.notify_resource_updated(uri)
    if not is_modern(context) and uri in subscribed:
        await context.session.send_resource_updated(uri)
    return uri


# Resources, prompts.


@server.resource("note://first")
def first_note() -> str:
    """A note."""
    return "The first note"


@server.resource("paper://{number}")
def paper(number: str) -> str:
    """A paper."""
    return f"Paper {number}"


@server.prompt()
def introduce(name: str) -> str:
    """Introduces somebody."""
    return f"This is {name}."


@server.completion()  # type: ignore[no-untyped-call, untyped-decorator]
async def complete(
    ref: mcp.PromptReference | mcp.ResourceTemplateReference,
    argument: mcp.CompletionArgument,
    context: mcp.CompletionContext | None,
) -> mcp.Completion:
    names = [name for name in ("Ada", "Alan", "Grace") if name.startswith(argument.value)]
    return mcp.Completion(values=names, total=len(names), has_more=False)


# What the SDK leaves to the server in the handshake era.


async def subscribe(context: Any, params: mcp.SubscribeRequestParams) -> mcp.EmptyResult:
    subscribed.add(params.uri)
    return mcp.EmptyResult()


async def unsubscribe(context: Any, params: mcp.UnsubscribeRequestParams) -> mcp.EmptyResult:
    subscribed.discard(params.uri)
    return mcp.EmptyResult()


async def set_level(context: Any, params: mcp.SetLevelRequestParams) -> mcp.EmptyResult:
    return mcp.EmptyResult()


server._lowlevel_server.add_request_handler("resources/subscribe", mcp.SubscribeRequestParams, subscribe)
server._lowlevel_server.add_request_handler("resources/unsubscribe", mcp.UnsubscribeRequestParams, unsubscribe)
server._lowlevel_server.add_request_handler("logging/setLevel", mcp.SetLevelRequestParams, set_level)


async def serve(*, is_modern_only: bool) -> None:
    inner = server._lowlevel_server
    async with stdio_server() as (incoming, outgoing):
        if is_modern_only:
            # What the SDK runs once the first request was a modern one, from the beginning.
            async with inner.lifespan(inner) as state:
                await _serve_modern_stream(inner, incoming, outgoing, lifespan_state=state, raise_exceptions=False)
        else:
            changes = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
            await inner.run(incoming, outgoing, inner.create_initialization_options(changes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modern-only", action="store_true")
    anyio.run(functools.partial(serve, is_modern_only=parser.parse_args().modern_only))


if __name__ == "__main__":
    main()

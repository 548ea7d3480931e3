"""The demo server as the official client sees it."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client import ClientRequestContext
from mcp.client.session import IncomingMessage
from mcp.shared.exceptions import MCPDeprecationWarning
from pydantic import FileUrl

PATIENCE_SECONDS = 10.0

# The methods of the handshake era are what is tested here; that 2026-07-28 has others is no news.
pytestmark = pytest.mark.filterwarnings(f"ignore::{MCPDeprecationWarning.__module__}.MCPDeprecationWarning")


class Ears:
    """Hears every notification, and gives them in order."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[IncomingMessage](1000)

    async def hear(self, message: IncomingMessage) -> None:
        """Take one; this is the message_handler."""
        await self._send.send(message)

    async def next(self) -> IncomingMessage:
        """Wait for the next one."""
        with anyio.fail_after(PATIENCE_SECONDS):
            return await self._receive.receive()

    def close(self) -> None:
        """Hear no more."""
        self._send.close()
        self._receive.close()


@asynccontextmanager
async def open_client(**options: Any) -> AsyncIterator[tuple[Client, Ears]]:
    """Start the demo server and shake hands with it."""
    ears = Ears()
    server = StdioServerParameters(command=sys.executable, args=["-m", "proxy.demo"])
    try:
        async with Client(
            server,
            mode="legacy",
            read_timeout_seconds=PATIENCE_SECONDS,
            message_handler=ears.hear,
            cache=None,
            **options,
        ) as client:
            yield client, ears
    finally:
        ears.close()


def text_of(result: types.CallToolResult) -> str:
    """Give the text of the first block."""
    block = result.content[0]
    assert isinstance(block, types.TextContent)
    return block.text


async def test_it_declares_what_it_can_do() -> None:
    """Spec: 2025-11-25 basic/lifecycle, Capability Negotiation."""
    async with open_client() as (client, _):
        offered = client.server_capabilities.model_dump(by_alias=True, exclude_none=True)

        assert client.protocol_version == "2025-11-25"
        assert client.server_info is not None and client.server_info.name == "mcp-proxy-demo"
        assert offered == {
            "logging": {},
            "prompts": {},
            "resources": {"subscribe": True, "listChanged": True},
            "tools": {},
            "completions": {},
        }
        await client.send_ping()


async def test_every_tool_is_listed_with_annotations() -> None:
    """Spec: 2025-11-25 server/tools, Listing Tools."""
    async with open_client() as (client, _):
        listed = await client.list_tools()

        names = [tool.name for tool in listed.tools]
        assert names == ["echo", "add", "slow", "log", "touch", "sample", "elicit", "roots"]
        assert all(tool.annotations is not None and tool.title and tool.description for tool in listed.tools)
        assert listed.next_cursor is None


async def test_echo_gives_the_text_back() -> None:
    """Ours."""
    async with open_client() as (client, _):
        assert text_of(await client.call_tool("echo", {"text": "Zoë 🙂"})) == "Zoë 🙂"


async def test_add_gives_structured_content() -> None:
    """Spec: 2025-11-25 server/tools, Structured Content; the client checks it with the output schema."""
    async with open_client() as (client, _):
        await client.list_tools()

        result = await client.call_tool("add", {"a": 2, "b": 40})

        assert result.structured_content == {"sum": 42}
        assert text_of(result) == "42"


async def test_slow_reports_progress() -> None:
    """Spec: 2025-11-25 basic/utilities/progress."""
    reports: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, total, message))

    async with open_client() as (client, _):
        result = await client.call_tool("slow", {"steps": 2, "seconds": 0}, progress_callback=on_progress)

        assert text_of(result) == "2 steps done"
        assert reports == [(0, 2, "started"), (1, 2, "step 1 of 2"), (2, 2, "step 2 of 2")]


async def test_a_slow_call_can_be_cancelled_while_others_are_served() -> None:
    """Spec: 2025-11-25 basic/utilities/cancellation."""
    has_started = anyio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        has_started.set()

    async with open_client() as (client, _):

        async def call_slow() -> None:
            await client.call_tool("slow", {"steps": 1000, "seconds": 60}, progress_callback=on_progress)

        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call_slow)
                await has_started.wait()

                assert text_of(await client.call_tool("echo", {"text": "quick"})) == "quick"
                tasks.cancel_scope.cancel()

            assert text_of(await client.call_tool("echo", {"text": "after"})) == "after"


async def test_sample_gives_the_answer_of_the_model() -> None:
    """Spec: 2025-11-25 client/sampling; another call is served while the model thinks."""
    async with open_client(sampling_callback=lambda context, params: sample(context, params)) as (client, _):

        async def sample(
            context: ClientRequestContext, params: types.CreateMessageRequestParams
        ) -> types.CreateMessageResult:
            assert params.max_tokens == 7
            meanwhile = text_of(await client.call_tool("echo", {"text": "meanwhile"}))
            question = params.messages[0].content
            assert isinstance(question, types.TextContent)
            text = types.TextContent(type="text", text=f"{question.text}? Yes, {meanwhile}.")
            return types.CreateMessageResult(role="assistant", content=text, model="none")

        result = await client.call_tool("sample", {"prompt": "Really", "maxTokens": 7})

        assert text_of(result) == "Really? Yes, meanwhile."


@pytest.mark.parametrize(
    ("action", "content"), [("accept", {"name": "Ada", "age": 36}), ("decline", None), ("cancel", None)]
)
async def test_elicit_gives_what_the_user_did(action: Any, content: dict[str, Any] | None) -> None:
    """Spec: 2025-11-25 client/elicitation, Response Actions."""

    async def fill_in(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert isinstance(params, types.ElicitRequestFormParams)
        assert params.message == "Who?"
        return types.ElicitResult(action=action, content=content)

    async with open_client(elicitation_callback=fill_in) as (client, _):
        await client.list_tools()

        result = await client.call_tool("elicit", {"message": "Who?"})

        expected = {"action": action} | ({} if content is None else {"content": content})
        assert result.structured_content == expected


async def test_roots_lists_the_roots_of_the_client() -> None:
    """Spec: 2025-11-25 client/roots."""

    async def list_roots(context: ClientRequestContext) -> types.ListRootsResult:
        roots = [types.Root(uri=FileUrl("file:///a"), name="A"), types.Root(uri=FileUrl("file:///b"))]
        return types.ListRootsResult(roots=roots)

    async with open_client(list_roots_callback=list_roots) as (client, _):
        await client.list_tools()

        result = await client.call_tool("roots")

        assert result.structured_content == {"roots": [{"uri": "file:///a", "name": "A"}, {"uri": "file:///b"}]}


@pytest.mark.parametrize(
    ("tool", "arguments", "capability"),
    [("sample", {"prompt": "Hi"}, "sampling"), ("elicit", {}, "elicitation"), ("roots", {}, "roots")],
)
async def test_what_the_client_did_not_declare_is_named(tool: str, arguments: dict[str, Any], capability: str) -> None:
    """Spec: 2025-11-25 basic/lifecycle, Operation."""
    async with open_client() as (client, _):
        result = await client.call_tool(tool, arguments)

        assert result.is_error
        assert text_of(result) == f"the client did not declare the capability {capability}"


async def test_log_keeps_to_the_level_that_is_set() -> None:
    """Spec: 2025-11-25 server/utilities/logging."""
    heard: list[tuple[str, Any]] = []

    async def hear(params: types.LoggingMessageNotificationParams) -> None:
        heard.append((params.level, params.data))

    async with open_client(logging_callback=hear) as (client, ears):
        await client.call_tool("log", {"level": "debug", "text": "one"})
        await ears.next()
        await client.set_logging_level("warning")

        held_back = await client.call_tool("log", {"level": "notice", "text": "two"})
        await client.call_tool("log", {"level": "warning", "text": "three"})
        await ears.next()

        assert text_of(held_back) == "held back: the level is set to warning"
        assert heard == [("debug", "one"), ("warning", "three")]


async def test_subscribers_are_told_that_the_counter_changed() -> None:
    """Spec: 2025-11-25 server/resources, Subscriptions."""
    async with open_client() as (client, ears):
        await client.call_tool("touch")
        await client.subscribe_resource("demo://counter")
        await client.call_tool("touch")
        updated = await ears.next()
        await client.unsubscribe_resource("demo://counter")
        await client.call_tool("touch")
        # A log message behind it: what comes next is not an update.
        await client.call_tool("log")
        after = await ears.next()
        read = await client.read_resource("demo://counter")

        assert isinstance(updated, types.ResourceUpdatedNotification)
        assert updated.params.uri == "demo://counter"
        assert isinstance(after, types.LoggingMessageNotification)
        assert isinstance(read.contents[0], types.TextResourceContents) and read.contents[0].text == "3"


async def test_an_added_resource_is_announced_once_and_can_be_read() -> None:
    """Spec: 2025-11-25 server/resources, List Changed Notification; server/tools, Resource Links."""
    async with open_client() as (client, ears):
        result = await client.call_tool("touch", {"add": "idea"})
        changed = await ears.next()
        await client.call_tool("touch", {"add": "idea"})
        await client.call_tool("log")
        after = await ears.next()
        link = result.content[1]
        assert isinstance(link, types.ResourceLink)
        read = await client.read_resource(link.uri)

        assert isinstance(changed, types.ResourceListChangedNotification)
        assert isinstance(after, types.LoggingMessageNotification)
        assert isinstance(read.contents[0], types.TextResourceContents)
        assert read.contents[0].text == "A note named idea."


async def test_a_long_list_has_pages() -> None:
    """Spec: 2025-11-25 server/utilities/pagination."""
    async with open_client() as (client, _):
        for number in range(60):
            await client.call_tool("touch", {"add": f"note-{number}"})

        first = await client.list_resources()
        second = await client.list_resources(cursor=first.next_cursor)

        uris = [resource.uri for resource in (*first.resources, *second.resources)]
        assert (len(first.resources), len(second.resources), second.next_cursor) == (50, 12, None)
        assert uris[:2] == ["demo://counter", "demo://readme"] and uris[-1] == "demo://note/note-59"
        assert len(set(uris)) == 62


async def test_notes_have_an_end() -> None:
    """Ours: a client in a loop must not eat the memory."""
    async with open_client() as (client, _):
        for number in range(200):
            await client.call_tool("touch", {"add": f"{number}"})

        result = await client.call_tool("touch", {"add": "one-more"})

        assert result.is_error


async def test_resources_and_templates_can_be_listed_and_read() -> None:
    """Spec: 2025-11-25 server/resources, Reading Resources, Resource Templates."""
    async with open_client() as (client, _):
        templates = await client.list_resource_templates()
        readme = await client.read_resource("demo://readme")
        greeting = await client.read_resource("demo://greeting/Zo%C3%AB%20B")

        assert [template.uri_template for template in templates.resource_templates] == ["demo://greeting/{name}"]
        assert readme.contents[0].mime_type == "text/markdown"
        assert isinstance(greeting.contents[0], types.TextResourceContents)
        assert greeting.contents[0].text == "Hello, Zoë B!"
        with pytest.raises(MCPError) as caught:
            await client.read_resource("demo://nope")
        assert (caught.value.code, caught.value.error.data) == (-32002, {"uri": "demo://nope"})


async def test_prompts_can_be_listed_and_filled() -> None:
    """Spec: 2025-11-25 server/prompts."""
    async with open_client() as (client, _):
        prompts = (await client.list_prompts()).prompts
        plain = await client.get_prompt("introduce", {"language": "python"})
        full = await client.get_prompt("introduce", {"language": "python", "framework": "starlette"})
        tour = await client.get_prompt("tour")

        assert [prompt.name for prompt in prompts] == ["introduce", "tour"]
        assert isinstance(plain.messages[0].content, types.TextContent)
        assert plain.messages[0].content.text == "Introduce python in three sentences."
        assert isinstance(full.messages[0].content, types.TextContent)
        assert full.messages[0].content.text == "Introduce starlette for python in three sentences."
        assert isinstance(tour.messages[1].content, types.EmbeddedResource)


PROMPT = types.PromptReference(name="introduce")
TEMPLATE = types.ResourceTemplateReference(uri="demo://greeting/{name}")


@pytest.mark.parametrize(
    ("reference", "name", "value", "context", "values"),
    [
        (PROMPT, "language", "p", None, ["python"]),
        (PROMPT, "framework", "f", None, ["fastapi", "fastify", "flask"]),
        (PROMPT, "framework", "f", {"language": "python"}, ["fastapi", "flask"]),
        (PROMPT, "framework", "", {"language": "cobol"}, []),
        (PROMPT, "nope", "", None, []),
        (TEMPLATE, "name", "A", None, ["Ada", "Alan"]),
        (TEMPLATE, "nope", "", None, []),
    ],
)
async def test_arguments_can_be_completed(
    reference: types.PromptReference | types.ResourceTemplateReference,
    name: str,
    value: str,
    context: dict[str, str] | None,
    values: list[str],
) -> None:
    """Spec: 2025-11-25 server/utilities/completion."""
    async with open_client() as (client, _):
        completion = (await client.complete(reference, {"name": name, "value": value}, context)).completion

        assert (completion.values, completion.total, completion.has_more) == (values, len(values), False)

"""How `conformance_server.py` asks the client and tells it things, in the era of the request.

In the handshake era a question is a request to the client, and the call waits. In 2026-07-28 it ends the call with
`input_required`; the retry begins again, and now the answers are there.
"""

import json
from collections.abc import Mapping
from typing import Any, get_args

import anyio
import mcp_types as mcp
from mcp.server.connection import allowed_log_levels
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from tests.programs import conformance_content as content

Context = ServerRequestContext[Any, Any]
Json = dict[str, Any]

REQUESTS: dict[str, type[mcp.ElicitRequest] | type[mcp.CreateMessageRequest] | type[mcp.ListRootsRequest]] = {
    "elicitation/create": mcp.ElicitRequest,
    "sampling/createMessage": mcp.CreateMessageRequest,
    "roots/list": mcp.ListRootsRequest,
}
ANSWERS: dict[str, type[mcp.ElicitResult] | type[mcp.CreateMessageResult] | type[mcp.ListRootsResult]] = {
    "elicitation/create": mcp.ElicitResult,
    "sampling/createMessage": mcp.CreateMessageResult,
    "roots/list": mcp.ListRootsResult,
}
LEVELS = list(get_args(mcp.LoggingLevel))
BUS = InMemorySubscriptionBus()


class InputRequired(Exception):
    """Becomes the interim result of a modern call."""

    def __init__(self, result: mcp.InputRequiredResult) -> None:
        super().__init__()
        self.result = result


def text(words: str) -> mcp.TextContent:
    return mcp.TextContent(text=words)


def is_modern(context: Context) -> bool:
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


def capabilities_of(context: Context) -> Json:
    """What the client has declared, for this request or in the handshake."""
    declared = context.session.client_capabilities
    return declared.model_dump(by_alias=True, mode="json", exclude_none=True) if declared else {}


async def ask_all(context: Context, name: str, arguments: Json) -> Json:
    """Ask the client what a tool or prompt asks, round by round; returns the answers by the names of the questions.

    Raises:
        InputRequired: If the answers must come with a retry.
        MCPError: If there is no such tool or prompt, or the client can't be asked.
    """
    script = content.script_of(name, arguments, capabilities_of(context))
    if script is None:
        raise MCPError(mcp.INVALID_PARAMS, f"Unknown: {name}")
    answers: Json = {}
    for questions in script:
        require(context, questions)
        answers |= await (retried(context, questions) if is_modern(context) else requested(context, questions))
    return answers


def require(context: Context, questions: Mapping[str, content.Question]) -> None:
    """Raises what the era has for a client that has not declared that it can be asked these."""
    missing: Json = {content.capability_for(question): {} for question in questions.values()}
    for name in capabilities_of(context):
        missing.pop(name, None)
    if missing:
        code = mcp.MISSING_REQUIRED_CLIENT_CAPABILITY if is_modern(context) else mcp.INVALID_PARAMS
        raise MCPError(code, "The client lacks a capability", {"requiredCapabilities": missing})


async def requested(context: Context, questions: Mapping[str, content.Question]) -> Json:
    """The answers to one round of questions that are sent to the client, all at once.

    Raises:
        MCPError: If the client refuses one of them.
    """
    answers: Json = {}
    refused: list[MCPError] = []

    async def ask(name: str, question: content.Question) -> None:
        method = question["method"]
        related = ServerMessageMetadata(related_request_id=context.request_id)
        request = REQUESTS[method].model_validate(question)
        try:
            answer = await context.session.send_request(request, ANSWERS[method], metadata=related)
        except MCPError as exc:
            refused.append(exc)
        else:
            answers[name] = answer.model_dump(by_alias=True, mode="json", exclude_none=True)

    async with anyio.create_task_group() as tasks:
        for name, question in questions.items():
            tasks.start_soon(ask, name, question)
    for exc in refused:
        raise exc
    return answers


async def retried(context: Context, questions: Mapping[str, content.Question]) -> Json:
    """The answers to one round of questions that this call or an earlier try of it has brought.

    Raises:
        InputRequired: If some are missing. The state holds the others: the next retry brings only the missing ones.
    """
    params = context.params or {}
    brought: Json = {**json.loads(params.get("requestState") or "{}"), **(params.get("inputResponses") or {})}
    missing = {name: question for name, question in questions.items() if name not in brought}
    if missing:
        asked = {name: REQUESTS[question["method"]].model_validate(question) for name, question in missing.items()}
        raise InputRequired(mcp.InputRequiredResult(input_requests=asked, request_state=json.dumps(brought)))
    return {name: brought[name] for name in questions}


class Session:
    """What a client of the handshake era has set. It has the process for itself; over HTTP all share one."""

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
    """Log, if the client wants this level: of the session, or of this one request."""
    least = "debug" if is_modern(context) else SESSION.log_level
    if level in allowed_log_levels(context.protocol_version, context.meta) and LEVELS.index(level) >= LEVELS.index(
        least
    ):
        params = mcp.LoggingMessageNotificationParams(level=level, data=words)
        await context.session.send_notification(mcp.LoggingMessageNotification(params=params), context.request_id)


async def tell_tools_changed(context: Context) -> None:
    await BUS.publish(ToolsListChanged())
    if not is_modern(context):
        await context.session.send_tool_list_changed()


async def tell_prompts_changed(context: Context) -> None:
    await BUS.publish(PromptsListChanged())
    if not is_modern(context):
        await context.session.send_prompt_list_changed()

"""The tasks extension of `conformance_server.py`: tools that answer with a task, and the methods that look after it.

Nothing runs: what a task has become is computed when somebody asks.
"""

import json
import secrets
import time
from datetime import UTC, datetime
from typing import Any

import mcp_types as mcp
from mcp.server.context import HandlerResult
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from tests.programs.conformance_asking import Context, is_modern, retried, text
from tests.programs.conformance_content import BOOLEAN, NAME, STRING, Json, Question, form, tool

EXTENSION = "io.modelcontextprotocol/tasks"
TTL_MILLISECONDS = 60_000
POLL_MILLISECONDS = 100


class Task:
    """One task.

    Attributes:
        outcome: What it becomes when the time has come and nothing is to be answered: a tool's result, or an error.
        questions: What is to be answered before that.
    """

    def __init__(self, *, seconds: float, outcome: Json, questions: dict[str, Question] | None = None) -> None:
        self.id = secrets.token_hex(16)
        self.created = datetime.now(UTC)
        self.ends_at = time.monotonic() + seconds
        self.outcome = outcome
        self.questions = questions or {}
        self.answers: Json = {}
        self.is_cancelled = False

    @property
    def head(self) -> Json:
        """What every description of a task has."""
        moment = self.created.isoformat()
        times = {"createdAt": moment, "lastUpdatedAt": moment}
        return {"taskId": self.id, **times, "ttlMs": TTL_MILLISECONDS, "pollIntervalMs": POLL_MILLISECONDS}

    def describe(self) -> Json:
        """What `tasks/get` answers."""
        if self.is_cancelled:
            return {**self.head, "status": "cancelled"}
        if self.questions:
            return {**self.head, "status": "input_required", "inputRequests": self.questions}
        if time.monotonic() < self.ends_at:
            return {**self.head, "status": "working"}
        return {**self.head, **self.outcome}

    def take(self, answers: Json) -> None:
        """Take the answers to questions that are open; others are not looked at."""
        for name in self.questions.keys() & answers.keys():
            del self.questions[name]
            self.answers[name] = answers[name]

    def cancel(self) -> None:
        """Nothing happens to a task that is over."""
        self.is_cancelled = self.describe()["status"] in ("working", "input_required", "cancelled")


class TaskParams(mcp.RequestParams):
    """Of `tasks/get`, `tasks/update` and `tasks/cancel`."""

    task_id: str
    input_responses: Json | None = None


TASKS: dict[str, Task] = {}


def completed(words: str, *, is_error: bool = False) -> Json:
    result = mcp.CallToolResult(content=[text(words)], is_error=is_error)
    return {"status": "completed", "result": result.model_dump(by_alias=True, mode="json", exclude_none=True)}


def knows_tasks(context: Context) -> bool:
    capabilities = context.session.client_capabilities
    return is_modern(context) and EXTENSION in ((capabilities and capabilities.extensions) or {})


def refuse() -> MCPError:
    data: Json = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    return MCPError(mcp.MISSING_REQUIRED_CLIENT_CAPABILITY, "The client did not declare the tasks extension", data)


TOOLS = {
    wire["name"]: mcp.Tool.model_validate(wire)
    for wire in (
        tool("greet", "Never a task", {"name": STRING}),
        tool("slow_compute", "A task that takes its time", {"seconds": {"type": "number"}, "label": STRING}),
        tool("failing_job", "Only as a task: the tool fails"),
        tool("protocol_error_job", "A task that ends in an error of the protocol"),
        tool("confirm_delete", "A task that asks the user", {"filename": STRING}),
        tool("multi_input", "A task that asks the user twice at once"),
        tool("test_tool_with_task", "Asks the user, and becomes a task then"),
    )
}


async def call(context: Context, params: mcp.CallToolRequestParams) -> HandlerResult:
    """Call one of these tools: a task, or the result at once for a client that does not know tasks."""
    arguments = params.arguments or {}
    match params.name:
        case "greet":
            return mcp.CallToolResult(content=[text(f"Hello, {arguments.get('name')}!")])
        case "slow_compute":
            task = Task(seconds=float(arguments.get("seconds", 0)), outcome=completed(f"{arguments.get('label')} done"))
        case "failing_job":
            if not knows_tasks(context):
                raise refuse()
            task = Task(seconds=0.5, outcome=completed("The job failed", is_error=True))
        case "protocol_error_job":
            error = {"code": mcp.INTERNAL_ERROR, "message": "The job broke"}
            task = Task(seconds=0.1, outcome={"status": "failed", "error": error})
        case "confirm_delete":
            question = form(f"Delete {arguments.get('filename')}?", confirm=BOOLEAN)
            task = Task(seconds=0, outcome=completed("Deleted"), questions={"confirm": question})
        case "multi_input":
            questions: dict[str, Question] = {
                "name": form("Name?", name=STRING),
                "sure": form("Sure?", confirm=BOOLEAN),
            }
            task = Task(seconds=0, outcome=completed("Both answered"), questions=questions)
        case _:
            if not knows_tasks(context):
                raise refuse()
            answers = await retried(context, {"user_name": NAME})
            task = Task(seconds=0, outcome=completed(json.dumps(answers)))
    if not knows_tasks(context):
        return mcp.CallToolResult(content=[text(f"{params.name} done")])
    TASKS[task.id] = task
    return {"resultType": "task", **task.head, "status": "working"}


def find(context: Context, params: TaskParams) -> Task:
    if not knows_tasks(context):
        raise refuse()
    if params.task_id not in TASKS:
        raise MCPError(mcp.INVALID_PARAMS, "Unknown task")
    return TASKS[params.task_id]


async def get(context: Context, params: TaskParams) -> HandlerResult:
    return find(context, params).describe()


async def update(context: Context, params: TaskParams) -> HandlerResult:
    find(context, params).take(params.input_responses or {})
    return {}


async def cancel(context: Context, params: TaskParams) -> HandlerResult:
    find(context, params).cancel()
    return {}


def offer_tasks(server: Server[Any]) -> None:
    """Add the methods of the extension to a server, and say so."""
    server.extensions[EXTENSION] = {}
    server.add_request_handler("tasks/get", TaskParams, get)
    server.add_request_handler("tasks/update", TaskParams, update)
    server.add_request_handler("tasks/cancel", TaskParams, cancel)

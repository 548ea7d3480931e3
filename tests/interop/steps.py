"""The vocabulary of a scenario: what a client does, and what must come of it over plain stdio.

A step names its own evidence (``says``, ``ends``, ``progress``, ``expect``), so that two empty
transcripts can never count as equal: tests/interop/transcripts.py checks it before comparing.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

Json: TypeAlias = dict[str, Any]
Client: TypeAlias = Literal["python", "python auto", "typescript", "typescript 2", "typescript 2 auto"]
"""`typescript` is `@modelcontextprotocol/sdk`, `typescript 2` is `@modelcontextprotocol/client`; `auto` tries
2026-07-28 first, the others know or want the handshake only."""
Ending: TypeAlias = Literal["result", "tool error", "error", "cancelled"]

CLIENTS: tuple[Client, ...] = ("python", "typescript")
"""Those that play every scenario of the handshake era."""
ALL_CLIENTS: tuple[Client, ...] = ("python", "python auto", "typescript", "typescript 2", "typescript 2 auto")

LOG = "notifications/message"
UPDATED = "notifications/resources/updated"
TOOLS_CHANGED = "notifications/tools/list_changed"
RESOURCES_CHANGED = "notifications/resources/list_changed"
TASK_STATUS = "notifications/tasks/status"
SAMPLING = "sampling/createMessage"
ELICITATION = "elicitation/create"
ROOTS = "roots/list"


@dataclass(frozen=True)
class Step:
    op: str
    """A method of both drivers."""
    args: Json = field(default_factory=dict)
    says: str = ""
    """Must occur in the JSON text of the outcome."""
    ends: Ending = "result"
    progress: int = 0
    """Progress notifications that reach the caller of this very step."""
    expect: dict[str, int] = field(default_factory=dict)
    """Notifications and requests from the server, by method, that arrive before the next step."""
    only: tuple[Client, ...] = ALL_CLIENTS

    @property
    def name(self) -> str:
        target = self.args.get("name") or self.args.get("uri") or self.args.get("method") or ""
        return f"{self.op} {target}".rstrip()

    def as_json(self) -> Json:
        args = self.args
        if self.op == "together":
            args = {"steps": [step.as_json() for step in args["steps"]]}
        return {"name": self.name, "op": self.op, "args": args, "expect": self.expect}

    def only_for(self, *clients: Client) -> "Step":
        return replace(self, only=clients)


@dataclass(frozen=True)
class Rule:
    """A difference that is not the proxy's: every match of the pattern is replaced on both sides."""

    why: str
    pattern: re.Pattern[str]
    replacement: str
    only: tuple[Client, ...] = ALL_CLIENTS


def _same(value: Json) -> Json:
    return value


@dataclass(frozen=True)
class Scenario:
    steps: Sequence[Step]
    rules: Sequence[Rule] = ()
    views: dict[str, Callable[[Json], Json]] = field(default_factory=dict)
    """For one step's outcome, where only a part is comparable."""
    inbound_views: dict[str, Callable[[Json], Json]] = field(default_factory=dict)
    """The same for one kind of notification."""
    view: Callable[[Json], Json] = _same
    """For every outcome, notification and description of the server, where two eras say the same in other words."""
    ignored: frozenset[str] = frozenset()
    """What a server sends by itself in one era only."""
    roots: Sequence[Json] = ()
    unreachable_tools: dict[Client, frozenset[str]] = field(default_factory=dict)
    """Tools that this client has no means to call to a good end."""

    def for_client(self, client: Client) -> "Scenario":
        steps = [step for step in self.steps if client in step.only]
        return replace(self, steps=steps, rules=[rule for rule in self.rules if client in rule.only])


def call(name: str, arguments: Json | None = None, *, until: str = "", **evidence: Any) -> Step:
    """``until``: repeat the call until the result says this, for state that settles by itself."""
    return Step("call", {"name": name, "arguments": arguments or {}, "until": until}, **evidence)


def cancel(name: str, arguments: Json, *, after: Json, **evidence: Any) -> Step:
    """``after``: ``{"progress": n}``, or ``{"url": u}``, which answers when the call has arrived."""
    args = {"name": name, "arguments": arguments, "after": after}
    return Step("cancel", args, ends="cancelled", **evidence)


def together(*steps: Step) -> Step:
    return Step("together", {"steps": list(steps)})


def read(uri: str, **evidence: Any) -> Step:
    return Step("read", {"uri": uri}, **evidence)


def prompt(name: str, arguments: dict[str, str] | None = None, **evidence: Any) -> Step:
    args: Json = {"name": name} if arguments is None else {"name": name, "arguments": arguments}
    return Step("get_prompt", args, **evidence)


def answer(method: str, result: Json | None = None, *, error: Json | None = None) -> Step:
    """From here on the client answers this request of the server like this."""
    with_what = {"error": error} if error is not None else {"result": result}
    return Step("set_answer", {"method": method, "answer": with_what})


def request(method: str, params: Json | None = None, **evidence: Any) -> Step:
    return Step("request", {"method": method, "params": params or {}}, **evidence)


def watch(*uris: str) -> Step:
    """Hear of changes of these resources, and of their list, until `unwatch`."""
    return Step("watch", {"uris": list(uris)})


def unwatch(*uris: str) -> Step:
    return Step("unwatch", {"uris": list(uris)})


def listing(op: str, says: str) -> Step:
    return Step(op, says=says)

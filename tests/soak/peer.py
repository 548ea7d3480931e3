"""What does one client ask, and is what it gets right?

Everything that a peer sends carries its tag, and so must everything that it is sent: nobody ever gets what is somebody
else's. Every answer must have the id of its question, and a status that is legal where it was asked.
"""

import json
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from random import Random
from typing import Any

import anyio
import httpx

from tests.soak.ledger import Ledger
from tests.support.mcp import Client, Events, Message, call, hello, kind_of, notification

RESULT = "result"
CHILD_ERROR = "error of the child"
CANCELLED = "cancelled"
FAILED = "failed"
NOT_STARTED = "not started"
TIMED_OUT = "timed out"
FULL = "full"
NO_SESSION = "no session"
REFUSED = "refused"

OUTCOMES: dict[tuple[int, int], str] = {
    (200, -32800): CANCELLED,
    (200, -32603): FAILED,  # on a stream, whose status is sent already
    (400, -32600): REFUSED,
    (400, -32602): REFUSED,
    (404, -32001): NO_SESSION,
    (500, -32603): FAILED,
    (502, -32603): NOT_STARTED,
    (503, -32603): FULL,
    (504, -32603): TIMED_OUT,
}
"""HTTP status and JSON-RPC code -> what a client makes of it. Any other pair is wrong."""

DEAD = (FAILED, NO_SESSION)
"""What a call may get whose child dies at some moment around it."""
OLD_VERSIONS = ("2025-03-26", "2025-06-18")
POLLING_VERSION = "2025-11-25"
MAX_RETURNS = 100
"""How often a client comes back for one answer; more is a loop."""


class Wrong(AssertionError):
    """The daemon did what it must not do."""


@dataclass(frozen=True)
class Answer:
    """What came for one request.

    Attributes:
        outcome: One of the words above.
        message: The object with the request's id; none if the whole request was refused without it.
        notes: What came before it on its stream, in order.
        last_id: The id of the last event.
    """

    outcome: str
    message: Message
    notes: list[Message] = field(default_factory=list)
    last_id: str = ""

    @property
    def result(self) -> Message:
        """The result, which must be one."""
        found = self.message.get("result")
        if not isinstance(found, dict):
            raise Wrong(f"no result: {self.message}")
        return found


class Peer:
    """One client, which may have a session.

    Args:
        client: Its connection.
        ledger: Where it writes down what it got.
        rng: Its dice.
        tag: In everything that it sends.
        scenario: What it plays.
    """

    def __init__(self, client: Client, ledger: Ledger, rng: Random, tag: str, scenario: str) -> None:
        self.client = client
        self.rng = rng
        self.tag = tag
        self.pace: Callable[[int], Awaitable[None]] = _at_once
        """Called with the number of each note that is read; a slow reader sleeps there."""
        self._ledger = ledger
        self._scenario = scenario
        self._ids = 0

    # ---- the session

    async def open(
        self,
        *,
        version: str = "",
        modes: dict[str, str] | None = None,
        initialized: bool = True,
        legal: Collection[str] = (RESULT, FULL),
    ) -> bool:
        """Begin a session; False if there was no room, or if it was to be refused and was.

        Args:
            version: The revision; by chance if not given.
            modes: How the child behaves, as on its command line.
            initialized: Whether to say that the session begins.
            legal: The outcomes that are right.
        """
        request = hello(
            self.new_id(), version=version or self.rng.choice((*OLD_VERSIONS, POLLING_VERSION, POLLING_VERSION))
        )
        request["params"] |= {"_meta": {"tag": self.tag, "modes": modes or {}}}
        began = time.perf_counter()
        response = await self.client.post(request)
        answer = self._one(response, response.content, request["id"], legal)
        if answer.outcome != RESULT:
            return False
        self.took("initialize", time.perf_counter() - began)
        self.client.session_id = response.headers["mcp-session-id"]
        self.client.version = answer.result["protocolVersion"]
        if initialized:
            await self.tell(notification("notifications/initialized"))
        return True

    async def part(self) -> None:
        """Say goodbye; some do not."""
        if self.rng.random() < 0.75:
            await self.delete()
        else:
            self.note("left")

    async def delete(self, *, legal: Collection[int] = (200,)) -> None:
        """End the session; it is gone at once."""
        response = await self.client.delete()
        self.note(f"DELETE {response.status_code}")
        if response.status_code not in legal:
            raise Wrong(f"DELETE got {response.status_code}: {response.text}")
        if self.rng.random() < 0.3:
            await self.is_gone()

    async def is_gone(self) -> None:
        """The session must be unknown."""
        await self.ask("echo", legal=(NO_SESSION,))

    # ---- requests

    def new_id(self) -> int | str:
        """An id that was not used in this session; clients begin with 0 and use numbers or text."""
        self._ids += 1
        return self._ids - 1 if self.rng.random() < 0.7 else f"{self.tag}-{self._ids - 1}"

    def new_token(self) -> str:
        """A progress token that no other peer has."""
        self._ids += 1
        return f"{self.tag}-{self._ids}"

    async def ask(
        self, tool: str, *, legal: Collection[str] = (RESULT,), token: str | None = None, **arguments: Any
    ) -> Answer:
        """Call a tool, see the answer through, and check that it is a right one."""
        return await self.request(call(self.new_id(), tool, token=token, **arguments), legal=legal)

    async def request(self, request: Message, *, legal: Collection[str] = (RESULT,)) -> Answer:
        """The same for any request."""
        began = time.perf_counter()
        async with self.client.stream(request) as events:
            answer = await self.read(events, request["id"], legal=legal)
        if answer.outcome == RESULT and request["params"].get("name") == "echo":
            self.took("echo", time.perf_counter() - began)
        return answer

    async def read(
        self, events: Events, request_id: Any, *, legal: Collection[str] = (RESULT,), last_id: str = ""
    ) -> Answer:
        """Read the answer to a request, coming back for it as often as its stream is closed before.

        Args:
            events: The response.
            request_id: Of the request.
            legal: The outcomes that are right.
            last_id: The event that it was opened with, if any.
        """
        if events.kind != "text/event-stream":
            return self._one(events.response, await events.body(), request_id, legal)
        notes: list[Message] = []
        answer = await self._on_stream(events, request_id, notes)
        last_id, returns = events.last_id or last_id, 0
        while answer is None:
            returns += 1
            if not last_id or self.client.version != POLLING_VERSION or returns > MAX_RETURNS:
                raise Wrong(f"the stream ended without an answer; {len(notes)} notes, {returns} returns")
            async with self.client.listen({"last-event-id": last_id}) as again:
                if again.response.status_code == 404 and NO_SESSION in legal:
                    return self._one(again.response, await again.body(), None, legal)
                if again.response.status_code != 200:
                    raise Wrong(f"coming back got {again.response.status_code}")
                answer = await self._on_stream(again, request_id, notes)
                last_id = again.last_id or last_id
        return self._judged(200, answer, request_id, legal, notes, last_id)

    async def tell(self, message: Message, *, legal: Collection[int] = (202,)) -> None:
        """POST a notification or an answer."""
        response = await self.client.post(message)
        self.note(f"told {response.status_code}")
        if response.status_code not in legal or (response.status_code == 202 and response.content):
            raise Wrong(f"told, and got {response.status_code}: {response.text}")

    async def echo(self, size: int = 0, *, legal: Collection[str] = (RESULT,)) -> Answer:
        """The plainest call; its result must be what was sent."""
        arguments: Message = {"tag": self.tag, "n": self.rng.random(), "text": "\u00e9\u2028" * (size // 2)}
        answer = await self.ask("echo", legal=legal, **arguments)
        if answer.outcome == RESULT and answer.result != {"echo": arguments}:
            raise Wrong(f"another echo: {str(answer.result)[:200]}")
        return answer

    async def pid(self) -> int:
        """The process id of its child."""
        return int((await self.ask("pid")).result["pid"])

    async def until_seen(self, what: str, count: int = 1) -> None:
        """Wait until the child has read as many lines with this in them."""
        with anyio.fail_after(10):
            while True:
                lines = (await self.ask("seen", part=what)).result["lines"]
                if sum('"seen"' not in line for line in lines) >= count:
                    return
                await anyio.sleep(0.02)

    async def child_saw_only_its_own(self) -> None:
        """No line that the child has read may be another peer's."""
        for line in (await self.ask("seen")).result["lines"]:
            params = json.loads(line).get("params")
            arguments = params.get("arguments", {}) if isinstance(params, dict) else {}
            if arguments.get("tag", self.tag) != self.tag:
                raise Wrong(f"the child of {self.tag} has read {line[:200]}")

    # ---- inside

    def took(self, kind: str, seconds: float) -> None:
        """Write down how long an answer took."""
        self._ledger.took(kind, seconds)

    def note(self, outcome: str) -> None:
        """Count what came."""
        self._ledger.outcomes[f"{self._scenario}: {outcome}"] += 1

    async def _on_stream(self, events: Events, request_id: Any, notes: list[Message]) -> Message | None:
        """Read to the end of a stream; the answer if it was on it."""
        answer: Message | None = None
        while True:
            try:
                message = await events.next()
            except anyio.EndOfStream:
                return answer
            if answer is not None:
                raise Wrong(f"something after the answer: {str(message)[:200]}")
            if "method" not in message:
                answer = message
                continue
            if message.keys() == {"jsonrpc", "method"} and message["method"].endswith("/list_changed"):
                continue  # ours, for all: another process has taken the place of the one before
            if self.tag not in json.dumps(message):
                raise Wrong(f"{self.tag} was told what is another's: {str(message)[:200]}")
            notes.append(message)
            await self.pace(len(notes))
            if "id" in message:
                await self.tell({"jsonrpc": "2.0", "id": message["id"], "result": {"tag": self.tag}})

    def _one(self, response: httpx.Response, body: bytes, request_id: Any, legal: Collection[str]) -> Answer:
        if kind_of(response) != "application/json":
            raise Wrong(f"{response.status_code} {kind_of(response)}: {body[:200]!r}")
        if response.status_code == 503 and not response.headers.get("retry-after"):
            raise Wrong("503 without Retry-After")
        return self._judged(response.status_code, json.loads(body), request_id, legal, [], "")

    def _judged(
        self, status: int, message: Message, request_id: Any, legal: Collection[str], notes: list[Message], last_id: str
    ) -> Answer:
        if message.get("jsonrpc") != "2.0" or ("result" in message) == ("error" in message):
            raise Wrong(f"no answer: {str(message)[:200]}")
        if "result" in message:
            outcome = RESULT if status == 200 else f"{status} with a result"
        else:
            code = message["error"]["code"]
            is_childs = status == 200 and code not in (-32603, -32800)
            outcome = CHILD_ERROR if is_childs else OUTCOMES.get((status, code), f"{status} {code}")
        found = message.get("id")
        if request_id is not None and (found, type(found)) != (request_id, type(request_id)):
            raise Wrong(f"the answer to {request_id!r} has the id {found!r}: {str(message)[:200]}")
        self.note(outcome)
        if outcome not in legal:
            raise Wrong(f"{outcome} is not among {', '.join(legal)}: {str(message)[:300]}")
        return Answer(outcome, message, notes, last_id)


async def _at_once(number: int) -> None:
    """Most read as fast as they can."""

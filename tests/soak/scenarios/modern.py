"""Clients of 2026-07-28: no session, one request and one response; to leave is to cancel."""

import time
from collections.abc import Collection
from typing import Any

import anyio

from tests.soak.peer import FAILED, FULL, RESULT, TIMED_OUT, Answer, Peer, Wrong
from tests.soak.scenarios.leaving import cut
from tests.soak.stage import Stage
from tests.support.mcp import Message, encode
from tests.support.modern import ALL, ModernClient, headers_of, modern, retry, tool

SERVED = (RESULT, FULL)
"""What an ordinary call may get: others may have all places of a shared child for a while."""


class ModernPeer(Peer):
    """A client of that revision. Everything it asks carries its tag, as with any peer."""

    async def request(self, request: Message, *, legal: Collection[str] = SERVED) -> Answer:
        """Post it, and see the answer through."""
        began = time.perf_counter()
        async with ModernClient(self.client.http, self.client.url).stream(request) as events:
            answer = await self.read(events, request["id"], legal=legal)
        if answer.outcome == RESULT and request["params"].get("name") == "echo":
            self.took("echo", time.perf_counter() - began)
        return answer

    async def call(self, name: str, *, legal: Collection[str] = SERVED, **arguments: Any) -> Answer:
        """Call a tool."""
        return await self.request(tool(self.new_id(), name, tag=self.tag, **arguments), legal=legal)

    async def echoes(self) -> None:
        """The plainest call; its result must be what was sent."""
        arguments: Message = {"n": self.rng.random(), "text": "x" * self.rng.choice((0, 100, 30_000))}
        answer = await self.call("echo", **arguments)
        expected = {"echo": {"tag": self.tag, **arguments}}
        if answer.outcome == RESULT and answer.result["structuredContent"] != expected:
            raise Wrong(f"another echo: {str(answer.result)[:200]}")


def peer_of(stage: Stage) -> ModernPeer:
    """A client that nobody has seen before."""
    peer = stage.peer()
    return ModernPeer(peer.client, stage.ledger, stage.rng, peer.tag, stage.scenario)


async def modern_calls(stage: Stage) -> None:
    """One after the other, what clients begin with among them."""
    peer = peer_of(stage)
    for method in ("server/discover", "tools/list"):
        await peer.request(modern(peer.new_id(), method))
    for _ in range(stage.rng.randint(1, 10)):
        await peer.echoes()


async def modern_calls_at_once(stage: Stage) -> None:
    """From one client, with ids that others use at the same time."""
    peer = peer_of(stage)
    async with anyio.create_task_group() as tasks:
        for _ in range(stage.rng.randint(2, 6)):
            tasks.start_soon(peer.echoes)


async def modern_progress(stage: Stage) -> None:
    """Under the client's own token, in order, before the result."""
    peer = peer_of(stage)
    count = stage.rng.choice((1, 10, 500))
    message = tool(peer.new_id(), "progress", meta={"progressToken": peer.new_token()}, count=count)
    answer = await peer.request(message)
    steps = [note["params"]["progress"] for note in answer.notes]
    if answer.outcome == RESULT and (len(steps) != count or steps != sorted(steps)):
        raise Wrong(f"{len(steps)} of {count} steps, or out of order: {steps[:5]}...{steps[-5:]}")


async def modern_questions(stage: Stage) -> None:
    """What the server asks is a result, and the answers are a retry; some clients never come back."""
    peer = peer_of(stage)
    rounds = stage.rng.randint(1, 3)
    message = tool(peer.new_id(), "ask-n", capabilities=ALL, rounds=rounds)
    answer = await peer.request(message)
    while answer.outcome == RESULT and answer.result.get("resultType") == "input_required":
        if stage.rng.random() < 0.2:
            peer.note("left with a question")
            return
        accepted = {"action": "accept", "content": {"name": peer.tag}}
        answers = dict.fromkeys(answer.result.get("inputRequests", {}), accepted)
        answer = await peer.request(retry(message, peer.new_id(), answer.result, answers))
    if answer.outcome == RESULT:
        given = [value for each in answer.result["structuredContent"]["rounds"] for value in each.values()]
        if len(given) != rounds or any(value["content"]["name"] != peer.tag for value in given):
            raise Wrong(f"other answers than those of {peer.tag}: {given}")


async def modern_listen(stage: Stage) -> None:
    """A subscription is told of what it names, and of nothing else."""
    peer = peer_of(stage)
    client = ModernClient(peer.client.http, peer.client.url)
    uri = f"note://{peer.tag}"
    async with client.listening(peer.new_id(), resourceSubscriptions=[uri]) as events:
        for _ in range(stage.rng.randint(1, 3)):
            if (await peer.call("touch", uri=uri)).outcome == RESULT:
                told = await events.next()
                if (told["method"], told["params"]["uri"]) != ("notifications/resources/updated", uri):
                    raise Wrong(f"instead of an update of {uri}: {told}")


async def modern_leaving(stage: Stage) -> None:
    """The child is told, and the place is free."""
    peer = peer_of(stage)
    for _ in range(stage.rng.randint(1, 3)):
        with anyio.move_on_after(stage.rng.random() * 0.5):
            await peer.call("hold", legal=(), key=peer.new_token())
    await peer.echoes()


async def modern_cuts(stage: Stage) -> None:
    """At any moment of a request."""
    peer = peer_of(stage)
    name, arguments = stage.rng.choice((("echo", {"text": "x" * 50_000}), ("sleep", {"seconds": 0.2}), ("pid", {})))
    message = tool(peer.new_id(), name, tag=peer.tag, **arguments)
    body = encode(message)
    lines = [f"{header}: {value}" for header, value in headers_of(message).items()]
    head = ["POST /mcp HTTP/1.1", f"host: 127.0.0.1:{stage.site.port}", *lines, f"content-length: {len(body)}"]
    request = "\r\n".join(head).encode() + b"\r\n\r\n" + body
    sent = stage.rng.choice((len(request), stage.rng.randrange(len(request))))
    await cut(stage, request[:sent], seconds=stage.rng.random() * 0.3)
    await peer.echoes()


async def modern_time_out(stage: Stage) -> None:
    """A call without an answer ends, and its child serves the next."""
    peer = peer_of(stage)
    await peer.call("hold", legal=(TIMED_OUT, FAILED, FULL), key=peer.tag)
    await peer.echoes()


async def modern_refusals(stage: Stage) -> None:
    """What does not agree with itself is refused, by its code."""
    peer = peer_of(stage)
    client = ModernClient(peer.client.http, peer.client.url)
    message = tool("x", "echo", tag=peer.tag)
    unknown = modern("x", "no/such")
    cases: tuple[tuple[Message, dict[str, str | None], int, int], ...] = (
        (message, {"mcp-method": "tools/list"}, 400, -32020),
        (message, {"mcp-name": "other"}, 400, -32020),
        (message, {"mcp-protocol-version": "2025-11-25"}, 400, -32020),
        (unknown, {}, 404, -32601),
        (retry(message, "x", {"requestState": "nobody's"}, {}), {}, 400, -32602),
    )
    for sent, headers, status, code in stage.rng.sample(cases, 2):
        response = await client.post(sent, headers)
        peer.note(f"{response.status_code}")
        found = response.json()
        if (response.status_code, found.get("error", {}).get("code"), found["id"]) != (status, code, "x"):
            raise Wrong(f"{headers} got {response.status_code} {response.text[:200]}")


async def modern_exit(stage: Stage) -> None:
    """The child of one request may die: its call fails, and nobody else's."""
    peer = peer_of(stage)
    await peer.call("exit", legal=(FAILED, FULL), code=stage.rng.choice((0, 3)))
    await peer.echoes()

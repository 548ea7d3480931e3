"""Clients of the handshake revisions that have no session: each call has a process of its own."""

import json

import anyio

from tests.soak.peer import DEAD, FULL, REFUSED, RESULT, Peer, Wrong
from tests.soak.scenarios.honest import check_steps
from tests.soak.scenarios.leaving import cut, post
from tests.soak.stage import Stage
from tests.support.mcp import call, hello, notification

SERVED = (RESULT, FULL)
"""What an ordinary call may get: others may have all places for a while."""


async def calls_without_session(stage: Stage) -> None:
    """With a handshake before them or without, one after the other."""
    peer = stage.peer()
    if stage.rng.random() < 0.5:
        answer = await peer.request(hello(peer.new_id(), version=stage.rng.choice(("2025-06-18", "2025-11-25"))))
        peer.client.version = answer.result["protocolVersion"]
        await peer.tell(notification("notifications/initialized"))
    for _ in range(stage.rng.randint(1, 4)):
        await peer.echo(stage.rng.choice((0, 10, 3000, 100_000)), legal=SERVED)


async def calls_without_session_at_once(stage: Stage) -> None:
    """More than there is room for, with one id: nobody has a session in which it could be taken."""
    peer = stage.peer()
    request = call("the same", "sleep", tag=peer.tag, seconds=stage.rng.random() * 0.3)

    async def sleep() -> None:
        answer = await peer.request(request, legal=SERVED)
        if answer.outcome == RESULT and answer.result != {"slept": True}:
            raise Wrong(f"another result: {answer.message}")

    async with anyio.create_task_group() as tasks:
        for _ in range(stage.rng.randint(2, 10)):
            tasks.start_soon(sleep)


async def progress_without_session(stage: Stage) -> None:
    """On the stream of the call: all of it, in order, before the result."""
    peer = stage.peer()
    count = stage.rng.choice((0, 1, 300, 3000))
    answer = await peer.ask("progress", token=peer.new_token(), legal=SERVED, tag=peer.tag, count=count)
    if answer.outcome == RESULT:
        check_steps(answer, list(range(count)))


async def exits_without_session(stage: Stage) -> None:
    """The process of a call is gone, and the next call has another."""
    peer = stage.peer()
    say = stage.rng.choice(("", "half a line", '{"jsonrpc":"2.0","id":$ID,"resu'))
    await peer.ask("exit", legal=(*DEAD, FULL), tag=peer.tag, code=stage.rng.choice((0, 1, 77)), say=say)
    await peer.echo(legal=SERVED)


async def cuts_without_session(stage: Stage) -> None:
    """Whoever leaves has given its call up."""
    peer = stage.peer()
    for _ in range(stage.rng.randint(1, 4)):
        tool, arguments = stage.rng.choice(
            (("sleep", {"seconds": 2}), ("hold", {"key": peer.tag}), ("blob", {"size": 900_000}), ("echo", {}))
        )
        request = post(stage, peer, call(peer.new_id(), tool, tag=peer.tag, **arguments))
        sent = stage.rng.choice((len(request), stage.rng.randrange(len(request))))
        await cut(stage, request[:sent], seconds=stage.rng.random() * 0.4)
    await peer.echo(legal=SERVED)


async def refusals_without_session(stage: Stage) -> None:
    """What only a session has."""
    peer = stage.peer()
    await _is_405(peer, "GET")
    await _is_405(peer, "DELETE")
    answer = await peer.ask("ask", legal=SERVED, tag=peer.tag, id="q", method="roots/list", params={})
    if answer.outcome == RESULT and "error" not in json.loads(answer.result["answer"]):
        raise Wrong(f"somebody has answered for a client that nobody knows: {answer.result}")
    async with peer.client.stream({"jsonrpc": "2.0", "id": None, "method": "ping"}) as events:
        await peer.read(events, None, legal=(REFUSED,))


async def _is_405(peer: Peer, method: str) -> None:
    response = await peer.client.http.request(method, peer.client.url, headers={"accept": "text/event-stream"})
    peer.note(f"{method} {response.status_code}")
    if response.status_code != 405 or "POST" not in response.headers["allow"]:
        raise Wrong(f"{method} got {response.status_code}: {response.text}")

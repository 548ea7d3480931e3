"""Clients that do what clients do."""

import json
from typing import Any

import anyio

from tests.soak.peer import CANCELLED, FAILED, FULL, NO_SESSION, REFUSED, RESULT, Answer, Wrong
from tests.soak.stage import Stage
from tests.support.mcp import call, notification

IDLE_SECONDS = 8.0
"""As the daemon is told in `modes.py`."""
LIST_CHANGED = "notifications/tools/list_changed"


async def calls(stage: Stage) -> None:
    """One call after the other."""
    peer = stage.peer()
    if await peer.open():
        for _ in range(stage.rng.randint(1, 20)):
            await peer.echo(stage.rng.choice((0, 10, 1000, 3000)))
        await peer.child_saw_only_its_own()
        await peer.part()


async def parallel_calls(stage: Stage) -> None:
    """Many at once, more than the child may have; the same id twice is refused."""
    peer = stage.peer()
    if not await peer.open():
        return
    held = call("held", "hold", tag=peer.tag, key=peer.tag)

    async def hold() -> None:
        answer = await peer.request(held)
        if answer.result != {"released": True}:
            raise Wrong(f"another result: {answer.message}")

    async def sleep() -> None:
        answer = await peer.ask("sleep", tag=peer.tag, seconds=stage.rng.random() * 0.3)
        if answer.result != {"slept": True}:
            raise Wrong(f"another result: {answer.message}")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await peer.until_seen('"hold"')
        await peer.request(held, legal=(REFUSED,))
        for _ in range(stage.rng.randint(1, 15)):
            tasks.start_soon(stage.rng.choice((sleep, peer.echo)))
        await peer.ask("release", tag=peer.tag, key=peer.tag)
    await peer.part()


async def progress(stage: Stage) -> None:
    """Notifications for one call: all of them, in order, before the result."""
    peer = stage.peer()
    if await peer.open():
        for _ in range(stage.rng.randint(1, 3)):
            count = stage.rng.choice((0, 1, 10, 300, 3000))
            answer = await peer.ask("progress", token=peer.new_token(), tag=peer.tag, count=count)
            check_steps(answer, list(range(count)))
        await peer.part()


async def large_payloads(stage: Stage) -> None:
    """Both ways."""
    peer = stage.peer()
    if await peer.open():
        size = stage.rng.randint(100_000, 900_000)
        if (await peer.ask("blob", tag=peer.tag, size=size)).result != {"blob": "x" * size}:
            raise Wrong("another blob")
        await peer.echo(stage.rng.randint(50_000, 150_000))
        await peer.part()


async def listener(stage: Stage) -> None:
    """A GET stream gets each list change once, in order, while calls go on."""
    peer = stage.peer()
    if not await peer.open():
        return
    async with peer.client.listen() as events:
        if events.response.status_code != 200:
            raise Wrong(f"GET got {events.response.status_code}")
        count = stage.rng.randint(1, 10)
        for number in range(count):
            change = json.dumps(notification(LIST_CHANGED, {"tag": peer.tag, "n": number}))
            answer = '{"jsonrpc":"2.0","id":$ID,"result":{}}'
            await peer.ask("write", tag=peer.tag, text=f"{change}\n{answer}\n")
            await peer.echo()
        for number in range(count):
            message = await events.next()
            if message != notification(LIST_CHANGED, {"tag": peer.tag, "n": number}):
                raise Wrong(f"instead of list change {number}: {message}")
    await peer.part()


async def questions_of_the_server(stage: Stage) -> None:
    """The child asks in the middle of a call, and gets the client's answer under its own id."""
    peer = stage.peer()
    if not await peer.open():
        return
    for number in range(stage.rng.randint(1, 5)):
        child_id = stage.rng.choice((number, f"q{number}", 2**53 + number))
        method = stage.rng.choice(("sampling/createMessage", "elicitation/create", "ping"))
        answer = await peer.ask("ask", tag=peer.tag, id=child_id, method=method, params={"tag": peer.tag})
        reply = json.loads(answer.result["answer"])
        if reply != {"jsonrpc": "2.0", "id": child_id, "result": {"tag": peer.tag}}:
            raise Wrong(f"the child got {reply}")
    await peer.part()


async def batch(stage: Stage) -> None:
    """Revision 2025-03-26 has batches; the others refuse them."""
    peer = stage.peer()
    if not await peer.open():
        return
    requests = [call(f"{peer.tag}-b{n}", "echo", tag=peer.tag, n=n) for n in range(stage.rng.randint(1, 8))]
    async with peer.client.stream(requests) as events:
        is_stream = events.kind == "text/event-stream"
        answers: Any = await events.read_to_end() if is_stream else json.loads(await events.body())
        status = events.response.status_code
    if peer.client.version != "2025-03-26":
        if (status, answers["error"]["code"]) != (400, -32600):
            raise Wrong(f"a batch got {status}: {answers}")
    else:
        found = {each["id"]: each["result"]["echo"]["n"] for each in answers}
        if found != {request["id"]: n for n, request in enumerate(requests)}:
            raise Wrong(f"a batch got {status}: {str(answers)[:300]}")
    peer.note(f"batch {status}")
    await peer.part()


async def cancellations(stage: Stage) -> None:
    """A call that its client cancels ends at once, whatever the child says later."""
    peer = stage.peer()
    if not await peer.open():
        return
    for _ in range(stage.rng.randint(1, 3)):
        request = call(peer.new_id(), "hold", tag=peer.tag, key=peer.new_token(), late_answer=stage.rng.random() < 0.5)

        async def held(request: dict[str, object] = request) -> None:
            await peer.request(request, legal=(CANCELLED,))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(held)
            await peer.until_seen(request["params"]["arguments"]["key"])
            await peer.tell(notification("notifications/cancelled", {"requestId": request["id"]}))
        await peer.echo()
    await peer.part()


async def deletion_in_mid_call(stage: Stage) -> None:
    """Whoever waits gets an error with the right id; the session is 404 for everybody."""
    peer = stage.peer()
    if not await peer.open():
        return

    async def held() -> None:
        await peer.ask("hold", legal=(FAILED, NO_SESSION), tag=peer.tag, key=peer.tag)

    async with anyio.create_task_group() as tasks:
        count = stage.rng.randint(1, 5)
        for _ in range(count):
            tasks.start_soon(held)
        await peer.until_seen('"hold"', count)
        await peer.delete()
    await peer.is_gone()


async def idle_expiry(stage: Stage) -> None:
    """A session without a connection ends, one with a connection does not."""
    peer = stage.peer()
    if not await peer.open():
        return
    await peer.echo()
    if stage.rng.random() < 0.5:
        async with peer.client.listen():
            await anyio.sleep(IDLE_SECONDS + 2)
            await peer.echo()
    await anyio.sleep(IDLE_SECONDS + 2)
    await peer.is_gone()


async def initialize_only(stage: Stage) -> None:
    """As health checks do."""
    await stage.peer().open(initialized=False)


async def crowd(stage: Stage) -> None:
    """More than there is room for: each is served or told to come back."""

    async def come() -> None:
        peer = stage.peer()
        if await peer.open(initialized=False, legal=(RESULT, FULL)):
            await peer.echo(legal=(RESULT, NO_SESSION))  # it may have made room for another

    async with anyio.create_task_group() as tasks:
        for _ in range(30):
            tasks.start_soon(come)


def check_steps(answer: Answer, steps: list[int]) -> None:
    """Raises Wrong unless these steps were reported before the result, in order."""
    found = [note["params"]["progress"] for note in answer.notes]
    if found != steps or "count" not in answer.result:
        raise Wrong(
            f"steps {found[:5]}...{found[-5:]} ({len(found)}) instead of {steps[:5]}...{steps[-5:]} ({len(steps)})"
        )

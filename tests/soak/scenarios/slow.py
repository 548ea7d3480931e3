"""Clients that take their time."""

from collections.abc import AsyncIterator

import anyio

from tests.soak.peer import RESULT, Wrong
from tests.soak.scenarios.honest import check_steps
from tests.soak.scenarios.resuming import check_step
from tests.soak.stage import Stage
from tests.support.mcp import call, encode

STEPS = 12_000
"""More than the backlog and a narrow socket hold."""


async def slow_reader(stage: Stage) -> None:
    """It reads, if slowly: everything arrives."""
    peer = stage.peer(is_narrow=True)
    if not await peer.open():
        return
    token, request_id = peer.new_token(), peer.new_id()

    async def pace(number: int) -> None:
        if number % 3000 == 0:
            await anyio.sleep(stage.rng.random() * 0.3)

    peer.pace = pace
    answer = await peer.request(call(request_id, "progress", token=token, tag=peer.tag, count=STEPS))
    check_steps(answer, list(range(STEPS)))
    await peer.delete(legal=(200, 404))  # what it read last may have been in its socket for long


async def reader_that_stops(stage: Stage) -> None:
    """It loses its stream, and gets the answer when it comes back; its session goes on meanwhile."""
    peer = stage.peer(is_narrow=True)
    if not await peer.open(version="2025-11-25"):
        return
    token, request_id = peer.new_token(), peer.new_id()
    async with peer.client.stream(call(request_id, "progress", token=token, tag=peer.tag, count=STEPS)) as events:
        for number in range(stage.rng.randint(1, 100)):
            check_step(await events.next(), token, number)
        await anyio.sleep(stage.rng.random() * 4)
        await peer.echo()
    async with peer.client.listen({"last-event-id": events.last_id}) as again:
        answer = await peer.read(again, request_id, legal=(RESULT,), last_id=events.last_id)
    numbers = [note["params"]["progress"] for note in answer.notes]
    if numbers != sorted(numbers) or answer.result != {"count": STEPS}:
        raise Wrong(f"out of order, or another result: {answer.message}")
    await peer.part()


async def slow_upload(stage: Stage) -> None:
    """Its body comes in pieces; nobody waits for it."""
    peer = stage.peer()
    if not await peer.open():
        return
    arguments = {"tag": peer.tag, "text": "x" * stage.rng.randint(100, 200_000)}
    request_id = peer.new_id()
    body = encode(call(request_id, "echo", **arguments))
    size = len(body) // stage.rng.randint(2, 20) + 1

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]
            await anyio.sleep(stage.rng.random() * 0.1)

    headers = {**peer.client._headers(None), "content-length": str(len(body))} if stage.rng.random() < 0.5 else None
    sent = peer.client.http.build_request(
        "POST", peer.client.url, content=pieces(), headers=headers or peer.client._headers(None)
    )
    with anyio.fail_after(20):
        response = await peer.client.http.send(sent)
    answer = peer._one(response, response.content, request_id, (RESULT,))
    if answer.result != {"echo": arguments}:
        raise Wrong("another echo")
    await peer.part()

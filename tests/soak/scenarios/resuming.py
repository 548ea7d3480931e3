"""Clients on a train: they lose the response and come back with Last-Event-ID."""

import anyio

from tests.soak.peer import FAILED, RESULT, Peer, Wrong
from tests.soak.stage import Stage
from tests.support.mcp import Events, Message, call

STEPS = 400
"""Fewer than the 1,000 events that are kept."""


async def return_for_the_rest(stage: Stage) -> None:
    """What followed the last event comes, all of it and in order, and then the answer."""
    peer = stage.peer()
    if not await peer.open():
        return
    token, request_id = peer.new_token(), peer.new_id()
    request = call(request_id, "progress", token=token, tag=peer.tag, count=STEPS)
    seen: int | None = 0
    async with peer.client.stream(request) as events:
        for number in range(stage.rng.randint(1, STEPS - 1)):
            check_step(await events.next(), token, number)
            seen = number + 1
    await anyio.sleep(stage.rng.random() * 0.5)
    while seen is not None:
        async with peer.client.listen({"last-event-id": events.last_id}) as again:
            if again.response.status_code != 200:
                raise Wrong(f"coming back after {seen} steps got {again.response.status_code}")
            gives_up_after = stage.rng.choice((1, 50, STEPS, STEPS))
            seen, events = await _steps(again, peer, request_id, token, seen, gives_up_after), again
    await _nothing_more(peer, events.last_id)
    await peer.echo()
    await peer.part()


async def return_after_the_answer(stage: Stage) -> None:
    """The call goes on without its client, and the answer waits."""
    peer = stage.peer()
    if not await peer.open(version="2025-11-25"):
        return
    request_id = peer.new_id()
    request = call(request_id, "sleep", tag=peer.tag, seconds=1.0 + stage.rng.random() * 0.4)
    async with peer.client.stream(request) as events:
        await events.primed()
    await anyio.sleep(stage.rng.random() * 2.5)
    async with peer.client.listen({"last-event-id": events.last_id}) as again:
        answer = await peer.read(again, request_id, last_id=events.last_id)
    if answer.result != {"slept": True}:
        raise Wrong(f"another result: {answer.message}")
    await _nothing_more(peer, answer.last_id)
    await peer.part()


async def return_twice(stage: Stage) -> None:
    """The second response takes the stream from the first, which ends."""
    peer = stage.peer()
    if not await peer.open(version="2025-11-25"):
        return
    request_id = peer.new_id()
    async with peer.client.stream(call(request_id, "sleep", tag=peer.tag, seconds=1.0)) as first:
        await first.primed()
        async with peer.client.listen({"last-event-id": first.last_id}) as second:
            given = await first.read_to_end()
            if not given:
                await peer.read(second, request_id, last_id=first.last_id)
            elif [each.get("id") for each in given] != [request_id]:  # on a slow machine the answer may come first
                raise Wrong("the response that was given up got something else than its answer")
    await peer.part()


async def return_too_late(stage: Stage) -> None:
    """What is kept no more is an error with the call's id, or skipped if the answer is still there."""
    peer = stage.peer()
    if not await peer.open(version="2025-11-25"):
        return
    request_id = peer.new_id()
    async with peer.client.stream(call(request_id, "sleep", tag=peer.tag, seconds=1.0)) as events:
        await events.primed()
    await peer.ask("sleep", tag=peer.tag, seconds=0.5)
    for _ in range(2):
        await peer.ask("progress", token=peer.new_token(), tag=peer.tag, count=800)
    async with peer.client.listen({"last-event-id": events.last_id}) as again:
        await peer.read(again, request_id, legal=(FAILED, RESULT), last_id=events.last_id)
    await peer.echo()
    await peer.part()


async def return_to_nowhere(stage: Stage) -> None:
    """An event id that was never given opens an ordinary stream."""
    peer = stage.peer()
    if not await peer.open():
        return
    for last_id in stage.rng.sample(("99-1", "1-99999", "0-0", "-1", "x" * 5000, "1-1; DROP", "~"), 3):
        async with peer.client.listen({"last-event-id": last_id}) as events:
            if events.response.status_code not in (200, 503):  # the last of ours may not be known to be closed
                raise Wrong(f"an unknown event got {events.response.status_code}")
    await peer.echo()
    await peer.part()


def check_step(message: Message, token: str, number: int) -> None:
    """Raises Wrong unless it is this step."""
    params = message.get("params", {})
    if (params.get("progressToken"), params.get("progress")) != (token, number):
        raise Wrong(f"instead of step {number}: {str(message)[:200]}")


async def _steps(
    events: Events, peer: Peer, request_id: int | str, token: str, seen: int, gives_up_after: int
) -> int | None:
    """Read on; how many steps were seen when it was given up, None once the answer has come."""
    for _ in range(gives_up_after):
        message = await events.next()
        if "method" not in message:
            if (message["id"], message.get("result")) != (request_id, {"count": STEPS}) or seen != STEPS:
                raise Wrong(f"after {seen} steps: {message}")
            return None
        check_step(message, token, seen)
        seen += 1
    return seen


async def _nothing_more(peer: Peer, last_id: str) -> None:
    """All was delivered: a client that asks for more is told so, and stops asking."""
    async with peer.client.listen({"last-event-id": last_id}) as events:
        if events.response.status_code != 204:
            raise Wrong(f"coming back for nothing got {events.response.status_code}")

"""Sessions that share one child, and must not notice."""

import anyio

from tests.soak.peer import CANCELLED, Peer, Wrong
from tests.soak.scenarios.honest import check_steps
from tests.soak.stage import Stage
from tests.support.mcp import call, notification


async def calls_on_one_child(stage: Stage) -> None:
    """One after the other, and some at once."""
    peer = stage.peer()
    if not await peer.open():
        return
    for _ in range(stage.rng.randint(1, 10)):
        await peer.echo(stage.rng.choice((0, 10, 1000, 3000)))
    async with anyio.create_task_group() as tasks:
        for _ in range(stage.rng.randint(0, 5)):
            tasks.start_soon(peer.echo)
    await peer.part()


async def the_same_names_on_one_child(stage: Stage) -> None:
    """Two clients with one id and one progress token: each gets its own steps, and what one cancels is its own."""
    first, second = stage.peer(), stage.peer()
    if not (await first.open() and await second.open()):
        return
    request = call("same", "progress", token="same", count=stage.rng.choice((1, 10, 300)))

    async def progress(peer: Peer) -> None:
        answer = await peer.request({**request, "params": {**request["params"], "_meta": {"progressToken": peer.tag}}})
        check_steps(answer, list(range(request["params"]["arguments"]["count"])))

    held = call("held", "hold", key=first.tag, tag=first.tag)

    async def hold() -> None:
        await first.request(held, legal=(CANCELLED,))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await first.until_seen(first.tag)
        await second.tell(notification("notifications/cancelled", {"requestId": "held"}))
        async with anyio.create_task_group() as both:
            both.start_soon(progress, first)
            both.start_soon(progress, second)
        if second.client.session_id == first.client.session_id:
            raise Wrong("two clients with one session")
        await first.tell(notification("notifications/cancelled", {"requestId": "held"}))
    await first.part()
    await second.part()

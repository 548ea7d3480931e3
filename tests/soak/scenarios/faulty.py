"""Children that do what a process can do wrong, by themselves or by a signal. Each plays with its own child alone."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import anyio

from tests.soak.peer import (
    CHILD_ERROR,
    DEAD,
    FAILED,
    FULL,
    NOT_STARTED,
    RESULT,
    TIMED_OUT,
    Wrong,
)
from tests.soak.stage import Stage
from tests.support.mcp import notification

LOG = '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"%s"}}'


async def exits(stage: Stage) -> None:
    """Before, in the middle of and after an answer; its session is over."""
    peer = stage.peer()
    if not await peer.open():
        return
    others = stage.rng.randint(0, 3)

    async def waits() -> None:
        await peer.ask("hold", legal=DEAD, tag=peer.tag, key=peer.tag)

    async with anyio.create_task_group() as tasks:
        for _ in range(others):
            tasks.start_soon(waits)
        await peer.until_seen('"hold"', others)
        code = stage.rng.choice((0, 1, 77))
        say = stage.rng.choice(("", "half a line", '{"jsonrpc":"2.0","id":$ID,"resu', LOG % peer.tag + "\n"))
        if stage.rng.random() < 0.3:
            await peer.ask("exit-after", tag=peer.tag, code=code)
        elif stage.rng.random() < 0.3:
            whole = '{"jsonrpc":"2.0","id":$ID,"result":{}}\n'
            await peer.ask("exit", tag=peer.tag, code=code, say=whole)
        else:
            await peer.ask("exit", legal=DEAD, tag=peer.tag, code=code, say=say)
    await peer.ask("echo", legal=DEAD)
    await peer.is_gone()


async def noise(stage: Stage) -> None:
    """Lines that are no messages cost nothing."""
    peer = stage.peer()
    if not await peer.open():
        return
    lines = (
        "hello\n",
        "\r\n\n  \n",
        "{\n",
        '{"jsonrpc":"2.0"}\n',
        '{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}\n',
        '{"jsonrpc":"2.0","id":123456789,"result":{}}\n',
        '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"nobody","progress":1}}\n',
        '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"nobody"}}\n',
        "[]\n[1,2]\n[{}]\n",
        "\x1b[31mred\x1b[0m\n",
        "x" * 100_000 + "\n",
        "y" * 1_200_000 + "\n",
        "1\n2\nNaN\nnull\ntrue\n",
        "dots....",
    )
    answer = '{"jsonrpc":"2.0","id":$ID,"result":{"tag":"' + peer.tag + '"}}\n'
    for _ in range(stage.rng.randint(1, 4)):
        text = "".join(stage.rng.sample(lines, 4)) + stage.rng.choice(("\xff\xfe\n", ""))
        got = await peer.ask("write", tag=peer.tag, latin1=text + "\n" + answer)
        if got.result != {"tag": peer.tag}:
            raise Wrong(f"another result: {got.message}")
    await peer.echo()
    await peer.part()


async def unusable_answers(stage: Stage) -> None:
    """An answer that can't be read is an error for its call, at once."""
    peer = stage.peer()
    if not await peer.open():
        return
    answers = (
        '{"jsonrpc":"2.0","id":$ID,"result":{"text":"' + "x" * 1_200_000 + '"}}\n',
        '{"jsonrpc":"2.0","id":$ID,"result":{"text":\n',
        '{"jsonrpc":"2.0","id":$ID,"result":"\xff\xfe"}\n',
        '{"jsonrpc":"2.0","id":$ID,"result":NaN}\n',
        '{"jsonrpc":"1.0","id":$ID,"result":{}}\n',
        '{"jsonrpc":"2.0","id":$ID,"result":{},"error":{"code":1,"message":"both"}}\n',
    )
    for answer in stage.rng.sample(answers, 2):
        await peer.ask("write", legal=(FAILED,), tag=peer.tag, latin1=answer)
    odd = '{"jsonrpc":"2.0","id":$ID,"error":{"code":-32042,"message":"its own"}}\n'
    await peer.ask("write", legal=(CHILD_ERROR,), tag=peer.tag, latin1=odd)
    await peer.echo()
    await peer.part()


async def floods(stage: Stage) -> None:
    """On both outputs, for nobody; the child's neighbours are looked at by all other scenarios."""
    peer = stage.peer()
    if not await peer.open():
        return
    change = json.dumps(notification("notifications/resources/updated", {"uri": peer.tag})) + "\n"
    flood = stage.rng.choice((change * 5000, LOG % peer.tag + "\n", "noise\n" * 20_000))
    await peer.ask("write", tag=peer.tag, text=flood + '{"jsonrpc":"2.0","id":$ID,"result":{}}\n')
    await peer.ask("stderr", tag=peer.tag, bytes=stage.rng.choice((1000, 2_000_000)))
    await peer.echo()
    await peer.part()


async def hangs(stage: Stage) -> None:
    """A call that is never answered ends by its time-out or by its client; the child is told, and serves the next."""
    peer = stage.peer()
    if not await peer.open():
        return
    await peer.ask("hold", legal=(TIMED_OUT, FAILED), tag=peer.tag, key=peer.tag)
    await peer.echo()
    await peer.until_seen("notifications/cancelled")
    await peer.part()


async def closed_pipes(stage: Stage) -> None:
    """A child that lives on and has shut us out is over."""
    peer = stage.peer()
    if not await peer.open():
        return
    await peer.ask(stage.rng.choice(("close-stdout", "close-stdin")), tag=peer.tag)
    for _ in range(3):
        await peer.ask("echo", legal=DEAD)
        await anyio.sleep(0.3)
    await peer.is_gone()


async def reads_no_more(stage: Stage) -> None:
    """Small calls fit into the pipe and time out, large ones wait for it; everybody is told."""
    peer = stage.peer()
    if not await peer.open():
        return
    await peer.ask("stop-reading", tag=peer.tag)

    async def call() -> None:
        await peer.ask("echo", legal=(TIMED_OUT, FAILED, FULL), text="x" * stage.rng.choice((10, 400_000)))

    async with anyio.create_task_group() as tasks:
        for _ in range(stage.rng.randint(1, 12)):
            tasks.start_soon(call)
    await peer.delete()


async def bad_starts(stage: Stage) -> None:
    """A child that is never ready."""
    for modes, legal in stage.rng.sample(
        (
            ({"exit-on-initialize": "3"}, (NOT_STARTED, FULL)),
            ({"mute": ""}, (TIMED_OUT, FULL)),
            ({"initialize-error": ""}, (CHILD_ERROR, FULL)),
            ({"late": "0.5"}, (RESULT, FULL)),
        ),
        2,
    ):
        peer = stage.peer()
        if await peer.open(modes=modes, legal=legal):
            await peer.part()


async def killed(stage: Stage) -> None:
    """By somebody else, with or without a call in flight."""
    peer = stage.peer()
    if not await peer.open():
        return

    async def waits() -> None:
        await peer.ask("hold", legal=DEAD, tag=peer.tag, key=peer.tag)

    with hold_of(stage, await peer.pid()) as send:
        async with anyio.create_task_group() as tasks:
            if stage.rng.random() < 0.6:
                tasks.start_soon(waits)
                await peer.until_seen('"hold"')
            send(stage.rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV)))
    await peer.ask("echo", legal=DEAD)
    await peer.is_gone()


async def stopped_and_continued(stage: Stage) -> None:
    """A child that is stopped for a while answers later."""
    peer = stage.peer()
    if not await peer.open():
        return
    with hold_of(stage, await peer.pid()) as send:
        send(signal.SIGSTOP)

        async def continues() -> None:
            await anyio.sleep(stage.rng.random() * 1.5)
            send(signal.SIGCONT)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(continues)
            await peer.echo(stage.rng.choice((10, 100_000)))
        if stage.rng.random() < 0.3:
            send(signal.SIGSTOP)  # and is ended as it is
        await peer.part()


async def stubborn_descendants(stage: Stage) -> None:
    """Processes that do not want to go: the ladder ends them."""
    peer = stage.peer()
    if not await peer.open():
        return
    if stage.rng.random() < 0.5:
        await peer.ask("ignore-sigterm", tag=peer.tag)
    stubborn = stage.rng.random() < 0.5
    forked = await peer.ask("fork", tag=peer.tag, count=stage.rng.randint(1, 3), stubborn=stubborn)
    stage.site.pids.update(forked.result["pids"])
    await peer.echo()
    await peer.part()


@contextmanager
def hold_of(stage: Stage, pid: int) -> Iterator[Callable[[signal.Signals], None]]:
    """A way to send signals to a child of our own, and to nobody who has its number later."""
    stage.site.pids.add(pid)
    descriptor = os.pidfd_open(pid)

    def send(signum: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # its session was idle for too long
            signal.pidfd_send_signal(descriptor, signum)

    try:
        yield send
    finally:
        os.close(descriptor)

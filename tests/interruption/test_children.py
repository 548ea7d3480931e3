"""Whatever waits and holds a process, a pipe or a question: cancelled there, or failing there, it leaves nothing.

`HOLDS` lists every await of the room with what is held meanwhile. Each scenario is run again and again and struck at
each place where it waits: cancelled as by an owner with anyio, as by one with asyncio, and made to fail.
"""

import asyncio
import errno
import os
import sys
import threading
from collections.abc import Collection

import anyio
import pytest

from proxy.child.looks import SharedLook
from proxy.child.process import open_child
from proxy.child.procfs import carriers, children
from proxy.child.spec import MARKER, ChildSpec
from proxy.child.strays import StrayFinder
from proxy.errors import ChildStartFailed, OutOfResources
from tests.support.children import Heard, open_files
from tests.support.interrupt import WAYS, walk

HOLDS = {
    "child/link.py PipeLink.sent: self._writer.emptied": "a place among those that wait for the child to read",
    "child/looks.py SharedLook.ask: asyncio.wait": "a question that another's look answers",
    "child/looks.py SharedLook.ask: self._answer_all": "the questions of all others",
    "child/looks.py SharedLook._answer_all: anyio.to_thread.run_sync": "the questions of all others",
    "child/pipes.py PipeWriter.emptied: future": "a place among those that wait for the child to read",
    "child/process.py open_child: spawn": "a process that nobody has seen, and its pipes",
    "child/process.py open_child: child._end": "the child, its family, its pipes, its pidfd",
    "child/process.py Child._end: self._descendants": "the child",
    "child/process.py Child._end: self._climb": "the child",
    "child/process.py Child._end: self._end_strays": "what has left the group",
    "child/process.py Child._end_strays: self._strays": "what has left the group",
    "child/process.py Child._end_strays: end_strays": "what has left the group, and its pidfds",
    "child/process.py Child._descendants: self._finder.descendants": "the child",
    "child/process.py Child._strays: self._finder.find": "what has left the group",
    "child/process.py Child._strays: anyio.sleep": "what has left the group",
    "child/process.py Child._climb: self._group_lives": "the child's group",
    "child/process.py Child._climb: self._try": "the child",
    "child/process.py Child._try: self._exited.wait": "the child",
    "child/process.py Child._try: self._group_lives": "the child's group",
    "child/process.py Child._try: anyio.sleep": "the child's group",
    "child/process.py Child._group_lives: self._finder.group_lives": "the child's group",
    "child/spawn.py spawn: anyio.to_thread.run_sync": "a process that nobody has seen, and its pipes",
    "child/strays.py StrayFinder.find: self._carriers.ask": "what has left the group",
    "child/strays.py StrayFinder.group_lives: self._groups.ask": "the child's group",
    "child/strays.py StrayFinder.descendants: self._families.ask": "the child",
    "child/strays.py end_strays: _all_dead": "the pidfds of what has left the group",
    "child/strays.py _all_dead: anyio.sleep": "the pidfds of what has left the group",
}

NOTHING = {
    "child/memory.py MemoryWatch.run: self._wanted.wait",
    "child/memory.py MemoryWatch.run: anyio.to_thread.run_sync",
    "child/memory.py MemoryWatch.run: anyio.sleep",
}
"""Waits that hold nothing: whose children they are ends them."""

# Ends with its stdin; its two grandchildren, one in its group and one outside, ignore SIGTERM.
FAMILY = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for outside in (False, True):
    ready, told = os.pipe()
    if not os.fork():
        if outside:
            os.setsid()
        os.close(0), os.close(1), os.close(2), os.close(told)
        signal.pause()
    os.close(told)
    os.read(ready, 1)
print('ready', flush=True)
sys.stdin.read()
"""
STRAY = FAMILY.replace("(False, True)", "(True,)").replace("SIG_IGN", "SIG_DFL")
PYTHON = (sys.executable, "-I", "-S", "-c")
READS_NOTHING = "import signal\nprint('ready', flush=True)\nsignal.pause()\n"


class Scene:
    """What all runs of a walk share, as the sessions of one bridge do."""

    def __init__(self) -> None:
        self.finder = StrayFinder()
        self.marker = f"interrupted-{os.getpid()}-{id(self)}"

    async def live(self, *argv: str, lines: int = 0, say: bytes = b"", grace_seconds: float = 0.05) -> None:
        """One child from start to end."""
        heard = Heard()
        spec = ChildSpec(
            argv=argv,
            env={**os.environ, MARKER: self.marker},
            stdin_grace_seconds=grace_seconds,
            term_grace_seconds=grace_seconds,
        )
        async with open_child(spec, on_lines=heard.on_lines, on_gone=heard.on_gone, finder=self.finder) as child:
            if lines:
                await heard.until(lines=lines)
            if say:
                child.link.send(say)
                try:
                    with anyio.move_on_after(0.02):
                        await child.link.sent()
                finally:
                    assert child.link._writer._emptied == []

    async def comes_and_goes(self) -> None:
        await self.live("true")

    async def has_a_stubborn_family(self) -> None:
        await self.live(*PYTHON, FAMILY, lines=1)

    async def ends_without_a_descriptor(self) -> None:
        """There is none for the first look at what has left the group."""
        failures = [OSError(errno.EMFILE, "none left")]

        def look(markers: Collection[bytes]) -> dict[bytes, set[int]]:
            if failures:
                raise failures.pop()
            return carriers(markers)

        self.finder._carriers = SharedLook(look, set)
        await self.live(*PYTHON, STRAY, lines=1)

    async def is_not_read_by(self) -> None:
        await self.live(*PYTHON, READS_NOTHING, lines=1, say=b"x" * 1_000_000)

    async def asks_while_another_looks(self) -> None:
        """And is answered by the look of a third, or looks itself if that fails."""
        may_end = threading.Event()

        def look(asked: Collection[int]) -> dict[int, int]:
            assert may_end.wait(10)
            return {number: -number for number in asked}

        shared = SharedLook(look, int)
        answers: list[int] = []

        async def ask(number: int) -> None:
            answers.append(await shared.ask(number))

        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(ask(1))
            await anyio.wait_all_tasks_blocked()
            third = tasks.create_task(ask(3))
            asyncio.get_running_loop().call_later(0.01, may_end.set)
            try:
                await ask(2)
            finally:
                may_end.set()
                await asyncio.wait([first, third], timeout=10)
                assert {-1, -3} <= set(answers)
                assert not shared._asked and not shared._looking


@pytest.mark.parametrize("way", WAYS)
async def test_a_child_is_gone_wherever_its_owner_is_interrupted(way: str) -> None:
    scene = Scene()
    await scene.live("true")  # what the event loop opens once, it has opened now
    before = (open_files(), asyncio.all_tasks())

    async def nothing_is_left() -> None:
        with anyio.fail_after(10):
            while left := remains(scene, *before):
                await anyio.sleep(0.005)
                del left
        await scene.live("cat", grace_seconds=5)  # the next one is served

    seen: set[str] = set()
    for scenario in (
        scene.comes_and_goes,
        scene.has_a_stubborn_family,
        scene.ends_without_a_descriptor,
        scene.is_not_read_by,
        scene.asks_while_another_looks,
    ):
        done = await walk(scenario, way, expected=[ChildStartFailed, OutOfResources], after_each=nothing_is_left)
        seen |= done.keys

    assert HOLDS.keys() - seen == set()


def remains(scene: Scene, files: int, tasks: "set[asyncio.Task[object]]") -> list[object]:
    looks = (scene.finder._carriers, scene.finder._groups, scene.finder._families)
    left: list[object] = [
        *children(os.getpid()),
        *(f"{extra} descriptors" for extra in [open_files() - files] if extra > 0),
        *(asyncio.all_tasks() - tasks),
        *(look._asked for look in looks if look._asked or look._looking),
    ]
    return left or [*carriers_of(scene.marker)]  # a look at every process, so the last


def carriers_of(marker: str) -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if marker.encode() in file.read():
                    found.append(int(name))
        except OSError:
            continue
    return found

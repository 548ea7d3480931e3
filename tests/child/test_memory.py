"""Who belongs to a child, and how much memory do they take together? With real processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from proxy.child import memory, procfs
from proxy.child.limits import ChildLimits
from proxy.child.memory import Family, Looker, MemoryWatch
from proxy.child.procfs import Stat, parse_resident_bytes, read_usage
from proxy.errors import ChildOverMemory
from proxy.observe import Counts
from tests.support.children import is_alive, running_child

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc elsewhere"),
]

MIB = 1 << 20
TAKES = "import sys\nx = b'x' * {size}\nprint(len(x), flush=True)\nsys.stdin.read()\n"

FORKS = """
import os, sys
x = b'x' * {size}
pids = []
for _ in range({count}):
    pid = os.fork()
    if not pid:
        sys.stdin.read()
        os._exit(0)
    pids.append(pid)
print(*pids, flush=True)
sys.stdin.read()
"""

ORPHAN = """
import os, sys
reads_end, told = os.pipe()
if not os.fork():
    os.setsid()
    if os.fork():
        os._exit(0)
    x = b'x' * {size}
    os.read(reads_end, 1)  # the parent is gone, and its parent has taken notice
    print(os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
os.wait()
os.write(told, b'x')
sys.stdin.read()
"""


@contextmanager
def process(source: str) -> Iterator[tuple[Family, list[str]]]:
    """A process that carries a marker, once it has said a line."""
    env = {**os.environ, "MARKER": str(os.getpid())}
    argv = [sys.executable, "-I", "-S", "-c", source]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, env=env, text=True, start_new_session=True) as started:
        assert started.stdout is not None and started.stdin is not None
        said = started.stdout.readline().split()
        yield Family(started.pid, f"MARKER={os.getpid()}".encode(), limit_bytes=1 << 40), said
        started.stdin.close()


def pids(family: Family) -> set[int]:
    return {member.pid for member in family.members}


def test_the_memory_of_a_process_is_read_whatever_the_program_is_called() -> None:
    line = "7 (a) b) S 1 7 " + "0 " * 16 + "99 0 3 0"
    assert parse_resident_bytes(line) == 3 * os.sysconf("SC_PAGE_SIZE")


def test_a_process_that_is_gone_takes_nothing() -> None:
    assert read_usage(2**22 + 1) is None


def test_a_child_and_what_it_has_started_are_one_family() -> None:
    with process(FORKS.format(size=10, count=3)) as (family, said):
        Looker().look([family])

        assert pids(family) == {family.pid, *map(int, said)}


def test_what_a_child_takes_is_seen() -> None:
    with process(TAKES.format(size=10)) as (small, _), process(TAKES.format(size=40 * MIB)) as (large, _):
        small.marker, large.marker = b"A=1", b"B=1"
        Looker().look([small, large])

        assert 35 * MIB < large.used_bytes - small.used_bytes < 50 * MIB


def test_shared_pages_count_once_where_it_matters() -> None:
    with process(FORKS.format(size=40 * MIB, count=4)) as (family, _):
        Looker().look([family])
        resident = family.used_bytes
        family.limit_bytes = 100 * MIB
        Looker().look([family])

        assert resident > 160 * MIB
        assert family.used_bytes < 100 * MIB
        assert not family.is_over


def test_one_that_was_seen_is_known_when_its_parent_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have cleared its environment since, and left the group."""
    with process(ORPHAN.format(size=10)) as (family, said):
        orphan = int(said[0])
        usage = read_usage(orphan)
        assert usage is not None
        family.marker = b"SOMETHING=else"
        family.members = {usage[0]}
        Looker().look([family])

        assert pids(family) == {family.pid, orphan}


def test_an_orphan_that_was_adopted_is_known_by_its_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon is a subreaper; here init has got it, so that what is adopted is said by hand."""
    with process(ORPHAN.format(size=20 * MIB)) as (family, said):
        orphan = int(said[0])

        def adopted(pid: int) -> set[int]:
            return {orphan, family.pid} if pid == os.getpid() else procfs.children(pid)

        monkeypatch.setattr(memory, "children", adopted)
        other = Family(2**22 + 1, b"NOBODY=1", limit_bytes=1)
        looker = Looker()
        looker.look([other, family])

        assert pids(family) == {family.pid, orphan}
        assert family.used_bytes > 20 * MIB
        assert other.members == set()


def test_a_process_with_a_number_that_is_used_again_is_another_one() -> None:
    with process(TAKES.format(size=10)) as (family, _), process(TAKES.format(size=10)) as (other, _):
        family.marker = b"SOMETHING=else"
        family.members = {Stat(other.pid, "S", 1, other.pid, 1)}
        Looker().look([family])

        assert pids(family) == {family.pid}


def test_the_id_of_a_child_that_is_gone_is_not_looked_at_again() -> None:
    """It may be given to a process of somebody else, while what the child has started is still being ended."""
    with process(TAKES.format(size=10)) as (other, _):
        family = Family(2**22 + 1, b"SOMETHING=else", limit_bytes=1)
        Looker().look([family])
        family.pid = other.pid
        Looker().look([family])

        assert family.members == set()
        assert not family.is_over


# ---- the watch


@pytest.mark.parametrize(("busy", "pause"), [(0.0, 0.25), (0.02, 0.4), (0.9, 2.0), (60.0, 2.0)])
def test_the_pause_after_a_look_is_as_long_as_it_was_busy_and_never_long(busy: float, pause: float) -> None:
    assert memory._pause_seconds(busy) == pytest.approx(pause)


@contextmanager
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(memory, "LOOK_SECONDS", 0.02)
        yield


async def test_the_one_over_its_limit_is_ended_and_its_neighbour_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts()
    watch = MemoryWatch(counts)
    with quick(monkeypatch):
        async with (
            running_child(TAKES.format(size=100 * MIB), limits=limits(60 * MIB)) as (greedy, heard),
            running_child(TAKES.format(size=10), limits=limits(60 * MIB)) as (modest, _),
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(watch.run)
            watch.started(modest)
            watch.started(greedy)
            await heard.until(gone=1)

            assert isinstance(greedy.fault, ChildOverMemory)
            assert modest.fault is None and is_alive(modest.pid)
            assert counts.snapshot() == {"ended.child_memory": 1}
            tasks.cancel_scope.cancel()


async def test_a_look_that_fails_is_not_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch = MemoryWatch(Counts())
    faults = [OSError(24, "full"), RuntimeError("no thread"), ValueError("a bug")]

    class Failing(Looker):
        def look(self, families: Any) -> float:
            if faults:
                raise faults.pop(0)
            return super().look(families)

    watch._looker = Failing()
    with quick(monkeypatch):
        async with (
            running_child(TAKES.format(size=100 * MIB), limits=limits(60 * MIB)) as (greedy, heard),
            anyio.create_task_group() as tasks,
        ):
            watch.started(greedy)
            tasks.start_soon(watch.run)
            await heard.until(gone=1)
            tasks.cancel_scope.cancel()
    assert caplog.text.count("not looked at") == 3


async def test_nothing_is_looked_at_while_no_child_has_a_limit() -> None:
    watch = MemoryWatch(Counts())

    class Never(Looker):
        def look(self, families: Any) -> float:
            raise AssertionError("looked")

    watch._looker = Never()
    async with running_child(TAKES.format(size=10)) as (child, heard), anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run)
        watch.started(child)
        await heard.until(lines=1)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()


def limits(memory_bytes: int) -> ChildLimits:
    return ChildLimits(memory_bytes=memory_bytes)

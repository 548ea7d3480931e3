"""How a child starts, dies and is ended; each with a real process."""

import asyncio
import errno
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable

import anyio
import anyio.to_thread
import pytest

from proxy.child.death import has_pidfds
from proxy.child.process import open_child
from proxy.child.procfs import children
from proxy.child.spawn import Spawned
from proxy.child.spec import ChildSpec
from proxy.errors import ChildStartFailed, OutOfResources
from tests.support.children import ECHO, Heard, is_alive, running_child, spec

pytestmark = pytest.mark.processes

IGNORES_SIGTERM = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
# The grandchild is told apart by its pid on stdout; it lives in the same process group.
WITH_GRANDCHILD = """
import subprocess, sys
g = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"])
print(g.pid, flush=True)
sys.stdin.read()
"""


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_lines_cross_in_both_directions() -> None:
    async with running_child(ECHO) as (child, heard):
        child.link.send(b"one")
        child.link.send(b"two")
        await heard.until(lines=2)

    assert heard.lines == [b"one", b"two"]


async def test_a_child_that_ends_at_the_end_of_its_stdin_is_ended_by_that_alone() -> None:
    async with running_child(ECHO) as (child, heard):
        pass

    assert child.returncode == 0
    assert heard.gone == [0]
    assert not child.was_killed


async def test_nothing_is_left_open_after_a_child() -> None:
    async with running_child(ECHO):
        pass  # what the event loop opens once, it has opened now
    before = open_fds()

    async with running_child(ECHO):
        assert open_fds() > before

    assert open_fds() == before


async def test_the_last_words_of_a_child_come_before_the_news_of_its_death() -> None:
    order: list[str] = []
    source = "import sys\nsys.stdout.write('a\\n' * 1000 + 'b')\nsys.stdout.flush()\nsys.exit(3)\n"
    heard = Heard()

    def on_gone(returncode: int | None) -> None:
        order.append("gone")
        heard.on_gone(returncode)

    async with open_child(spec(source), on_lines=lambda lines: order.extend(["line"] * len(lines)), on_gone=on_gone):
        await heard.until(gone=1)

    assert order == ["line"] * 1001 + ["gone"]
    assert heard.gone == [3]


async def test_death_is_noticed_although_a_grandchild_holds_the_pipes() -> None:
    source = WITH_GRANDCHILD.replace("sys.stdin.read()", "sys.exit(7)")

    async with running_child(source) as (_, heard):
        await heard.until(lines=1, gone=1)
        grandchild = int(bytes(heard.lines[0]))  # type: ignore[arg-type]  # a short line is bytes

        assert heard.gone == [7]
        assert is_alive(grandchild)
    assert not is_alive(grandchild)


async def test_the_whole_group_dies_with_the_child() -> None:
    async with running_child(WITH_GRANDCHILD) as (child, heard):
        await heard.until(lines=1)
        grandchild = int(bytes(heard.lines[0]))  # type: ignore[arg-type]  # a short line is bytes

    assert not is_alive(grandchild)
    assert child.returncode == 0


async def test_a_child_that_ignores_sigterm_is_killed() -> None:
    async with running_child(IGNORES_SIGTERM, stdin_grace_seconds=0.05, term_grace_seconds=0.1) as (child, heard):
        await heard.until(lines=1)

    assert child.returncode == -signal.SIGKILL
    assert child.was_killed


async def test_a_child_that_only_needs_sigterm_is_not_killed() -> None:
    source = "import time\nprint('ready', flush=True)\ntime.sleep(60)\n"

    async with running_child(source, stdin_grace_seconds=0.05) as (child, heard):
        await heard.until(lines=1)

    assert child.returncode == -signal.SIGTERM
    assert not child.was_killed


async def test_a_cancelled_owner_still_ends_its_child() -> None:
    """The end is shielded: cancelled while the ladder waits, it goes on to the last step."""
    pid = 0
    with anyio.move_on_after(0.2) as scope:
        async with running_child(IGNORES_SIGTERM, stdin_grace_seconds=0.3, term_grace_seconds=0.1) as (child, heard):
            await heard.until(lines=1)
            pid = child.pid
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert pid
    assert not is_alive(pid)


async def test_a_cancelled_owner_gives_its_child_the_time_of_the_ladder() -> None:
    source = "import sys, time\nprint('ready', flush=True)\nsys.stdin.read()\ntime.sleep(0.2)\n"
    with anyio.CancelScope() as scope:
        async with running_child(source) as (child, heard):
            await heard.until(lines=1)
            scope.cancel()
            await anyio.sleep_forever()

    assert child.returncode == 0
    assert not child.was_killed


async def test_a_start_that_is_cancelled_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The await that holds a process nobody has seen yet: the spawn in its thread."""
    import proxy.child.spawn as module

    started: list[int] = []
    start = module._start
    scope = anyio.CancelScope()

    def spawn_while_cancelled(child_spec: ChildSpec) -> object:
        spawned = start(child_spec)
        started.append(spawned.process.pid)
        anyio.from_thread.run_sync(scope.cancel)
        return spawned

    monkeypatch.setattr(module, "_start", spawn_while_cancelled)
    before = open_fds()
    with scope:
        async with running_child(ECHO):
            await anyio.sleep_forever()

    assert started
    assert not is_alive(started[0])
    assert open_fds() <= before + 4  # the loop's own, opened once for the thread


@pytest.mark.parametrize("is_started", [False, True])
async def test_a_start_that_an_asyncio_task_gives_up_leaves_no_process(
    is_started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing shields from `Task.cancel`: the thread goes on, and what it starts, or has just started, has no owner."""
    import proxy.child.spawn as module

    started: list[Spawned] = []
    is_starting, may_start, has_started = threading.Event(), threading.Event(), threading.Event()
    start, begin = module._start, module._Handover.begin

    def start_later(child_spec: ChildSpec) -> Spawned:
        is_starting.set()
        assert may_start.wait(10)
        started.append(start(child_spec))
        return started[0]

    def begin_and_tell(handover: module._Handover) -> None:
        begin(handover)
        has_started.set()

    monkeypatch.setattr(module, "_start", start_later)
    monkeypatch.setattr(module._Handover, "begin", begin_and_tell)
    before = open_fds()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(module.spawn(spec(ECHO)))
        assert await anyio.to_thread.run_sync(is_starting.wait, 10)
        if is_started:
            may_start.set()
            assert has_started.wait(10)  # on the loop: the news of it can't come before the cancellation
        task.cancel()
        await asyncio.wait([task])
        may_start.set()
    assert await anyio.to_thread.run_sync(has_started.wait, 10)

    assert task.cancelled()
    assert not is_alive(started[0].process.pid)
    assert open_fds() <= before + 4  # the loop's own, opened once for the thread


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EMFILE])
async def test_where_pidfds_are_refused_a_death_is_noticed_all_the_same(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sandboxes refuse them (gVisor, seccomp profiles), and descriptors run out."""

    def refuse(_: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    async with running_child("import sys\nprint('last words')\nsys.exit(3)\n") as (child, heard):
        await heard.until(gone=1)

        assert (heard.lines, heard.gone) == ([b"last words"], [3])
    async with running_child(ECHO) as (child, heard):
        pass

    assert (child.returncode, child.was_killed) == (0, False)
    assert not has_pidfds()


@pytest.mark.parametrize(("nth", "starts"), [(1, False), (2, False), (3, False), (4, True)])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space"), RuntimeError("a bug")])
async def test_a_child_that_can_not_be_watched_is_not_left_behind(
    nth: int, starts: bool, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """stderr, stdin, stdout, pidfd: the kernel may refuse to watch any of them; only the last has a substitute."""
    await anyio.to_thread.run_sync(open_fds)  # what the event loop opens once, it has opened now
    loop = asyncio.get_running_loop()
    add_reader, calls = loop.add_reader, itertools.count(1)

    def refuse_one(fd: int, callback: Callable[..., object], *args: object) -> None:
        if next(calls) == nth:
            raise error
        add_reader(fd, callback, *args)

    before = open_fds()
    monkeypatch.setattr(loop, "add_reader", refuse_one)
    if starts and isinstance(error, OSError):
        async with running_child("") as (_, heard):
            await heard.until(gone=1)
    else:
        with pytest.raises((OutOfResources, RuntimeError)):
            async with running_child(ECHO):
                raise AssertionError("it started")

    assert open_fds() == before
    assert children(os.getpid()) == set()


async def test_a_child_whose_beginning_can_not_be_told_is_ended() -> None:
    class Deaf:
        def started(self, pid: int) -> None:
            raise OSError(errno.EIO, "no guardian")

        def ended(self, pid: int) -> None:
            self.gone = pid

    deaf, heard = Deaf(), Heard()
    with pytest.raises(OSError, match="no guardian"):
        async with open_child(spec(ECHO), on_lines=heard.on_lines, on_gone=heard.on_gone, watch=deaf):
            raise AssertionError("it started")

    assert heard.gone == [0]
    assert not is_alive(deaf.gone)


async def test_a_program_that_does_not_exist_is_a_failed_start_of_its_server(caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()
    before = open_fds()

    with pytest.raises(ChildStartFailed):
        async with open_child(
            ChildSpec(argv=("/nonexistent/program",), env={}, server="files"),
            on_lines=heard.on_lines,
            on_gone=heard.on_gone,
        ):
            raise AssertionError("it started")

    said = [record.__dict__ for record in caplog.records if record.message == "child not started"]
    assert [each["server"] for each in said] == ["files"]
    assert heard.gone == []
    assert open_fds() <= before + 4  # the loop's own, opened once for the thread


async def test_a_child_that_closes_its_stdout_and_lives_has_shut_us_out() -> None:
    source = "import os, sys\nos.close(1)\nsys.stdin.read()\n"

    async with running_child(source) as (child, heard):
        await heard.until(gone=1)

        assert heard.gone == [None]
        assert child.returncode is None


async def test_a_child_that_closes_its_stdin_and_lives_has_shut_us_out() -> None:
    source = "import os, time\nos.close(0)\nprint('closed', flush=True)\ntime.sleep(60)\n"

    async with running_child(source, stdin_grace_seconds=0.05) as (child, heard):
        await heard.until(lines=1)
        child.link.send(b"anybody there?")
        await heard.until(gone=1)

        assert heard.gone == [None]


async def test_a_chatty_child_is_read_and_its_last_lines_are_kept() -> None:
    source = "import sys\nfor i in range(300000): sys.stderr.write('noise %d\\n' % i)\nprint('done', flush=True)\n"

    async with running_child(source) as (child, heard):
        await heard.until(lines=1, gone=1)

    assert heard.lines == [b"done"]
    assert child.stderr_tail


async def test_a_child_runs_in_a_group_of_its_own_with_the_environment_and_folder_it_was_given(
    tmp_path: object,
) -> None:
    source = "import os\nprint(os.getpgid(0) == os.getpid(), os.environ.get('X'), os.getcwd(), flush=True)\n"
    heard = Heard()

    async with open_child(
        ChildSpec(argv=(sys.executable, "-I", "-S", "-c", source), env={"X": "1"}, cwd=str(tmp_path)),
        on_lines=heard.on_lines,
        on_gone=heard.on_gone,
    ):
        await heard.until(lines=1)

    assert heard.lines == [f"True 1 {tmp_path}".encode()]

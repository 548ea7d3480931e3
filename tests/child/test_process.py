"""How a child starts, dies and is ended; each with a real process."""

import os
import signal
import sys

import anyio
import pytest

from proxy.child.process import open_child
from proxy.child.spec import ChildSpec
from proxy.errors import ChildStartFailed
from tests.support.children import ECHO, Heard, is_alive, running_child, spec

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


async def test_a_start_that_is_cancelled_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The await that holds a process nobody has seen yet: the spawn in its thread."""
    import proxy.child.process as module

    started: list[int] = []
    spawn = module._spawn
    scope = anyio.CancelScope()

    def spawn_while_cancelled(child_spec: ChildSpec) -> object:
        process, pipes = spawn(child_spec)
        started.append(process.pid)
        anyio.from_thread.run_sync(scope.cancel)
        return process, pipes

    monkeypatch.setattr(module, "_spawn", spawn_while_cancelled)
    before = open_fds()
    with scope:
        async with running_child(ECHO):
            await anyio.sleep_forever()

    assert started
    assert not is_alive(started[0])
    assert open_fds() <= before + 4  # the loop's own, opened once for the thread


async def test_a_program_that_does_not_exist_is_a_failed_start() -> None:
    heard = Heard()
    before = open_fds()

    with pytest.raises(ChildStartFailed):
        async with open_child(
            ChildSpec(argv=("/nonexistent/program",), env={}), on_lines=heard.on_lines, on_gone=heard.on_gone
        ):
            raise AssertionError("it started")

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

"""Descendants that have left their process group, and orphans."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from proxy.child import guardian, strays
from proxy.child.procfs import carriers, children, descendants, still_alive
from proxy.child.strays import StrayFinder, end_strays
from proxy.child.watch import Guardian, NoWatch, OrphanReaper, guarded
from tests.support.children import is_alive, open_files, running_child

pytestmark = pytest.mark.processes

SLEEP = "import time; time.sleep(60)"
# Starts a grandchild in a session of its own and tells its pid.
WITH_STRAY = """
import subprocess, sys
argv = [sys.executable, "-I", "-S", "-c", {sleep!r}]
g = subprocess.Popen(argv, start_new_session=True, env={env}, stdin=subprocess.DEVNULL)
print(g.pid, flush=True)
sys.stdin.read()
"""
IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of ours that only sleeps, with a marker of its own."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", SLEEP], env={"MARK": f"m{os.getpid()}"}, start_new_session=True
    )
    while not Path(f"/proc/{process.pid}/environ").read_bytes():  # empty for a moment within exec
        time.sleep(0.001)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("env", ["None", "{}"], ids=["known by its marker", "known by its ancestry"])
async def test_a_descendant_that_left_the_group_dies_with_its_child(env: str) -> None:
    async with running_child(WITH_STRAY.format(sleep=SLEEP, env=env)) as (child, heard):
        await heard.until(lines=1)
        stray = int(bytes(heard.lines[0]))  # type: ignore[arg-type]  # a short line is bytes
        assert os.getpgid(stray) != child.pid

    assert not is_alive(stray)


async def test_a_descendant_is_found_although_its_parent_died_first() -> None:
    source = WITH_STRAY.format(sleep=SLEEP, env="None").replace("sys.stdin.read()", "")

    async with running_child(source) as (_, heard):
        await heard.until(lines=1, gone=1)
        stray = int(bytes(heard.lines[0]))  # type: ignore[arg-type]  # a short line is bytes
        assert is_alive(stray)

    assert not is_alive(stray)


async def test_one_child_does_not_take_the_descendants_of_another_along() -> None:
    source = WITH_STRAY.format(sleep=SLEEP, env="None")
    async with running_child(source) as (_, heard):
        await heard.until(lines=1)
        stray = int(bytes(heard.lines[0]))  # type: ignore[arg-type]  # a short line is bytes

        async with running_child(source) as (_, other):
            await other.until(lines=1)

        assert is_alive(stray)
    assert not is_alive(stray)


async def test_one_look_answers_all_who_ask(
    sleeper: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def counted(markers: tuple[bytes, ...]) -> dict[bytes, set[int]]:
        looks.append(len(markers))
        return carriers(markers)

    monkeypatch.setattr(strays, "carriers", counted)
    finder = StrayFinder()
    found: list[set[int]] = []

    async def ask(marker: bytes) -> None:
        found.append(await finder.find(marker))

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(ask, f"MARK=m{os.getpid()}".encode() if number % 2 else b"MARK=other")

    assert found.count({sleeper.pid}) == 25
    assert found.count(set()) == 25
    assert len(looks) <= 3


async def test_asking_can_be_cancelled_and_others_are_answered(sleeper: "subprocess.Popen[bytes]") -> None:
    finder = StrayFinder()
    marker = f"MARK=m{os.getpid()}".encode()
    with anyio.move_on_after(0.001):
        await finder.find(marker)

    with anyio.fail_after(10):
        assert await finder.find(marker) == {sleeper.pid}


def stubborn() -> "subprocess.Popen[bytes]":
    """A process that SIGTERM does not end."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", IGNORES_SIGTERM], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return process


async def test_a_stray_that_ignores_sigterm_is_killed() -> None:
    process = stubborn()

    assert await end_strays([process.pid], term_grace_seconds=0.1) == 1

    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("refused", ["pidfd_open", "pidfd_send_signal"])
async def test_a_stray_is_ended_where_pidfds_are_refused(refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> int:
        raise PermissionError(errno.EPERM, "sandbox")

    process = stubborn()
    monkeypatch.setattr(os if refused == "pidfd_open" else signal, refused, refuse)

    assert await end_strays([process.pid], term_grace_seconds=0.1) == 1

    assert process.wait() == -signal.SIGKILL


def test_a_process_is_known_again_by_more_than_its_id(sleeper: "subprocess.Popen[bytes]") -> None:
    (stat,) = (each for each in descendants(os.getpid()) if each.pid == sleeper.pid)

    assert still_alive([stat]) == {sleeper.pid}
    assert still_alive([stat._replace(started=stat.started + 1)]) == set()


def test_only_the_dead_among_adopted_processes_are_reaped() -> None:
    """A child that somebody waits for keeps its exit code."""
    ours = subprocess.Popen([sys.executable, "-I", "-S", "-c", "raise SystemExit(3)"])
    adopted = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    for process in (ours, adopted):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    others = children(os.getpid()) - {adopted.pid}
    reaper = OrphanReaper(lambda: others)

    counts = [reaper.reap(), reaper.reap()]

    assert counts == [0, 1]
    assert ours.wait() == 3
    assert adopted.wait() == 0  # subprocess finds it gone


# ---- the guardian


def wait_until_dead(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline, "it lives on"
        os.sched_yield()


def test_a_guardian_that_is_left_alone_ends_the_groups_and_the_marked(sleeper: "subprocess.Popen[bytes]") -> None:
    registered = subprocess.Popen([sys.executable, "-I", "-S", "-c", SLEEP], start_new_session=True)
    gone = subprocess.Popen([sys.executable, "-I", "-S", "-c", SLEEP], start_new_session=True)
    process = subprocess.Popen([sys.executable, "-I", "-S", guardian.__file__], stdin=subprocess.PIPE)

    lines = f"m m{os.getpid()}\n+ {registered.pid}\n+ {gone.pid}\n- {gone.pid}\n"
    process.communicate(lines.encode(), timeout=20)

    assert registered.wait(5) == -signal.SIGTERM
    assert sleeper.wait(5) == -signal.SIGTERM
    assert is_alive(gone.pid)
    gone.kill()
    gone.wait()


def test_a_guardian_kills_what_ignores_it() -> None:
    victim = stubborn()
    process = subprocess.Popen([sys.executable, "-I", "-S", guardian.__file__], stdin=subprocess.PIPE)

    process.communicate(f"+ {victim.pid}\n".encode(), timeout=20)

    assert victim.wait(5) == -signal.SIGKILL


def test_a_guardian_that_is_told_goodbye_ends_nothing() -> None:
    sleeping = subprocess.Popen([sys.executable, "-I", "-S", "-c", SLEEP], start_new_session=True)

    with guarded("nobody-has-this-marker") as watch:
        watch.started(sleeping.pid)
        assert isinstance(watch, Guardian)
        pid = watch.pid
        os.kill(pid, signal.SIGTERM)  # as from a terminal; it stays

    wait_until_dead(pid)
    assert pid not in children(os.getpid())
    assert is_alive(sleeping.pid)
    sleeping.kill()
    sleeping.wait()


def test_a_guardian_that_is_gone_hurts_nobody() -> None:
    with guarded("nobody-has-this-marker") as watch:
        assert isinstance(watch, Guardian)
        os.kill(watch.pid, signal.SIGKILL)
        wait_until_dead(watch.pid)
        watch.started(1)
        watch.ended(1)


@pytest.mark.parametrize("executable", ["/nonexistent", "/bin/echo", "/bin/false"])
def test_a_guardian_that_can_not_be_started_is_said_and_done_without(
    executable: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A frozen application, say, has no Python to run it with."""
    files = open_files()
    monkeypatch.setattr(sys, "executable", executable)

    with guarded("nobody-has-this-marker") as watch:
        assert isinstance(watch, NoWatch)
        watch.started(1)
        watch.ended(1)

    assert "there is no guardian" in caplog.text
    assert open_files() == files


def test_the_guardian_is_a_script_that_needs_nothing_of_the_package() -> None:
    lines = Path(guardian.__file__).read_text(encoding="utf-8").splitlines()
    imported = {line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))}

    assert imported <= sys.stdlib_module_names

"""The daemon whose start fails half-way, or is interrupted: it says so, and nothing is left of what had begun."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping

import anyio
import anyio.to_thread
import pytest

from tests.e2e.serving import CHILD
from tests.support.children import is_alive
from tests.support.daemon import looked_after, start
from tests.support.mcp import connected, open_session

# Runs the daemon as `mcp-proxy` does, with one step of its start replaced; says the process id of the guardian.
PROGRAM = """
import asyncio, contextlib, os, signal, sys
import anyio, uvicorn
from proxy import logs, server
from proxy.child import watch
from proxy.settings import Settings

def fail(*args, **kwargs):
    raise OSError(24, "Too many open files")

def broken(*args, **kwargs):
    raise RuntimeError("a bug")

start_guardian = watch._start_guardian

def start_and_tell(marker):
    guardian = start_guardian(marker)
    os.write(1, b"%d\\n" % guardian.pid)
    return guardian

watch._start_guardian = start_and_tell
startup = uvicorn.Server.startup

async def startup_after_sigterm(self, *args, **kwargs):
    signal.raise_signal(signal.SIGTERM)
    await startup(self, *args, **kwargs)

exec(sys.argv[1])
logs.configure("info", "text")
argv = sys.argv[2:]
settings = Settings(argv=argv, port=0)
sys.exit(server.serve(settings, load=lambda: settings))
"""


def started(step: str, env: Mapping[str, str] = os.environ) -> "subprocess.Popen[str]":
    """The daemon, with this statement executed before."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, step, *CHILD],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(env),
    )


@pytest.mark.parametrize(
    ("step", "said", "is_explained"),
    [
        ("server.listen = fail", "can't listen on 127.0.0.1:0: Too many open files", True),
        ("server.OrphanReaper = broken", "the daemon has failed", False),
        ("server.Bridge.run = broken", "the daemon has failed", False),
        ("anyio.open_signal_receiver = broken", "the daemon has failed", False),
        ("uvicorn.Server.startup = fail", "the daemon has failed", False),
        ("server.announce = broken", "the daemon has failed", False),
        ("uvicorn.Server.main_loop = broken", "the daemon has failed", False),
        ("server.Door.run = broken", "the daemon has failed", False),
    ],
)
async def test_a_start_that_fails_half_way_leaves_nothing(step: str, said: str, is_explained: bool) -> None:
    """Exit 1. What is no fault of the operator comes with a traceback, for the report."""
    process = started(step)
    stdout, stderr = await anyio.to_thread.run_sync(lambda: process.communicate(timeout=20))

    assert process.returncode == 1, stderr
    assert said in stderr
    assert ("Traceback" in stderr) is not is_explained
    guardians = [int(line) for line in stdout.split()]
    assert len(guardians) == (0 if is_explained else 1)
    with anyio.fail_after(10):
        while any(is_alive(pid) for pid in guardians):  # noqa: ASYNC110 (it is nobody's child)
            await anyio.sleep(0.02)


@pytest.mark.parametrize(
    ("step", "warning"),
    [
        ("watch._start_guardian = fail", "there is no guardian"),
        ("watch.ctypes.CDLL = fail", ""),
        ("sys.modules['uvloop'] = None", ""),
        ("del os.pidfd_open", "no pidfds"),
        ("os.pidfd_open = fail", "no pidfds"),
    ],
)
async def test_what_is_not_there_is_done_without(step: str, warning: str) -> None:
    """Sandboxes, frozen applications, other systems: a guarantee less, and a line that says so."""
    with looked_after(started(step)) as daemon:
        async with open_session(daemon.url) as client:
            assert (await client.result(1, "echo", text="hello"))["echo"] == {"text": "hello"}
            pid = await client.pid()
        assert warning in daemon.log
        daemon.signal()

        assert await anyio.to_thread.run_sync(daemon.wait) == 0
        assert not is_alive(pid)


async def test_a_signal_in_the_middle_of_the_start_ends_it_in_peace() -> None:
    process = started("uvicorn.Server.startup = startup_after_sigterm")
    _, stderr = await anyio.to_thread.run_sync(lambda: process.communicate(timeout=20))

    assert process.returncode == 0, stderr
    assert "stopping" in stderr and "Traceback" not in stderr


@pytest.mark.parametrize(("trap", "survives"), [("trap '' HUP;", True), ("", False)])
async def test_sighup_is_left_alone_if_it_was_ignored(trap: str, survives: bool) -> None:
    """As nohup has it: whoever wants the daemon to outlive the terminal says so before starting it."""
    argv = ["sh", "-c", f'{trap} exec "$@"', "sh", sys.executable, "-m", "proxy", "--port", "0", "--", *CHILD]
    env = {name: value for name, value in os.environ.items() if "MCP_PROXY" not in name}
    with looked_after(start(argv, env)) as daemon:
        daemon.signal(signal.SIGHUP)
        if survives:
            async with connected(daemon.url) as client:
                for _ in range(3):
                    assert (await client.http.get(daemon.base_url + "/readyz")).status_code == 200
            daemon.signal()

        assert await anyio.to_thread.run_sync(daemon.wait) == 0
        assert f"SIG{'TERM' if survives else 'HUP'}" in daemon.log

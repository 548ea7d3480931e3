"""A host that embeds a bridge and is interrupted, in the start, in the life and in the end of it: nothing is left.

The host is one coroutine that runs the bridge, uses it, and leaves it while a call is open and a child has to be
killed. It is cancelled as anyio and as asyncio cancel, once and again and again; it fails; and its event loop is torn
down around it. Its own children are left alone, and so are its signals.
"""

import asyncio
import ctypes
import gc
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest

from proxy import Bridge, Settings
from proxy.child.procfs import children
from tests.interruption.test_sessions import OF_THE_BRIDGE, until
from tests.support.asgi import Response
from tests.support.children import open_files
from tests.support.interrupt import AGAIN, FAULTS, Interrupted, Place, Walk, told, walk
from tests.support.mcp import ACCEPT, Body, call, encode, hello

# Starts in a millisecond; answers everything but `hold`; lives on until SIGKILL.
STUBBORN = """
trap '' TERM
id=0
hello='{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"sh","version":"1"}}'
while read -r line; do
    case "$line" in *'"id":'*) id=$((id + 1)) ;; *) continue ;; esac
    case "$line" in
    *'"initialize"'*) result=$hello ;;
    *'"hold"'*) continue ;;
    *) result='{}' ;;
    esac
    echo '{"jsonrpc":"2.0","id":'$id',"result":'$result'}'
done
exec sleep 60
"""
SETTINGS = Settings(
    argv=("sh", "-c", STUBBORN), stdin_grace_seconds=0.03, term_grace_seconds=0.03, drain_timeout_seconds=0.1
)
GET_CHILD_SUBREAPER = 37
REQUEST = "edge/front.py Front.__call__: self._endpoint"


async def ask(bridge: Bridge, method: str, body: Body = b"", sid: str = "") -> Response:
    headers = {"accept": ACCEPT, "content-type": "application/json", **({"mcp-session-id": sid} if sid else {})}
    response = Response(method, headers, encode(body))
    await response.serve(bridge.asgi)
    return response


async def open_session(bridge: Bridge) -> str:
    response = await ask(bridge, "POST", hello())
    assert response.status == 200, response.body
    return response.headers["mcp-session-id"]


@asynccontextmanager
async def used(bridge: Bridge) -> AsyncIterator[None]:
    """A bridge in the midst of life: a call is open, and one child is on the ladder."""
    async with bridge.run():
        sid, ended = await open_session(bridge), await open_session(bridge)
        assert (await ask(bridge, "POST", call(1, "echo"), sid)).status == 200
        asyncio.get_running_loop().create_task(ask(bridge, "POST", call(2, "hold"), sid))
        await until(lambda: bridge.server.manager.roster.calls_in_flight == 1, "a call is open")
        assert (await ask(bridge, "DELETE", sid=ended)).status == 200
        yield


async def leave(bridge: Bridge) -> None:
    async with used(bridge):
        pass


async def drain(bridge: Bridge) -> None:
    async with used(bridge):
        await bridge.server.manager.drain(0.05)
        await bridge.drain()
        assert bridge.places.taken == 0
        assert (await ask(bridge, "POST", hello())).status == 503


async def fail(bridge: Bridge) -> None:
    with pytest.raises(ExceptionGroup):
        async with used(bridge):
            raise ValueError("the host's")


class Before:
    """What the host had before it ran a bridge."""

    def __init__(self) -> None:
        self.files = open_files()
        self.children = children(os.getpid())
        self.tasks = asyncio.all_tasks()

    def remains(self, bridge: Bridge) -> list[Any]:
        return [
            *(children(os.getpid()) - self.children),
            *(asyncio.all_tasks() - self.tasks),
            *(f"{extra} descriptors" for extra in [open_files() - self.files] if extra > 0),
            *(f"{each} taken" for each in [bridge.places.taken, bridge.server.manager.roster.session_count] if each),
        ]


@pytest.mark.parametrize("way", ["scope", "task", AGAIN, "os-error"])
async def test_nothing_is_left_wherever_the_host_is_interrupted(way: str) -> None:
    """And the bridge can be run again."""
    await anyio.to_thread.run_sync(open_files)  # what the event loop opens once, it has opened now
    bridge, seen, before = Bridge(SETTINGS), set[str](), Before()

    async def nothing_is_left() -> None:
        try:
            await until(lambda: not before.remains(bridge), "nothing is left")
        except AssertionError as exc:
            exc.add_note(str(before.remains(bridge)))
            raise

    for host in (leave, drain, fail) if way == "scope" else (leave, drain):
        # A request that fails is no failure of its host; tests of the sessions have them all.
        skip = [REQUEST] if host is not leave or way in FAULTS else []
        # One that is cancelled may still see that its request was answered with an error.
        expected = [AssertionError]
        seen |= (await walk(partial(host, bridge), way, expected=expected, skip=skip, after_each=nothing_is_left)).keys

    assert OF_THE_BRIDGE.keys() - seen == set()


def until_now(is_so: Callable[[], bool], *, seconds: float = 5.0) -> None:
    """Wait, where there is no event loop, until this is so or so many seconds are over."""
    ends_at = time.monotonic() + seconds
    while not is_so() and time.monotonic() < ends_at:
        time.sleep(0.01)


def test_nothing_is_left_wherever_the_event_loop_is_torn_down() -> None:
    """As `asyncio.run` does when its main coroutine ends before the others: every task is cancelled, ours too."""
    bridge, seen = Bridge(SETTINGS), Walk()
    before, files = children(os.getpid()), open_files()

    async def main(place: Place, nth: int) -> Interrupted[None]:
        is_struck = asyncio.Event()
        run = Interrupted(leave(bridge), at=place, nth=nth, strike=lambda: is_struck.set())

        async def host() -> None:
            await run

        tasks = [asyncio.get_running_loop().create_task(each) for each in (host(), is_struck.wait())]
        _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        assert len(pending) < 2
        return run

    for place, nth in seen:
        with told("teardown", place, nth):
            seen.note(asyncio.run(main(place, nth)))
            gc.collect()
            # A thread that was starting a process when nobody wanted it any more ends it, and no loop waits for that.
            until_now(lambda: (children(os.getpid()), open_files()) == (before, files))
            assert children(os.getpid()) == before
            assert open_files() == files
            assert (bridge.places.taken, bridge.server.manager.roster.session_count) == (0, 0)

    assert "sessions/manager.py SessionManager.run: self.roster.all_gone" in seen.keys


@contextmanager
def childrens_host() -> Iterator[list[tuple[int, "subprocess.Popen[bytes]"]]]:
    """A host with children of its own, which end before, while and after it runs a bridge."""
    codes = (7, 8, 9)
    own = [
        (code, subprocess.Popen(["sh", "-c", f"read line; exit {code}"], stdin=subprocess.PIPE, start_new_session=True))
        for code in codes
    ]
    try:
        yield own
    finally:
        for _, process in own:
            process.kill()
            process.wait()


async def test_the_children_and_the_signals_of_a_host_are_left_alone() -> None:
    """Design part 2: no signal handler, no subreaper, no wait for processes that are not its own."""
    handlers = {signum: signal.getsignal(signum) for signum in signal.valid_signals()}
    libc = ctypes.CDLL(None, use_errno=True)

    def is_subreaper() -> bool:
        value = ctypes.c_int(0)
        assert libc.prctl(GET_CHILD_SUBREAPER, ctypes.byref(value), 0, 0, 0) == 0
        return bool(value.value)

    with childrens_host() as ((first, before), (second, between), (third, after)):
        before.communicate()
        async with used(Bridge(SETTINGS)):
            between.communicate(timeout=10)
            assert {signum: signal.getsignal(signum) for signum in signal.valid_signals()} == handlers
            assert not is_subreaper()
            by_asyncio = await asyncio.create_subprocess_exec("sh", "-c", "exit 6")
        after.communicate(timeout=10)

        assert [process.returncode for process in (before, between, after)] == [first, second, third]
        assert await by_asyncio.wait() == 6
    assert {signum: signal.getsignal(signum) for signum in signal.valid_signals()} == handlers

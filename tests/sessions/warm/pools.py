"""Sessions with a pool, and a server whose children start in milliseconds or as slowly as they are told."""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from msgspec import Raw

from proxy.child.spec import ChildSpec
from proxy.observe import Counts
from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.messages import Request
from proxy.sessions.limits import SessionLimits
from proxy.sessions.manager import SessionManager
from proxy.sessions.places import Places
from proxy.sessions.session import Session
from proxy.sessions.warm.pool import WarmPool
from tests.support.children import is_alive, spec

PATIENCE_SECONDS = 20.0

SOURCE = """
import json, os, sys, time
folder = MODES.get("folder", "")
if folder:
    with open(folder + "/starts", "a") as starts:
        starts.write("%d\\n" % os.getpid())
    if os.path.exists(folder + "/broken"):
        sys.exit(3)
time.sleep(MODES.get("slow", 0))
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "ping":
        if "exit-on-ping" in MODES:
            sys.exit(4)
        if "mute" in MODES:
            continue
    if "id" in message:
        result = {"pid": os.getpid(), "protocolVersion": "2025-11-25"}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


def child(**modes: Any) -> ChildSpec:
    """A server that answers everything. `slow` is in seconds; `exit_on_ping`, `mute`; it writes down its starts in
    `folder`, and exits at once while a file `broken` is there."""
    named = {name.replace("_", "-"): str(value) if isinstance(value, Path) else value for name, value in modes.items()}
    return spec(f"MODES = {named!r}\n{SOURCE}", stdin_grace_seconds=0.5, term_grace_seconds=0.5)


class Pooled(NamedTuple):
    """A manager, and the pool that it takes from."""

    manager: SessionManager
    pool: WarmPool
    places: Places
    counts: Counts

    @property
    def ready(self) -> int:
        ready: int = self.pool.report()["ready"]
        return ready

    async def until_ready(self, count: int) -> None:
        await until(lambda: self.ready == count, f"{count} are ready")


@asynccontextmanager
async def pooled(
    server: ChildSpec, *, size: int, places: Places | None = None, max_age_seconds: float | None = None, **limits: Any
) -> AsyncIterator[Pooled]:
    """A manager with a pool; nothing may be left when it has ended."""
    places = places or Places(max_children=limits.pop("max_children", 8))
    counts = Counts()
    max_sessions = limits.pop("max_sessions", 8)
    session_limits = SessionLimits(**limits)
    pool = WarmPool(
        size=size,
        max_age_seconds=max_age_seconds,
        start_timeout_seconds=session_limits.start_timeout_seconds,
        places=places,
        counts=counts,
    )
    manager = SessionManager(
        spec=server, limits=session_limits, counts=counts, max_sessions=max_sessions, places=places, warm=pool
    )
    async with manager.run(), pool.run():
        yield Pooled(manager, pool, places, counts)
    assert (manager.roster.child_count, manager.roster.session_count, len(pool)) == (0, 0, 0)


async def initialize(session: Session) -> int:
    """What the edge does with a session that it has; the process id of its child."""
    message = parse_client_message(b'{"jsonrpc":"2.0","id":"i","method":"initialize","params":{}}')
    assert isinstance(message, Request)
    stream = session.exchange.streams.new(Raw(b'"i"'))
    await session.intake.begin([message], stream)
    with anyio.fail_after(PATIENCE_SECONDS):
        while not stream.items:
            await stream.wait()
    (item,) = stream.take()[1]
    assert isinstance(item, bytes), item
    pid: int = json.loads(item)["result"]["pid"]
    return pid


async def opened(manager: SessionManager) -> int:
    """One more client; the process id of its child."""
    session = await manager.open()
    pid = await initialize(session)
    manager.publish(session, "2025-11-25")
    return pid


def starts(folder: Path) -> list[int]:
    """Every process that was started, by its id."""
    file = folder / "starts"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def alive(folder: Path) -> list[int]:
    """Those of them that live: the kernel says so."""
    return [pid for pid in starts(folder) if is_alive(pid)]


async def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait for what has no event of its own."""
    try:
        with anyio.fail_after(PATIENCE_SECONDS):
            while not is_so():  # noqa: ASYNC110 (that is what this is for)
                await anyio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"it never came to this: {what}") from None


def kill(pid: int) -> None:
    os.kill(pid, 9)

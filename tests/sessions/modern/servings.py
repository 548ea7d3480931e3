"""One server with real children, for clients without sessions, and without HTTP."""

import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from proxy.child.spec import ChildSpec
from proxy.errors import ProxyError
from proxy.observe import Counts
from proxy.protocol.envelope import ModernRequest
from proxy.sessions.era import ChildEra, ServerEra
from proxy.sessions.modern.call import ModernCall, Principal
from proxy.sessions.modern.child import SharedChild
from proxy.sessions.modern.limits import ModernLimits
from proxy.sessions.modern.pool import Pool
from proxy.sessions.modern.serving import ModernServing
from proxy.sessions.places import Places
from proxy.sessions.starts import Starts
from proxy.sessions.stream import Failure
from tests.support.children import is_alive
from tests.support.mcp import PATIENCE_SECONDS, until

PROGRAM = Path(__file__).parents[2] / "programs" / "modern.py"

Json = dict[str, Any]

ANN = Principal("ann", "everybody")
"""Shares children with all of her group."""
STRANGER = Principal("strangers", None)


class Served:
    """A running server, and what is known of it."""

    def __init__(self, serving: ModernServing, places: Places, era: ServerEra, counts: Counts, starts: Path) -> None:
        self.serving = serving
        self.places = places
        self.era = era
        self.counts = counts
        self._starts = starts

    @property
    def pool(self) -> Pool:
        return self.serving.pool

    @property
    def started(self) -> list[int]:
        """The processes that were ever started, oldest first."""
        return [int(line) for line in self._starts.read_text().split()] if self._starts.exists() else []

    @property
    def verdict(self) -> tuple[bool | None, bool | None]:
        """Whether the server speaks 2026-07-28, and whether it shakes hands."""
        return self.era.speaks_modern, self.era.speaks_legacy

    @property
    def alive(self) -> list[int]:
        return [pid for pid in self.started if is_alive(pid)]

    def new_call(self, request: ModernRequest, principal: Principal = ANN) -> ModernCall:
        return self.serving.new_call(request, principal)

    async def begin(self, request: ModernRequest, principal: Principal = ANN) -> ModernCall:
        """Send a request, as the edge does; raises if it can't be."""
        call = self.new_call(request, principal)
        if not self.serving.begin_at_once(call, {}):
            await self.serving.begin(call, {})
        return call

    async def answer(self, request: ModernRequest, principal: Principal = ANN) -> Json:
        """The message that answers a request. Raises the error that its client would be told."""
        return await answer_of(await self.begin(request, principal))

    async def tool(self, request: ModernRequest, principal: Principal = ANN) -> Json:
        """The structured content of a tool's result."""
        content: Json = (await self.answer(request, principal))["result"]["structuredContent"]
        return content

    async def until_only(self, children: int) -> None:
        """Wait until so many processes are left."""

        async def is_so() -> bool:
            return self.places.taken == children == len(self.alive)

        await until(is_so, f"{children} processes are left")


async def answer_of(call: ModernCall) -> Json:
    """The message that answers a call that was begun; raises the error that its client would be told."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while not call.stream.has_ended:
            call.stream.take()
            await call.stream.wait()
    item = call.stream.take()[1][-1]
    if isinstance(item, Failure):
        raise item.error
    assert isinstance(item, bytes)
    message: Json = json.loads(item)
    return message


@asynccontextmanager
async def serving(
    tmp_path: Path,
    *modes: str,
    argv: tuple[str, ...] | None = None,
    era: ChildEra = "auto",
    max_children: int = 8,
    make: Callable[..., ModernServing] = ModernServing,
    **limits: Any,
) -> AsyncIterator[Served]:
    """A server; when the block is left no process, place or descriptor of it is."""
    starts = tmp_path / "starts"
    spec = ChildSpec(
        argv=argv or (sys.executable, "-I", "-S", str(PROGRAM), *modes, f"starts-file={starts}"),
        env=dict(os.environ),
        stdin_grace_seconds=0.3,
        term_grace_seconds=0.3,
    )
    places, counts, known = Places(max_children=max_children), Counts(), ServerEra(era)
    serving = make(
        spec=spec,
        limits=ModernLimits(**limits),
        counts=counts,
        places=places,
        era=known,
        starts=Starts(anyio.current_time),
    )
    served = Served(serving, places, known, counts, starts)
    before = len(os.listdir("/proc/self/fd"))
    async with serving.run():
        yield served
    assert places.taken == 0
    assert not places.house.pids()
    assert served.alive == []
    assert not serving.pool.children
    assert len(os.listdir("/proc/self/fd")) <= before + 4  # the loop's own, opened once for its threads


def refusal_of(exc: BaseException) -> type[ProxyError]:
    """The kind of error that a client would be told."""
    assert isinstance(exc, ProxyError), exc
    return type(exc)


def lines_of(child_lines: list[str]) -> list[str]:
    """The methods of what a child has read."""
    return [json.loads(line)["method"] for line in child_lines]


async def seen_by(served: Served, child: SharedChild, request: ModernRequest) -> list[str]:
    """The methods of all that this child has read so far; `request` is a call of the tool `seen`."""
    call = served.new_call(request)
    assert child.take_place_at_once()
    call.begin(child, {})
    content = (await answer_of(call))["result"]["structuredContent"]
    return lines_of(content["lines"])

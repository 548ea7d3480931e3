"""How long is the event loop held up? The bridge, and a ticker on the same loop.

    python -m benchmarks.ticking PORT CHILD...

Served at `/mcp` as by the daemon. `GET /stalls` says how late the ticker came at most since it was last asked, and how
much CPU time the process used at most between two ticks, both in milliseconds. A process that waits for a busy machine
is late without having computed; one that computes does both.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from proxy import Bridge, Settings

TICK_SECONDS = 0.001


class Ticker:
    """Asks to be called every millisecond, and notes how long that took."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._late_seconds = 0.0
        self._cpu_seconds = 0.0
        self._last = self._loop.time()
        self._last_cpu = time.process_time()
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        now, cpu = self._loop.time(), time.process_time()
        self._late_seconds = max(self._late_seconds, now - self._last - TICK_SECONDS)
        self._cpu_seconds = max(self._cpu_seconds, cpu - self._last_cpu)
        self._last, self._last_cpu = now, cpu
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def take(self) -> dict[str, float]:
        """What was noted; begins anew."""
        noted = {"late_ms": self._late_seconds * 1000, "cpu_ms": self._cpu_seconds * 1000}
        self._late_seconds = self._cpu_seconds = 0.0
        return noted

    def stop(self) -> None:
        """Tick no more."""
        self._timer.cancel()


def ticking_app(settings: Settings) -> Starlette:
    """The bridge with a ticker beside it."""
    bridge = Bridge(settings)
    tickers: list[Ticker] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with bridge.run():
            tickers.append(Ticker())
            try:
                yield
            finally:
                tickers.pop().stop()

    async def stalls(_: Request) -> JSONResponse:
        return JSONResponse(tickers[0].take())

    return Starlette(lifespan=lifespan, routes=[Route("/stalls", stalls), Mount("/", app=bridge.asgi)])


def main() -> None:
    """Serve until SIGTERM."""
    port, *child = sys.argv[1:]
    uvicorn.run(
        ticking_app(Settings(argv=tuple(child))),
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    main()

"""A service with a bridge at /tools, on hypercorn, as somebody would write it.

    python tests/programs/hypercorn_host.py [--drain] -- COMMAND...

With `--drain` it lets the bridge finish before it stops the server. Says where it serves, as the daemon does.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.routing import Mount

from proxy import Bridge, Settings


async def main(flags: list[str], argv: list[str]) -> None:
    """Serve until SIGTERM."""
    bridge = Bridge(
        Settings(
            argv=tuple(argv),
            commit_after_seconds=0.1,
            drain_timeout_seconds=1.0,
            stdin_grace_seconds=0.3,
            term_grace_seconds=0.3,
        )
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with bridge.run():
            yield

    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.graceful_timeout = 1.0
    sockets = config.create_sockets()
    (listener,) = sockets.insecure_sockets
    config.create_sockets = lambda: sockets  # type: ignore[method-assign]  # the port must be known
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)

    async def shutdown() -> None:
        sys.stderr.write(f"serving http://127.0.0.1:{listener.getsockname()[1]}/tools/mcp\n")
        await stopping.wait()
        if "--drain" in flags:
            await bridge.drain()

    app = Starlette(routes=[Mount("/tools", app=bridge.asgi)], lifespan=lifespan)
    await serve(app, config, shutdown_trigger=shutdown)  # type: ignore[arg-type]  # Starlette's types are its own


if __name__ == "__main__":
    words = sys.argv[1:]
    at = words.index("--")
    asyncio.run(main(words[:at], words[at + 1 :]))

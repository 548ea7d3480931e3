"""A Starlette service that serves the servers of a config file, and one more, below /mcp.

uvicorn examples.embed_several:app --port 8000
curl -s http://127.0.0.1:8000/mcp/servers
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount

from proxy import Bridge, Settings

settings = Settings(
    config=Path(__file__).with_name("servers.json"),
    named_server={"more": f"{sys.executable} -m proxy.demo"},
    default_server="demo",
)
bridge = Bridge(settings)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """All servers live as long as the service; `await bridge.reload(settings)` reads the file again."""
    async with bridge.run():
        yield


app = Starlette(lifespan=lifespan, routes=[Mount("/mcp", app=bridge.asgi)])

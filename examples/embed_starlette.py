"""A Starlette service that serves an MCP server at /tools/mcp, beside its own routes.

uvicorn examples.embed_starlette:app --port 8000
curl -s http://127.0.0.1:8000/tools/health
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from proxy import Bridge, Settings

bridge = Bridge(Settings(demo=True))  # or Settings(command="uvx mcp-server-fetch"); nothing starts here


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """A mounted application's own lifespan is never run, so the bridge lives in the host's."""
    async with bridge.run():
        yield


async def index(_: Request) -> PlainTextResponse:
    """A route of the host's own."""
    return PlainTextResponse("The MCP server is at /tools/mcp\n")


app = Starlette(lifespan=lifespan, routes=[Route("/", index), Mount("/tools", app=bridge.asgi)])

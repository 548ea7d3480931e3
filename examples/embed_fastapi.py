"""A FastAPI service with two MCP servers, each with its own settings.

uvicorn examples.embed_fastapi:app --port 8000
curl -s http://127.0.0.1:8000/demo/health
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from proxy import Bridge, Settings

demo = Bridge(Settings(demo=True))
short = Bridge(Settings(demo=True, idle_timeout_seconds=60, max_sessions=8))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Both bridges live as long as the service."""
    async with demo.run(), short.run():
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/demo", demo.asgi)
app.mount("/short", short.asgi)


@app.get("/")
async def index() -> dict[str, str]:
    """A route of the host's own."""
    return {"demo": "/demo/mcp", "short": "/short/mcp"}

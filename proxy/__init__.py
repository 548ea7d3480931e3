"""Put any MCP server that speaks stdio on the network as streamable HTTP.

For a host application::

    bridge = Bridge(Settings(command="uvx mcp-server-fetch"))
    # in the host's lifespan:  async with bridge.run(): yield
    # in the host's routes:    Mount("/tools", app=bridge.asgi)      -> /tools/mcp, /tools/health

or, as an app with a lifespan of its own: ``app = create_app(Settings(...))``.
"""

from typing import TYPE_CHECKING, Any

from proxy.version import __version__

if TYPE_CHECKING:
    from proxy.edge.bridge import Bridge, create_app
    from proxy.settings import Settings

__all__ = ["Bridge", "Settings", "__version__", "create_app"]

_HOME = {"Bridge": "proxy.edge.bridge", "create_app": "proxy.edge.bridge", "Settings": "proxy.settings"}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: `--help` and the demo server need none of them."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)

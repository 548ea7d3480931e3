"""Which server is behind this path?"""

from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Scope

from proxy.edge.served import Served


class Directory:
    """The servers of a bridge by name, and the paths that lead to them. They come and go while it serves.

    Args:
        path: Where the default server is served, and each of them below by its name.
    """

    def __init__(self, path: str) -> None:
        self._path = path.rstrip("/")
        self._by_path: dict[str, ASGIApp] = {}
        self.servers: Mapping[str, Served] = {}
        self.default: str | None = None

    def replace(self, servers: Mapping[str, Served], default: str | None) -> None:
        """These are the servers from now on."""
        by_path: dict[str, ASGIApp] = {}
        for name, server in servers.items():
            for path in (f"/servers/{name}/mcp", f"{self._path}/{name}"):
                by_path[path] = by_path[f"{path}/"] = server.endpoint
        if default is not None:
            by_path[self._path or "/"] = by_path[f"{self._path}/"] = servers[default].endpoint
        self._by_path, self.servers, self.default = by_path, dict(servers), default

    @property
    def default_server(self) -> Served | None:
        """The server at the path itself."""
        return self.servers[self.default] if self.default is not None else None

    def find(self, scope: Scope) -> ASGIApp | None:
        """The endpoint that a request is for; None if it is for no server."""
        path: str = scope["path"]
        root_path: str = scope.get("root_path", "")
        if root_path and path.startswith(root_path):
            path = path[len(root_path) :] or "/"
        return self._by_path.get(path)

    def listing(self) -> dict[str, Any]:
        """What `/servers` shows."""
        return {
            "servers": [
                {"name": name, "path": f"/servers/{name}/mcp", "default": name == self.default} for name in self.servers
            ]
        }

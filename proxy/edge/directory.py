"""Which server is behind this path?"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.types import ASGIApp, Scope

from proxy.edge.served import Served


def path_of(name: str) -> str:
    """Where a server is served, as it stands in a URL."""
    return f"/servers/{quote(name)}/mcp"


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
        at = {f"{self._path}/{name}": server for name, server in servers.items()}
        at |= {f"/servers/{name}/mcp": server for name, server in servers.items()}  # these win: names may have slashes
        if default is not None:
            at[self._path] = servers[default]
        self._by_path = {path: server.endpoint for bare, server in at.items() for path in (bare, f"{bare}/") if path}
        self.servers, self.default = dict(servers), default

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

    def is_for_a_server(self, path: str) -> bool:
        """Whether this is a path where a server could be, if there were one."""
        roots = ("/servers", self._path) if self._path else ("/servers",)
        return path.rstrip("/") == self._path or path.startswith(tuple(f"{root}/" for root in roots))

    def listing(self) -> dict[str, Any]:
        """What `/servers` shows."""
        return {
            "servers": [{"name": name, "path": path_of(name), "default": name == self.default} for name in self.servers]
        }

"""Alive? Ready?

`/health` looks at what is in memory; it never starts or asks a child and creates no state. `/readyz` says whether new
work would be served.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from proxy.child.spec import ProgramNotFound, find_program
from proxy.edge.directory import Directory
from proxy.edge.served import Served
from proxy.observe import Counts
from proxy.sessions.house import House
from proxy.version import __version__


@dataclass(frozen=True, slots=True)
class Health:
    """The health endpoints of one bridge."""

    directory: Directory
    places: House
    counts: Counts
    is_running: Callable[[], bool]
    started_at: float

    def report(self) -> dict[str, Any]:
        """What `/health` shows."""
        servers = list(self.directory.servers.values())
        return {
            "status": "draining" if any(server.manager.closing.is_draining for server in servers) else "ok",
            "version": __version__,
            "uptime_seconds": round(time.monotonic() - self.started_at, 1),
            "servers": {server.name: _server(server) for server in servers},
            "sessions": sum(server.manager.roster.session_count for server in servers),
            "children": self.places.taken,
            "calls_in_flight": sum(
                server.manager.roster.calls_in_flight + server.modern.calls_in_flight for server in servers
            ),
            "modern": _summed(server.modern.report() for server in servers),
            "tasks": len(asyncio.all_tasks()),  # of the whole event loop, a host's included
            "counts": self.counts.snapshot(),
        }

    def unready(self) -> str | None:
        """Why new work would not be served; None if it would."""
        if not self.is_running():
            return "not running"
        servers = self.directory.servers.values()
        if any(server.manager.closing.is_draining for server in servers):
            return "draining"
        return next((why for server in servers if server.settings.required and (why := _unready(server))), None)

    async def servers(self, _: Request) -> Response:
        """Serve `/servers`: which there are, and where."""
        return _json(self.directory.listing())

    async def health(self, _: Request) -> Response:
        """Serve `/health` and `/healthz`: 200 while the process serves."""
        return _json(self.report())

    async def ready(self, _: Request) -> Response:
        """Serve `/readyz`: 200, or 503 saying why not."""
        reason = self.unready()
        if reason is None:
            return _json({"status": "ready"})
        return _json({"status": "not ready", "reason": reason}, status=503)


def _server(server: Served) -> dict[str, Any]:
    manager = server.manager
    last = {None: "not started, or not lately", True: "last start failed", False: "last start succeeded"}
    failed = manager.starts.last_failed
    return {
        "state": last[failed] if failed is not None or _has_program(server) else "its program does not exist",
        "starts": manager.starts.report(),
        **({"limits": limits} if (limits := server.spec.limits.report()) else {}),
        "era": manager.era.report(),
        "paths": manager.roster.paths,
        "sessions": manager.roster.session_count,
        "children": server.places.report(),
        "shared": server.sharing.report(),
        "modern": server.modern.report(),
        "pool": server.warm.report(),
    }


def _unready(server: Served) -> str | None:
    manager = server.manager
    if not manager.admission.could_make_room:
        return f"server {server.name}: no room for a session"
    if manager.starts.circuit != "closed":
        return f"server {server.name}: circuit open, its starts fail"
    if manager.starts.last_failed:
        return f"server {server.name}: its last start failed"
    if manager.starts.last_failed is None and not _has_program(server):
        return f"server {server.name}: its program does not exist"
    if server.sharing.is_cold:
        return f"server {server.name}: the process for its sessions is not ready yet"
    if server.warm.is_cold:
        return f"server {server.name}: no child of its pool is ready yet"
    return None


def _has_program(server: Served) -> bool:
    spec = server.spec
    try:
        find_program(spec.argv, env=spec.env, cwd=spec.cwd)
    except ProgramNotFound:
        return False
    return True


def _summed(reports: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for report in reports:
        total.update(report)
    return dict(total)


def _json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")

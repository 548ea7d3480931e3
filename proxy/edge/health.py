"""Alive? Ready?

`/health` looks at what is in memory; it never starts or asks a child and creates no state. `/readyz` says whether new
work would be served.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from proxy.child.spec import ProgramNotFound, find_program
from proxy.edge.served import Served
from proxy.observe import Counts
from proxy.sessions.places import Places
from proxy.version import __version__


@dataclass(frozen=True, slots=True)
class Health:
    """The health endpoints of one bridge."""

    server: Served
    places: Places
    counts: Counts
    is_running: Callable[[], bool]
    started_at: float

    def report(self) -> dict[str, Any]:
        """What `/health` shows."""
        manager = self.server.manager
        last = {None: "not started, or not lately", True: "last start failed", False: "last start succeeded"}
        return {
            "status": "draining" if manager.is_draining else "ok",
            "version": __version__,
            "uptime_seconds": round(time.monotonic() - self.started_at, 1),
            "servers": {self.server.name: {"state": last[manager.starts.last_failed], "era": manager.era.report()}},
            "sessions": manager.session_count,
            "children": self.places.taken,
            "calls_in_flight": manager.calls_in_flight + self.server.modern.calls_in_flight,
            "modern": self.server.modern.report(),
            "tasks": len(asyncio.all_tasks()),  # of the whole event loop, a host's included
            "counts": self.counts.snapshot(),
        }

    def unready(self) -> str | None:
        """Why new work would not be served; None if it would."""
        manager = self.server.manager
        if not self.is_running():
            return "not running"
        if manager.is_draining:
            return "draining"
        if not manager.could_make_room:
            return "no room for a session"
        if manager.starts.last_failed:
            return f"server {self.server.name}: its last start failed"
        if manager.starts.last_failed is None:
            spec = self.server.spec
            try:
                find_program(spec.argv, env=spec.env, cwd=spec.cwd)
            except ProgramNotFound:
                return f"server {self.server.name}: its program does not exist"
        return None

    async def health(self, _: Request) -> Response:
        """Serve `/health` and `/healthz`: 200 while the process serves."""
        return _json(self.report())

    async def ready(self, _: Request) -> Response:
        """Serve `/readyz`: 200, or 503 saying why not."""
        reason = self.unready()
        if reason is None:
            return _json({"status": "ready"})
        return _json({"status": "not ready", "reason": reason}, status=503)


def _json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")

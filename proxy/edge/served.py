"""How is one server put together: its children, whoever uses them, and its endpoint?"""

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass

import anyio
from starlette.types import ASGIApp

from proxy.child.limits import ChildLimits
from proxy.child.spec import ChildSpec, child_environment
from proxy.edge.dispatch import McpEndpoint
from proxy.edge.endpoint import LegacyEndpoint
from proxy.edge.inbox import Inbox
from proxy.edge.isolation import Isolation
from proxy.edge.legacy_sse import LegacySse
from proxy.edge.limits import edge_limits, modern_edge_limits, modern_limits, session_limits
from proxy.edge.modern import ModernEndpoint
from proxy.edge.presence import Presence
from proxy.edge.sessionless import SessionlessEndpoint
from proxy.edge.shutdown import Shutdown
from proxy.edge.uploads import Uploads
from proxy.observe import Counts
from proxy.protocol.tool_rules import ToolRules
from proxy.protocol.versions import LEGACY_VERSIONS
from proxy.sessions.era import ServerEra
from proxy.sessions.exits import Exits
from proxy.sessions.house import House
from proxy.sessions.kept import Kept
from proxy.sessions.manager import SessionManager
from proxy.sessions.modern.serving import ModernServing
from proxy.sessions.places import Places
from proxy.sessions.sessionless import Sessionless
from proxy.sessions.shared.children import SharedChildren
from proxy.sessions.starts import Starts
from proxy.sessions.trials import Trials
from proxy.sessions.warm.pool import WarmPool
from proxy.settings import Settings


@dataclass(frozen=True, slots=True)
class Shared:
    """What all servers of a bridge have in common."""

    marker: str
    """Of the bridge, in the environment of every child."""
    house: House
    counts: Counts
    presence: Presence
    uploads: Uploads
    shutdown: Shutdown
    is_local: bool
    """Whether our own listener is bound to loopback."""
    on_child_exit: Callable[[int], None] = lambda _: None
    """Told the return code of a child whose exit is to end everything."""


class Served:
    """One stdio server.

    Attributes:
        name: By which it is served.
        spec: How its children are started.
        places: Room for its children.
        warm: Children that are ready before anybody asks.
        kept: Children that have served a call and wait for another.
        manager: The sessions of its clients.
        sharing: The child of those that share one.
        modern: Its clients without sessions.
        endpoint: What is behind its paths.
        sessionless: Its clients of the handshake revisions, if they have no sessions, either.
        legacy_sse: The same for the transport of 2024-11-05; None where there are no sessions.
    """

    def __init__(self, name: str, settings: Settings, shared: Shared) -> None:
        self.name = name
        self.gives_each_request_a_process = settings.isolation != "request" and not _isolation(settings, shared).shares
        """Whether clients of 2026-07-28 share nothing although nobody has said so for all clients."""
        self.retired = anyio.Event()
        """Set when it is served no more and nothing of it is left."""
        self.settings = settings
        self.spec = child_spec(settings, marker=shared.marker)
        self.places = places = Places(max_children=settings.max_children, house=shared.house)
        era = ServerEra(settings.child_era)
        is_sessionless = settings.isolation == "request"
        on_exit = "end" if is_sessionless and settings.on_child_exit == "respawn" else settings.on_child_exit
        exits = Exits(on_exit, name=name, on_exit=shared.on_child_exit)
        self.warm = _warm_pool(name, settings, shared, places)
        self.kept = _kept(settings, places)
        starts = Starts(time.monotonic, max_failed=settings.max_failed_starts, counts=shared.counts, name=name)
        session_isolation = Isolation("auto" if settings.isolation == "shared" else "request", is_local=shared.is_local)
        self.gives_each_session_a_process = settings.isolation == "shared" and not session_isolation.shares
        """Whether clients with a session share nothing although they are to share."""
        self.sharing = _sharing(settings, shared, places, spec=self.spec, era=era, starts=starts, exits=exits)
        rules = ToolRules(settings.allow_tool, settings.deny_tool) or None
        self.manager = SessionManager(
            spec=self.spec,
            limits=session_limits(settings),
            counts=shared.counts,
            # Without sessions, places for children are the only bound.
            max_sessions=settings.max_children + 1 if is_sessionless else settings.max_sessions,
            places=places,
            era=era,
            exits=exits,
            warm=self.warm,
            starts=starts,
            shared=self.sharing if session_isolation.shares else None,
            tools=rules,
        )
        self._trials = _trials(self.manager, starts, settings, places)
        self.modern = ModernServing(
            spec=self.spec,
            limits=modern_limits(settings),
            counts=shared.counts,
            places=places,
            era=era,
            starts=starts,
            exits=exits,
            warm=self.warm,
            kept=self.kept,
        )
        if settings.recover_sessions and not is_sessionless:
            self.manager.recover_sessions(
                max_sessions=settings.max_recoverable_sessions, max_age_seconds=settings.recovery_age_seconds
            )
        self.modern.tools = rules
        self.sharing.modern = self.modern.pool
        self.sessionless = _sessionless(self.manager, self.kept, settings, shared, places) if is_sessionless else None
        self.legacy_sse: LegacySse | None = None
        self.endpoint: ASGIApp = self._make_endpoint(shared, session_isolation)

    def _make_endpoint(self, shared: Shared, isolation: Isolation) -> McpEndpoint:
        settings = self.settings
        inbox = Inbox(
            uploads=shared.uploads, max_json_depth=settings.max_json_depth, stripped=settings.strip_capability
        )
        limits = edge_limits(settings)
        legacy: LegacyEndpoint | SessionlessEndpoint
        if self.sessionless is not None:
            legacy = SessionlessEndpoint(self.sessionless, shared.presence, limits, shared.shutdown)
        else:
            edge = (shared.presence, limits, shared.shutdown, isolation)
            legacy = LegacyEndpoint(self.manager, *edge)
            self.legacy_sse = LegacySse(self.manager, inbox, *edge)
        modern = _modern_endpoint(self.modern, settings, shared)
        return McpEndpoint(legacy=legacy, modern=modern, inbox=inbox, counts=shared.counts)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve while the block is open. On the way out every session ends and every child is gone."""
        sessionless = self.sessionless.run() if self.sessionless is not None else nullcontext()
        with self.places.open(), self.kept.run():
            async with self.sharing.run(), self.manager.run(), sessionless, self.modern.run(), self.warm.run():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._trials.run)
                    try:
                        yield
                    finally:
                        tasks.cancel_scope.cancel()

    async def drain(self, grace_seconds: float, reason: str = "shutdown") -> None:
        """Begin nothing new, let open calls finish for so long, then end everything. Waits for the children."""
        self.warm.close(reason)
        self.places.close()
        async with anyio.create_task_group() as drains:
            drains.start_soon(self._drain_sessions, grace_seconds, reason)
            drains.start_soon(self.modern.drain, grace_seconds, reason)

    async def _drain_sessions(self, grace_seconds: float, reason: str) -> None:
        await self.manager.drain(grace_seconds, reason)
        await self.sharing.drain(reason)

    @property
    def was_cut(self) -> bool:
        """Whether an end had to cut a call off or kill a child."""
        return self.manager.closing.cut > 0 or self.sharing.cut > 0 or self.modern.pool.cut > 0

    def end_all(self, reason: str) -> None:
        """End every session and every child; calls that a child may have carried out get an error that says so."""
        self.manager.end_all(reason)
        self.sharing.end_all(reason)
        self.modern.pool.end_all(reason)

    def end_listens(self) -> None:
        """End the streams that wait for whatever comes; calls go on."""
        self.manager.roster.end_listens()
        self.modern.end_listens()


def _warm_pool(name: str, settings: Settings, shared: Shared, places: Places) -> WarmPool:
    return WarmPool(
        size=settings.pool_size,
        max_age_seconds=settings.pool_max_age_seconds,
        start_timeout_seconds=settings.start_timeout_seconds,
        places=places,
        counts=shared.counts,
        name=name,
    )


def _kept(settings: Settings, places: Places) -> Kept:
    return Kept(
        places,
        max_children=settings.max_reused_children if settings.reuse_children else 0,
        max_calls=settings.child_max_calls,
        max_age_seconds=settings.child_max_age_seconds,
    )


def _trials(manager: SessionManager, starts: Starts, settings: Settings, places: Places) -> Trials:
    newest = settings.protocol_version
    return Trials(
        starts,
        open_ahead=manager.open_ahead,
        places=places,
        version=newest if newest in LEGACY_VERSIONS else LEGACY_VERSIONS[-1],
        start_timeout_seconds=settings.start_timeout_seconds,
        place_timeout_seconds=settings.place_timeout_seconds,
    )


def _sharing(
    settings: Settings, shared: Shared, places: Places, *, spec: ChildSpec, era: ServerEra, starts: Starts, exits: Exits
) -> SharedChildren:
    return SharedChildren(
        spec=spec,
        limits=session_limits(settings),
        counts=shared.counts,
        places=places,
        era=era,
        starts=starts,
        exits=exits,
        may_ask=settings.shared_server_requests,
        newest_version=settings.protocol_version,
        is_kept_ready=settings.pool_size > 0 and settings.isolation == "shared" and shared.is_local,
    )


def _sessionless(
    manager: SessionManager, kept: Kept, settings: Settings, shared: Shared, places: Places
) -> Sessionless:
    return Sessionless(
        manager,
        counts=shared.counts,
        places=places,
        newest_version=settings.protocol_version,
        start_timeout_seconds=settings.start_timeout_seconds,
        kept=kept,
    )


def _modern_endpoint(serving: ModernServing, settings: Settings, shared: Shared) -> ModernEndpoint | None:
    """None if the operator offers handshake revisions only."""
    if settings.protocol_version in LEGACY_VERSIONS:
        return None
    limits, isolation = modern_edge_limits(settings), _isolation(settings, shared)
    return ModernEndpoint(serving, shared.presence, isolation, limits, shared.shutdown)


def _isolation(settings: Settings, shared: Shared) -> Isolation:
    """Who shares a child among clients of 2026-07-28."""
    mode = "request" if settings.isolation == "request" else settings.modern_isolation
    return Isolation(mode, is_local=shared.is_local)


def child_spec(settings: Settings, *, marker: str) -> ChildSpec:
    """What to run for these settings, in the environment that this process has now."""
    return ChildSpec(
        argv=settings.server_argv,
        server=settings.server_name,
        env=child_environment(os.environ, extra=settings.env, pass_env=settings.pass_env, marker=marker),
        cwd=str(settings.cwd) if settings.cwd is not None else None,
        max_line_bytes=settings.max_line_bytes,
        stdin_grace_seconds=settings.stdin_grace_seconds,
        term_grace_seconds=settings.term_grace_seconds,
        limits=ChildLimits(
            memory_bytes=settings.child_memory_bytes, open_files=settings.child_open_files, cpus=settings.child_cpu
        ),
    )

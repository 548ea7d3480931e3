"""Which settings bound what a server's sessions, processes and responses may use?

Each bound has the name of its setting, but for those that are named here.
"""

from dataclasses import fields
from typing import TypeVar

from proxy.edge.modern import ModernEdgeLimits
from proxy.edge.session_responses import EdgeLimits
from proxy.sessions.limits import SessionLimits
from proxy.sessions.modern.limits import ModernLimits
from proxy.settings import Settings

T = TypeVar("T", SessionLimits, ModernLimits, EdgeLimits, ModernEdgeLimits)


def session_limits(settings: Settings) -> SessionLimits:
    """Bounds of a session, and of the child that sessions share."""
    # Without sessions no other stream will come that the messages could wait for.
    waiting_messages = settings.waiting_messages if settings.isolation != "request" else 0
    return _limits(SessionLimits, settings, waiting_messages=waiting_messages)


def modern_limits(settings: Settings) -> ModernLimits:
    """Bounds of what serves clients of 2026-07-28."""
    return _limits(ModernLimits, settings)


def edge_limits(settings: Settings) -> EdgeLimits:
    """Bounds of responses to clients of the handshake revisions."""
    return _limits(EdgeLimits, settings, newest_version=settings.protocol_version)


def modern_edge_limits(settings: Settings) -> ModernEdgeLimits:
    """Bounds of responses to clients of 2026-07-28."""
    return _limits(ModernEdgeLimits, settings, commit_after_seconds=settings.modern_commit_after_seconds)


def _limits(kind: type[T], settings: Settings, **others: object) -> T:
    alike = {field.name for field in fields(kind)} - others.keys()
    return kind(**{name: getattr(settings, name) for name in alike}, **others)  # type: ignore[arg-type]  # `settings` has checked them

"""Which settings of a server have no effect beside its others?"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from proxy.settings import Settings
from proxy.sources import flag


class _Rule(NamedTuple):
    """These settings need something else.

    Attributes:
        fields: Which, by name.
        has_effect: Whether they have it.
        need: What they need, as `... has no effect` goes on.
    """

    fields: tuple[str, ...]
    has_effect: Callable[[Settings], bool]
    need: str


def _has_modern_clients(settings: Settings) -> bool:
    return settings.protocol_version in (None, "2026-07-28")


def _gives_each_call_a_child(settings: Settings) -> bool:
    """Whether somebody might have a process for one call."""
    return settings.isolation == "request" or (_has_modern_clients(settings) and settings.modern_isolation != "shared")


_OF_MODERN_CLIENTS = (
    *("modern_isolation", "modern_commit_after_seconds", "lease_wait_seconds", "max_continuations", "max_listens"),
    "probe_timeout_seconds",
)

RULES = (
    _Rule(("pool_max_age_seconds",), lambda s: s.pool_size > 0, "without --pool-size"),
    _Rule(("max_respawns",), lambda s: s.on_child_exit == "respawn", "without --on-child-exit respawn"),
    _Rule(
        ("max_recoverable_sessions", "recovery_age_seconds"), lambda s: s.recover_sessions, "without --recover-sessions"
    ),
    _Rule(("recover_sessions",), lambda s: s.isolation != "request", "with --isolation request, which has no sessions"),
    _Rule(("shared_server_requests",), lambda s: s.isolation == "shared", "without --isolation shared"),
    _Rule(
        ("reuse_children",), _gives_each_call_a_child, "without --isolation request: nobody has a process for one call"
    ),
    _Rule(("max_reused_children",), lambda s: s.reuse_children, "without --reuse-children"),
    _Rule(
        ("child_max_calls", "child_max_age_seconds"),
        lambda s: _has_modern_clients(s) or s.isolation == "shared" or (s.isolation == "request" and s.reuse_children),
        "without a process that clients share",
    ),
    _Rule(
        _OF_MODERN_CLIENTS, _has_modern_clients, "with this --protocol-version, which keeps clients of 2026-07-28 away"
    ),
)


def warnings(servers: Mapping[str, Settings], settings: Settings) -> Iterator[str]:
    """A sentence for each setting that was changed in vain: for all servers, or for one.

    Args:
        servers: Those of each.
        settings: Those of all, of which a server may have others.
    """
    said = {name: dict(ineffective(each)) for name, each in servers.items()}
    of_all = set.intersection(*(set(each) for each in said.values()))
    for field in sorted(of_all):
        yield next(iter(said.values()))[field]
    for name, server in servers.items():
        for field, sentence in said[name].items():
            if field not in of_all and getattr(server, field) != getattr(settings, field):
                yield f"server {name!r}: {sentence}"


def ineffective(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each setting that was changed in vain, with a sentence that says so."""
    for rule in RULES:
        if not rule.has_effect(settings):
            for field in rule.fields:
                if getattr(settings, field) != Settings.model_fields[field].default:
                    yield field, f"{flag(field)} has no effect {rule.need}"
    if settings.isolation == "request" and settings.on_child_exit == "respawn":
        yield (
            "on_child_exit",
            "--on-child-exit respawn has no effect with --isolation request: a call ends with its process",
        )

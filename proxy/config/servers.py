"""Which servers are there, and with which settings each?"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from proxy.config.file import ConfigError, ConfigFile, ServerEntry
from proxy.settings import Settings
from proxy.sources import allowed, flag_fields, option_name

PER_SERVER = frozenset(
    {
        *("child_era", "protocol_version", "pass_env", "modern_isolation", "modern_commit_after_seconds"),
        *("isolation", "shared_server_requests", "pool_size", "pool_max_age_seconds"),
        *("reuse_children", "max_reused_children"),
        *("max_sessions", "idle_timeout_seconds", "unused_timeout_seconds", "session_age_seconds"),
        *("call_timeout_seconds", "call_timeout_total_seconds", "commit_after_seconds", "max_calls_per_child"),
        *("place_timeout_seconds", "server_request_timeout_seconds", "start_timeout_seconds", "probe_timeout_seconds"),
        *("stdin_grace_seconds", "term_grace_seconds", "stdin_stall_timeout_seconds", "max_line_bytes"),
        *("on_child_exit", "max_respawns", "max_failed_starts"),
        *("recover_sessions", "max_recoverable_sessions", "recovery_age_seconds"),
        *("strip_capability", "allow_tool", "deny_tool"),
        *("child_memory_bytes", "child_open_files", "child_cpu", "child_max_age_seconds", "child_max_calls"),
        *("lease_wait_seconds", "continuation_timeout_seconds", "max_continuations", "max_listens"),
        *("max_get_streams", "replay_events", "replay_size_bytes", "replay_age_seconds", "waiting_messages"),
        *("waiting_size_bytes", "close_stream_after_seconds", "reconnect_delay_seconds", "stream_backlog_bytes"),
    }
)
"""Settings that one server may have otherwise."""

_OF_A_SERVER = frozenset({"command", "argv", "demo", "env", "cwd", "max_json_depth", "ping_interval_seconds"})
"""What else makes a server what it is; all that is left belongs to the listener, the daemon and its logs."""

_NOT_INHERITED = {"command", "argv", "demo", "config", "named_server", "default_server", "server_name", "cwd", "watch"}


@dataclass(frozen=True)
class Servers:
    """All servers of a bridge.

    Attributes:
        by_name: The settings of each.
        default: Which one is served at the path, too; None for none of them.
        warnings: What was left out, a sentence each.
    """

    by_name: Mapping[str, Settings]
    default: str | None
    warnings: Sequence[str]


def servers_of(settings: Settings, file: ConfigFile | None) -> Servers:
    """The servers that these settings and their file name.

    Raises:
        ConfigError: If two have one name, a setting of one is not allowed, or the default is none of them.
    """
    found: dict[str, Settings] = {}
    warnings: list[str] = list(file.warnings) if file is not None else []
    if settings.has_own_server:
        found[settings.server_name] = settings
    if file is not None:
        warnings += [_left_out(f"{file.path}: {key} is no setting", key) for key in top_settings(file)[1]]
    for name, command in settings.named_server.items():
        _add(found, name, _derived(settings, name, {"command": command}, where=f"--named-server {name}"))
    for entry in file.servers if file is not None else ():
        assert file is not None  # it has entries
        where = f"{file.path}: server {entry.name!r}"
        overrides, unknown = _overrides(entry)
        warnings += [_left_out(f"{where}: mcp_proxy.{key} is no setting of a server", key) for key in unknown]
        _add(found, entry.name, _derived(settings, entry.name, {**_own(settings, entry), **overrides}, where=where))
    if not found:
        raise ConfigError(f"{file.path if file else '--config'}: names no server that is to be served here")
    return Servers(found, _default(settings, found), warnings)


def is_same_server(one: Settings, other: Settings) -> bool:
    """Whether a server with these settings need not be started anew to have the others."""
    return all(getattr(one, field) == getattr(other, field) for field in PER_SERVER | _OF_A_SERVER)


def top_settings(file: ConfigFile) -> tuple[dict[str, Any], list[str]]:
    """Settings of the daemon that stand in the file, and the keys that are none."""
    names = _names({name for name, _ in flag_fields()} - {"config", "command", "demo", "env"})
    known = {names[key]: value for key, value in file.top.items() if key in names}
    return known, [key for key in file.top if key not in names]


def _own(settings: Settings, entry: ServerEntry) -> dict[str, Any]:
    own: dict[str, Any] = {"argv": entry.argv, "env": {**settings.env, **entry.env}}
    if entry.cwd is not None:
        own["cwd"] = entry.cwd
    if entry.call_timeout_seconds is not None:
        own["call_timeout_seconds"] = entry.call_timeout_seconds
    return own


def _overrides(entry: ServerEntry) -> tuple[dict[str, Any], list[str]]:
    names = _names(PER_SERVER)
    return (
        {names[key]: value for key, value in entry.overrides.items() if key in names},
        [key for key in entry.overrides if key not in names],
    )


def _names(fields: set[str] | frozenset[str]) -> dict[str, str]:
    """What a setting may be called in a file: its name with its unit or without."""
    return {name: field for field in fields for name in (field, option_name(field))}


def _left_out(what: str, key: str) -> str:
    near = get_close_matches(key, map(option_name, PER_SERVER), n=1, cutoff=0.75)
    return f"{what} and left out" + (f"; did you mean {near[0]}, under mcp_proxy?" if near else "")


def _derived(settings: Settings, name: str, own: Mapping[str, Any], *, where: str) -> Settings:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) or not name.strip("."):
        raise ConfigError(f"{where}: a server's name has letters, digits, '.', '_' and '-' in it, at most 64")
    inherited = settings.model_dump(exclude=_NOT_INHERITED)
    try:
        return Settings(**{**inherited, "server_name": name, **own})
    except ValidationError as exc:
        fault = exc.errors(include_url=False, include_input=False)[0]
        field = str(fault["loc"][0]) if fault["loc"] else ""
        what = (
            f"mcp_proxy.{option_name(field)}: not allowed; it must be {allowed(field)}"
            if field in PER_SERVER
            else fault["msg"]
        )
        raise ConfigError(f"{where}: {what}") from None


def _add(found: dict[str, Settings], name: str, settings: Settings) -> None:
    if name in found:
        raise ConfigError(f"two servers are called {name!r}")
    found[name] = settings


def _default(settings: Settings, found: Mapping[str, Settings]) -> str | None:
    if settings.default_server is not None:
        if settings.default_server not in found:
            there_are = ", ".join(sorted(found))
            raise ConfigError(f"--default-server {settings.default_server}: there is no such server, but {there_are}")
        return settings.default_server
    if settings.has_own_server:
        return settings.server_name
    return next(iter(found)) if len(found) == 1 else None

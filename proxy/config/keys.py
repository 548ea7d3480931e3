"""Which settings may stand where in a config file, and what was meant by a key that is none?"""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache

from proxy.sources import flag_fields, option_name

PER_SERVER = frozenset(
    {
        *("child_era", "protocol_version", "pass_env", "modern_isolation", "modern_commit_after_seconds"),
        *("isolation", "shared_server_requests", "pool_size", "pool_max_age_seconds"),
        *("reuse_children", "max_reused_children"),
        *("max_sessions", "max_children"),
        *("idle_timeout_seconds", "unused_timeout_seconds", "session_age_seconds"),
        *("call_timeout_seconds", "call_timeout_total_seconds", "commit_after_seconds", "max_calls_per_child"),
        *("place_timeout_seconds", "server_request_timeout_seconds", "start_timeout_seconds", "probe_timeout_seconds"),
        *("stdin_grace_seconds", "term_grace_seconds", "stdin_stall_timeout_seconds", "max_line_bytes"),
        *("required", "on_child_exit", "max_respawns", "max_failed_starts"),
        *("recover_sessions", "max_recoverable_sessions", "recovery_age_seconds"),
        *("strip_capability", "allow_tool", "deny_tool"),
        *("child_memory_bytes", "child_open_files", "child_cpu", "child_max_age_seconds", "child_max_calls"),
        *("lease_wait_seconds", "continuation_timeout_seconds", "max_continuations", "max_listens"),
        *("max_get_streams", "replay_events", "replay_size_bytes", "replay_age_seconds", "waiting_messages"),
        *("waiting_size_bytes", "close_stream_after_seconds", "reconnect_delay_seconds", "stream_backlog_bytes"),
    }
)
"""Settings that one server may have otherwise."""

ENTRY = frozenset(
    {"command", "args", "env", "cwd", "disabled", "enabled", "timeout", "type", "transport", "transportType"}
    | {"mcp_proxy"}
)
"""Keys of a server's entry that are looked at."""

_ELSEWHERE = {
    "disabledTools": "deny_tool under mcp_proxy hides tools",
    "excludeTools": "deny_tool under mcp_proxy hides tools",
    "includeTools": "allow_tool under mcp_proxy shows these alone",
    "envFile": "no such file is read; put its variables under env",
}
"""Keys of clients that mean something here, too, but not what is said there."""


@cache
def server_names() -> dict[str, str]:
    """Keys under `mcp_proxy`, with the settings that they are: with their unit and without."""
    return _names(PER_SERVER)


@cache
def top_names() -> dict[str, str]:
    """Keys on the top level, with the settings that they are."""
    return _names({name for name, _ in flag_fields()} - {"config", "command", "demo", "env"})


def _names(fields: Iterable[str]) -> dict[str, str]:
    return {name: field for field in fields for name in (field, option_name(field))}


def top_hint(key: str) -> str:
    """What to do about a key on the top level that is no setting; empty if that is not known."""
    if key in ENTRY - {"mcp_proxy"}:
        return "; it belongs into the entry of a server"
    if key == "mcp_proxy":
        return "; settings of the daemon stand beside mcpServers"
    return _meant(key, top_names())


def entry_hint(key: str) -> str:
    """The same for a key in a server's entry."""
    if key in _ELSEWHERE:
        return f"; {_ELSEWHERE[key]}"
    if near := _meant(key, ENTRY):
        return near
    return _meant(key, server_names(), "under mcp_proxy")


def override_hint(key: str) -> str:
    """The same for a key under `mcp_proxy` in a server's entry."""
    if key in ENTRY:
        return "; it stands beside mcp_proxy, in the entry itself"
    if key in top_names():
        return "; it is one of the daemon and stands beside mcpServers"
    return _meant(key, server_names())


def _meant(key: str, names: Iterable[str], where: str = "") -> str:
    near = get_close_matches(key, map(option_name, names), n=1, cutoff=0.75)
    return f"; did you mean {near[0]}{where and ', ' + where}?" if near else ""

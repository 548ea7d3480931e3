"""How does a command line become a running daemon?"""

import os
import sys
from collections.abc import Sequence

from proxy.version import __version__

EXAMPLES = """\
mcp-proxy puts an MCP server that speaks stdio on the network as streamable HTTP.

  mcp-proxy --command "uvx mcp-server-fetch"           a daemon on http://127.0.0.1:3000/mcp
  mcp-proxy -- npx -y @modelcontextprotocol/server-everything stdio
                                                       the same, the command as it is
  mcp-proxy --demo                                     a bundled server, nothing to install
  mcp-proxy --port 8080 --env TOKEN=abc --pass-env 'AWS_*' -- my-server --verbose
  mcp-proxy --config servers.json                      several servers, the usual mcpServers file:
                                                       each at /servers/NAME/mcp
  mcp-proxy --named-server fetch "uvx mcp-server-fetch" --named-server time "uvx mcp-server-time"
  MCP_PROXY_IDLE_TIMEOUT=10m SERVER_COMMAND="uvx mcp-server-time" mcp-proxy
                                                       the same by variables, for containers

Then give the client the URL:

  {"mcpServers": {"fetch": {"type": "http", "url": "http://127.0.0.1:3000/mcp"}}}

Each client gets a session with a server process of its own; clients of revision 2026-07-28, which
has no sessions, share one as --modern-isolation says. /health and /readyz tell how it goes.
"""

ENDING = """\
Every flag is a variable, too: --idle-timeout 10m is MCP_PROXY_IDLE_TIMEOUT=10m. Containers may use
SERVER_COMMAND, SERVER_NAME, SESSION_TIMEOUT, MCP_PROTOCOL_VERSION, MCP_BIND_HOST, MCP_PORT. In a
config file it is "idle_timeout": "10m", beside mcpServers for all, under mcp_proxy in the entry of
one server for that. Flags win over variables, these over the file; what one server has of its own
wins over all of them.

DURATION is 30 or 30s, 500ms, 5m, 2h, 1d; SIZE is 65536 or 64KiB, 16MiB, 1GiB; both may be none
where there need be no limit.

Exit codes: 0 after a clean end (SIGTERM, Ctrl-C), 1 if the server can't be started or something had
to be cut off, 2 for settings that can't be.
"""

GROUPS = {
    "The server": ("command", "demo", "server_name", "cwd", "env", "pass_env", "protocol_version", "child_era"),
    "Several servers": ("config", "named_server", "default_server", "watch", "required"),
    "Where to listen, and to whom": ("host", "port", "path", "legacy_sse", "allowed_origin", "allowed_host"),
    "Connections": (*("max_connections", "max_header_bytes", "header_timeout_seconds", "keep_alive_timeout_seconds"),),
    "Sessions": (
        *("isolation", "shared_server_requests", "reuse_children", "max_reused_children"),
        *("max_sessions", "max_children", "idle_timeout_seconds", "unused_timeout_seconds"),
        *("session_age_seconds", "place_timeout_seconds"),
        *("recover_sessions", "max_recoverable_sessions", "recovery_age_seconds"),
    ),
    "What clients and the server may": ("allow_tool", "deny_tool", "strip_capability"),
    "Calls": (
        *("call_timeout_seconds", "call_timeout_total_seconds", "commit_after_seconds"),
        *("max_calls_per_child", "server_request_timeout_seconds"),
    ),
    "Clients without sessions (2026-07-28)": (
        *("modern_isolation", "modern_commit_after_seconds", "lease_wait_seconds"),
        *("continuation_timeout_seconds", "max_continuations", "max_listens", "probe_timeout_seconds"),
    ),
    "Server processes": (
        *("start_timeout_seconds", "stdin_grace_seconds", "term_grace_seconds"),
        *("stdin_stall_timeout_seconds", "max_line_bytes"),
        *("on_child_exit", "max_respawns", "max_failed_starts", "pool_size", "pool_max_age_seconds"),
        *("child_memory_bytes", "child_open_files", "child_cpu", "child_max_age_seconds", "child_max_calls"),
    ),
    "Requests and streams": (
        *("max_body_bytes", "max_uploads_size_bytes", "upload_stall_timeout_seconds", "min_upload_rate_bytes"),
        *("max_json_depth", "max_get_streams", "stream_backlog_bytes"),
        *("slow_reader_timeout_seconds", "close_stream_after_seconds", "reconnect_delay_seconds"),
        *("replay_events", "replay_size_bytes", "replay_age_seconds", "waiting_messages", "waiting_size_bytes"),
        *("ping_interval_seconds", "dead_peer_timeout_seconds"),
    ),
    "The daemon": ("drain_timeout_seconds", "log_level", "log_format"),
}
"""The settings in the order in which somebody needs them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `mcp-proxy`; returns the exit code. Reads the process's arguments and environment."""
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:  # before the daemon could take the signal
        return 1


def _run(words: Sequence[str]) -> int:
    own = words[: words.index("--")] if "--" in words else words
    if sys.platform == "win32":
        return _refuse(["Windows is not supported; use WSL or a container"], code=1)
    if "--help" in own or "-h" in own:
        sys.stdout.write(help_text())
        return 0
    if "--version" in own:
        sys.stdout.write(f"mcp-proxy {__version__}\n")
        return 0

    from proxy.settings import Settings, SettingsError
    from proxy.sources import unknown_variables

    for name, near in unknown_variables(os.environ):
        hint = f"; did you mean {near}?" if near else ""
        sys.stderr.write(f"mcp-proxy: warning: no setting is called {name}{hint}\n")
    try:
        settings = Settings.load(words, os.environ)
    except SettingsError as error:
        return _refuse(error.faults, code=2)

    from proxy import logs
    from proxy.server import serve

    logs.configure(settings.log_level, settings.log_format)
    return serve(settings, load=lambda: Settings.load(words, os.environ))


def help_text() -> str:
    """What `--help` prints: examples first, then every setting with its default."""
    import textwrap

    from proxy.settings import Settings
    from proxy.sources import choices, default, flag

    lines = [EXAMPLES]
    for title, fields in GROUPS.items():
        lines.append(f"{title}:")
        for field in fields:
            info = Settings.model_fields[field]
            value = "" if info.annotation is bool else " " + option_value(field)
            shown = default(field)
            text = " ".join((info.description or "").split())
            text += f" One of {', '.join(choices(field))}." if choices(field) else ""
            text += f" [{shown}]" if shown else ""
            head = f"  {flag(field)}{value}" + (f", --no-{flag(field)[2:]}" if info.default is True else "")
            body = textwrap.wrap(text, 100 - 34, break_on_hyphens=False)
            if len(head) > 33:
                lines.append(head)
                head = ""
            lines += [f"{head:<34}{body[0]}", *(" " * 34 + rest for rest in body[1:])]
        lines.append("")
    lines += ["  --help, --version", "", ENDING]
    return "\n".join(lines)


def option_value(field: str) -> str:
    """What stands for a setting's value in the help."""
    if field.endswith("_seconds"):
        return "DURATION"
    if field.endswith("_bytes"):
        return "SIZE"
    if field.startswith("max_") or field == "waiting_messages":
        return "N"
    special = {
        "named_server": "NAME COMMAND",
        "config": "FILE",
        "env": "NAME=VALUE",
        "pass_env": "PATTERN",
        "cwd": "FOLDER",
    }
    return special.get(field, field.upper().split("_")[-1])


def _refuse(faults: Sequence[str], *, code: int) -> int:
    for fault in faults:
        sys.stderr.write(f"mcp-proxy: {fault}\n")
    if code == 2:
        sys.stderr.write("mcp-proxy: see mcp-proxy --help\n")
    return code

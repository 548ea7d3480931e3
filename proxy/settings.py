"""What can be configured, in which unit, within which bounds?"""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from proxy.shapes import (
    MIB,
    Bytes,
    Count,
    LegacyVersion,
    Name,
    OptionalBytes,
    OptionalCount,
    OptionalFiles,
    OptionalSeconds,
    OptionalShare,
    Seconds,
    Words,
)

TAKEN_PATHS = frozenset({"/health", "/healthz", "/readyz", "/metrics", "/servers"})
"""What the daemon serves itself; some of it to anybody, whatever the Origin and Host."""
LEGACY_SSE_PATHS = frozenset({"/sse", "/messages"})
"""What it serves itself with `--legacy-sse`."""


class Settings(BaseSettings):
    """Everything an operator can change.

    `Settings(...)` reads nothing but its arguments; `Settings.load` reads flags and variables. The flag of a field is
    its name without the unit: `idle_timeout_seconds` is `--idle-timeout` and `MCP_PROXY_IDLE_TIMEOUT`.
    """

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True, validate_default=True
    )

    # ---- the server

    command: str | None = None
    """The stdio server to run, quoted as in a shell; no shell is involved."""

    argv: tuple[str, ...] = ()
    """The same as separate words: what stands behind `--`."""

    demo: bool = False
    """Run the bundled demo server."""

    config: Path | None = None
    """File with several servers, in the form of mcpServers; each is served at /servers/NAME/mcp."""

    named_server: dict[str, str] = Field(default_factory=dict, repr=False)
    """One more server: its name, and its command as one word; repeat it."""

    default_server: Name | None = None
    """Which of several servers is served at the --path, too."""

    watch: bool = False
    """Read the config file again when it changes, as SIGHUP does."""

    required: bool = True
    """Whether /readyz is 503 while this server would not be served."""

    server_name: Name = "default"
    """Name of the server; it is served at /servers/NAME/mcp, too."""

    cwd: Path | None = None
    """Folder in which the server runs; ours if not given."""

    env: dict[str, str] = Field(default_factory=dict, repr=False)
    """NAME=VALUE for the server's environment; repeat it."""

    pass_env: Words = ()
    """Name or pattern of variables that the server gets from our environment, beside a short list; repeat it."""

    protocol_version: LegacyVersion | None = None
    """Newest revision offered to clients; the newest that the server speaks if not given."""

    child_era: Literal["auto", "modern", "legacy"] = "auto"
    """Which revisions to use towards the server: 2026-07-28 (modern), those before it (legacy), or what it speaks."""

    recover_sessions: bool = False
    """A request in a session that has ended, not by its client, gets a new child in it: for clients that can't begin
    anew. What the server knew is lost."""

    max_recoverable_sessions: Annotated[Count, Field(ge=1, le=100_000)] = 1024
    """Ended sessions that are remembered for that; 64 MiB of them at most."""

    recovery_age_seconds: Annotated[Seconds, Field(gt=0, le=2_592_000)] = 86_400.0
    """How long they are remembered."""

    strip_capability: Words = ()
    """Capability of clients that the server is not told of, such as roots; repeat it."""

    allow_tool: Words = ()
    """Name or pattern of tools that clients may see and call, and no others; repeat it."""

    deny_tool: Words = ()
    """Name or pattern of tools that clients may neither see nor call, allowed or not; repeat it."""

    # ---- the listener

    host: str = "127.0.0.1"
    """Address to listen on. On any other than loopback put something in front that authenticates."""

    port: Annotated[Count, Field(ge=0, le=65535)] = 3000
    """Port to listen on; 0 takes a free one."""

    path: str = "/mcp"
    """Where the server is served."""

    legacy_sse: bool = False
    """Serve the transport of 2024-11-05, too, at /sse and /messages/."""

    allowed_origin: Words = ()
    """Origin of web pages that may call, beside those of this machine; `*` is any; repeat it."""

    allowed_host: Words = ()
    """Host header that is right, beside loopback names on a loopback listener; `*` is any; repeat it."""

    max_connections: Annotated[Count, Field(ge=16, le=1_000_000)] = 4096
    """Connections at once; idle ones make room, then 503. Fewer where descriptors are short: children come first."""

    max_header_bytes: Annotated[Bytes, Field(ge=4096, le=MIB)] = 64 * 1024
    """Largest head of a request, all headers together; over it 431. Room for tokens and a browser's cookies."""

    header_timeout_seconds: Annotated[Seconds, Field(gt=0, le=3600)] = 30.0
    """From the first byte of a request to the end of its headers; then 408."""

    keep_alive_timeout_seconds: Annotated[Seconds, Field(gt=0, le=86_400)] = 75.0
    """An idle connection is closed. Longer than gateways reuse one (60 s), so that they never meet a closed one."""

    # ---- sessions

    isolation: Literal["session", "shared", "request"] = "session"
    """What one process of the server serves: a session, all clients that can only be this machine's user, or a call."""

    shared_server_requests: bool = False
    """With --isolation shared, pass questions of the server on while one call alone can have caused them."""

    reuse_children: bool = False
    """Let a process that has served one call alone serve another one: for servers that keep no state."""

    max_reused_children: Annotated[Count, Field(ge=1, le=100_000)] = 16
    """Processes of one server that wait for another call with --reuse-children; idle ones end."""

    max_sessions: Annotated[Count, Field(ge=1, le=100_000)] = 256
    """Open sessions, each with a child. A runaway backstop, not a capacity plan."""

    max_children: Annotated[Count, Field(ge=1, le=100_000)] = 256
    """Processes, those included that are being ended: of all servers, and of each; one server may have fewer."""

    idle_timeout_seconds: OptionalSeconds = 1800.0
    """A session without a connection ends. Most clients never say goodbye."""

    unused_timeout_seconds: OptionalSeconds = 60.0
    """A session in which nothing follows initialize ends: health checks leave such behind."""

    session_age_seconds: OptionalSeconds = None
    """A session ends at this age, whatever goes on in it."""

    place_timeout_seconds: Annotated[Seconds, Field(ge=0, le=600)] = 10.0
    """Wait for a free place before 503. Shorter than clients wait for an answer."""

    # ---- calls

    modern_commit_after_seconds: Annotated[Seconds, Field(ge=0.01, le=3600)] = 15.0
    """The same for clients of 2026-07-28, which can't come back to a stream."""

    call_timeout_seconds: OptionalSeconds = None
    """A call without progress for this long gets 504. None: some tools take an hour."""

    call_timeout_total_seconds: OptionalSeconds = None
    """A call that takes this long gets 504, progress or not."""

    commit_after_seconds: Annotated[Seconds, Field(ge=0.01, le=3600)] = 5.0
    """A silent call is answered with a stream after this, so that nothing on the way gives up."""

    max_calls_per_child: Annotated[Count, Field(ge=1, le=100_000)] = 128
    """Calls in flight in one child; more wait for a place."""

    server_request_timeout_seconds: Annotated[Seconds, Field(gt=0, le=86_400)] = 50.0
    """A question of the server waits this long for a client. Less than the 60 s after which SDK servers give up."""

    # ---- clients without sessions (2026-07-28)

    modern_isolation: Literal["auto", "shared", "request"] = "auto"
    """Who shares a child: all, nobody (a child for each request), or those that can only be this machine's user."""

    lease_wait_seconds: Annotated[Seconds, Field(ge=0, le=600)] = 2.0
    """A call that may ask its client something waits this long for a busy child before another is started for it."""

    continuation_timeout_seconds: Annotated[Seconds, Field(gt=0, le=86_400)] = 600.0
    """A call that asked for input, or a task, is given up when its client has not come back for this long.

    With --isolation shared also: what the server says may be about a cancelled call that it never answers.
    """

    max_continuations: Annotated[Count, Field(ge=1, le=100_000)] = 128
    """Calls that wait for input of their clients at once; each may keep a process, so fewer than --max-children."""

    max_listens: Annotated[Count, Field(ge=1, le=100_000)] = 1024
    """Clients that listen for changes on one child."""

    probe_timeout_seconds: Annotated[Seconds, Field(gt=0, le=3600)] = 10.0
    """A child that is silent on the first question of 2026-07-28 for this long gets a second beside it."""

    # ---- children

    on_child_exit: Literal["end", "respawn", "exit"] = "end"
    """What the exit of a child ends: its session; nothing, another one is told what it knew; us, with its exit code."""

    max_respawns: Annotated[Count, Field(ge=1, le=1000)] = 5
    """With respawn: a session ends when more of its children die in a row, none of which has lived for a minute."""

    max_failed_starts: Annotated[Count, Field(ge=1, le=1000)] = 5
    """So many starts that fail in a row, while no child serves, keep new ones away for a time that grows to 30 s."""

    start_timeout_seconds: Annotated[Seconds, Field(gt=0, le=3600)] = 60.0
    """From the start of a child to its first answer. A cold npx or uvx takes 20 s."""

    pool_size: Annotated[Count, Field(ge=0, le=1000)] = 0
    """Children kept ready, so that clients need not wait for a start; each takes the memory of one that is used."""

    pool_max_age_seconds: OptionalSeconds = 3600.0
    """A child that was ready for this long without being used is replaced: what it found at its start may be old."""
    child_memory_bytes: OptionalBytes = None
    """A child that takes more in RAM, with all that it has started, is ended. Looked at 4 times a second."""

    child_open_files: OptionalFiles = None
    """Descriptors that each process of a child may have (RLIMIT_NOFILE)."""

    child_cpu: OptionalShare = None
    """CPUs that a child and all that it starts may use, by affinity: a part of one counts as one."""

    child_max_age_seconds: OptionalSeconds = None
    """A child that clients share is replaced at this age, after its calls; sessions on it go on with the next one.

    One that a session has for itself ends with it: --session-age.
    """

    child_max_calls: OptionalCount = None
    """Such a child is replaced after so many calls."""

    stdin_grace_seconds: Annotated[Seconds, Field(ge=0, le=60)] = 2.0
    """Wait after closing a child's stdin before SIGTERM. As the SDK clients."""

    term_grace_seconds: Annotated[Seconds, Field(ge=0, le=60)] = 2.0
    """Wait after SIGTERM before SIGKILL. As the SDK clients."""

    stdin_stall_timeout_seconds: Annotated[Seconds, Field(gt=0, le=3600)] = 30.0
    """A child that does not read its stdin for this long fails its calls."""

    max_line_bytes: Annotated[Bytes, Field(ge=1024, le=1 << 30)] = 64 * MIB
    """Longest message of a child; a longer one fails its call."""

    # ---- requests and streams

    max_body_bytes: Annotated[Bytes, Field(ge=1024, le=1 << 30)] = 16 * MIB
    """Largest body of a request."""

    max_uploads_size_bytes: Annotated[Bytes, Field(ge=1024, le=1 << 40)] = 128 * MIB
    """Size of the bodies that are being received, in all; over it 503. Never less than one of the largest; what comes
    in one piece does not count."""

    upload_stall_timeout_seconds: Annotated[Seconds, Field(gt=0, le=3600)] = 30.0
    """A body of which nothing comes for this long is given up with 408."""

    min_upload_rate_bytes: Annotated[Bytes, Field(ge=1, le=MIB)] = 256
    """A second, on average, is what must come of a body once that time is over. Any modem does."""

    max_json_depth: Annotated[Count, Field(ge=8, le=800)] = 256
    """Deepest nesting of a request. Far below what makes parsers fail."""

    max_get_streams: Annotated[Count, Field(ge=1, le=1000)] = 4
    """Streams that one session may open by GET."""

    stream_backlog_bytes: Annotated[Bytes, Field(ge=64 * 1024, le=1 << 30)] = 8 * MIB
    """What may wait for a slow reader, client or child, behind the message being written."""

    slow_reader_timeout_seconds: Annotated[Seconds, Field(gt=0, le=3600)] = 30.0
    """A client that takes nothing for this long loses its stream."""

    replay_events: Annotated[Count, Field(ge=1, le=1_000_000)] = 1000
    """Events of a session that are kept for a client that comes back with Last-Event-ID."""

    replay_size_bytes: Annotated[Bytes, Field(ge=1024, le=1 << 30)] = 1 * MIB
    """Size of those events in all; the newest is kept whatever its size."""

    replay_age_seconds: Annotated[Seconds, Field(gt=0, le=86_400)] = 300.0
    """How long they are kept."""

    reconnect_delay_seconds: Annotated[Seconds, Field(ge=0, le=3600)] = 1.0
    """When a 2025-11-25 client comes back to a stream that it lost. As the SDK clients."""

    close_stream_after_seconds: OptionalSeconds = None
    """Close the stream of a call after this and let its client come back (2025-11-25): for gateways that cut long
    responses."""

    waiting_messages: Annotated[Count, Field(ge=1, le=100_000)] = 256
    """Messages of a child that wait while no stream is open; the oldest make room."""

    waiting_size_bytes: Annotated[Bytes, Field(ge=1024, le=1 << 30)] = 1 * MIB
    """Size of those messages in all."""

    ping_interval_seconds: Annotated[Seconds, Field(ge=0.1, le=3600)] = 15.0
    """A comment on open streams, so that nothing on the way thinks them dead."""

    dead_peer_timeout_seconds: Annotated[Seconds, Field(ge=1, le=3600)] = 45.0
    """A client whose machine is gone is noticed. At least 15 s more than the slow reader's time."""

    # ---- the daemon

    drain_timeout_seconds: Annotated[Seconds, Field(ge=0, le=3600)] = 10.0
    """What SIGTERM leaves to open calls, the end of the children included."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What to log; payloads appear nowhere above debug."""

    log_format: Literal["text", "json"] = "text"
    """How to log, on stderr."""

    @property
    def server_argv(self) -> tuple[str, ...]:
        """The server's command as separate words."""
        if self.demo:
            return (sys.executable, "-m", "proxy.demo")
        return self.argv or tuple(shlex.split(self.command or ""))

    @property
    def has_own_server(self) -> bool:
        """Whether a server is given by a command of its own, beside those of the file."""
        return bool(self.demo or self.argv or self.command)

    @classmethod
    def load(cls, argv: Sequence[str], environ: Mapping[str, str]) -> Self:
        """Settings from flags (what stands behind `--` is the server's command) and variables.

        Flags win over `MCP_PROXY_*`, these over the container names.

        Raises:
            SettingsError: If something is not allowed; says what, where it came from and what is.
        """
        from proxy.sources import load

        return load(cls, argv, environ)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments only: two bridges in one process share no variables."""
        return (init_settings,)

    @field_validator("command")
    @classmethod
    def _command_is_quoted_right(cls, value: str | None) -> str | None:
        if value is not None and not shlex.split(value):
            raise ValueError("an empty command")
        return value

    @field_validator("server_name")
    @classmethod
    def _name_fits_into_a_path(cls, value: str) -> str:
        # Clients have names with spaces and slashes in their files. "." and ".." they resolve themselves.
        is_path = {"", ".", ".."}.isdisjoint(value.split("/"))
        if len(value) > 128 or not value.isprintable() or value != value.strip() or not is_path:
            raise ValueError("not a name")
        return value

    @field_validator("path")
    @classmethod
    def _path_is_one(cls, value: str) -> str:
        # Clients resolve "." and ".." themselves, so such a path would never be asked for.
        if not re.fullmatch(r"/[A-Za-z0-9._~/-]*", value) or "//" in value or {".", ".."} & set(value.split("/")):
            raise ValueError("a path begins with / and has letters, digits and . _ ~ - in it")
        path = value.rstrip("/")
        if path in TAKEN_PATHS:
            raise ValueError("this path is taken")
        return path or "/"

    @model_validator(mode="after")
    def _agree(self) -> Self:
        given = [name for name in ("command", "argv", "demo") if getattr(self, name)]
        if not given and self.config is None and not self.named_server:
            raise ValueError(
                'no server to run. Give one: --command "uvx mcp-server-fetch", or -- and its words, or --demo, '
                "or several: --config servers.json"
            )
        if len(given) > 1:
            raise ValueError("only one of --command, words behind --, and --demo can be given")
        if f"{self.path.rstrip('/')}/{self.server_name}" in TAKEN_PATHS | (
            LEGACY_SSE_PATHS if self.legacy_sse else set()
        ):
            # The server is served there, too; on an exempt path nobody would check the Origin.
            raise ValueError(f"with --path {self.path}, --server-name can't be {self.server_name}: this path is taken")
        if self.isolation == "request" and self.modern_isolation == "shared":
            raise ValueError("--isolation request gives every call a process, so --modern-isolation shared can't be")
        if self.legacy_sse and self.path in LEGACY_SSE_PATHS:
            raise ValueError(f"with --legacy-sse, --path can't be {self.path}: this path is taken")
        if self.dead_peer_timeout_seconds < self.slow_reader_timeout_seconds + 15:
            raise ValueError(
                "--dead-peer-timeout must be at least 15s more than --slow-reader-timeout: "
                "it ends clients that don't read, too"
            )
        return self


class SettingsError(Exception):
    """Settings that can't be; one line for each fault, for the operator."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)

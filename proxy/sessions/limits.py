"""What may one session use, and how long does everything in it wait?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Bounds of one session; the defaults are those of `Settings`, which has the reasons."""

    idle_timeout_seconds: float | None = 1800.0
    unused_timeout_seconds: float | None = 60.0
    session_age_seconds: float | None = None
    child_max_age_seconds: float | None = None
    child_max_calls: int | None = None
    call_timeout_seconds: float | None = None
    call_timeout_total_seconds: float | None = None
    place_timeout_seconds: float = 10.0
    start_timeout_seconds: float = 60.0
    server_request_timeout_seconds: float = 50.0
    continuation_timeout_seconds: float = 600.0
    stdin_stall_timeout_seconds: float = 30.0
    slow_reader_timeout_seconds: float = 30.0
    stream_backlog_bytes: int = 8 * 1024 * 1024
    replay_events: int = 1000
    replay_size_bytes: int = 1024 * 1024
    replay_age_seconds: float = 300.0
    waiting_messages: int = 256
    waiting_size_bytes: int = 1024 * 1024
    max_calls_per_child: int = 128
    max_get_streams: int = 4
    max_respawns: int = 5

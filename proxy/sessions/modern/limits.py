"""What may clients without sessions use, and how long does everything wait?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModernLimits:
    """Bounds of what serves modern clients; the defaults are those of `Settings`, which has the reasons."""

    call_timeout_seconds: float | None = None
    call_timeout_total_seconds: float | None = None
    child_max_age_seconds: float | None = None
    child_max_calls: int | None = None
    continuation_timeout_seconds: float = 600.0
    idle_timeout_seconds: float | None = 1800.0
    lease_wait_seconds: float = 2.0
    max_calls_per_child: int = 128
    max_continuations: int = 128
    max_listens: int = 1024
    place_timeout_seconds: float = 10.0
    probe_timeout_seconds: float = 10.0
    server_request_timeout_seconds: float = 50.0
    start_timeout_seconds: float = 60.0
    stdin_stall_timeout_seconds: float = 30.0
    stream_backlog_bytes: int = 8 * 1024 * 1024

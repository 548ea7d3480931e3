"""What can happen? The table of everything that is played.

A new behaviour of clients, children or the network is a coroutine in one of these files and a line here; a new kind of
daemon is a line in `tests/soak/modes.py`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.soak.scenarios import faulty, honest, hostile, leaving, modern, resuming, sessionless, sharing, slow
from tests.soak.stage import Stage


@dataclass(frozen=True)
class Scenario:
    """One thing that can happen.

    Attributes:
        play: Plays it; whatever it raises is a fault of the daemon.
        weight: How often, beside the others.
        from_seconds: Shorter runs leave it out: its consequences take long to be over.
    """

    play: Callable[[Stage], Awaitable[None]]
    weight: float = 1.0
    from_seconds: float = 0.0

    @property
    def name(self) -> str:
        """As in reports."""
        return self.play.__name__.replace("_", " ")


SESSIONS: tuple[Scenario, ...] = (
    Scenario(honest.calls, 6),
    Scenario(honest.parallel_calls, 2),
    Scenario(honest.progress, 2),
    Scenario(honest.large_payloads),
    Scenario(honest.listener, 2),
    Scenario(honest.questions_of_the_server, 2),
    Scenario(honest.batch),
    Scenario(honest.cancellations, 2),
    Scenario(honest.deletion_in_mid_call),
    Scenario(honest.idle_expiry, 0.5, from_seconds=30),
    Scenario(honest.initialize_only),
    Scenario(honest.crowd, 0.1, from_seconds=60),
    Scenario(resuming.return_for_the_rest, 3),
    Scenario(resuming.return_after_the_answer, 2),
    Scenario(resuming.return_twice),
    Scenario(resuming.return_too_late, 0.3, from_seconds=30),
    Scenario(resuming.return_to_nowhere),
    Scenario(leaving.cut_while_sending, 2),
    Scenario(leaving.cut_while_waiting, 2),
    Scenario(leaving.cut_while_reading, 2),
    Scenario(leaving.cut_initialize, 2),
    Scenario(leaving.cut_listeners),
    Scenario(leaving.machine_gone, 0.2, from_seconds=60),
    Scenario(slow.slow_reader, 0.5, from_seconds=30),
    Scenario(slow.reader_that_stops, 0.3, from_seconds=30),
    Scenario(slow.slow_upload),
    Scenario(hostile.bad_requests, 2),
    Scenario(hostile.bad_bytes, 2),
    Scenario(hostile.bad_messages_in_a_session, 2),
    Scenario(faulty.exits, 2),
    Scenario(faulty.noise, 2),
    Scenario(faulty.unusable_answers, 2),
    Scenario(faulty.floods),
    Scenario(faulty.hangs, 0.5, from_seconds=30),
    Scenario(faulty.closed_pipes),
    Scenario(faulty.reads_no_more, 0.5, from_seconds=30),
    Scenario(faulty.bad_starts, from_seconds=30),
    Scenario(faulty.killed, 2),
    Scenario(faulty.stopped_and_continued),
    Scenario(faulty.stubborn_descendants, 0.5),
)
"""Clients of the handshake revisions, with the child that does everything wrong if told to."""

MODERN: tuple[Scenario, ...] = (
    Scenario(modern.modern_calls, 4),
    Scenario(modern.modern_calls_at_once, 2),
    Scenario(modern.modern_progress),
    Scenario(modern.modern_questions, 2),
    Scenario(modern.modern_leaving, 2),
    Scenario(modern.modern_cuts, 2),
    Scenario(modern.modern_time_out, 0.3, from_seconds=30),
    Scenario(modern.modern_refusals),
    Scenario(hostile.bad_bytes),
)
"""Clients of 2026-07-28."""

SHARED: tuple[Scenario, ...] = (*MODERN, Scenario(modern.modern_listen, 2))
"""Those that share a child: it can be listened to."""

ALONE: tuple[Scenario, ...] = (*MODERN, Scenario(modern.modern_exit))
"""Those with a child for each request: it may die."""

SESSIONLESS: tuple[Scenario, ...] = (
    Scenario(sessionless.calls_without_session, 4),
    Scenario(sessionless.calls_without_session_at_once, 2),
    Scenario(sessionless.progress_without_session),
    Scenario(sessionless.exits_without_session, 2),
    Scenario(sessionless.cuts_without_session, 2),
    Scenario(sessionless.refusals_without_session),
    Scenario(hostile.bad_bytes),
)
"""Clients of the handshake revisions where each call has a process of its own."""

ON_ONE_CHILD: tuple[Scenario, ...] = (
    Scenario(sharing.calls_on_one_child, 6),
    Scenario(sharing.the_same_names_on_one_child, 3),
    Scenario(honest.progress, 2),
    Scenario(honest.large_payloads),
    Scenario(honest.cancellations, 2),
    Scenario(honest.idle_expiry, 0.5, from_seconds=30),
    Scenario(honest.initialize_only),
    Scenario(resuming.return_for_the_rest, 2),
    Scenario(resuming.return_after_the_answer),
    Scenario(resuming.return_to_nowhere),
    Scenario(leaving.cut_while_sending),
    Scenario(leaving.cut_while_reading),
    Scenario(leaving.cut_initialize),
    Scenario(leaving.cut_listeners),
    Scenario(hostile.bad_requests),
    Scenario(hostile.bad_bytes),
)
"""Sessions that share a child: nothing that would harm the others."""

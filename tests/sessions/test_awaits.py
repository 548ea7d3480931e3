"""Every wait of children and sessions is known, and what is held meanwhile.

The tables are those of `tests/interruption`, which interrupts each wait that holds something. A new await belongs into
one of them, and, if it holds something, into a scenario there.
"""

from tests.interruption import test_children as children
from tests.interruption import test_modern_faults as faults
from tests.interruption import test_recovery as recovery
from tests.interruption import test_sessionless as sessionless
from tests.interruption import test_sessions as sessions
from tests.interruption import test_shared as shared
from tests.interruption import test_trials as trials
from tests.support.interrupt import awaits_in


def test_every_await_of_the_children_is_known() -> None:
    assert awaits_in("child") == children.HOLDS.keys() | children.NOTHING


def test_every_await_of_the_sessions_is_known() -> None:
    known = sessions.OF_THE_OWNER.keys() | sessions.WHEN_ITS_CHILD_IS_REPLACED.keys()
    known |= sessions.OF_THE_BRIDGE.keys() | sessions.OF_THE_POOL.keys() | sessions.AROUND | sessions.NOTHING
    known |= recovery.OF_THE_TASK.keys() | recovery.NOTHING
    known |= sessionless.OF_THE_SERVER.keys()
    known |= trials.OF_THE_BRIDGE.keys() | trials.NEVER_WAITS.keys()
    known |= shared.OF_THE_CHILD.keys() | shared.OF_THE_SESSION.keys() | shared.OF_THE_BRIDGE.keys() | shared.NOTHING
    holds = (*sessions.HOLDS, *recovery.HOLDS, *sessionless.HOLDS, *shared.HOLDS, *trials.HOLDS)
    known |= {key for key in holds if key.startswith("sessions/")}

    # What a port waits for is seen to wherever its session waits for it.
    ports = {each for each in awaits_in("sessions/shared") if "Port.sent" in each}
    assert awaits_in("sessions", "sessions/shared") - ports == known


def test_what_is_interrupted_at_the_edge_is_there() -> None:
    """Else a scenario would wait for a place that it never comes to."""
    tables = (sessions.HOLDS, recovery.HOLDS, sessionless.HOLDS, sessions.NEVER_FAILS, faults.NEVER_FAILS)
    named = {key for table in tables for key in table if key.startswith("edge/")}
    assert named <= awaits_in("edge")

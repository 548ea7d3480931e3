"""Every wait of children and sessions is known, and what is held meanwhile.

The tables are those of `tests/interruption`, which interrupts each wait that holds something. A new await belongs into
one of them, and, if it holds something, into a scenario there.
"""

from tests.interruption import test_children as children
from tests.interruption import test_recovery as recovery
from tests.interruption import test_sessionless as sessionless
from tests.interruption import test_sessions as sessions
from tests.support.interrupt import awaits_in


def test_every_await_of_the_children_is_known() -> None:
    assert awaits_in("child") == children.HOLDS.keys() | children.NOTHING


def test_every_await_of_the_sessions_is_known() -> None:
    known = sessions.OF_THE_OWNER.keys() | sessions.WHEN_ITS_CHILD_IS_REPLACED.keys()
    known |= sessions.OF_THE_BRIDGE.keys() | sessions.OF_THE_POOL.keys() | sessions.NOTHING
    known |= recovery.OF_THE_TASK.keys() | recovery.NOTHING
    known |= sessionless.OF_THE_SERVER.keys() | sessionless.NEVER_WAITS.keys()
    known |= {key for key in (*sessions.HOLDS, *recovery.HOLDS, *sessionless.HOLDS) if key.startswith("sessions/")}

    assert awaits_in("sessions") == known

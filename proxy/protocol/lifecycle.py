"""Which event is allowed in which session state?

    AHEAD ──taken──► STARTING ──initialized──► UNUSED ──used──► ACTIVE
      └─────ended───────┴──────────ended─────────┴─────ended──────┴──► ENDED

Spec: 2025-11-25 basic/lifecycle; basic/transports, Session Management.
"""

from enum import Enum


class State(Enum):
    """Where a session is in its life."""

    AHEAD = "ahead"
    """Its child was started before anybody asked for a session; it is nobody's yet."""
    STARTING = "starting"
    """Its child is being started or has not answered `initialize`; its id is known to nobody."""
    UNUSED = "unused"
    """The InitializeResult is out and nothing has followed. Health checks leave sessions like this behind."""
    ACTIVE = "active"
    ENDED = "ended"
    """404 from here on, whether or not its child is dead yet."""


class Event(Enum):
    """What happens to a session."""

    TAKEN = "taken"
    INITIALIZED = "initialized"
    USED = "used"
    ENDED = "ended"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.AHEAD: {Event.TAKEN: State.STARTING, Event.ENDED: State.ENDED},
    State.STARTING: {Event.INITIALIZED: State.UNUSED, Event.ENDED: State.ENDED},
    State.UNUSED: {Event.USED: State.ACTIVE, Event.ENDED: State.ENDED},
    State.ACTIVE: {Event.USED: State.ACTIVE, Event.ENDED: State.ENDED},
    State.ENDED: {Event.ENDED: State.ENDED},
}


def after(state: State, event: Event) -> State:
    """The state that follows.

    Raises:
        LookupError: If the event is impossible in that state, naming both.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise LookupError(f"{event.value} is impossible in a session that is {state.value}") from None

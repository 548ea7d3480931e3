"""Which event is allowed in which session state? The whole table."""

from itertools import product

import pytest

from proxy.protocol.lifecycle import TRANSITIONS, Event, State, after

TABLE: list[tuple[State, Event, State]] = [
    (State.AHEAD, Event.TAKEN, State.STARTING),
    (State.AHEAD, Event.ENDED, State.ENDED),
    (State.STARTING, Event.INITIALIZED, State.UNUSED),
    (State.STARTING, Event.ENDED, State.ENDED),
    (State.UNUSED, Event.USED, State.ACTIVE),
    (State.UNUSED, Event.ENDED, State.ENDED),
    (State.ACTIVE, Event.USED, State.ACTIVE),
    (State.ACTIVE, Event.ENDED, State.ENDED),
    (State.ENDED, Event.ENDED, State.ENDED),
]

IMPOSSIBLE = sorted(
    set(product(State, Event)) - {(state, event) for state, event, _ in TABLE}, key=lambda pair: str(pair)
)


@pytest.mark.parametrize(("state", "event", "expected"), TABLE)
def test_an_allowed_event_leads_to_its_state(state: State, event: Event, expected: State) -> None:
    assert after(state, event) is expected


@pytest.mark.parametrize(("state", "event"), IMPOSSIBLE)
def test_an_impossible_event_is_refused_naming_both(state: State, event: Event) -> None:
    with pytest.raises(LookupError) as caught:
        after(state, event)

    assert str(caught.value) == f"{event.value} is impossible in a session that is {state.value}"
    assert type(caught.value) is LookupError
    assert caught.value.__cause__ is None


def test_every_state_can_end_and_nothing_leaves_the_end() -> None:
    assert TRANSITIONS.keys() == set(State)
    assert all(after(state, Event.ENDED) is State.ENDED for state in State)
    assert set(TRANSITIONS[State.ENDED].values()) == {State.ENDED}

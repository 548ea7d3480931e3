"""Which open stream gets this message of the child? Each clause of the decision, as a row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.protocol.routing import choose_stream, relates_to_a_call
from tests.protocol.texts import bounded

# related, calls, listens, has_listened -> chosen
RULES: dict[str, tuple[bool, str, str, bool, str | None]] = {
    "related: the only call": (True, "a", "", False, "a"),
    "related: the only call, although a GET is open": (True, "a", "g", True, "a"),
    "related: the newest GET if two calls could be meant": (True, "ab", "gh", True, "h"),
    "related: the newest call if two could be meant and no GET is open": (True, "ab", "", False, "b"),
    "related: the newest call, also when there was a GET": (True, "abc", "", True, "c"),
    "related: the GET if no call is open": (True, "", "g", True, "g"),
    "related: waits if nothing is open": (True, "", "", False, None),
    "related: waits if nothing is open any more": (True, "", "", True, None),
    "unrelated: the GET": (False, "a", "g", True, "g"),
    "unrelated: the newest GET": (False, "", "gh", True, "h"),
    "unrelated: the newest GET, whatever calls are open": (False, "ab", "gh", True, "h"),
    "unrelated: a call of a client that never opened a GET": (False, "a", "", False, "a"),
    "unrelated: the newest call of such a client": (False, "ab", "", False, "b"),
    "unrelated: waits for the next GET of a client that had one": (False, "a", "", True, None),
    "unrelated: waits if nothing is open": (False, "", "", False, None),
}

KINDS: list[tuple[str, bool, bool]] = [
    ("sampling/createMessage", True, True),
    ("elicitation/create", True, True),
    ("roots/list", True, True),
    ("ping", True, True),
    ("nobody/knows", True, True),
    ("notifications/message", False, True),
    ("notifications/cancelled", False, True),
    ("notifications/progress", False, True),
    ("notifications/tools/list_changed", False, False),
    ("notifications/resources/updated", False, False),
    ("notifications/nobody_knows", False, False),
    ("", False, False),
]


@pytest.mark.parametrize(("related", "calls", "listens", "has_listened", "expected"), RULES.values(), ids=RULES.keys())
def test_a_message_goes_to_one_stream_or_waits(
    related: bool, calls: str, listens: str, has_listened: bool, expected: str | None
) -> None:
    """Spec: 2025-11-25 basic/transports, Sending Messages 6, Listening for Messages 4."""
    chosen = choose_stream(related=related, live_calls=calls, live_listens=listens, has_listened=has_listened)

    assert chosen == expected


@bounded
@given(st.booleans(), st.lists(st.integers(), max_size=3), st.lists(st.integers(), max_size=3), st.booleans())
def test_a_related_message_never_waits_while_a_stream_is_open(
    related: bool, calls: list[int], listens: list[int], has_listened: bool
) -> None:
    chosen = choose_stream(related=related, live_calls=calls, live_listens=listens, has_listened=has_listened)

    assert chosen is None or chosen in calls + listens
    assert (chosen is None) == (not listens and (not calls or (not related and has_listened)))


@pytest.mark.parametrize(("method", "is_request", "expected"), KINDS)
def test_requests_and_logs_relate_to_a_call_and_changes_do_not(method: str, is_request: bool, expected: bool) -> None:
    """Spec: SEP-2260 for the requests; ours for the rest."""
    assert relates_to_a_call(method, is_request=is_request) is expected

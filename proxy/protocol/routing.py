"""Which open stream gets this message of the child?

stdio gives no relation between a server request and the call that caused it, so the rules are about what is open.
Answers and progress never come here: they name their call.

Spec: 2025-11-25 basic/transports, Sending Messages 6 (a POST's stream carries what relates to its request),
Listening for Messages 4 (a GET's stream carries what does not), Multiple Connections 2 ("MUST NOT broadcast").
"""

from collections.abc import Sequence
from typing import TypeVar

Stream = TypeVar("Stream")

_RELATED_TO_A_CALL = frozenset({"notifications/message", "notifications/cancelled", "notifications/progress"})


def relates_to_a_call(method: str, *, is_request: bool) -> bool:
    """Whether a message of this kind is normally caused by a call that is open.

    SEP-2260: servers ask only while they serve a request. Logs mostly do; list changes, resource updates and
    methods nobody knows do not.
    """
    return is_request or method in _RELATED_TO_A_CALL


def choose_stream(
    *, related: bool, live_calls: Sequence[Stream], live_listens: Sequence[Stream], has_listened: bool
) -> Stream | None:
    """The one stream for a message; None if it must wait for the next.

    Args:
        related: Whether the message is normally caused by an open call.
        live_calls: Streams of the calls whose client is connected, oldest first.
        live_listens: GET streams whose client is connected, oldest first.
        has_listened: Whether this session ever had a GET stream. A client that never opens one would otherwise never
            be told of a list change.
    """
    if related and len(live_calls) == 1:
        return live_calls[0]
    if live_listens:
        return live_listens[-1]
    if live_calls and (related or not has_listened):
        return live_calls[-1]
    return None

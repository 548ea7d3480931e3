"""When is a process that sessions share too old, and how do they come to the one in its place?"""

from proxy.sessions.limits import SessionLimits
from proxy.sessions.shared.child import SharedProcess


def why_worn(process: SharedProcess, limits: SessionLimits, now: float) -> str | None:
    """As what it is counted that another one is to take its place; None if it may go on."""
    if limits.child_max_age_seconds is not None and now - process.created_at > limits.child_max_age_seconds:
        return "retired.old_child"
    if limits.child_max_calls is not None and process.hub.calls.given >= limits.child_max_calls:
        return "retired.worn_child"
    return None


def move_sessions(old: SharedProcess, new: SharedProcess) -> None:
    """Have the sessions go on with `new` that have nothing open with `old`.

    None does if `new` has shaken hands in another revision: their clients have been promised the one of `old`.
    """
    if old.hub.version != new.hub.version:
        return
    for port in old.hub.ports:
        if old.hub.may_go(port):
            new.take_over(port, old)

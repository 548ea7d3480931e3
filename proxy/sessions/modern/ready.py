"""Which child that is ready serves the next call of a group?"""

from proxy.protocol.envelope import RETRIED_METHODS, ModernRequest
from proxy.sessions.modern.child import SharedChild

Key = tuple[str, bytes | None]
"""Who shares a child: the group, and what its clients can do (None where every request says so itself)."""


class Ready:
    """The children that clients share, once they are ready; of each kind the first ones first."""

    def __init__(self) -> None:
        self._children: dict[Key, list[SharedChild]] = {}

    def add(self, child: SharedChild) -> None:
        """It serves its group from now on."""
        assert child.group is not None  # else nobody shares it
        self._children.setdefault((child.group, child.capabilities), []).append(child)

    def withdraw(self, child: SharedChild) -> None:
        """Nobody gets it from now on."""
        for key, children in list(self._children.items()):
            if child in children:
                children.remove(child)
                if not children:
                    del self._children[key]

    def count(self, group: str, capabilities: bytes | None) -> int:
        """How many there are of a kind."""
        return len(self._children.get((group, capabilities), ()))

    def is_first(self, child: SharedChild) -> bool:
        """Whether it is the first of its kind: the others are there because it was taken."""
        return child.group is not None and self._children.get((child.group, child.capabilities), [])[:1] == [child]

    def primary(self, group: str) -> SharedChild | None:
        """The child of a group that serves any client of it at any time; None if there is none."""
        ready = self._children.get((group, None))
        return ready[0] if ready else None

    def choose(self, group: str, capabilities: bytes, request: ModernRequest) -> tuple[SharedChild | None, bool]:
        """One that has room, and whether there is any at all. If the request is to have a turn there, it has it."""
        for key in ((group, None), (group, capabilities)):
            ready = self._children.get(key)
            if not ready:
                continue
            if not ready[0].takes_turns or request.method not in RETRIED_METHODS:
                return ready[0], True
            for child in ready:
                if child.is_free:
                    child.lease()
                    return child, True
            return None, True
        return None, False

"""Which requests of the child are open, and who can still answer them?"""

from dataclasses import dataclass

from msgspec import Raw

from proxy.protocol.ids import Id, IdMinter
from proxy.protocol.messages import Request
from proxy.sessions.stream import Ask, Stream

MAX_OPEN_ASKS = 1024
"""Requests of one child without an answer. Ours: a runaway backstop; an honest child has a few."""


@dataclass(slots=True)
class OpenAsk:
    """A request of the child that has no answer yet."""

    ask_id: int
    raw_id: Raw
    child_key: Id
    stream: Stream | None = None
    """The one stream it was given to."""
    lost_at: float | None = None
    """Since when no client is known that could answer it; None while one is."""


class Asks:
    """The child's own requests, by the ids that the client sees.

    Ids are minted anew for the client: a child that is replaced within a session may begin to count again.
    """

    def __init__(self) -> None:
        self._minter = IdMinter()
        self._open: dict[int, OpenAsk] = {}
        self._by_child: dict[Id, int] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_full(self) -> bool:
        """Whether the child must be answered before it may ask again."""
        return len(self._open) >= MAX_OPEN_ASKS

    def add(self, request: Request) -> Ask:
        """Remember a request of the child; returns it as the client gets it."""
        ask_id = self._minter.mint()
        self._open[ask_id] = OpenAsk(ask_id, request.raw_id, request.id)
        self._by_child[request.id] = ask_id
        return Ask(ask_id, request.encode(id=ask_id))

    def all(self) -> list[OpenAsk]:
        """Every open request, the oldest first."""
        return list(self._open.values())

    def get(self, ask_id: Id | None) -> OpenAsk | None:
        """The open request with this id, as the client knows it."""
        return self._open.get(ask_id) if isinstance(ask_id, int) else None

    def of_child(self, child_key: Id | None) -> OpenAsk | None:
        """The open request with this id, as the child knows it."""
        ask_id = self._by_child.get(child_key) if child_key is not None else None
        return self._open.get(ask_id) if ask_id is not None else None

    def close(self, ask: OpenAsk) -> None:
        """It is answered, or needs no answer any more."""
        self._open.pop(ask.ask_id, None)
        if self._by_child.get(ask.child_key) == ask.ask_id:
            del self._by_child[ask.child_key]

    def lose(self, stream: Stream, now: float) -> None:
        """The client that was asked on this stream is gone."""
        for ask in self._open.values():
            if ask.stream is stream:
                ask.lost_at = now

    def regain(self, stream: Stream) -> None:
        """The client that was asked on this stream is back."""
        for ask in self._open.values():
            if ask.stream is stream:
                ask.lost_at = None

    def lost_before(self, moment: float) -> list[OpenAsk]:
        """Those that have had no client since before `moment`."""
        return [ask for ask in self._open.values() if ask.lost_at is not None and ask.lost_at <= moment]

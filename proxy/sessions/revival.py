"""How does a session of the handshake era go on with another child?

What the client has told the last one is told to the next one; its answers are nobody's. Then the client hears that
whatever it knows of lists and resources may have changed.
"""

import logging
from collections.abc import Callable

from proxy.child.link import ChildLink, Line
from proxy.errors import ChildRestarting, ProxyError
from proxy.observe import Counts
from proxy.protocol.changes import may_have_changed
from proxy.protocol.child_lines import parse_child_line
from proxy.protocol.jsontext import encode
from proxy.protocol.messages import Request, Response
from proxy.protocol.versions import version_of_result
from proxy.sessions.exchange import Exchange
from proxy.sessions.modern.current_link import CurrentLink
from proxy.sessions.told import Told, Wanted

logger = logging.getLogger(__name__)

MAX_HELD_BYTES = 64 * 1024
"""What a client may say without wanting an answer while there is no child."""

INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'


class Revival(CurrentLink):
    """The link of one session to the child that is there now.

    Requests wait elsewhere until it is ready; notifications wait here, bounded, and follow the handshake.

    Args:
        told: What a child has to know.
        exchange: Of the session.
        version: The revision that the client has agreed to; a child that wants another can't go on with the session.
        on_ready: Called when requests can be sent.
        on_unfit: Called when a child does not shake hands as the first one did.
        counts: What was dropped.
        tag: Names the session in the log.
    """

    def __init__(
        self,
        *,
        told: Told,
        exchange: Exchange,
        version: str | None,
        on_ready: Callable[[], None],
        on_unfit: Callable[[], None],
        counts: Counts,
        tag: str,
    ) -> None:
        super().__init__()
        self._told = told
        self._exchange = exchange
        self._version = version
        self._on_ready = on_ready
        self._on_unfit = on_unfit
        self._counts = counts
        self._tag = tag
        self._is_ready = True  # the first child has shaken hands with the client itself
        self._wanted: Wanted | None = None  # by the child that is not ready yet
        self._initialize_id: int | None = None
        self._pipe: ChildLink | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0

    @property
    def is_ready(self) -> bool:
        """Whether there is a child that requests can be sent to."""
        return self._is_ready

    @property
    def can_revive(self) -> bool:
        """Whether all that another child has to know is known."""
        return self._told.is_complete

    def send(self, line: bytes) -> None:
        """Pass a line on to the child. While there is none that is ready only its own questions are answered."""
        if self._is_ready:
            self.write(line)
            return
        message, *_ = parse_child_line(line)
        if isinstance(message, Response):
            self.write(line)
        elif isinstance(message, Request):  # kept, it could be done after its client was told that it failed
            self._exchange.fail(_id_of(message), ChildRestarting())
        elif self._held_bytes + len(line) > MAX_HELD_BYTES:
            self._counts.add("dropped.told_while_restarting")
        else:
            self._held.append(line)
            self._held_bytes += len(line)

    def lost(self, error: ProxyError) -> None:
        """The child is gone: what was with it gets `error`."""
        if self._is_ready:  # else what the next one is told is settled, and something may be held that follows it
            self._wanted = self._told.wanted()
        self._is_ready = False
        self._initialize_id = None
        self.replace(None)
        self._exchange.child_lost(error)

    def attach(self, pipe: ChildLink) -> None:
        """Another child is there: shake hands with it."""
        assert self._wanted is not None  # the last one was lost
        self._pipe = pipe
        self.replace(pipe)
        pipe.deliver_to(self._first_lines)
        self._initialize_id = self._exchange.mint()
        self.write(self._wanted.initialize.encode(id=self._initialize_id))

    def _first_lines(self, lines: list[Line]) -> None:
        for index, line in enumerate(lines):
            answer = self._answer_in(line)
            if answer is not None:
                self._answered(answer)
                self._exchange.received(lines[index + 1 :])
                return
            self._exchange.received([line])

    def _answer_in(self, line: Line) -> Response | None:
        if isinstance(line, bytes) and self._initialize_id is not None:
            for message in parse_child_line(line):
                if isinstance(message, Response) and message.id == self._initialize_id:
                    return message
        return None

    def _answered(self, answer: Response) -> None:
        """The child has answered `initialize`."""
        pipe, wanted = self._pipe, self._wanted
        assert pipe is not None  # it has answered
        assert wanted is not None  # it was asked
        pipe.deliver_to(self._exchange.received)
        self._initialize_id = None
        version = None if answer.is_error else version_of_result(encode(answer.members))
        if version is None or version != self._version:
            logger.warning("child of an open session shakes hands otherwise", extra={"session": self._tag})
            self._on_unfit()
            return
        if wanted.initialized:
            self.write(INITIALIZED)
        for request in (*((wanted.level,) if wanted.level is not None else ()), *wanted.subscriptions):
            self.write(request.encode(id=self._exchange.mint_unheard()))
        self._is_ready = True
        self._wanted = None
        held, self._held, self._held_bytes = self._held, [], 0
        for line in held:
            self.write(line)
        logger.info("session goes on with another child", extra={"session": self._tag})
        if wanted.initialized:
            self._exchange.received([*may_have_changed(answer.members.get("result"), self._told.uris)])
        self._on_ready()


def _id_of(request: Request) -> int:
    assert isinstance(request.id, int)  # the exchange mints them
    return request.id

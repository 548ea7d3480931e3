"""By which way do the messages of a session reach its child?

Straight, to a child of the handshake era; through a translation, to one that speaks only 2026-07-28. Which it is shows
in the first answer, so later messages take their way without a look at it.

Spec: 2026-07-28 basic/versioning, Backward compatibility; basic/transports/stdio.
"""

import logging
from collections.abc import Callable
from typing import Literal

import anyio
from msgspec import Raw

from proxy.child.link import ChildLink, Line
from proxy.errors import ChildRestarting, ProxyError
from proxy.observe import Counts
from proxy.protocol.child_lines import parse_child_line
from proxy.protocol.messages import Response
from proxy.protocol.translate_to_legacy import discovery, has_no_handshake, is_revision_refused
from proxy.sessions.era import ServerEra
from proxy.sessions.exchange import Exchange
from proxy.sessions.modern.as_legacy import AsLegacy
from proxy.sessions.revival import Revival
from proxy.sessions.told import Told
from proxy.sessions.warm.sign_of_life import SignOfLife, ping

logger = logging.getLogger(__name__)


class ChildPath:
    """The way between one session's exchange and its child.

    Args:
        exchange: Of the session.
        era: What is known of the server; learns what its children show.
        answer_timeout_seconds: A question of a modern child waits so long for an answer of a client that is there.
        on_unfit: Called when a child that was started for an open session turns out to be none that can go on with it.
        counts: What was dropped.
        clock: The loop's clock.
        respawns: Whether a session with a child of the handshake era goes on with another one when that is gone.
        tag: Names the session in the log.
    """

    def __init__(
        self,
        *,
        exchange: Exchange,
        era: ServerEra,
        answer_timeout_seconds: float,
        on_unfit: Callable[[], None],
        counts: Counts,
        clock: Callable[[], float],
        respawns: bool = False,
        tag: str,
    ) -> None:
        self._exchange = exchange
        self._era = era
        self._answer_timeout_seconds = answer_timeout_seconds
        self._on_unfit = on_unfit
        self._counts = counts
        self._clock = clock
        self._tag = tag
        self._link: ChildLink | None = None
        self._translation: AsLegacy | None = None
        self._revival: Revival | None = None
        self._told: Told | None = None
        if respawns:
            self._told = exchange.told = exchange.told or Told()
        self._is_settled = False
        self._is_over = False
        self._has_turned = False  # a second change of mind would never end
        self._ready = anyio.Event()
        self._answered = anyio.Event()
        self.was_pinged = False
        """Whether the child was asked for a sign of life that it need not have expected."""

    @property
    def is_proved(self) -> bool:
        """Whether the child has given the sign of life that it was asked for."""
        return self._answered.is_set()

    async def prove(self) -> None:
        """Ask the child for a sign of life and wait for it, or for the end of the session."""
        assert self._link is not None  # there is a child
        question_id = self._exchange.mint()
        if self._translation is None:
            self.was_pinged = True
            question, taker = ping(question_id), self._first_taker
        else:
            question, taker = discovery(question_id), self._translation.received
        SignOfLife(self._link, question_id, question, pass_on=taker, on_answer=self._answered.set)
        await self._answered.wait()

    @property
    def child_era(self) -> Literal["legacy", "modern"] | None:
        """In which era the session's child is spoken to; None until that is settled."""
        if not self._is_settled:
            return None
        return "legacy" if self._translation is None else "modern"

    @property
    def survives_child(self) -> bool:
        """Whether the session goes on, with another child, when this one dies."""
        if not self._is_settled:
            return False
        return self._translation is not None or (self._revival is not None and self._revival.can_revive)

    @property
    def tries_for_ever(self) -> bool:
        """Whether it costs the client nothing that its children die one after the other: they have kept no state."""
        return self._translation is not None

    def attach(self, link: ChildLink) -> None:
        """Connect a child: the first of the session, or one in the place of the last."""
        self._link = link
        if self._translation is not None:
            link.deliver_to(self._translation.received)
            self._translation.attach(link)
        elif self._revival is not None:
            self._revival.attach(link)
        elif self._era.speaks_legacy is False:
            self._translate()
        else:
            link.deliver_to(self._first_taker)
            self._exchange.attach(link)

    @property
    def _first_taker(self) -> Callable[[list[Line]], None]:
        """Who gets what the child says before the session is settled."""
        return self._exchange.received if self._era.configured == "legacy" else self._first_lines

    def settle(self, version: str | None) -> None:
        """The InitializeResult is about to be sent: the child is what it seems to be, and speaks this revision."""
        self._is_settled = True
        if self._translation is not None:
            self._era.learned_modern(True, "answered server/discover")
            self._era.learned_legacy(False, "refused initialize")
        elif self._link is not None:
            if self._has_turned:
                self._era.learned_modern(False, "refused server/discover")
            self._era.learned_legacy(True, "answered initialize")
            self._link.deliver_to(self._exchange.received)
            if self._told is not None:
                self._can_be_revived(self._told, self._link, version)

    def _can_be_revived(self, told: Told, link: ChildLink, version: str | None) -> None:
        self._revival = Revival(
            told=told,
            exchange=self._exchange,
            version=version,
            on_ready=self._child_ready,
            on_unfit=self._on_unfit,
            counts=self._counts,
            tag=self._tag,
        )
        self._revival.replace(link)
        self._exchange.attach(self._revival)

    def child_gone(self, error: ProxyError) -> None:
        """The child is gone; another one will come."""
        if self._ready.is_set():  # else whoever waits goes on waiting for the same
            self._ready = anyio.Event()
        if self._translation is not None:
            self._translation.child_gone(error)
        elif self._revival is not None:
            self._revival.lost(error)

    def end(self) -> None:
        """The session is over: nobody waits for a child any more."""
        self._is_over = True
        self._ready.set()
        self._answered.set()

    def start_failed(self) -> None:
        """The first child has not become ready: if that is for want of a handshake, the next session will try one."""
        if self._translation is not None and not self._has_turned:
            self._era.forget()

    def check(self, now: float) -> None:
        """Act on what has taken long enough. Called a few times a second."""
        if self._translation is not None:
            self._translation.check(now)

    # ---- waiting for a child

    @property
    def is_ready(self) -> bool:
        """Whether any request can be sent now."""
        if self._translation is None:
            return self._revival is None or self._revival.is_ready
        return self._translation.is_ready

    def is_ready_for(self, method: str) -> bool:
        """Whether a request of this kind can be sent now: some need no child."""
        return self.is_ready or (self._translation is not None and not AsLegacy.needs_child(method))

    async def ready_for(self, method: str, *, timeout_seconds: float) -> None:
        """Wait for a child that a request can be sent to, or for the end of the session.

        Raises:
            ChildRestarting: If there is none in time.
        """
        with anyio.move_on_after(timeout_seconds):
            while not self.is_ready_for(method) and not self._is_over:
                await self._ready.wait()
        if not self.is_ready_for(method) and not self._is_over:
            raise ChildRestarting

    # ---- finding out

    def _first_lines(self, lines: list[Line]) -> None:
        """Look for the answer to `initialize`: a server that refuses it for good may speak the modern era."""
        for index, line in enumerate(lines):
            if not self._has_turned and self._refuses(line):
                self._exchange.received(lines[:index])
                self._has_turned = True
                self._translate()
                self._exchange.initialize_again()
                self._translation_of().received(lines[index + 1 :])
                return
        self._exchange.received(lines)

    def _refuses(self, line: Line) -> bool:
        if not isinstance(line, bytes) or b'"error"' not in line:
            return False
        for message in parse_child_line(line):
            if isinstance(message, Response) and message.is_error and self._exchange.is_in_flight(message.id):
                return has_no_handshake(message.members["error"])
        return False

    def _translate(self) -> None:
        """Put the translation between the exchange and the child that is there."""
        assert self._link is not None  # it is what shows the need of it
        translation = self._translation = AsLegacy(
            on_lines=self._exchange.received,
            on_failed=self._exchange.fail,
            on_ready=self._child_ready,
            on_refused=self._refused,
            mint=self._exchange.mint,
            answer_timeout_seconds=self._answer_timeout_seconds,
            counts=self._counts,
            clock=self._clock,
            tag=self._tag,
        )
        self._exchange.owner_of = translation.owner_of
        self._exchange.attach(translation)
        self._link.deliver_to(translation.received)
        translation.attach(self._link)

    def _translation_of(self) -> AsLegacy:
        assert self._translation is not None  # it was made just now
        return self._translation

    def _child_ready(self) -> None:
        self._ready.set()

    def _refused(self, error: Raw) -> bool:
        """A child has not answered `server/discover` as a modern one."""
        if self._is_settled:
            logger.warning("child of an open session speaks another revision", extra={"session": self._tag})
            self._era.forget()
            self._on_unfit()
            return True
        if self._has_turned or self._era.configured != "auto" or is_revision_refused(error):
            return False
        # What was remembered of the server is no longer so.
        self._has_turned, self._translation = True, None
        assert self._link is not None  # the child that has answered
        self._exchange.owner_of = lambda _: None
        self._exchange.attach(self._link)
        self._link.deliver_to(self._first_lines)
        self._exchange.initialize_again()
        return True

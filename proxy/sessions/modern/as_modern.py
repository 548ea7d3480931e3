"""How does a child of the handshake era serve those who speak 2026-07-28?

`AsModern` stands between the two as a `Link`: what is above sends it requests of the new revision and gets lines of it
back, as from a child that speaks it; the child below is asked as by a client of its own revision. Everything happens
on the event loop without an await.

Spec: 2026-07-28; 2025-11-25 basic/lifecycle.
"""

import logging
from collections.abc import Callable
from functools import partial

from msgspec import Raw

from proxy.child.link import Line, Link
from proxy.observe import Counts
from proxy.protocol.badlines import without_noise
from proxy.protocol.child_lines import parse_child_line
from proxy.protocol.handshake import initialize, legacy_capabilities
from proxy.protocol.ids import IdMinter
from proxy.protocol.input_requests import read_declared
from proxy.protocol.jsontext import Members, parse_members
from proxy.sessions.modern.as_modern_calls import Calls
from proxy.sessions.modern.as_modern_listens import BridgeListens
from proxy.sessions.modern.as_modern_port import AsModernLimits, Later, Port
from proxy.sessions.modern.as_modern_routes import Routes
from proxy.sessions.modern.as_modern_turns import Turns

logger = logging.getLogger(__name__)


class AsModern(Link):
    """A child of the handshake era, as a server of 2026-07-28.

    Above it are requests with small integer ids, each used once, which are their progress tokens, too. Results and
    errors are those of 2026-07-28. `on_lines` may be called before `send` returns, but never in the middle of another
    call of it.

    Whoever stands above decides whose turn it is: if the client can be asked anything (`takes_turns`), calls of
    `RETRIED_METHODS` must come one at a time, and the next one only after `on_free`. The turn lasts from the first
    request to the last answer, every pause for input included; a retry belongs to the turn that is open and needs no
    other. So at most one `requestState` of a child is good at any time.

    Nothing is ever raised out of `send`, `received`, `check`, `abandon` and the timer.

    Args:
        capabilities: `clientCapabilities` of those who will use this child; what they can be asked is translated.
        client_info: `clientInfo` of one of them, if it has one.
        on_lines: Gets what is said above.
        on_ready: Called when the handshake is done.
        on_refused: Called when the child has refused it: code, message, and the revisions that it names.
        on_free: Called when a turn is over, and when a call that should have had one was refused before it began.
        on_stuck: Called when a cancelled call has been kept for `cancel_grace_seconds` by a child that answers no ping
            either. The turn is not over: this child is to be replaced.
        clock: The loop's clock, in seconds.
        later: `loop.call_later`, or what stands in for it.
        counts: What was dropped and why.
        tag: Names the child in the log.
        minter: Gives ids for the child. To be shared with whoever has sent it requests before.
        limits: Bounds of its waiting.
    """

    def __init__(
        self,
        *,
        capabilities: Members,
        client_info: Raw | None,
        on_lines: Callable[[list[Line]], None],
        on_ready: Callable[[], None],
        on_refused: Callable[[int, str, list[str]], None],
        on_free: Callable[[], None],
        on_stuck: Callable[[], None],
        clock: Callable[[], float],
        later: Later,
        counts: Counts,
        tag: str,
        minter: IdMinter | None = None,
        limits: AsModernLimits | None = None,
    ) -> None:
        limits = limits or AsModernLimits()
        self._capabilities = legacy_capabilities(capabilities)
        self._client_info = client_info
        self._declared = read_declared(self._capabilities)
        self._on_lines = on_lines
        self._counts = counts
        self._tag = tag
        self._port = Port(counts=counts, limits=limits, minter=minter or IdMinter())
        self._calls = Calls(port=self._port, declared=self._declared, counts=counts)
        self._turns = Turns(
            port=self._port,
            calls=self._calls,
            later=lambda seconds, action: later(seconds, lambda: self._timer_fired(action)),
            clock=clock,
            on_over=lambda: self._port.after(on_free),
            on_stuck=lambda: self._port.after(on_stuck),
            counts=counts,
            tag=tag,
            limits=limits,
        )
        self._listens = BridgeListens(
            port=self._port, counts=counts, clock=clock, wait_seconds=limits.acknowledge_seconds
        )
        self._routes = Routes(
            port=self._port,
            calls=self._calls,
            turns=self._turns,
            listens=self._listens,
            declared=self._declared,
            on_ready=on_ready,
            on_refused=on_refused,
            clock=clock,
            counts=counts,
            tag=tag,
        )
        self._is_flushing = False
        self._is_closed = False

    # ---- life

    def attach(self, link: Link) -> None:
        """Connect the child, and begin the handshake. The child must not have been sent `initialize` before."""
        self._port.link = link
        own_id = self._port.expect(self._routes.initialized)
        self._port.down(initialize(own_id, capabilities=self._capabilities, client_info=self._client_info))

    def close(self) -> None:
        """The child is gone, or about to go: nothing is called and nothing is sent any more. For use at any time."""
        self._is_closed = True
        self._turns.close()

    @property
    def takes_turns(self) -> bool:
        """Whether the client can be asked anything, so that calls that may ask come one at a time."""
        return self._declared.anything

    @property
    def is_leased(self) -> bool:
        """Whether a turn is in progress."""
        return self._turns.current is not None

    @property
    def open_count(self) -> int:
        """What is kept for anybody: calls, listens, subscriptions, questions, requests of our own, early requests."""
        return (
            len(self._calls)
            + len(self._listens)
            + self._listens.subscribed
            + self._turns.questions_open
            + self._port.own_requests
            + self._routes.early_count
        )

    # ---- from above

    def send(self, line: bytes) -> None:
        """Take one line: a request of 2026-07-28, or a notification."""
        self._do(lambda: self._routes.from_above(parse_members(line)))
        self._flush()

    def abandon(self, request_state: str) -> None:
        """The retry that was to come with this state will not: it has expired, or its client is gone.

        The child's questions are refused and its call is cancelled. A state that is good no more is ignored.
        """
        self._do(lambda: self._turns.abandon(request_state))
        self._flush()

    @property
    def pending_bytes(self) -> int:
        """Bytes that the child has not taken yet."""
        return self._port.link.pending_bytes if self._port.link is not None else 0

    async def sent(self) -> None:
        """Wait until the child has taken everything, or never will."""
        if self._port.link is not None:
            await self._port.link.sent()

    def stuck_seconds(self) -> float:
        """For how long the child has not read although something waits for it."""
        return self._port.link.stuck_seconds() if self._port.link is not None else 0.0

    def pause(self) -> None:
        """Leave the child's output unread."""
        if self._port.link is not None:
            self._port.link.pause()

    def resume(self) -> None:
        """Read the child's output again."""
        if self._port.link is not None:
            self._port.link.resume()

    # ---- from the child

    def received(self, lines: list[Line]) -> None:
        """Take some lines of the child's stdout. A bug costs one line."""
        lines, noise = without_noise(lines)
        if noise:
            self._counts.add("bad_line.not_json", noise)
        for line in lines:
            self._do(partial(self._line, line))
        self._flush()

    def check(self, now: float) -> None:
        """Act on what has taken too long. To be called a few times a second."""
        self._do(lambda: self._turns.check(now))
        self._do(lambda: self._listens.check(now))
        self._flush()

    # ---- inside

    def _line(self, line: Line) -> None:
        for message in parse_child_line(line):
            self._do(partial(self._routes.from_child, message))

    def _timer_fired(self, action: Callable[[], None]) -> None:
        self._do(action)
        self._flush()

    def _do(self, action: Callable[[], None]) -> None:
        """Do something, without raising."""
        if self._is_closed:
            return
        try:
            action()
        except Exception:
            logger.exception("message not translated", extra={"child": self._tag})

    def _flush(self) -> None:
        """Say everything above, then call what waits for that. Whoever is called may come back in the middle of it."""
        if self._is_flushing:
            return
        self._is_flushing = True
        try:
            while not self._is_closed:
                lines = self._port.take_lines()
                if lines:
                    self._on_lines([*lines])
                    continue
                callback = self._port.take_callback()
                if callback is None:
                    return
                callback()
        except Exception:
            logger.exception("what is above failed", extra={"child": self._tag})
        finally:
            self._is_flushing = False

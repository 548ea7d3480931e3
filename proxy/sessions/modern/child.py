"""What is one process that serves clients without sessions?

Above it is always a multiplexer that speaks 2026-07-28. A process that speaks only the handshake revisions has a
translator in between.
"""

import asyncio
import logging
from collections.abc import Callable
from itertools import count

import anyio
from msgspec import Raw

from proxy.child.link import Line
from proxy.child.process import Child
from proxy.errors import ChildExited, ChildNotReading, ProxyError, TooManyCalls
from proxy.observe import Counts
from proxy.protocol.headers import Rules
from proxy.protocol.ids import decode_text
from proxy.sessions.hints import what_happened
from proxy.sessions.modern.as_modern import AsModern
from proxy.sessions.modern.limits import ModernLimits
from proxy.sessions.modern.mux import Mux
from proxy.sessions.warm.sign_of_life import SignOfLife, ping

logger = logging.getLogger(__name__)

_numbers = count(1)


class SharedChild:
    """One process, and what its clients have on it.

    Its life is the task that `Pool` starts for it; `end` asks that task to end it.

    Attributes:
        group: Whose it is: the clients of one group share children. None for one that serves a single call.
        capabilities: What it was told that its clients can do, as canonical JSON; None if each request says so itself.
        mux: Its tables.
        translator: Between the eras; None if the process speaks 2026-07-28 itself.
        ended: Set from the moment it serves nothing new.
        holds: Continuations and tasks that can go on only here.
        rules: What its tools want repeated in headers, once it was asked.
    """

    def __init__(self, group: str | None, *, limits: ModernLimits, counts: Counts) -> None:
        loop = asyncio.get_running_loop()
        self.number = next(_numbers)
        self.tag = f"shared-{self.number}"
        self.group = group
        self.capabilities: bytes | None = None
        self.mux = Mux(limits=limits, counts=counts, clock=loop.time, tag=self.tag)
        self.translator: AsModern | None = None
        self.takes_turns = False
        """Whether calls that may ask their client something have it for themselves, one after the other."""
        self.is_ahead = False
        """Whether it was started before anybody asked, and is nobody's yet."""
        self.was_asked_to_discover = False
        """Whether it was asked what it is while it was nobody's, which settles its era."""
        self.is_discovered = False
        """Whether it has shown already that it speaks 2026-07-28."""
        self.is_ready = False
        self.ended = anyio.Event()
        self.end_reason = ""
        self.returncode: int | None = None
        self.has_exited = False
        """Whether it has ended by itself."""
        self.holds = 0
        self.users: dict[object, Callable[[], None]] = {}
        """Sessions that use it, and how each is told that it serves no more."""
        self.rules: Rules | None = None
        self.rules_at = 0.0
        self.rules_lock = anyio.Lock()
        self.idle_since = self.created_at = loop.time()
        self.is_retired = False
        """Whether it serves nothing new but goes on with what it has."""
        self.calls = 0
        """That it was given so far."""
        self.on_called: Callable[[], None] | None = None
        """Called with each of them; nobody wants to know if None."""
        self.on_freed: Callable[[], None] = lambda: None
        """Called when a turn is over: somebody who waits may be next."""
        self.on_ended: Callable[[], None] = lambda: None
        """Called once it serves nothing new, before anybody is told."""
        self._clock = loop.time
        self._limits = limits
        self._is_leased = False
        self._places = anyio.Semaphore(limits.max_calls_per_child)
        self._child: Child | None = None
        self._above: Callable[[list[Line]], None] = self.mux.received

    def __repr__(self) -> str:
        return f"<{self.tag} of {self.group!r}: {self.mux.calls_in_flight} calls, {self.holds} holds>"

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._child.pid if self._child else None

    @property
    def has_ended(self) -> bool:
        """Whether it serves nothing new."""
        return self.ended.is_set()

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines it wrote on stderr; for the log, never for a client."""
        return self._child.stderr_tail if self._child is not None else []

    @property
    def is_busy(self) -> bool:
        """Whether ending it would take something from a client, or from one that is about to call."""
        return bool(self.users or self.mux.has_calls or self.mux.listen_count or self.holds or self._is_leased)

    @property
    def has_sessions_at_rest(self) -> bool:
        """Whether nobody uses it but sessions, which go on with another one if this one ends."""
        return bool(self.users) and not (self.mux.has_calls or self.holds or self._is_leased)

    @property
    def fault(self) -> ProxyError | None:
        """Why it was ended, if that was for something that it did."""
        return self._child.fault if self._child is not None else None

    # ---- life

    def attach(self, child: Child) -> None:
        """Connect the process."""
        self._child = child
        self.mux.attach(child.link)

    def ping(self, on_answer: Callable[[], None]) -> None:
        """Ask the process for a sign of life: one that speaks handshake revisions, before the handshake."""
        assert self._child is not None  # attached before
        ping_id = self.mux.minter.mint()
        SignOfLife(self._child.link, ping_id, ping(ping_id), pass_on=self.received, on_answer=on_answer)

    def taken(self, group: str | None) -> None:
        """It is somebody's now."""
        self.is_ahead = False
        self.group = group
        self.idle_since = self.created_at = self._clock()

    def translate(self, translator: AsModern) -> None:
        """The process speaks a handshake revision: everything goes through the translator from now on."""
        assert self._child is not None  # attached before
        self.translator = translator
        self._above = translator.received
        self.mux.attach(translator)
        translator.attach(self._child.link)

    def abandon(self, state: Raw | None) -> None:
        """What was to go on with this state never will. A child that speaks 2026-07-28 has kept nothing of it."""
        text = decode_text(state) if state is not None else None
        if self.translator is not None and text is not None:
            self.translator.abandon(text)

    def received(self, lines: list[Line]) -> None:
        """Take what one read of its stdout brought."""
        self._above(lines)

    def gone(self, returncode: int | None) -> None:
        """The process is dead, or (None) has shut us out."""
        self.returncode = returncode
        if not self.has_ended:
            logger.log(
                logging.WARNING if self.is_busy or returncode else logging.INFO,
                "shared child is gone",
                extra={"child": self.tag, "pid": self.pid, "returncode": returncode},
            )
            fault = self._child.fault if self._child is not None else None
            self.has_exited = returncode is not None and fault is None
            self.end("child exited", fault or ChildExited(f"The server {what_happened(returncode)} before it answered"))

    def end(self, reason: str, error: ProxyError) -> None:
        """Serve nothing new; what is open fails. Does not wait for the process."""
        if self.has_ended:
            return
        self.ended.set()
        self.end_reason = reason
        self.on_ended()
        self.mux.fail_all(error)
        if self.translator is not None:
            self.translator.close()
        users, self.users = self.users, {}
        for lost in users.values():
            try:
                lost()
            except Exception:  # of one session: the others are to know, too
                logger.exception("end of a shared child not handled", extra={"child": self.tag})

    def leave(self, user: object) -> None:
        """A session uses it no more."""
        self.users.pop(user, None)
        self.idle_since = self._clock()

    def check(self, now: float) -> None:
        """Act on what has taken too long. Called a few times a second."""
        self.mux.check(now)
        if self.mux.link.stuck_seconds() > self._limits.stdin_stall_timeout_seconds:
            # A client without a session has no other child to go to: the next call must find a new one.
            self.end("does not read its stdin", ChildNotReading())
            return
        if self.translator is not None:
            self.translator.check(now)

    # ---- calls

    @property
    def is_free(self) -> bool:
        """Whether a call that wants a turn could have it now."""
        return not self._is_leased

    def lease(self) -> None:
        """The next call has it for itself, to its end, the pauses for input included."""
        self._is_leased = True

    def release(self) -> None:
        """The turn is over."""
        self._is_leased = False
        self.idle_since = self._clock()
        self.on_freed()

    def take_place_at_once(self) -> bool:
        """A place for a call, if there is one and its stdin is not far behind."""
        if self.mux.link.pending_bytes > self._limits.stream_backlog_bytes:
            return False
        try:
            self._places.acquire_nowait()
        except anyio.WouldBlock:
            return False
        return True

    async def take_place(self) -> None:
        """Wait for a place for a call.

        Raises:
            TooManyCalls: If none became free within `place_timeout_seconds`.
            ChildNotReading: If the child did not read its stdin.
        """
        limits = self._limits
        with anyio.move_on_after(limits.place_timeout_seconds) as waited:
            await self._places.acquire()
        if waited.cancelled_caught:
            raise TooManyCalls
        try:
            link = self.mux.link
            with anyio.move_on_after(limits.stdin_stall_timeout_seconds):
                while link.pending_bytes > limits.stream_backlog_bytes and not self.has_ended:
                    await link.sent()
                return
            raise ChildNotReading
        except BaseException:
            self._places.release()
            raise

    def called(self) -> None:
        """A call is about to be sent to it."""
        self.calls += 1
        if self.on_called is not None:
            self.on_called()

    def give_place_back(self) -> None:
        """The call that had it has ended, or was never begun."""
        self.idle_since = self._clock()
        self._places.release()

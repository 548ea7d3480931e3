"""What is one process that sessions share, from its start to its end?"""

import logging
from collections.abc import Callable
from itertools import count

import anyio
from msgspec import Raw

from proxy.child.link import Line, Link
from proxy.child.process import Child
from proxy.errors import ChildNotReading, ChildStartFailed, ChildStartTimedOut, ProxyError, SessionEnded
from proxy.observe import Counts
from proxy.protocol.handshake import INITIALIZED
from proxy.protocol.jsontext import encode
from proxy.protocol.kept_handshake import EVERY_CAPABILITY, keep_handshake
from proxy.protocol.messages import Response
from proxy.protocol.translate_to_legacy import has_no_handshake
from proxy.protocol.versions import LEGACY_VERSIONS
from proxy.sessions.era import ServerEra
from proxy.sessions.hints import what_happened
from proxy.sessions.limits import SessionLimits
from proxy.sessions.shared.hub import Hub
from proxy.sessions.shared.port import Port
from proxy.version import __version__

logger = logging.getLogger(__name__)

STUCK_GRACE_SECONDS = 1.0
"""Between the failure of its calls and the end of a child that does not read: they fail for the true reason."""

_numbers = count(1)


class SharedProcess:
    """One process of the handshake era, and the sessions that use it.

    Its life is the task that `SharedChildren` starts for it; `end` asks that task to end it.

    Attributes:
        hub: What crosses between them.
        settled: Set once it is known whether it serves.
        error: Why it does not; None while it may.
        is_modern: Whether it has refused the handshake for good: it speaks only later revisions.
        ended: Set from the moment it serves nothing new.
        end_reason: Why, for the log.
        returncode: As in `subprocess`, if it has exited by itself.
        replaces_another: Whether it is started because the one before is gone although nobody has ended it.
        is_ahead: Whether it was started before anybody asked, and nobody has since.
        idle_since: Since when no session uses it.

    Args:
        may_ask: Whether the server may ask its clients something.
        newest_version: The newest revision that it is offered; the newest there is if None.
        limits: Bounds of a session.
        counts: What was dropped and why.
        era: Learns what it shows of its server.
        clock: The loop's clock.
        on_ended: Called once it serves nothing new, before anybody else is told.
    """

    def __init__(
        self,
        *,
        may_ask: bool,
        newest_version: str | None,
        limits: SessionLimits,
        counts: Counts,
        era: ServerEra,
        clock: Callable[[], float],
        on_ended: "Callable[[SharedProcess], None]",
    ) -> None:
        self.tag = f"shared-{next(_numbers)}"
        self.settled = anyio.Event()
        self.error: ProxyError | None = None
        self.is_modern = False
        self.ended = anyio.Event()
        self.end_reason = ""
        self.returncode: int | None = None
        self.replaces_another = False
        self.is_ahead = False
        self.created_at = self.idle_since = clock()
        self.hub = Hub(
            may_ask=may_ask,
            linger_seconds=limits.continuation_timeout_seconds,
            reply_backlog_bytes=limits.stream_backlog_bytes,
            counts=counts,
            clock=clock,
            tag=self.tag,
        )
        self._capabilities = EVERY_CAPABILITY if may_ask else {}
        offered = newest_version if newest_version in LEGACY_VERSIONS else None
        self._version = offered or LEGACY_VERSIONS[-1]
        self._limits = limits
        self._era = era
        self._clock = clock
        self._on_ended = on_ended
        self._child: Child | None = None
        self._has_refused = False

    # ---- what stands behind a port

    @property
    def link(self) -> Link | None:
        """Its pipes."""
        return self._child.link if self._child is not None else None

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._child.pid if self._child is not None else None

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines it wrote on stderr; for the log, never for a client."""
        return self._child.stderr_tail if self._child is not None else []

    @property
    def fault(self) -> ProxyError | None:
        """Why it was ended, if that was for something that it did."""
        return self._child.fault if self._child is not None else None

    def said(self, port: Port, line: bytes) -> None:
        """Take one line of a session. Never raises."""
        self.hub.said(port, line)

    # ---- its sessions

    @property
    def is_good(self) -> bool:
        """Whether it has shaken hands, and serves."""
        return self.settled.is_set() and not self.ended.is_set() and self.hub.version is not None

    @property
    def is_used(self) -> bool:
        """Whether a session uses it."""
        return self.hub.port_count > 0

    def join(self, *, on_lines: Callable[[list[Line]], None], on_gone: Callable[[int | None], None]) -> Port:
        """One more session uses it. Whoever joins leaves."""
        port = Port(self, on_lines=on_lines, on_gone=on_gone)
        self.hub.join(port)
        return port

    def leave(self, port: Port) -> None:
        """A session has ended."""
        self.hub.leave(port)
        self._left()

    def take_over(self, port: Port, before: "SharedProcess") -> None:
        """A session goes on here, as `Hub.take_over`."""
        self.hub.take_over(port, before.hub)
        port.move_to(self)
        before._left()

    def _left(self) -> None:
        self.idle_since = self._clock()
        if self._has_refused and not self.is_used:
            self.end("refused the handshake", SessionEnded())

    # ---- life

    def attach(self, child: Child) -> None:
        """Connect the process, and shake hands with it.

        Spec: 2025-11-25 basic/lifecycle, Initialization.
        """
        self._child = child
        if self.ended.is_set():
            return
        self.hub.attach(child.link)
        params = {
            "protocolVersion": self._version,
            "capabilities": self._capabilities,
            "clientInfo": {"name": "mcp-proxy", "version": __version__},
        }
        self.hub.calls.ask("initialize", Raw(encode(params)), self._shaken)

    def _shaken(self, response: Response) -> None:
        if response.is_error:
            self._has_refused = True
            self.is_modern = self._era.configured == "auto" and has_no_handshake(response.members["error"])
            if self.is_modern:
                self._era.learned_legacy(False, "refused initialize")
        else:
            self._era.learned_legacy(True, "answered initialize")
            assert self._child is not None  # it has answered
            self._child.link.send(INITIALIZED)
        self.hub.shaken(keep_handshake(response.members))
        self.idle_since = self._clock()  # a long start is no idleness
        self.settled.set()
        if self.is_modern:
            self.end("speaks no revision with a handshake", SessionEnded())
        else:
            logger.info("shared child ready", extra={"child": self.tag, "pid": self.pid, "serves": "sessions"})

    def gone(self, returncode: int | None) -> None:
        """The process is dead, or (None) has shut us out."""
        if self.ended.is_set():
            return
        self.returncode = returncode
        logger.log(
            logging.WARNING if self.is_used or returncode else logging.INFO,
            "shared child is gone",
            extra={
                "child": self.tag,
                "pid": self.pid,
                "returncode": returncode,
                "sessions": self.hub.port_count,
            },
        )
        why = str(self.fault) if self.fault else f"The server {what_happened(returncode)} before it was ready"
        error = ChildStartFailed(why)
        self.end("child exited", error, returncode)

    def start_timed_out(self) -> None:
        """It has not answered in time."""
        self.end("never answered", ChildStartTimedOut())

    def end(self, reason: str, error: ProxyError, returncode: int | None = None) -> None:
        """Serve nothing new: whoever waits for it gets `error`, sessions are told that it is gone.

        Does not wait for the process.
        """
        if self.ended.is_set():
            return
        self.ended.set()
        self.end_reason = reason
        if not self.settled.is_set():
            self.error = error
            self.settled.set()
        self._on_ended(self)
        self.hub.attach(None)
        for port in self.hub.ports:
            port.lose(returncode)

    def check(self, now: float) -> None:
        """Act on what has taken too long. Called a few times a second."""
        self.hub.check(now)
        link, limits = self.link, self._limits
        if link is not None and link.stuck_seconds() > limits.stdin_stall_timeout_seconds + STUCK_GRACE_SECONDS:
            # All its sessions would wait for ever: they begin anew, on another one.
            self.end("does not read its stdin", ChildNotReading())
        idle_limit = limits.idle_timeout_seconds
        if not self.is_used and idle_limit is not None and now - self.idle_since > idle_limit:
            self.end("idle", SessionEnded())

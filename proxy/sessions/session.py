"""What does one legacy session own, from spawn to reaped child?"""

import asyncio
import hashlib
import logging
import secrets
from typing import Protocol

import anyio

from proxy.child.link import ChildLink
from proxy.errors import (
    ChildExited,
    ChildStartFailed,
    ProxyError,
    SessionEnded,
    SessionNotFound,
)
from proxy.observe import Counts
from proxy.protocol.lifecycle import Event, State, after
from proxy.sessions.era import ServerEra
from proxy.sessions.exchange import Exchange
from proxy.sessions.exits import Exits
from proxy.sessions.hints import missing_package_hint, what_happened
from proxy.sessions.intake import CallPlaces, Intake
from proxy.sessions.limits import SessionLimits
from proxy.sessions.path import ChildPath

logger = logging.getLogger(__name__)


def new_session_id() -> str:
    """256 random bits as visible ASCII. Spec: 2025-11-25 basic/transports, Session Management 1."""
    return secrets.token_urlsafe(32)


class SessionChild(Protocol):
    """What a session knows of its child, or of its share of one."""

    @property
    def pid(self) -> int | None:
        """The process id."""

    @property
    def link(self) -> ChildLink:
        """Its pipes."""

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines it wrote on stderr; for the log, never for a client."""

    @property
    def fault(self) -> ProxyError | None:
        """Why it was ended, if that was for something that it did."""


class Session:
    """One client and its child.

    Its life is the `with` block of `open_session`; `end` asks that block to close.

    Attributes:
        id: A secret; `tag` stands for it in logs.
        version: The negotiated protocol revision, once there is one.
        exchange: The messages in both directions.
        path: How they reach the child.
        intake: Where its client's messages wait until the child can be given them.
        child_wanted: Set when there is no child, or not a good one; and from the end of the session on.
        ended: Set from the moment the session is 404.
        end_reason: Why it ended, for the log.
        end_error: The same for a client that has not been told of the session yet.
        start_failed: Whether its child never became ready.
        start_failed_on_client: Whether it had been told what a client said by then.
        speaks_for_us: Whether the handshake is ours, not its client's.
        shares: Whether it has a port on a child that others use, too.
        may_come_back: Whether it has ended for a reason for which its client might go on with it.
        calls: That its child has served one by one, for clients without sessions.

    Args:
        limits: What it may use, and how long everything waits.
        counts: What an operator may see.
        era: What is known of the server.
        exits: What follows when the child exits by itself.
        is_ahead: Whether it is begun for nobody yet.
        places: For its calls at the child; its own if it has the child for itself.
    """

    def __init__(
        self,
        *,
        limits: SessionLimits,
        counts: Counts,
        era: ServerEra,
        exits: Exits,
        is_ahead: bool = False,
        places: CallPlaces | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.id = new_session_id()
        self.tag = hashlib.sha256(self.id.encode()).hexdigest()[:8]
        self.version: str | None = None
        self.child_wanted = anyio.Event()
        self.ended = anyio.Event()
        self.end_reason = ""
        self.end_error: ProxyError = SessionEnded()
        self.start_failed = False
        self.start_failed_on_client = False
        self.speaks_for_us = False
        self.may_come_back = False
        self.calls = 0
        self.state = State.AHEAD if is_ahead else State.STARTING
        self.exchange = Exchange(limits=limits, counts=counts, clock=loop.time, tag=self.tag)
        self.path = ChildPath(
            exchange=self.exchange,
            era=era,
            answer_timeout_seconds=limits.continuation_timeout_seconds,
            on_unfit=lambda: self.end("server speaks another revision"),
            counts=counts,
            clock=loop.time,
            respawns=exits.respawns,
            tag=self.tag,
        )
        self._exits = exits
        self.created_at = loop.time()
        self._clock = loop.time
        self._limits = limits
        self._counts = counts
        self._connections = 0  # HTTP requests of the client whose connection is believed alive
        self._seen_at = self.created_at  # when the last of them went
        self.shares = places is not None
        places = places or anyio.Semaphore(limits.max_calls_per_child)
        self.intake = Intake(
            exchange=self.exchange, path=self.path, limits=limits, counts=counts, places=places, refusal=self._refusal
        )
        self._child: SessionChild | None = None
        self._attached_at = self.created_at
        self.exchange.on_call_closed = places.release

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self._child.pid if self._child else None

    @property
    def has_ended(self) -> bool:
        """Whether it is 404."""
        return self.state is State.ENDED

    def _refusal(self) -> ProxyError | None:
        """Why the child is given nothing more; `end_error` if its client does not know of the session yet."""
        if not self.has_ended:
            return None
        return self.end_error if self.version is None else SessionNotFound()

    # ---- presence

    def connected(self) -> None:
        """An HTTP request of the client has come in."""
        self._connections += 1

    def disconnected(self) -> None:
        """An HTTP request of the client is answered, or its connection gone: the idle clock starts with the last."""
        self._connections -= 1
        self._seen_at = self._clock()

    def use(self) -> None:
        """Something followed the InitializeResult."""
        if self.state is State.UNUSED:
            self.state = after(self.state, Event.USED)

    def idle_seconds(self, now: float) -> float:
        """For how long no connection of the client has been open."""
        return 0.0 if self._connections else now - self._seen_at

    # ---- life

    async def prove_child(self) -> bool:
        """Ask the child of a session that is nobody's yet for a sign of life, and wait for it, for ever.

        Returns whether there was one; False if the session has ended.
        """
        await self.path.prove()
        return not self.has_ended

    def taken(self) -> None:
        """A client has come for whom it will be; its life begins now."""
        self.state = after(self.state, Event.TAKEN)
        self.created_at = self._seen_at = self._clock()

    def initialized(self, version: str | None) -> None:
        """The InitializeResult is about to be sent."""
        self.state = after(self.state, Event.INITIALIZED)
        self.version = version
        self.path.settle(version)
        self.exchange.streams.open_to_client()
        logger.info(
            "session opened",
            extra={
                "session": self.tag,
                "pid": self.pid,
                "version": version,
                "client_era": "legacy",
                "child_era": self.path.child_era,
            },
        )

    def end(self, reason: str, error: ProxyError | None = None) -> None:
        """End it: 404 from here on. Open calls get `error`. Does not wait for the child."""
        if self.has_ended:
            return
        is_ahead = self.state is State.AHEAD
        self.state = after(self.state, Event.ENDED)
        self.end_reason = reason
        self.end_error = error or self.end_error
        self.ended.set()
        self.child_wanted.set()
        self.path.end()
        self.exchange.fail_all(self.end_error)
        logger.info(
            "child that was nobody's is ended" if is_ahead else "session ended",
            extra={
                "session": self.tag,
                "pid": self.pid,
                "reason": reason,
                "lived_seconds": round(self._clock() - self.created_at, 3),
            },
        )

    def check(self, now: float) -> None:
        """Act on what has taken too long. Called a few times a second."""
        if self.has_ended or self._child is None:
            return
        limits = self._limits
        idle = self.idle_seconds(now)
        unused, idle_limit, age = (
            limits.unused_timeout_seconds,
            limits.idle_timeout_seconds,
            limits.session_age_seconds,
        )
        if self.state is State.UNUSED and unused is not None and idle > unused:
            self._expire("unused", "nothing followed initialize")
        elif self.state is State.ACTIVE and idle_limit is not None and idle > idle_limit:
            self._expire("idle", "idle")
        elif age is not None and now - self.created_at > age:
            self._expire("old", "maximum age")
        else:
            self.exchange.check(now)
            self.path.check(now)
            is_due = not self.child_wanted.is_set() and now - self._attached_at > limits.start_timeout_seconds
            if is_due and not self.path.is_ready:
                self._replace_child("child has not answered in time", ChildExited())

    def _expire(self, what: str, reason: str) -> None:
        self._counts.add(f"expired.{what}_session")
        self.may_come_back = what != "unused"  # else health checks would drive out those that were
        self.end(reason)

    def attach(self, child: SessionChild) -> None:
        """Connect the child that was started for it: the first, or one in the place of the last."""
        self._child = child
        self._attached_at = self._clock()
        if not self.has_ended:
            self.child_wanted = anyio.Event()
        self.path.attach(child.link)

    def start_timed_out(self) -> None:
        """Its child has not answered in time."""
        self._note_failed_start(None)

    def _note_failed_start(self, returncode: int | None) -> None:
        self.start_failed = True
        self.start_failed_on_client = bool(self.exchange.calls_in_flight) and not self.speaks_for_us
        self.path.start_failed()
        tail = self._child.stderr_tail if self._child is not None else []
        logger.warning(
            "child was never ready", extra={"pid": self.pid, "returncode": returncode, "stderr": tail or "nothing"}
        )
        hint = missing_package_hint(tail)
        if hint:
            logger.error("%s", hint)

    def child_gone(self, returncode: int | None) -> None:
        """The child is dead, or (None) has shut us out: the session is over, or goes on with another one."""
        if self.has_ended or self.child_wanted.is_set():
            return
        try:
            self._child_gone(returncode)
        finally:
            if not self.child_wanted.is_set():  # whatever happened: nobody else would end it
                self.end("child gone")

    def _child_gone(self, returncode: int | None) -> None:
        how, why = what_happened(returncode), "child exited" if returncode is not None else "child closed a pipe"
        is_nobodys = self.state is State.AHEAD
        fault = self._child.fault if self._child is not None else None
        if fault is None and (not is_nobodys or not self.path.was_pinged):
            # A child that nobody has yet, and that could not bear to be asked, or was up, is only replaced.
            self._exits.exited(returncode, pid=self.pid)
        error = fault or ChildExited(f"The server {how} before it answered")
        if is_nobodys or self.state is State.STARTING:
            if not is_nobodys or not self.path.is_proved:
                self._note_failed_start(returncode)
            self.end(why, ChildStartFailed(str(fault) if fault else f"The server {how} before it was ready"))
        elif self.path.survives_child:
            self._replace_child(why, error)
        else:
            calls = self.exchange.calls_in_flight
            logger.log(
                logging.WARNING if calls or returncode else logging.INFO,
                "child of an open session is gone",
                extra={"session": self.tag, "pid": self.pid, "returncode": returncode, "open_calls": calls},
            )
            self.may_come_back = True
            self.end(why, error)

    def lost_children(self, in_a_row: int) -> None:
        """So many have died one after the other: at some time another one is no help."""
        if in_a_row > self._limits.max_respawns and not self.path.tries_for_ever:
            self._counts.add("ended.respawned_in_vain")
            self.may_come_back = True
            self.end("its children die one after the other")

    def _replace_child(self, why: str, error: ProxyError) -> None:
        """Requests that are with the child get `error`; the others wait for the next one."""
        logger.warning(
            "child of an open session is gone; another will take its place",
            extra={"session": self.tag, "pid": self.pid, "reason": why, "open_calls": self.exchange.calls_in_flight},
        )
        self.child_wanted.set()
        self.path.child_gone(error)

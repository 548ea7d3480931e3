"""Who serves clients of the handshake revisions that have no session?

A child for each request: ours are the handshake and the end. What all clients ask first comes from one child, which
lives on.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import anyio
import msgspec
from anyio.abc import TaskGroup

from proxy.errors import (
    ChildExited,
    ChildRestarting,
    ChildStartTimedOut,
    Draining,
    ProxyError,
    SessionNotFound,
    ToolUnknown,
    TooManyCalls,
    TooManySessions,
)
from proxy.observe import Counts
from proxy.protocol.child_lines import parse_child_line
from proxy.protocol.jsontext import Members, as_object
from proxy.protocol.messages import Request, Response
from proxy.protocol.sessionless import INITIALIZED, LISTS, answer_to, given_up, handshake, without_task
from proxy.protocol.versions import LEGACY_VERSIONS
from proxy.sessions.handshakes import answer_of_child
from proxy.sessions.kept import Kept
from proxy.sessions.manager import SessionManager
from proxy.sessions.places import Places
from proxy.sessions.session import Session
from proxy.sessions.stream import Failure, Stream
from proxy.version import __version__

logger = logging.getLogger(__name__)


class HandshakeRefused(Exception):
    """A child has answered `initialize` with an error of its own.

    Attributes:
        response: What it has said.
    """

    def __init__(self, response: Response) -> None:
        super().__init__("the handshake was refused")
        self.response = response


class LoneCall:
    """What one POST of a client without a session has brought, and the child that serves it.

    Attributes:
        stream: Where the answers come.
    """

    def __init__(self, session: Session, requests: list[Request], *, is_shared: bool, version: str) -> None:
        self.session = session
        self.requests = requests
        self.is_shared = is_shared
        self.version = version
        self.stream: Stream = session.exchange.streams.new(*(request.raw_id for request in requests))
        self.failed_before = session.exchange.failed_calls
        session.connected()

    @property
    def is_served(self) -> bool:
        """Whether the child has answered everything itself, and nothing goes on in it."""
        return not self.stream.open_calls and self.session.exchange.failed_calls == self.failed_before

    def abandon(self) -> None:
        """The client is gone, and can't come back: the child is told."""
        exchange = self.session.exchange
        exchange.disconnected(self.stream)
        if self.stream.open_calls and not self.session.has_ended:
            for request in self.requests:
                exchange.notify(given_up(request))

    def cut(self) -> None:
        """The client does not read."""
        self.session.exchange.streams.cut(self.stream)


class Sessionless:
    """One server, for clients of the handshake revisions that have no session.

    Args:
        manager: Starts and ends the children; no client ever knows one of its sessions.
        counts: What an operator may see.
        places: Where they are counted.
        newest_version: The newest revision to speak; that which the bridge knows if None.
        start_timeout_seconds: From the start of a child to the end of its handshake.
        kept: Children that have served a call and wait for another.
    """

    def __init__(
        self,
        manager: SessionManager,
        *,
        counts: Counts,
        places: Places,
        newest_version: str | None,
        start_timeout_seconds: float,
        kept: Kept,
    ) -> None:
        self._manager = manager
        self._counts = counts
        self._places = places
        self._newest = newest_version if newest_version in LEGACY_VERSIONS else LEGACY_VERSIONS[-1]
        self._start_timeout_seconds = start_timeout_seconds
        self._kept = kept
        self._numbers = count(1)
        self._said: Members | None = None  # by a child, in a handshake with the newest revision
        self._catalogue: Session | None = None
        self._starting: asyncio.Future[Session] | None = None  # of the catalogue
        self._beginning = 0
        self._tasks: TaskGroup | None = None
        manager.is_awaited = lambda: self._beginning > 0

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve while the block is open; the manager's block is around it."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            self._places.spares.append(self)
            try:
                yield
            finally:
                self._tasks = None
                self._places.spares.remove(self)
                self._catalogue = None
                tasks.cancel_scope.cancel()

    @property
    def newest_version(self) -> str:
        """The newest revision that is spoken to children."""
        return self._newest

    # ---- requests

    async def initialize(self, request: Request) -> bytes:
        """The answer to a client's `initialize`: what a child has said once. Waits for the first one's start.

        Raises:
            HandshakeRefused: If the child has answered with an error.
            ProxyError: If there is no child to ask.
        """
        if self._manager.closing.is_draining:
            raise Draining
        if self._said is None:
            await self._catalogue_child()
        assert self._said is not None  # since its handshake
        return answer_to(request, self._said)

    async def begin(self, requests: list[Request], *, version: str) -> LoneCall:
        """Send what one POST has brought to a child. Whoever gets the call gives it back to `over`.

        Waits for a place for a process, and for its start and handshake. Cancelled meanwhile, nothing has happened.

        Raises:
            HandshakeRefused: If the child has answered `initialize` with an error.
            ProxyError: If it can't be sent; says why.
        """
        if self._manager.closing.is_draining:
            raise Draining
        if len(requests) == 1:
            self._refuse_unknown_tool(requests[0])
        self._beginning += 1
        try:
            if len(requests) == 1 and requests[0].method in LISTS:
                # Known by a name of ours: the clients that share this child know nothing of each other's ids.
                named = msgspec.structs.replace(requests[0], id=f"list-{next(self._numbers)}", progress_token=None)
                call = LoneCall(await self._catalogue_child(), [named], is_shared=True, version=version)
            else:
                child = self._kept.take(_key(version)) or await self._open(version)
                call = LoneCall(child, [without_task(each) for each in requests], is_shared=False, version=version)
            try:
                await _send(call)
            except BaseException as exc:
                self.over(call)
                if isinstance(exc, SessionNotFound):  # which would be news to this client
                    raise ChildExited from exc
                raise
            return call
        finally:
            self._beginning -= 1

    def _refuse_unknown_tool(self, request: Request) -> None:
        """Raises ToolUnknown for a tool that the operator does not let clients have: it needs no process."""
        unknown = self._manager.tools.refusal(request) if self._manager.tools is not None else None
        if unknown is not None:
            self._counts.add("refused.tool")
            raise ToolUnknown(unknown)

    def over(self, call: LoneCall) -> None:
        """The response has ended, or its client is gone: the child is kept for another call, or ended."""
        session = call.session
        if not call.is_served:
            call.abandon()
        session.disconnected()
        if call.is_shared:
            return
        session.calls += len(call.requests)
        is_good = call.is_served and not self._manager.closing.is_draining
        if not is_good or not self._kept.keep(_key(call.version), session):
            self._manager.roster.end(session, "its call is over")

    # ---- children

    async def _open(self, version: str) -> Session:
        """A child that has shaken hands for somebody who speaks this revision."""
        try:
            session = await self._manager.open()
        except TooManySessions as exc:
            raise TooManyCalls("Too many processes; try again later") from exc
        session.exchange.refuses_asks = session.exchange.mints_tokens = session.speaks_for_us = True
        session.connected()
        try:
            with anyio.move_on_after(self._start_timeout_seconds):
                self._shaken(session, await answer_of_child(session, handshake(version, __version__)), version)
                return session
            session.start_timed_out()
            raise ChildStartTimedOut
        finally:
            session.disconnected()
            if session.version is None:
                self._manager.roster.end(session, "not initialized")

    def _shaken(self, session: Session, answer: bytes, version: str) -> None:
        """The child has answered the handshake.

        Raises:
            HandshakeRefused: If that is an error of its own.
            ProxyError: If the session has ended meanwhile.
        """
        (response,) = parse_child_line(answer)
        assert isinstance(response, Response)  # it is what we have encoded
        if response.is_error:
            raise HandshakeRefused(response)
        said = as_object(response.members["result"]) or {}
        self._manager.publish(session, version)
        session.use()
        if version == self._newest:
            self._said = said
        if session.path.child_era == "legacy":
            session.exchange.notify(INITIALIZED)  # one of 2026-07-28 would be listened to, for nobody

    async def _catalogue_child(self) -> Session:
        """The child that answers for all clients. One start, whoever waits for it."""
        if self._catalogue is not None and not self._catalogue.has_ended:
            return self._catalogue
        if self._tasks is None or self._manager.closing.is_draining:
            raise Draining
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_future()
            self._starting.add_done_callback(_looked_at)
            self._tasks.start_soon(self._start_catalogue, self._starting)
        return await asyncio.shield(self._starting)

    async def _start_catalogue(self, started: "asyncio.Future[Session]") -> None:
        outcome: Session | Exception = Draining()
        try:
            session = await self._open(self._newest)
            session.exchange.streams.close_to_client()
            outcome = self._catalogue = session
        except Exception as exc:
            if not isinstance(exc, ProxyError | HandshakeRefused):
                logger.exception("start failed")
            outcome = exc if isinstance(exc, ProxyError | HandshakeRefused) else ProxyError()
        finally:
            self._starting = None
            if isinstance(outcome, Session):
                started.set_result(outcome)
            else:
                started.set_exception(outcome)

    # ---- room for others

    def __len__(self) -> int:
        return int(self._is_idle)

    def make_room(self) -> bool:
        """End the child that answers for all, if nobody asks it just now; returns whether it ends."""
        if not self._is_idle or self._catalogue is None:
            return False
        self._manager.roster.end(self._catalogue, "its place is needed")
        return True

    @property
    def _is_idle(self) -> bool:
        session, now = self._catalogue, asyncio.get_running_loop().time()
        return session is not None and not session.has_ended and session.idle_seconds(now) > 0


async def _send(call: LoneCall) -> None:
    """Send everything to the child. What of a batch finds no place in time fails alone. Raises as `Session.begin`."""
    session, stream = call.session, call.stream
    if len(call.requests) == 1:
        await session.intake.begin(call.requests, stream)
        return
    session.exchange.check_new_ids(call.requests)
    is_full = False  # then it is for all that follow: they must not wait one after the other
    for request in call.requests:
        try:
            if is_full and not session.intake.has_place:
                raise TooManyCalls
            await session.intake.begin([request], stream)
        except (TooManyCalls, ChildRestarting) as error:
            stream.put_answer(Failure(request.raw_id, error))
            is_full = True


def _key(version: str) -> tuple[str, str]:
    """What children have in common that can serve each other's calls: the revision that was asked for."""
    return ("handshake", version)


def _looked_at(future: "asyncio.Future[Session]") -> None:
    """Nobody may be left who waits for a start that failed; that is no fault."""
    if not future.cancelled():
        future.exception()

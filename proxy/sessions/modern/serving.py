"""What happens to a request of a modern client?

It is routed to a child (a shared one, one of its own, or the one that its retry or its task belongs to), and what the
child answers is bound to the client that asked.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from msgspec import Raw

from proxy.child.spec import ChildSpec
from proxy.errors import CapabilityMissing, ChildExited, Draining, MethodNotFound, ModernToolUnknown, SessionEnded
from proxy.observe import Counts
from proxy.protocol.envelope import (
    REMOVED_METHODS,
    RETRIED_METHODS,
    SUBSCRIPTION_KEY,
    TASKS_EXTENSION,
    ModernRequest,
)
from proxy.protocol.jsontext import encode
from proxy.protocol.messages import Response
from proxy.protocol.subscriptions import with_own_tasks
from proxy.protocol.tool_rules import LIST, ToolRules
from proxy.sessions.era import ServerEra
from proxy.sessions.exits import Exits
from proxy.sessions.kept import Kept
from proxy.sessions.modern.bound import bind_answer
from proxy.sessions.modern.call import ModernCall, Principal
from proxy.sessions.modern.child import SharedChild
from proxy.sessions.modern.continuations import Continuation, Continuations
from proxy.sessions.modern.limits import ModernLimits
from proxy.sessions.modern.listens import ACKNOWLEDGED, completion
from proxy.sessions.modern.opening import code_of
from proxy.sessions.modern.pool import CHECK_SECONDS, Pool
from proxy.sessions.modern.rules import are_known, check_call, check_known, wants_rules
from proxy.sessions.modern.tasks import Task, Tasks
from proxy.sessions.places import Places
from proxy.sessions.starts import Starts
from proxy.sessions.stream import Stream
from proxy.sessions.warm.pool import WarmPool

logger = logging.getLogger(__name__)

CATALOGUE = "catalogue"
"""The group whose child answers what must not start a process for every client."""
CATALOGUED_METHODS = frozenset(
    {"server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list"}
)
INVALID_PARAMS = -32602
_TASK_METHODS = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})


class ModernServing:
    """One server, for clients without sessions.

    Args:
        spec: How to start a child.
        limits: Bounds of everything.
        counts: What an operator may see.
        places: Room for processes, which others share.
        era: What is known of the server.
        starts: Told how starts went.
        exits: What follows when a child exits by itself; nothing if not given.
        warm: Where children that were started ahead are kept; none are if it is not given.
        kept: Where children wait that have served a call; none do if it is not given.
    """

    def __init__(
        self,
        *,
        spec: ChildSpec,
        limits: ModernLimits,
        counts: Counts,
        places: Places,
        era: ServerEra,
        starts: Starts,
        exits: Exits | None = None,
        warm: WarmPool | None = None,
        kept: Kept | None = None,
    ) -> None:
        self.limits = limits
        self._counts = counts
        self._places = places
        self._era = era
        self.tools: ToolRules | None = None
        """Which tools clients may see and call; None if all. Set before the first request."""
        self._is_draining = False
        self._hinted = False
        self.pool = Pool(
            spec=spec,
            limits=limits,
            counts=counts,
            places=places,
            era=era,
            starts=starts,
            exits=exits,
            on_gone=self._child_gone,
            warm=warm,
            kept=kept,
        )

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve while the block is open; on the way out every child ends."""
        clock = asyncio.get_running_loop().time
        limits = self.limits
        self._is_draining = False
        self.continuations: Continuations[SharedChild] = Continuations(
            max_continuations=limits.max_continuations,
            timeout_seconds=limits.continuation_timeout_seconds,
            counts=self._counts,
            clock=clock,
            on_abandoned=self._abandoned,
        )
        self.tasks: Tasks[SharedChild] = Tasks(
            timeout_seconds=limits.continuation_timeout_seconds, clock=clock, on_forgotten=self._forgotten
        )
        self.pool.checks = [self.continuations.expire, self.tasks.expire]
        async with self.pool.run():
            yield

    # ---- what is there

    @property
    def calls_in_flight(self) -> int:
        """Requests without an answer, those that listen aside."""
        return sum(child.mux.calls_in_flight for child in self.pool.children)

    def report(self) -> dict[str, int]:
        """What `/health` shows."""
        children = self.pool.children
        return {
            "children": len(children),
            "calls_in_flight": self.calls_in_flight,
            "listens": sum(child.mux.listen_count for child in children),
            "continuations": len(self.continuations) if hasattr(self, "continuations") else 0,
            "leases": sum(not child.is_free for child in children),
            "tasks": len(self.tasks) if hasattr(self, "tasks") else 0,
        }

    # ---- requests

    def new_call(self, request: ModernRequest, principal: Principal) -> ModernCall:
        """A request, and the stream of its answer; nothing has been sent."""

        def cut() -> None:
            self._counts.add("cut.slow_reader")
            logger.warning("stream of a slow reader ended", extra={"method": request.method})

        stream = Stream(
            backlog_bytes=self.limits.stream_backlog_bytes,
            on_full=lambda _: call.cut(),
            on_emptied=_nothing,
            on_record=_nothing_recorded,
            call_ids=(request.raw_id,),
        )
        call = ModernCall(request, principal, stream, finish=self._finish, on_cut=cut)
        return call

    def begin_at_once(self, call: ModernCall, headers: Mapping[bytes, bytes]) -> bool:
        """Send a request to the child that its group shares, if nothing has to be waited for. The common case."""
        request, group = call.request, call.principal.group
        if self.tools is not None and self.tools.refusal(request.request) is not None:
            return False
        if group is None or request.method in REMOVED_METHODS or request.method in _TASK_METHODS:
            return False
        if self._is_draining or "requestState" in request.params or request.method == "subscriptions/listen":
            return False
        child = self.pool.primary(group)
        if child is None or not child.take_place_at_once():
            return False
        try:
            if wants_rules(headers, request):
                if not are_known(child, asyncio.get_running_loop().time()):
                    child.give_place_back()
                    return False
                check_known(child, headers, request)
        except Exception:
            child.give_place_back()
            return False  # looked at again, by what the child says now
        child.called()
        call.begin(child, {})
        return True

    async def begin(self, call: ModernCall, headers: Mapping[bytes, bytes]) -> None:
        """Send a request to the child that it belongs to.

        Waits for a child to be started, for a turn, for a place. Cancelled meanwhile, nothing has happened.

        Raises:
            ProxyError: If it can't be sent; says why.
        """
        if not self.pool.is_running:
            raise Draining
        request = call.request
        if request.method in REMOVED_METHODS:
            raise MethodNotFound
        unknown = self.tools.refusal(request.request) if self.tools is not None else None
        if unknown is not None:
            self._counts.add("refused.tool")
            raise ModernToolUnknown(unknown)
        if "requestState" in request.params:
            await self._begin_retry(call, headers)
            return
        if self._is_draining:
            raise Draining
        if request.method == "subscriptions/listen":
            await self._listen(call)
        elif request.method in _TASK_METHODS:
            await self._begin_task(call)
        else:
            await self._begin_call(call, headers)

    async def _begin_call(self, call: ModernCall, headers: Mapping[bytes, bytes]) -> None:
        request, group = call.request, call.principal.group
        if group is None and request.method in CATALOGUED_METHODS:
            group = CATALOGUE
        if group is None:
            child = await self.pool.own(request)
        else:
            child = await self.pool.shared(group, request)
        if group is None:
            call.on_ended = lambda: self._over(child)
        has_turn = child.takes_turns and request.method in RETRIED_METHODS
        try:
            if wants_rules(headers, request):
                await check_call(child, headers, request, asyncio.get_running_loop().time())
            await self._send(call, child, {})
        except BaseException:
            if has_turn:
                child.release()
            if group is None:
                child.end("its call was not begun", SessionEnded())
            raise

    async def _begin_retry(self, call: ModernCall, headers: Mapping[bytes, bytes]) -> None:
        """Go on with a request that waited for input. Its state is used up before anything is waited for."""
        continuation = self.continuations.take(call.request, principal=call.principal.name)
        call.continuation = continuation
        child = continuation.child
        child.holds -= 1
        if child.group is None:
            call.on_ended = lambda: self._over(child)
        try:
            if wants_rules(headers, call.request):
                await check_call(child, headers, call.request, asyncio.get_running_loop().time())
            await self._send(call, child, {"requestState": continuation.inner})
        except BaseException:
            self._put_back(continuation)
            raise

    async def _begin_task(self, call: ModernCall) -> None:
        request = call.request
        if not request.declares("extensions", TASKS_EXTENSION):
            raise CapabilityMissing(data={"requiredCapabilities": {"extensions": {TASKS_EXTENSION: {}}}})
        task = call.task = self.tasks.find(request.text("taskId"), principal=call.principal.name)
        child = task.child
        if child.group is None:  # the task may be forgotten meanwhile
            call.on_ended = lambda: self._end_if_unneeded(child)
        await self._send(call, child, {} if task.inner_id == task.task_id else {"taskId": Raw(encode(task.inner_id))})

    async def _listen(self, call: ModernCall) -> None:
        group = call.principal.group
        if group is None:  # nothing lives that could change
            _answer_empty_listen(call)
            return
        child = await self.pool.shared(group, call.request)
        if child.has_ended:
            raise ChildExited
        call.listen(child, with_own_tasks(call.request, partial(self._may_hear_of, call, child)))

    def _may_hear_of(self, call: ModernCall, child: SharedChild, task_id: str) -> bool:
        """Whether a client that listens to this child may be told of a task."""
        return call.request.declares("extensions", TASKS_EXTENSION) and self.tasks.owns(
            task_id, principal=call.principal.name, child=child
        )

    async def _send(self, call: ModernCall, child: SharedChild, changed: dict[str, Raw | None]) -> None:
        if not child.take_place_at_once():
            await child.take_place()
        if child.has_ended:
            child.give_place_back()
            raise ChildExited
        child.called()
        call.begin(child, changed)

    # ---- answers

    def _finish(self, call: ModernCall, response: Response) -> Response:
        """What its client gets of an answer: bound to it where it can be gone on with.

        Raises:
            TooManyContinuations: If it asks for input and too many wait already.
        """
        if response.is_error:
            self._look_at_error(call, response)
            return response
        if call.request.method == "subscriptions/listen":
            return response
        if self.tools is not None and call.request.method == LIST:
            response = self.tools.listed(response)
        if not self._hinted and call.request.method == "tools/call":
            self._look_for_back_channel(bytes(memoryview(response.members["result"])[:4096]))
        return bind_answer(call, response, continuations=self.continuations, tasks=self.tasks)

    def _look_at_error(self, call: ModernCall, response: Response) -> None:
        continuation = call.continuation
        is_refused = code_of(response) == INVALID_PARAMS
        if continuation is not None and continuation.child.translator is None and is_refused:
            self._put_back(continuation)  # the child took nothing of it; a translator takes all that get so far
        if not self._hinted:
            self._look_for_back_channel(bytes(memoryview(response.members["error"])[:4096]))

    def _look_for_back_channel(self, text: bytes) -> None:
        if b"no back-channel" in text:
            self._hinted = True
            logger.warning(
                "a tool wanted to ask its client in a way that only the handshake revisions have; "
                "with --child-era legacy the server is spoken to in one, and such tools work"
            )

    def _put_back(self, continuation: Continuation[SharedChild]) -> None:
        if not continuation.child.has_ended:
            continuation.child.holds += 1
            self.continuations.put_back(continuation)

    # ---- ends

    def _over(self, child: SharedChild) -> None:
        """The call of a child that serves one alone has ended: another call may have the child."""
        if self.pool.keeps_children and not child.is_free:
            asyncio.get_running_loop().call_soon(self._keep_or_end, child)  # its turn ends just after its answer
        else:
            self._keep_or_end(child)

    def _keep_or_end(self, child: SharedChild) -> None:
        if not self.pool.keep(child):
            self._end_if_unneeded(child)

    def _end_if_unneeded(self, child: SharedChild) -> None:
        if not child.holds and not child.mux.calls_in_flight:
            child.end("its call has ended", SessionEnded())

    def _abandoned(self, continuation: Continuation[SharedChild]) -> None:
        """Its client never came back."""
        child = continuation.child
        child.holds -= 1
        child.abandon(continuation.inner)
        if child.group is None:
            self._end_if_unneeded(child)

    def _forgotten(self, task: Task[SharedChild]) -> None:
        task.child.holds -= 1
        if task.child.group is None:
            self._end_if_unneeded(task.child)

    def _child_gone(self, child: SharedChild) -> None:
        self.continuations.drop(child)
        self.tasks.drop(child)

    def end_listens(self) -> None:
        """End every subscription in peace; calls go on."""
        for child in self.pool.children:
            child.mux.complete_listens()

    async def drain(self, grace_seconds: float, reason: str = "shutdown") -> None:
        """Begin nothing new, let open calls finish for `grace_seconds`, then end every child. Waits for their ends."""
        self._is_draining = True
        self.end_listens()
        with anyio.move_on_after(grace_seconds):
            while self.calls_in_flight or len(self.continuations):
                await self._places.changed(CHECK_SECONDS)
        self.pool.end_all(reason)
        await self.pool.all_gone()


def _answer_empty_listen(call: ModernCall) -> None:
    """Acknowledge that nothing is subscribed to, and end it. Spec: 2026-07-28 basic/patterns/subscriptions."""
    params = {"notifications": {}, "_meta": {SUBSCRIPTION_KEY: call.request.raw_id}}
    call.notified(encode({"jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": params}))
    call.answered(completion(call.request.raw_id))


def _nothing(_: Stream) -> None:
    return None


def _nothing_recorded(_stream: Stream, _place: int, _items: list[Any]) -> None:
    return None

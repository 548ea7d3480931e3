"""Whose turn is it on a server that may ask, and who goes on with the answers?

A server of the handshake era asks on its connection, not in its answer, and does not say which call it asks for. So
calls that may ask have the child one after the other. A turn begins with the first request and ends with the last
answer to it; what the child asks meanwhile is the content of `input_required` results, and the turn waits for the
retry that brings the answers.

    WORKING ──question──► PAUSED ──retry──► WORKING ──answer──► over
       └────cancel──┐        └──abandon──┐
                    └────────────────────┴──► CANCELLED ──late answer, or a while after a pong──► over

Spec: 2026-07-28 basic/patterns/mrtr; 2025-11-25 client/sampling, client/elicitation, client/roots.
"""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import Raw

from proxy.observe import Counts
from proxy.protocol.answers import fits
from proxy.protocol.ids import Id
from proxy.protocol.input_requests import (
    ROOTS,
    declined,
    is_accepted,
    read_responses,
)
from proxy.protocol.jsontext import Members, as_object
from proxy.protocol.messages import Request, Response, cancellation, refusal
from proxy.sessions.modern.as_modern_calls import Call, Caller, Calls
from proxy.sessions.modern.as_modern_port import AsModernLimits, Later, Port, Timer
from proxy.sessions.modern.as_modern_questions import Question, Questions

logger = logging.getLogger(__name__)

ROUNDS_WARNED_AT = 8
"""The SDKs' clients give up after ten rounds."""


@dataclass(slots=True)
class Turn:
    """One call that has the child for itself.

    Attributes:
        method: What is called.
        caller: The request that waits for an answer now; None while the client has been asked, or is gone.
        call: The request at the child; None while it has none of this turn.
        state: Names the pause that the turn is in; None while it is in none.
        kept: The answer that came during the pause, for the retry.
        rounds: How often the client was asked.
        cancelled_at: Since when nobody waits for it.
        ping: The request that shows whether the child has read the cancellation.
        quiet_since: Since when it is known to have.
        is_stuck: Whether it has shown no sign of that for too long.
    """

    method: str
    caller: Caller | None
    call: Call | None = None
    state: str | None = None
    kept: Members | None = None
    rounds: int = 0
    cancelled_at: float | None = None
    ping: int | None = None
    quiet_since: float | None = None
    is_stuck: bool = False

    @property
    def is_asking(self) -> bool:
        """Whether what the child asks now, it asks for this call."""
        return self.call is not None and self.cancelled_at is None


class Turns:
    """The turns of one child, of which there is one at a time.

    Args:
        port: Both ends of the bridge.
        calls: What the child is working on.
        later: Calls back after so many seconds.
        clock: The loop's clock.
        on_over: Called when a turn has ended and the next may begin.
        on_stuck: Called when the child does not let go of a call that was cancelled.
        tag: Names the child in the log.
    """

    def __init__(
        self,
        *,
        port: Port,
        calls: Calls,
        later: Later,
        clock: Callable[[], float],
        on_over: Callable[[], None],
        on_stuck: Callable[[], None],
        counts: Counts,
        tag: str,
        limits: AsModernLimits,
    ) -> None:
        self._port = port
        self._calls = calls
        self._later = later
        self._clock = clock
        self._on_over = on_over
        self._on_stuck = on_stuck
        self._counts = counts
        self._tag = tag
        self._limits = limits
        self._questions = Questions(port=port, counts=counts, clock=clock, wait_seconds=limits.roots_wait_seconds)
        self._turn: Turn | None = None
        self._timer: Timer | None = None

    @property
    def current(self) -> Turn | None:
        """The turn that has the child."""
        return self._turn

    @property
    def questions_open(self) -> int:
        """Questions of the child without an answer."""
        return len(self._questions)

    # ---- from above

    def begin(self, caller: Caller, raw_responses: Raw | None) -> None:
        """Give a new call its turn. The child gets it once the questions that wait for a call are answered."""
        given = read_responses(raw_responses)
        if given is None:
            self._port.fail(caller.upper_id, -32602, "Invalid params: inputResponses must be an object of objects")
        elif self._turn is not None:
            logger.error("a call came out of turn", extra={"child": self._tag, "method": caller.method})
            self._port.fail(caller.upper_id, -32603, "The server is busy with another request")
        else:
            self._turn = Turn(caller.method, caller)
            self._questions.given = given
            self._go_on(self._turn)

    def not_begun(self) -> None:
        """A call that should have had a turn was refused: who has made room for it is told that there is room again."""
        if self._turn is None:
            self._on_over()

    def retry(self, caller: Caller, state: str | None, raw_responses: Raw | None) -> None:
        """Go on with the turn that this state names.

        A state is good for one retry whose answers are well-formed. Answers to what was not asked are ignored, those
        that are missing are asked for again. Spec: 2026-07-28 basic/patterns/mrtr, Server requirements.
        """
        turn = self._turn
        if turn is None or state is None or turn.state != state or turn.method != caller.method:
            self._port.fail(caller.upper_id, -32602, "Invalid or expired requestState")
            return
        responses = as_object(raw_responses) if raw_responses is not None else {}
        shown = [question for question in self._questions.of_turn if question.is_shown]
        if responses is None or not all(
            fits(each.method, responses[each.key]) for each in shown if each.key in responses
        ):
            self._port.fail(caller.upper_id, -32602, "Invalid params: inputResponses do not answer what was asked")
            return
        turn.state, turn.caller = None, caller
        if turn.call is not None:
            self._calls.attach(turn.call, caller)
        answered = {each.key: each for each in shown if each.key in responses}
        for key, question in answered.items():
            self._questions.answer(question, responses[key])
        if turn.kept is not None:
            self._finish(turn, turn.kept)
        elif turn.call is not None:
            self._ask_soon()
        elif all(each.raw_id is not None or is_accepted(responses[key]) for key, each in answered.items()):
            self._go_on(turn)
        else:
            self._finish(turn, declined(turn.method))

    def cancel(self, upper_id: int, reason: str) -> bool:
        """The request that has the turn is cancelled; False if it is another one."""
        turn = self._turn
        if turn is None or turn.caller is None or turn.caller.upper_id != upper_id:
            return False
        self._give_up(turn, reason)
        return True

    def abandon(self, state: str) -> None:
        """The retry that this state was given for will not come."""
        if self._turn is not None and self._turn.state == state:
            self._give_up(self._turn, "The client did not answer")

    # ---- from the child

    def asked(self, request: Request) -> None:
        """The child asks something that its client can be asked."""
        turn = self._turn
        if (turn is None or not turn.is_asking) and request.method != ROOTS:
            self._counts.add("refused.ask_outside_a_call")
            self._port.reply(refusal(request.raw_id, code=-32600, message="No request is in progress that this is for"))
            return
        question = self._questions.admit(request)
        if question is None:
            return
        if turn is None or not turn.is_asking:
            self._questions.leave(question)
            return
        self._questions.add(question)
        self._answer_from_given(question)
        self._ask_soon()

    def withdrawn(self, child_key: Id | None) -> None:
        """The child needs no answer to a question any more."""
        self._questions.withdraw(child_key)

    def has(self, call: Call) -> bool:
        """Whether this call has the turn."""
        return self._turn is not None and self._turn.call is call

    def finished(self, response: Members) -> None:
        """The child has answered the call that has the turn."""
        turn = self._turn
        assert turn is not None and turn.call is not None  # as `has` says
        call, turn.call = turn.call, None
        self._calls.remove(call)
        self._stop_timer()
        self._questions.refuse_turn("The request that this was for is answered")
        if turn.cancelled_at is not None:
            self._counts.add("dropped.answer_to_no_call")
            self._over()
            return
        addresses = self._calls.addresses_in(call, response)
        for shown in addresses:
            self._questions.add_address(shown)
        if addresses:
            self._ask()  # or at the next retry
        elif turn.caller is not None:
            self._finish(turn, self._calls.translated(call, response))
        else:
            turn.kept = self._calls.translated(call, response)

    # ---- time

    def check(self, now: float) -> None:
        """Act on what has taken too long."""
        self._questions.check(now)
        turn = self._turn
        if turn is None or turn.call is None or turn.cancelled_at is None or turn.is_stuck:
            return
        if turn.quiet_since is not None and now - turn.quiet_since >= self._limits.settle_seconds:
            self._calls.remove(turn.call)
            self._over()
        elif turn.quiet_since is None and now - turn.cancelled_at >= self._limits.cancel_grace_seconds:
            turn.is_stuck = True
            self._counts.add("stuck.cancelled_call")
            self._on_stuck()

    def close(self) -> None:
        """Nothing happens any more."""
        self._stop_timer()
        self._turn = None
        self._questions.clear()

    # ---- inside

    def _go_on(self, turn: Turn) -> None:
        """Ask what is to be asked before the child gets the call; if there is nothing, let it have the call."""
        assert turn.caller is not None  # a retry, or the first request
        self._questions.attend()
        for question in self._questions.of_turn:
            self._answer_from_given(question)
        if self._questions.of_turn:
            self._ask()
            return
        turn.call = self._calls.forward(turn.caller)
        turn.caller.params, turn.caller.meta = {}, {}  # the child has them, and a retry brings its own

    def _answer_from_given(self, question: Question) -> None:
        given = self._questions.given.get(question.key)
        if given is not None and question.key == question.child_key and fits(question.method, given):
            del self._questions.given[question.key]
            self._questions.answer(question, given)

    def _ask_soon(self) -> None:
        turn = self._turn
        if turn is not None and turn.caller is not None and self._questions.of_turn and self._timer is None:
            self._timer = self._later(self._limits.debounce_seconds, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._ask()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ask(self) -> None:
        """Answer the request that waits with everything that is open. The next one is the retry."""
        turn = self._turn
        if turn is None or turn.caller is None or not self._questions.of_turn:
            return  # all withdrawn meanwhile, or the client is still busy with what it was asked before
        upper_id = turn.caller.upper_id
        turn.caller = None
        if turn.call is not None:
            self._calls.detach(turn.call)
        turn.state = secrets.token_urlsafe(16)
        turn.rounds += 1
        if turn.rounds == ROUNDS_WARNED_AT:
            logger.warning(
                "a call asks one question after the other; clients give up after ten rounds",
                extra={"child": self._tag, "method": turn.method, "rounds": turn.rounds},
            )
        self._port.answer(upper_id, {"result": self._questions.show(turn.state)})

    def _finish(self, turn: Turn, response: Members) -> None:
        assert turn.caller is not None  # callers make sure
        self._port.answer(turn.caller.upper_id, response)
        self._over()

    def _give_up(self, turn: Turn, reason: str) -> None:
        """Nobody waits for this call any more: the child is told, and keeps the turn until it has let go of it.

        It can't be seen when it has: servers on the SDKs never answer a cancelled request. An answer to a ping shows
        that it has read the cancellation at least.
        """
        self._stop_timer()
        self._questions.refuse_turn(reason)
        turn.caller = turn.state = turn.kept = None
        if turn.call is None:
            self._over()
            return
        self._calls.detach(turn.call)
        turn.cancelled_at = self._clock()
        self._port.down(cancellation(turn.call.child_id, reason=reason))
        turn.ping = self._port.request("ping", {}, self._ponged)

    def _ponged(self, response: Response) -> None:
        if self._turn is not None and self._turn.cancelled_at is not None:
            self._turn.quiet_since = self._clock()

    def _over(self) -> None:
        """The next turn may begin."""
        self._stop_timer()
        if self._turn is not None:
            self._port.forget(self._turn.ping)
        self._turn = None
        self._questions.given = {}
        self._on_over()

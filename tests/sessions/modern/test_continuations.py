"""Which requests wait for input, and which retry may go on with one: once, in time, by its own client, as it was."""

import base64
import json
from typing import Any

import pytest
from msgspec import Raw

from proxy.errors import AnswersMalformed, ProxyError, StateRefused, TooManyContinuations
from proxy.observe import Counts
from proxy.protocol.envelope import ModernRequest
from proxy.sessions.modern.continuations import Continuation, Continuations
from tests.support.parsed import a_request

Json = dict[str, Any]
QUESTION = {"k": "elicitation/create"}
ACCEPT: Json = {"k": {"action": "accept"}}


class Kept:
    """Continuations whose clock a test moves; a child is a text here."""

    def __init__(self, *, most: int = 8, seconds: float = 600.0) -> None:
        self.now = 0.0
        self.counts = Counts()
        self.abandoned: list[Continuation[str]] = []
        self.all: Continuations[str] = Continuations(
            max_continuations=most,
            timeout_seconds=seconds,
            counts=self.counts,
            clock=lambda: self.now,
            on_abandoned=self.abandoned.append,
        )

    def add(self, *, principal: str = "ann", child: str = "child", inner: bytes | None = b'"inner"') -> str:
        raw = Raw(inner) if inner is not None else None
        kept = self.all.add(request(), principal=principal, asked=QUESTION, inner=raw, child=child)
        return kept.state

    def refused(self, retry: ModernRequest, *, principal: str = "ann") -> type[ProxyError]:
        with pytest.raises(ProxyError) as caught:
            self.all.take(retry, principal=principal)
        return type(caught.value)


def request(id_: int = 1, method: str = "tools/call", **params: Any) -> ModernRequest:
    return a_request(id_, method, {"name": "t", "arguments": {"a": 1}, **params})


def a_retry(state: Any, answers: Any = ACCEPT, **params: Any) -> ModernRequest:
    return request(2, requestState=state, inputResponses=answers, **params)


def test_a_retry_goes_on_with_its_request_once() -> None:
    """HM-22."""
    kept = Kept()
    state = kept.add()

    taken = kept.all.take(a_retry(state), principal="ann")

    assert (taken.child, taken.inner and bytes(taken.inner), taken.asked) == ("child", b'"inner"', QUESTION)
    assert len(kept.all) == 0
    assert kept.refused(a_retry(state)) is StateRefused
    assert kept.counts.snapshot() == {"refused.request_state": 1}


def test_a_state_says_nothing_and_can_not_be_guessed() -> None:
    kept = Kept(most=100)
    states = {kept.add() for _ in range(100)}

    assert len(states) == 100
    assert all(len(base64.urlsafe_b64decode(state + "=")) == 32 for state in states)
    assert not any("inner" in state for state in states)  # a shorter word may stand there by chance


STATES = ["", "x", "STATE!", "!STATE", "state", None, 7, True, ["STATE"], {"STATE": 1}]


@pytest.mark.parametrize("forged", STATES, ids=map(json.dumps, STATES))
def test_a_forged_state_is_refused(forged: Any) -> None:
    kept = Kept()
    state = kept.add()
    if isinstance(forged, str):
        forged = forged.replace("STATE", state)

    assert kept.refused(a_retry(forged)) is StateRefused
    assert kept.all.take(a_retry(state), principal="ann").state == state


def test_another_clients_is_refused_and_stays_usable() -> None:
    kept = Kept()
    state = kept.add(principal="ann")

    assert kept.refused(a_retry(state), principal="bob") is StateRefused
    assert kept.all.take(a_retry(state), principal="ann").principal == "ann"


OTHERS = [
    lambda state: a_retry(state, arguments={"a": 2}),
    lambda state: a_retry(state, name="other"),
    lambda state: a_retry(state, more=1),
    lambda state: request(2, "prompts/get", requestState=state, inputResponses=ACCEPT),
    lambda state: request(2, "tools/list", requestState=state, inputResponses=ACCEPT),
]


@pytest.mark.parametrize("other", OTHERS, ids=range(len(OTHERS)))
def test_another_request_can_not_go_on_with_it(other: Any) -> None:
    kept = Kept()
    state = kept.add()

    assert kept.refused(other(state)) is StateRefused
    assert len(kept.all) == 1


def test_it_is_good_for_its_time() -> None:
    kept = Kept(seconds=10)
    early, late = kept.add(), kept.add()

    kept.now = 9.9
    kept.all.expire(kept.now)
    kept.all.take(a_retry(early), principal="ann")
    kept.now = 10.0
    assert kept.refused(a_retry(late)) is StateRefused  # before anybody has looked for it
    assert kept.abandoned == []
    kept.all.expire(kept.now)
    kept.all.expire(kept.now)

    assert [each.state for each in kept.abandoned] == [late]
    assert kept.counts.snapshot() == {"refused.request_state": 1, "expired.continuation": 1}
    assert len(kept.all) == 0


@pytest.mark.parametrize("answers", [{"k": 12345}, {"k": {"action": "maybe"}}, None, [], "k"])
def test_answers_that_can_not_be_are_refused_and_it_stays_usable(answers: Any) -> None:
    kept = Kept()
    state = kept.add()

    assert kept.refused(a_retry(state, answers)) is AnswersMalformed
    assert kept.all.take(a_retry(state), principal="ann").state == state


@pytest.mark.parametrize("answers", [{}, {"other": 7}, {**ACCEPT, "other": {}}])
def test_answers_may_be_missing_and_others_be_there(answers: Any) -> None:
    """HM-23."""
    kept = Kept()
    state = kept.add()

    assert kept.all.take(a_retry(state, answers), principal="ann").state == state


def test_a_retry_without_answers_goes_on_too() -> None:
    """B.6: state alone means try again."""
    kept = Kept()
    state = kept.add()

    assert kept.all.take(request(2, requestState=state), principal="ann").state == state


def test_only_so_many_wait() -> None:
    kept = Kept(most=2)
    first, _ = kept.add(), kept.add()

    with pytest.raises(TooManyContinuations):
        kept.add()
    kept.all.take(a_retry(first), principal="ann")
    kept.add()

    assert len(kept.all) == 2
    assert kept.counts.snapshot() == {"refused.too_many_continuations": 1}


def test_one_that_was_put_back_is_good_again_until_its_old_time() -> None:
    kept = Kept(seconds=10)
    state = kept.add()
    kept.now = 9.0
    kept.all.put_back(kept.all.take(a_retry(state), principal="ann"))
    kept.all.put_back(kept.all.take(a_retry(state), principal="ann"))
    kept.now = 10.0

    assert kept.refused(a_retry(state)) is StateRefused


def test_a_child_that_is_gone_takes_its_own_with_it() -> None:
    kept = Kept()
    gone, left = kept.add(child="a"), kept.add(child="b")

    kept.all.drop("a")

    assert kept.abandoned == []
    assert kept.refused(a_retry(gone)) is StateRefused
    assert kept.all.take(a_retry(left), principal="ann").child == "b"


def test_one_without_a_state_of_the_child_is_one_too() -> None:
    kept = Kept()

    assert kept.all.take(a_retry(kept.add(inner=None)), principal="ann").inner is None

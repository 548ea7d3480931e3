"""How many ended sessions are remembered, how long, and how much of them."""

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from proxy.child.spec import ChildSpec
from proxy.errors import SessionNotFound
from proxy.observe import Counts
from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.messages import Request
from proxy.sessions import recovery as recovery_module
from proxy.sessions.era import ServerEra
from proxy.sessions.exits import Exits
from proxy.sessions.limits import SessionLimits
from proxy.sessions.manager import SessionManager
from proxy.sessions.places import Places
from proxy.sessions.recovery import Recovery
from proxy.sessions.session import Session
from proxy.sessions.told import Told


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def recovery(clock: Clock) -> Recovery:
    def never(*_: Any) -> Any:
        raise AssertionError("nothing is begun here")

    return Recovery(
        max_sessions=2,
        max_age_seconds=100.0,
        start_timeout_seconds=1.0,
        start_soon=never,
        open_session=never,
        publish=never,
        end=never,
        counts=Counts(),
        clock=clock,
    )


def ended(*, version: str | None = "2025-11-25", size: int = 10) -> Session:
    """A session that was initialized."""
    session = Session(limits=SessionLimits(), counts=Counts(), era=ServerEra("auto"), exits=Exits())
    session.version = version
    told = session.exchange.told = Told()
    text = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"x":"%b"}}' % (b"x" * size)
    request = parse_client_message(text)
    assert isinstance(request, Request)
    told.begun(1, request)
    told.settled(1, is_agreed=True)
    return session


async def test_the_oldest_is_forgotten_first() -> None:
    kept, sessions = recovery(Clock()), [ended() for _ in range(3)]
    for session in sessions:
        kept.remember(session)

    assert [kept.forget(session.id) for session in sessions] == [False, True, True]


async def test_one_is_remembered_for_so_long() -> None:
    clock = Clock()
    kept, session, other = recovery(clock), ended(), ended()
    kept.remember(session)
    clock.now += 99
    kept.remember(other)
    assert len(kept) == 2
    clock.now += 2

    with pytest.raises(SessionNotFound):
        await kept.recover(session.id)
    assert len(kept) == 1


async def test_all_of_them_are_only_so_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_module, "MAX_REMEMBERED_BYTES", 3000)
    kept, small, large = recovery(Clock()), ended(), ended(size=2950)
    kept.remember(small)
    kept.remember(large)

    assert not kept.forget(small.id)
    assert kept.forget(large.id)
    assert kept._size_bytes == 0


async def test_what_could_not_be_told_again_is_not_remembered() -> None:
    kept = recovery(Clock())
    kept.remember(ended(version=None))
    kept.remember(ended(size=2 << 20))
    unknown = ended()
    unknown.exchange.told = None
    kept.remember(unknown)

    assert len(kept) == 0


async def test_ids_are_secrets_and_not_kept() -> None:
    kept, session = recovery(Clock()), ended()
    kept.remember(session)

    assert session.id not in repr(vars(kept))


async def test_an_id_that_nobody_has_is_not_found() -> None:
    with pytest.raises(SessionNotFound):
        await recovery(Clock()).recover("x")


async def test_what_its_client_deletes_in_the_moment_in_which_it_is_asked_for_is_not_found() -> None:
    kept, session = recovery(Clock()), ended()
    kept.remember(session)

    async with anyio.create_task_group() as tasks:

        def forget_and_start(go_on: Callable[[], Coroutine[Any, Any, None]]) -> None:
            kept.forget(session.id)
            tasks.start_soon(go_on)

        kept._start_soon = forget_and_start

        with pytest.raises(SessionNotFound):
            await kept.recover(session.id)


async def test_what_its_client_has_deleted_is_not_remembered_although_its_child_is_still_being_ended() -> None:
    manager = SessionManager(
        spec=ChildSpec(argv=("true",), env={}),
        limits=SessionLimits(),
        counts=Counts(),
        max_sessions=1,
        places=Places(max_children=1),
    )
    manager.recover_sessions(max_sessions=2, max_age_seconds=100.0)
    session = ended()
    manager.roster.published[session.id] = session
    session.may_come_back = True
    session.end("its children die one after the other")

    with pytest.raises(SessionNotFound):
        manager.say_goodbye(session.id)

    manager.roster.forget(session)  # as its owner does when the child is gone
    assert manager.recovery is not None
    assert len(manager.recovery) == 0

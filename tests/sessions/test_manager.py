"""Which sessions exist, and that nothing of them is left: with real children that start in milliseconds."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from msgspec import Raw

from proxy.errors import (
    CallCancelled,
    ChildExited,
    ChildStartFailed,
    Draining,
    DuplicateId,
    SessionEnded,
    SessionNotFound,
    Stopped,
    TooManyCalls,
    TooManySessions,
)
from proxy.observe import Counts
from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.messages import Notification, Request
from proxy.sessions import expiry
from proxy.sessions import session as session_module
from proxy.sessions import starts as starts_module
from proxy.sessions.limits import SessionLimits
from proxy.sessions.manager import SessionManager
from proxy.sessions.places import Places
from proxy.sessions.session import Session
from proxy.sessions.stream import Failure, Item, Stream
from tests.support.children import ECHO, is_alive, spec

pytestmark = pytest.mark.processes

SILENT = "import sys\nsys.stdin.read()\n"
STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('x', flush=True)\ntime.sleep(60)\n"
)


@asynccontextmanager
async def running_manager(
    source: str = SILENT, *, spec_args: Any = None, **kwargs: Any
) -> AsyncIterator[SessionManager]:
    """A manager whose children run `source`; nothing may be left when it has ended."""
    limits = {key: kwargs.pop(key) for key in list(kwargs) if key in SessionLimits.__slots__}
    manager = SessionManager(
        spec=spec(source, **(spec_args or {})),
        limits=SessionLimits(**limits),
        counts=Counts(),
        max_sessions=kwargs.pop("max_sessions", 8),
        places=Places(max_children=kwargs.pop("max_children", 8)),
    )
    fds = len(os.listdir("/proc/self/fd"))
    async with manager.run():
        yield manager
    assert manager.roster.child_count == 0
    assert manager.roster.session_count == 0
    assert len(os.listdir("/proc/self/fd")) <= fds + 4  # the loop's own, opened once for its thread


async def opened(manager: SessionManager) -> Session:
    """A session as after an answered `initialize`."""
    session = await manager.open()
    manager.publish(session, "2025-11-25")
    return session


def request(request_id: int = 1) -> Request:
    message = parse_client_message(b'{"jsonrpc":"2.0","id":%d,"method":"tools/list"}' % request_id)
    assert isinstance(message, Request)
    return message


async def call(session: Session, request_id: int = 1) -> Stream:
    stream = session.exchange.streams.new(Raw(b"1"))
    await session.intake.begin([request(request_id)], stream)
    return stream


async def no_children(manager: SessionManager) -> None:
    with anyio.fail_after(10):
        while manager.roster.child_count:  # noqa: ASYNC110 (the manager tells nobody but its own end)
            await anyio.sleep(0.01)


async def test_a_session_is_found_by_its_id_until_it_ends() -> None:
    async with running_manager() as manager:
        session = await opened(manager)
        assert manager.roster.find(session.id) is session

        manager.roster.end(session, "test")

        with pytest.raises(SessionNotFound):
            manager.roster.find(session.id)


async def test_a_session_is_gone_before_its_stubborn_child_is() -> None:
    async with running_manager(STUBBORN, spec_args={"stdin_grace_seconds": 0.2, "term_grace_seconds": 0.2}) as manager:
        session = await opened(manager)
        pid = session.pid
        assert pid is not None

        manager.roster.end(session, "test")

        assert manager.roster.session_count == 0
        assert is_alive(pid)
        await no_children(manager)
        assert not is_alive(pid)


async def test_a_session_whose_initialize_is_not_answered_is_nobodys() -> None:
    async with running_manager() as manager:
        session = await manager.open()

        with pytest.raises(SessionNotFound):
            manager.roster.find(session.id)
        assert manager.roster.session_count == 1


async def test_ids_are_long_random_and_printable() -> None:
    """Spec: 2025-11-25 basic/transports, Session Management 1. HL-22, HL-23."""
    async with running_manager() as manager:
        ids = {(await opened(manager)).id for _ in range(3)}

    assert len(ids) == 3
    assert all(len(each) >= 43 and all(0x21 <= ord(c) <= 0x7E for c in each) for each in ids)


async def test_the_death_of_a_child_ends_its_session_and_answers_its_calls() -> None:
    async with running_manager("import sys\nsys.stdin.readline()\nsys.exit(3)\n") as manager:
        session = await opened(manager)
        stream = await call(session)

        with anyio.fail_after(5):
            await stream.wait()

        _, (item,) = stream.take()
        assert isinstance(item, Failure)
        assert isinstance(item.error, ChildExited)
        assert "code 3" in str(item.error)
        with pytest.raises(SessionNotFound):
            manager.roster.find(session.id)


async def test_death_before_the_session_was_ready_is_a_failed_start() -> None:
    async with running_manager("import sys\nsys.stdin.readline()\nsys.exit(3)\n") as manager:
        session = await manager.open()
        stream = await call(session)

        with anyio.fail_after(5):
            await stream.wait()

        _, (item,) = stream.take()
        assert isinstance(item, Failure)
        assert isinstance(item.error, ChildStartFailed)
        await no_children(manager)
        assert manager.starts.last_failed


async def test_a_child_that_can_not_be_started_costs_no_place() -> None:
    async with running_manager(max_sessions=1) as manager:
        good = manager._owner._spec
        manager._owner._spec = type(good)(argv=("/nonexistent",), env={})
        for _ in range(3):
            with pytest.raises(ChildStartFailed):
                await manager.open()
        assert manager.starts.last_failed
        manager._owner._spec = good

        await opened(manager)

        assert manager.starts.last_failed is False


async def test_a_failed_start_is_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A readiness probe keeps clients away, so nobody else would find out that the server is well again."""
    async with running_manager() as manager:
        good = manager._owner._spec
        manager._owner._spec = type(good)(argv=("/nonexistent",), env={})
        with pytest.raises(ChildStartFailed):
            await manager.open()
        history = [manager.starts.last_failed]

        monkeypatch.setattr(starts_module, "FAILED_START_SECONDS", 0.0)
        history.append(manager.starts.last_failed)

        assert history == [True, None]


async def test_when_full_a_caller_waits_for_a_place() -> None:
    async with running_manager(max_sessions=1) as manager:
        first = await opened(manager)
        first.use()
        second: list[Session] = []

        async def open_another() -> None:
            second.append(await opened(manager))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(open_another)
            await anyio.wait_all_tasks_blocked()
            assert second == []
            manager.roster.end(first, "test")

        assert len(second) == 1


async def test_when_full_for_too_long_a_caller_is_refused() -> None:
    async with running_manager(max_sessions=1, place_timeout_seconds=0.05) as manager:
        (await opened(manager)).use()

        with pytest.raises(TooManySessions):
            await manager.open()

        assert manager.roster.session_count == 1


async def test_dying_children_count_until_they_are_dead() -> None:
    ladder = {"stdin_grace_seconds": 0.2, "term_grace_seconds": 0.2}
    async with running_manager(STUBBORN, spec_args=ladder, max_children=1, place_timeout_seconds=0.05) as manager:
        manager.roster.end(await opened(manager), "test")

        with pytest.raises(TooManySessions):
            await manager.open()


async def test_a_session_that_saw_only_initialize_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "EVICTABLE_AFTER_SECONDS", -1.0)
    async with running_manager(max_sessions=2, max_children=4) as manager:
        used, unused = await opened(manager), await opened(manager)
        used.use()

        newcomer = await opened(manager)

        assert not used.has_ended
        assert unused.has_ended
        assert manager.roster.find(newcomer.id) is newcomer


async def test_a_young_session_that_saw_only_initialize_is_left_alone() -> None:
    async with running_manager(max_sessions=1, place_timeout_seconds=0.05) as manager:
        session = await opened(manager)

        with pytest.raises(TooManySessions):
            await manager.open()

        assert not session.has_ended


@pytest.mark.parametrize(
    ("limits", "is_used", "is_connected", "ends"),
    [
        ({"idle_timeout_seconds": 0.05}, True, False, True),
        ({"idle_timeout_seconds": 0.05}, True, True, False),
        ({"idle_timeout_seconds": None}, True, False, False),
        ({"unused_timeout_seconds": 0.05}, False, False, True),
        ({"unused_timeout_seconds": 0.05}, True, False, False),
        ({"unused_timeout_seconds": None}, False, False, False),
        ({"session_age_seconds": 0.05}, True, True, True),
    ],
)
async def test_what_ends_a_session_that_nobody_ends(
    limits: dict[str, Any], is_used: bool, is_connected: bool, ends: bool
) -> None:
    async with running_manager(**limits) as manager:
        session = await opened(manager)
        if is_used:
            session.use()
        if is_connected:
            session.connected()

        with anyio.move_on_after(5 if ends else 0.4):
            await session.ended.wait()

        assert session.has_ended is ends
        assert sum(manager._counts.snapshot().values()) == ends  # as `expired`, whatever it was


async def test_a_drain_lets_calls_finish_and_refuses_new_sessions() -> None:
    async with running_manager(ECHO) as manager:
        session = await opened(manager)
        session.exchange._link.pause()  # type: ignore[union-attr]  # set by now
        stream = await call(session)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(manager.drain, 5.0)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(Draining):
                await manager.open()
            assert not session.has_ended
            session.exchange.received([b'{"jsonrpc":"2.0","id":1,"result":{}}'])

        assert stream.has_ended
        assert not isinstance(stream.items[0], Failure)
        assert session.has_ended
        assert not manager.closing.cut


async def test_a_drain_cuts_off_what_does_not_finish() -> None:
    async with running_manager() as manager:
        stream = await call(await opened(manager))

        await manager.drain(0.05)

        _, (item,) = stream.take()
        assert isinstance(item, Failure)
        assert isinstance(item.error, Stopped)
        assert manager.closing.cut


async def test_who_waits_at_a_server_that_is_replaced_is_told_to_come_again() -> None:
    """The next one of its name serves already, and nothing is shutting down."""
    async with running_manager(max_sessions=1) as manager, anyio.create_task_group() as tasks:
        (await opened(manager)).use()
        tasks.start_soon(manager.drain, 5.0, "its configuration has changed")

        with pytest.raises(Draining, match="has changed; try again") as refused:
            await manager.open()

        assert refused.value.retry_after_seconds == 1


async def test_who_waits_for_a_place_when_the_drain_begins_is_told() -> None:
    async with running_manager(max_sessions=1) as manager:
        (await opened(manager)).use()

        async def open_another() -> None:
            with pytest.raises(Draining):
                await manager.open()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(open_another)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(manager.drain, 0.0)


# ---- cancellation: one test for each await that holds something


async def cancelled_at_each_step(action: Any, steps: int = 12) -> None:
    """Cancel `action` after so many turns of the loop, for every number of them."""
    for turns in range(steps):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:

                async def cancel_later(scope: anyio.CancelScope = scope, turns: int = turns) -> None:
                    for _ in range(turns):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()

                tasks.start_soon(cancel_later)
                await action()


async def test_opening_a_session_can_be_cancelled_anywhere() -> None:
    """Holds: a place, a process, an entry in the table."""
    async with running_manager(max_sessions=4) as manager:

        async def open_one() -> None:
            session = await manager.open()
            manager.roster.end(session, "test")

        await cancelled_at_each_step(open_one)
        await no_children(manager)

        assert manager.roster.session_count == 0
        assert len([await opened(manager) for _ in range(4)]) == 4


async def test_waiting_for_a_place_can_be_cancelled() -> None:
    """Holds: a waiter in the queue."""
    async with running_manager(max_sessions=1) as manager:
        first = await opened(manager)
        first.use()

        with anyio.move_on_after(0.02) as scope:
            await manager.open()

        assert scope.cancelled_caught
        assert manager._places.house._waiters == []
        manager.roster.end(first, "test")
        assert await opened(manager)


async def test_waiting_for_a_place_among_the_calls_can_be_cancelled() -> None:
    """Holds: a place among `max_calls_per_child`."""
    async with running_manager(max_calls_per_child=1) as manager:
        session = await opened(manager)
        await call(session, 1)

        with anyio.move_on_after(0.02) as scope:
            await call(session, 2)
        assert scope.cancelled_caught
        session.exchange.received([b'{"jsonrpc":"2.0","id":1,"result":{}}'])

        await call(session, 3)
        assert session.exchange.calls_in_flight == 1


async def test_waiting_for_a_child_that_does_not_read_can_be_cancelled() -> None:
    """Holds: a place among `max_calls_per_child`."""
    async with running_manager(
        "import time\ntime.sleep(60)\n", max_calls_per_child=2, stream_backlog_bytes=10
    ) as manager:
        session = await opened(manager)
        session.exchange.link.send(b"x" * 2_000_000)

        with anyio.move_on_after(0.02) as scope:
            await call(session, 1)

        assert scope.cancelled_caught
        assert session.intake._places.value == 2
        assert session.exchange.calls_in_flight == 0


async def test_only_so_many_bytes_wait_for_a_child_that_does_not_read() -> None:
    """One message may always; what comes beside it is refused at once, and served when there is room again."""
    async with running_manager(
        "import time\ntime.sleep(60)\n", stream_backlog_bytes=10, stdin_stall_timeout_seconds=5.0
    ) as manager:
        session = await opened(manager)
        session.exchange.link.send(b"x" * 2_000_000)
        tell = parse_client_message(b'{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}')
        assert isinstance(tell, Notification)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, session, 1)
            await anyio.wait_all_tasks_blocked()
            for wait in (call(session, 2), session.intake.wait_to_tell(tell)):
                with pytest.raises(TooManyCalls), anyio.fail_after(3):
                    await wait
            tasks.cancel_scope.cancel()

        with anyio.move_on_after(0.05) as scope:
            await session.intake.wait_to_tell(tell)
        assert scope.cancelled_caught


async def test_a_cancelled_manager_ends_every_child() -> None:
    """The host cancels: in the middle of a start, of a call, of a ladder."""
    pids: list[int] = []
    with anyio.move_on_after(0.5) as scope:
        async with running_manager(
            STUBBORN, spec_args={"stdin_grace_seconds": 0.1, "term_grace_seconds": 0.1}
        ) as manager:
            dying, calling = await opened(manager), await opened(manager)
            pids += [pid for pid in (dying.pid, calling.pid) if pid]
            manager.roster.end(dying, "test")
            await call(calling)
            await anyio.sleep_forever()

    assert scope.cancel_called
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


async def test_an_exception_in_the_block_ends_every_child() -> None:
    pids: list[int] = []
    with pytest.raises(ExceptionGroup):
        async with running_manager() as manager:
            session = await opened(manager)
            pids += [session.pid or 0]
            raise ValueError("the host's")

    assert not is_alive(pids[0])


async def test_a_call_that_is_open_when_its_session_is_deleted_is_told() -> None:
    async with running_manager() as manager:
        session = await opened(manager)
        stream = await call(session)

        manager.roster.end(session, "test")

        _, (item,) = stream.take()
        assert isinstance(item, Failure)
        assert isinstance(item.error, SessionEnded)


async def test_a_call_that_waited_while_its_session_ended_is_told() -> None:
    async with running_manager(max_calls_per_child=1) as manager:
        session = await opened(manager)
        await call(session, 1)

        async def call_again() -> None:
            with pytest.raises(SessionNotFound):
                await call(session, 2)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call_again)
            await anyio.wait_all_tasks_blocked()
            manager.roster.end(session, "test")

        assert session.intake._places.value == 1


async def test_many_sessions_come_and_go_at_once() -> None:
    async with running_manager(ECHO, max_sessions=6, max_children=6) as manager:
        most = 0

        async def one() -> None:
            nonlocal most
            session = await opened(manager)
            most = max(most, manager.roster.child_count)
            await asyncio.sleep(0)
            manager.roster.end(session, "test")

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                for _ in range(40):
                    tasks.start_soon(one)

        assert most <= 6
        await no_children(manager)


async def test_a_call_that_waits_for_its_turn_can_be_cancelled_by_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child never hears of it, its id is taken while it waits and free afterwards."""
    async with running_manager(max_calls_per_child=1) as manager:
        session = await opened(manager)
        sent: list[bytes] = []
        monkeypatch.setattr(session.exchange.link, "send", sent.append)
        await call(session, 1)
        assert len(sent) == 1

        async def wait_for_a_turn() -> None:
            with pytest.raises(CallCancelled):
                await call(session, 2)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_a_turn)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(DuplicateId):
                session.exchange.check_new_ids([request(2)])
            message = parse_client_message(
                b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}'
            )
            assert isinstance(message, Notification)
            session.exchange.notify(message)

        session.exchange.check_new_ids([request(2)])
        assert session.exchange.calls_in_flight == 1
        assert len(sent) == 1
        session.exchange.received([b'{"jsonrpc":"2.0","id":1,"result":{}}'])
        await call(session, 3)


async def test_a_fault_in_the_end_of_one_session_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_manager() as manager:
        unlucky, other = await opened(manager), await opened(manager)

        async def fail(_: bytes) -> set[int]:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(manager._places.finder, "find", fail)
        manager.roster.end(unlucky, "test")
        with anyio.fail_after(10):
            while manager.roster.child_count > 1:  # noqa: ASYNC110 (the manager tells nobody but its own end)
                await anyio.sleep(0.01)
        monkeypatch.undo()

        assert manager.roster.find(other.id) is other
        assert "can't start new thread" in caplog.text
        assert await opened(manager)


async def test_a_fault_while_a_session_is_owned_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_manager() as manager:
        other = await opened(manager)
        ended = manager._places.watch.ended

        def fail(pid: int) -> None:
            ended(pid)
            raise RuntimeError("a bug")

        monkeypatch.setattr(manager._places.watch, "ended", fail)
        manager.roster.end(await opened(manager), "test")
        with anyio.fail_after(10):
            while manager.roster.child_count > 1:  # noqa: ASYNC110 (the manager tells nobody but its own end)
                await anyio.sleep(0.01)
        monkeypatch.undo()

        assert manager.roster.find(other.id) is other
        assert "session ended badly" in caplog.text
        assert manager._places.house.pids() == {other.pid}


# ---- a fault of one is nothing to the others


async def test_a_session_that_can_not_be_ended_does_not_keep_the_others_from_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_manager() as manager:
        unlucky, other = await opened(manager), await opened(manager)
        stream = await call(other)

        def fail(reason: str, error: object = None) -> None:
            unlucky.ended.set()
            unlucky.child_wanted.set()
            raise RuntimeError("a bug")

        monkeypatch.setattr(unlucky, "end", fail)
        manager.end_all("test")
        monkeypatch.undo()

        assert other.has_ended
        assert isinstance(stream.items[0], Failure)
        assert "a bug" in caplog.text
        await no_children(manager)


async def test_streams_that_can_not_be_ended_do_not_keep_the_others_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_manager() as manager:
        unlucky, other = await opened(manager), await opened(manager)
        listening = other.exchange.streams.listen()

        def fail() -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(unlucky.exchange.streams, "end_listens", fail)
        manager.roster.end_listens()
        monkeypatch.undo()

        assert listening.has_ended


async def test_a_call_that_can_not_be_failed_does_not_keep_the_others_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_manager() as manager:
        session = await opened(manager)
        unlucky, other = await call(session, 1), await call(session, 2)

        put = Stream.put_answer

        def put_or_fail(stream: Stream, item: Item) -> None:
            if stream is unlucky:
                raise RuntimeError("a bug")
            put(stream, item)

        monkeypatch.setattr(Stream, "put_answer", put_or_fail)
        manager.roster.end(session, "test")
        monkeypatch.undo()

        assert isinstance(other.items[0], Failure)
        await no_children(manager)


async def test_a_child_that_can_not_be_killed_does_not_keep_the_others_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_manager() as manager:
        await opened(manager)
        await opened(manager)
        first, *_ = children = list(manager._places.house._live)

        def fail() -> None:
            raise OSError("a bug")

        monkeypatch.setattr(first, "kill", fail)
        manager._places.house.kill_all()
        monkeypatch.undo()

        assert [child.was_killed for child in children] == [False, True]


async def test_a_session_whose_child_is_gone_ends_whatever_goes_wrong_about_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_manager("import sys\nsys.stdin.readline()\nsys.exit(3)\n") as manager:
        session, other = await manager.open(), await opened(manager)

        def fail(_: object) -> str:
            raise RuntimeError("a bug")

        monkeypatch.setattr(session_module, "missing_package_hint", fail)
        stream = await call(session)
        with anyio.fail_after(5):
            await stream.wait()
            await session.ended.wait()

        assert isinstance(stream.items[0], Failure)
        assert "a bug" in caplog.text
        assert manager.roster.find(other.id) is other


async def test_a_manager_can_be_run_again() -> None:
    async with running_manager(ECHO) as manager:
        await opened(manager)
    async with manager.run():
        assert not manager.closing.is_draining
        assert manager.roster.find((await opened(manager)).id)
    assert manager.roster.child_count == 0


async def test_a_session_whose_child_is_gone_before_it_is_published_says_so() -> None:
    """Not 404: its client has not asked for a session that could be unknown."""
    async with running_manager("import sys\nsys.stdin.readline()\nsys.exit(3)\n") as manager:
        session = await manager.open()
        stream = await call(session)
        with anyio.fail_after(5):
            await stream.wait()

        with pytest.raises(ChildStartFailed):
            manager.publish(session, "2025-11-25")
        with pytest.raises(ChildStartFailed):
            await call(session, 2)

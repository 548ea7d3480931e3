"""Children that are ready before a client comes: real ones, whose server starts quickly, slowly or not at all."""

import asyncio
from pathlib import Path

import anyio
import pytest

from proxy.errors import TooManySessions
from proxy.sessions import backoff
from proxy.sessions.places import Places
from proxy.sessions.session import Session
from proxy.sessions.warm import demand, plan, proof, slots
from proxy.sessions.warm.plan import Plan
from proxy.sessions.warm.sessions import SessionsAhead
from tests.sessions.warm.pools import PATIENCE_SECONDS, alive, child, initialize, kill, opened, pooled, starts, until

pytestmark = pytest.mark.processes


async def settled() -> None:
    """Whatever was going to happen at once has happened."""
    for _ in range(50):
        await asyncio.sleep(0.002)


async def test_it_fills_and_what_is_in_it_is_no_session(tmp_path: Path) -> None:
    async with pooled(child(folder=tmp_path), size=3) as it:
        await it.until_ready(3)

        assert it.manager.roster.session_count == 0
        assert it.manager.roster.child_count == it.places.taken == len(alive(tmp_path)) == 3
        await settled()
        assert len(starts(tmp_path)) == 3


async def test_nothing_is_kept_by_default() -> None:
    async with pooled(child(), size=0) as it:
        await opened(it.manager)
        await settled()

        assert it.places.taken == 1
        assert it.counts.snapshot() == {}
        assert it.pool.report()["size"] == 0


async def test_a_client_gets_the_oldest_and_each_child_serves_one(tmp_path: Path) -> None:
    async with pooled(child(folder=tmp_path), size=2) as it:
        await it.until_ready(2)
        first = starts(tmp_path)

        pids = [await opened(it.manager) for _ in range(2)]

        assert set(pids) == set(first)
        await it.until_ready(2)
        assert len(set(starts(tmp_path))) == 4
        assert it.counts.snapshot() == {"pool.hit": 2}
        assert it.manager.roster.session_count == 2


async def test_a_client_of_a_slow_server_need_not_wait_for_its_start() -> None:
    """A limit of the client's that is far shorter than a start."""
    async with pooled(child(slow=3.0), size=1) as it:
        await it.until_ready(1)

        with anyio.fail_after(1.5):
            await opened(it.manager)


async def test_an_empty_pool_is_a_cold_start_and_the_first_proof_is_not_waited_for(tmp_path: Path) -> None:
    async with pooled(child(folder=tmp_path, slow=0.3), size=1) as it:
        await until(lambda: len(starts(tmp_path)) == 1, "the first is started")
        ahead = starts(tmp_path)[0]

        assert await opened(it.manager) != ahead
        assert it.counts.snapshot() == {"pool.miss": 1}


async def test_one_that_is_about_to_be_ready_is_handed_out_once_its_kind_is_known(tmp_path: Path) -> None:
    """It was started before any that could be started now. The answer to its ping is not taken for the client's."""
    async with pooled(child(folder=tmp_path, slow=1.0), size=1) as it:
        await it.until_ready(1)
        await opened(it.manager)
        await until(lambda: len(starts(tmp_path)) == 2, "the next is started")

        assert await opened(it.manager) == starts(tmp_path)[1]
        assert it.counts.snapshot() == {"pool.hit": 1, "pool.hit_before_proof": 1}


async def test_clients_that_give_up_leave_it_the_child_that_they_have_waited_for(tmp_path: Path) -> None:
    """A client with less patience than a start takes is served when it comes again often enough."""
    async with pooled(child(folder=tmp_path, slow=1.0), size=1) as it:
        await it.until_ready(1)
        await opened(it.manager)
        await until(lambda: len(starts(tmp_path)) == 2, "the next is started")
        pid, tries = None, 0

        with anyio.fail_after(PATIENCE_SECONDS):
            while pid is None:
                tries += 1
                with anyio.move_on_after(0.1):
                    pid = await opened(it.manager)

        assert pid == starts(tmp_path)[1]
        assert tries > 1


async def test_only_as_many_clients_wait_for_a_proof_as_children_are_being_proved(tmp_path: Path) -> None:
    async with pooled(child(folder=tmp_path, slow=0.5), size=1) as it:
        await it.until_ready(1)
        await opened(it.manager)
        await until(lambda: len(starts(tmp_path)) == 2, "the next is started")
        pids: list[int] = []

        async def come() -> None:
            pids.append(await opened(it.manager))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(come)

        assert starts(tmp_path)[1] in pids and len(set(pids)) == 3
        assert it.counts.snapshot() == {"pool.hit": 1, "pool.hit_before_proof": 1, "pool.miss": 2}


async def test_clients_that_always_wait_keep_it_from_a_refill_only_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demand, "HELD_UP_SECONDS", 0.3)
    async with pooled(child(folder=tmp_path), size=1) as it:
        await it.until_ready(1)
        await it.manager.open()  # its client waits for an answer, and others would come after it

        await it.until_ready(1)


async def test_one_that_is_handed_out_is_not_judged_any_more(tmp_path: Path) -> None:
    """Its silence to a ping is no failed start, if its client has been answered."""
    async with pooled(child(folder=tmp_path, mute=True), size=1, max_children=1, start_timeout_seconds=1.0) as it:
        await until(lambda: len(starts(tmp_path)) == 1, "it is being proved")
        tasks = len(asyncio.all_tasks())

        session = await it.manager.open()
        await initialize(session)

        await until(lambda: len(asyncio.all_tasks()) < tasks, "nobody waits for its proof")
        assert not session.start_failed


async def test_a_slot_is_for_one_start_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "SLOT_SECONDS", 1000.0)
    places = Places(max_children=8)
    places.house.slots = slots.Slots(1)
    async with pooled(child(folder=tmp_path), size=3, places=places) as it:
        await it.until_ready(3)

        assert places.slots.free(asyncio.get_running_loop().time()) == 1


async def test_it_does_not_refill_while_a_client_waits_for_its_child(tmp_path: Path) -> None:
    """Design part 7: a pool that refills while sessions wait starves them."""
    async with pooled(child(folder=tmp_path), size=2) as it:
        await it.until_ready(2)
        session = await it.manager.open()
        await settled()
        assert len(starts(tmp_path)) == 2

        await initialize(session)
        it.manager.publish(session, "2025-11-25")

        await it.until_ready(2)
        assert len(starts(tmp_path)) == 3


async def test_a_client_that_gives_up_does_not_stop_the_refill(tmp_path: Path) -> None:
    async with pooled(child(folder=tmp_path), size=1) as it:
        await it.until_ready(1)
        session = await it.manager.open()

        it.manager.roster.end(session, "its client left")

        await it.until_ready(1)
        assert len(starts(tmp_path)) == 2


async def test_one_that_dies_is_replaced(tmp_path: Path) -> None:
    async with pooled(child(folder=tmp_path), size=2) as it:
        await it.until_ready(2)
        dead = starts(tmp_path)[0]

        kill(dead)

        await until(lambda: len(starts(tmp_path)) == 3, "another was started")
        await it.until_ready(2)
        assert dead not in {await opened(it.manager), await opened(it.manager)}
        assert it.manager.starts.last_failed is False


async def test_one_that_gets_too_old_is_replaced(tmp_path: Path) -> None:
    async with pooled(child(folder=tmp_path), size=1, max_age_seconds=1.0) as it:
        await it.until_ready(1)
        (first,) = starts(tmp_path)

        await until(lambda: first not in alive(tmp_path), "the first was ended")
        await it.until_ready(1)

        assert await opened(it.manager) != first
        assert it.pool.report()["misses"] == 0


# ---- proofs


async def test_a_server_that_exits_on_the_proof_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "UNPROVED_SECONDS", 0.3)
    async with pooled(child(folder=tmp_path, exit_on_ping=True), size=2) as it:
        assert not it.pool.has_served
        await it.until_ready(2)

        assert not it.pool.report()["asks_for_proof"]
        assert it.manager.starts.last_failed is False
        assert await opened(it.manager) in starts(tmp_path)
        assert it.counts.snapshot() == {"pool.hit": 1}


async def test_a_server_that_was_broken_for_a_while_is_asked_again_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Children that exit unasked show that it was not the question."""
    monkeypatch.setattr(backoff, "LAST_SECONDS", 0.02)
    monkeypatch.setattr(plan, "LOOK_AGAIN_SECONDS", 0.05)
    (tmp_path / "broken").touch()
    async with pooled(child(folder=tmp_path), size=1) as it:
        await until(lambda: len(starts(tmp_path)) >= 7, "it was tried again and again")
        assert not it.pool.has_served
        assert it.manager.starts.last_failed is True
        assert it.manager.starts.circuit == "closed"  # a client may try, whatever the pool has found
        (tmp_path / "broken").unlink()

        await it.until_ready(1)

        assert it.manager.starts.last_failed is False


async def test_a_server_that_cannot_start_is_not_tried_in_a_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 25.0)
    (tmp_path / "broken").touch()
    async with pooled(child(folder=tmp_path), size=3) as it:
        await until(lambda: it.places.taken == 0 and len(starts(tmp_path)) == 1, "the first has failed")
        it.places.wake()
        await settled()

        assert len(starts(tmp_path)) == 1
        assert len(it.pool) == 0


async def test_a_server_that_says_nothing_is_given_up_after_the_time_that_a_start_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 25.0)
    async with pooled(child(folder=tmp_path, mute=True), size=1, start_timeout_seconds=0.3) as it:
        await until(lambda: len(starts(tmp_path)) == 1 and not alive(tmp_path), "the first was given up")

        assert it.manager.starts.last_failed is True
        assert not it.pool.has_served


async def test_one_that_serves_and_answers_no_ping_is_not_asked_again(tmp_path: Path) -> None:
    """Such a server breaks the rules, but it works."""
    async with pooled(child(folder=tmp_path, mute=True), size=1, start_timeout_seconds=1.0) as it:
        await opened(it.manager)

        await it.until_ready(1)

        assert not it.pool.report()["asks_for_proof"]
        assert it.manager.starts.last_failed is False
        await opened(it.manager)
        assert it.pool.report()["hits"] == 1


# ---- places


async def test_it_never_fills_beyond_the_places(tmp_path: Path) -> None:
    async with pooled(child(folder=tmp_path), size=5, max_children=2) as it:
        await it.until_ready(2)
        await settled()

        assert it.places.taken == 2
        assert len(starts(tmp_path)) == 2


async def test_a_child_of_the_pool_counts_once_when_it_is_handed_out(tmp_path: Path) -> None:
    async with pooled(child(folder=tmp_path), size=2, max_children=2) as it:
        await it.until_ready(2)

        pids = {await opened(it.manager), await opened(it.manager)}

        assert pids == set(alive(tmp_path))
        assert it.places.taken == it.manager.roster.session_count == 2
        assert not it.manager.admission.has_room


async def test_one_makes_room_at_once_for_a_session_of_another_server(tmp_path: Path) -> None:
    places = Places(max_children=2)
    async with (
        pooled(child(folder=tmp_path), size=2, places=places) as it,
        pooled(child(), size=0, places=places) as other,
    ):
        await it.until_ready(2)
        assert other.manager.admission.has_room

        with anyio.fail_after(8):  # less than a wait for a place may take
            await opened(other.manager)
            await opened(other.manager)

        await settled()
        assert it.counts.snapshot() == {"pool.evicted": 2}
        assert len(it.pool) == 0
        assert places.taken == 2


async def test_a_burst_beyond_the_places_evicts_no_more_than_it_needs(tmp_path: Path) -> None:
    places = Places(max_children=6)
    async with (
        pooled(child(folder=tmp_path), size=5, places=places) as it,
        pooled(child(), size=0, places=places) as other,
    ):
        await it.until_ready(5)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(opened, other.manager)

        assert it.counts.snapshot() == {"pool.evicted": 2}


async def test_a_client_gets_the_last_place_although_a_child_is_being_proved_on_it(tmp_path: Path) -> None:
    """Its own server's, so it is not ended to start the same again."""
    async with pooled(child(folder=tmp_path, slow=0.5), size=1, max_children=1) as it:
        await until(lambda: len(starts(tmp_path)) == 1, "it is being proved")

        assert await opened(it.manager) == starts(tmp_path)[0]
        assert it.counts.snapshot() == {"pool.hit_before_proof": 1}


async def test_a_full_pool_does_not_let_more_sessions_begin_than_there_may_be(tmp_path: Path) -> None:
    async with pooled(child(folder=tmp_path), size=2, max_sessions=1, place_timeout_seconds=0.2) as it:
        await it.until_ready(2)
        await opened(it.manager)

        with pytest.raises(TooManySessions):
            await it.manager.open()

        await it.until_ready(2)


async def test_a_place_that_somebody_waits_for_is_not_refilled(tmp_path: Path) -> None:
    async with pooled(child(folder=tmp_path), size=1, max_children=1) as it:
        await it.until_ready(1)

        with it.places.wish() as wish:
            assert wish.make_room()
            await until(lambda: it.places.free == 1, "there is room")
            await settled()
            assert len(starts(tmp_path)) == 1

        await it.until_ready(1)


# ---- the end


async def test_a_drain_ends_what_is_nobodys_and_starts_nothing_more(tmp_path: Path) -> None:
    async with pooled(child(folder=tmp_path, slow=0.2), size=4) as it:
        await it.until_ready(1)
        await opened(it.manager)

        it.pool.close("shutdown")
        it.places.wake()
        await settled()
        assert len(it.pool) == 0
        await it.manager.drain(1.0)

        assert it.places.taken == 0
        assert alive(tmp_path) == []
        assert not it.manager.closing.cut


async def test_one_that_is_taken_begins_its_life_then(tmp_path: Path) -> None:
    async with pooled(child(folder=tmp_path), size=1) as it:
        await it.until_ready(1)
        before = asyncio.get_running_loop().time()

        session = await it.manager.open()

        assert session.created_at >= before
        assert session.idle_seconds(session.created_at) == 0


async def test_a_fault_in_a_plan_costs_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pooled(child(folder=tmp_path), size=1) as it:
        await it.until_ready(1)
        faults = [RuntimeError("a bug")]

        def broken() -> Plan:
            monkeypatch.undo()
            raise faults.pop()

        monkeypatch.setattr(it.pool, "_plan", broken)
        await opened(it.manager)

        await it.until_ready(1)
        assert faults == []


async def test_one_that_is_dropped_in_the_moment_in_which_it_is_there_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody cancels a task that has what it waited for."""
    async with pooled(child(), size=1, max_children=1) as it:
        start = SessionsAhead.start

        async def started_and_dropped(kind: SessionsAhead) -> Session:
            session = await start(kind)
            monkeypatch.undo()
            it.pool.make_room()
            return session

        monkeypatch.setattr(SessionsAhead, "start", started_and_dropped)
        await until(lambda: it.counts.snapshot().get("pool.evicted") == 1, "it was dropped")
        await it.until_ready(1)  # there is room for one


async def test_a_kind_that_is_not_kept_is_not_missed() -> None:
    async with pooled(child(), size=1) as it:
        it.pool.missed("another kind")

        await it.until_ready(1)

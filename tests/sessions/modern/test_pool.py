"""Which processes serve clients without sessions: as few as can, and none that is left."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from proxy.errors import (
    CapabilityMissing,
    ChildExited,
    ChildRestarting,
    ChildStartFailed,
    Draining,
    ProxyError,
    SessionEnded,
    Stopped,
    TooManyCalls,
)
from proxy.sessions.modern import processes
from proxy.sessions.modern.call import Principal
from tests.sessions.modern.servings import ANN, STRANGER, answer_of, refusal_of, serving
from tests.support.mcp import PATIENCE_SECONDS, until
from tests.support.modern import PREFIX
from tests.support.parsed import a_call, a_request

pytestmark = pytest.mark.processes

Json = dict[str, Any]
BOB = Principal("bob", "bob")
ROOTS: Json = {"roots": {}}
TASKS: Json = {"extensions": {f"{PREFIX}tasks": {}}}


async def at_once(count: int, ask: Callable[[int], Awaitable[Any]]) -> list[Any]:
    """What so many get who ask at the same time: a result, or the error."""
    got: list[Any] = [None] * count

    async def one(nth: int) -> None:
        try:
            got[nth] = await ask(nth)
        except ProxyError as exc:
            got[nth] = exc

    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            for nth in range(count):
                tasks.start_soon(one, nth)
    return got


# ---- who shares


async def test_first_requests_that_come_together_share_one_start(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        pids = await at_once(50, lambda nth: served.tool(a_call(nth, "pid", capabilities=[{}, ROOTS][nth % 2])))

        assert {each["pid"] for each in pids} == set(served.started)
        assert len(served.started) == 1


async def test_a_server_that_shakes_hands_has_a_process_for_each_kind_of_client(tmp_path: Path) -> None:
    """D.3: it knows one client only, and that one's capabilities. The start that asked is used."""
    async with serving(tmp_path, "legacy-only") as served:
        kinds: list[Json] = [{}, ROOTS, {"sampling": {}}, {"sampling": {}, "roots": {}}, {"roots": {}, "sampling": {}}]
        seen = await at_once(20, lambda nth: served.tool(a_call(nth, "client", capabilities=kinds[nth % 5])))

        assert [each["capabilities"].keys() for each in seen] == [kinds[nth % 5].keys() for nth in range(20)]
        assert len(served.started) == 4


async def test_groups_share_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        ann, bob = await at_once(2, lambda nth: served.tool(a_call(1, "pid"), [ANN, BOB][nth]))

        assert ann["pid"] != bob["pid"]
        assert len(served.started) == 2


async def test_a_stranger_has_a_process_for_each_call_and_it_is_gone_afterwards(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        pids = await at_once(3, lambda nth: served.tool(a_call(1, "pid"), STRANGER))

        assert len({each["pid"] for each in pids}) == 3
        await served.until_only(0)


async def test_what_strangers_ask_of_all_the_same_is_answered_by_one_process(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for method in ("server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list"):
            assert "result" in await served.answer(a_request(1, method), STRANGER)

        assert len(served.started) == 1
        await served.until_only(1)


@pytest.mark.parametrize("modes", ["dual", "legacy-only"])
async def test_a_strangers_process_is_kept_while_a_question_of_it_is_open(tmp_path: Path, modes: str) -> None:
    capabilities: Json = {"elicitation": {}}
    async with serving(tmp_path, modes) as served:
        asked = (await served.answer(a_call(1, "ask-elicit", capabilities=capabilities), STRANGER))["result"]
        await served.until_only(1)
        (key,) = asked["inputRequests"]
        params = {"name": "ask-elicit", "arguments": {}, "requestState": asked["requestState"]}
        answers = {key: {"action": "accept", "content": {}}}
        a_retry = a_request(2, "tools/call", {**params, "inputResponses": answers}, capabilities=capabilities)
        done = await served.tool(a_retry, STRANGER)

        assert len(done["rounds"]) == 1
        assert len(served.started) == 1
        await served.until_only(0)


async def test_a_strangers_process_is_kept_while_its_client_may_ask_for_a_task(tmp_path: Path) -> None:
    async with serving(tmp_path, continuation_timeout_seconds=0.5) as served:
        task = (await served.answer(a_call(1, "task", capabilities=TASKS), STRANGER))["result"]
        params = {"taskId": task["taskId"]}

        assert (await served.answer(a_request(2, "tasks/get", params, capabilities=TASKS), STRANGER))["result"]
        with pytest.raises(CapabilityMissing):
            await served.answer(a_request(2, "tasks/get", params), STRANGER)
        await served.until_only(0)
        assert served.serving.report()["tasks"] == 0


# ---- starts that fail


async def test_a_start_that_fails_fails_for_all_who_wait_for_it(tmp_path: Path) -> None:
    argv = ("/bin/sh", "-c", f"echo $$ >> {tmp_path}/starts; echo broken >&2; exit 3")
    async with serving(tmp_path, argv=argv) as served:
        errors = await at_once(10, lambda nth: served.answer(a_call(nth)))

        assert [refusal_of(each) for each in errors] == [ChildStartFailed] * 10
        assert len(served.started) == 2  # one was asked, and one told
        assert all("broken" not in str(each) and "sh" not in str(each).split() for each in errors)
        await served.until_only(0)


async def test_a_program_that_does_not_exist_fails(tmp_path: Path) -> None:
    async with serving(tmp_path, argv=("/no/such/program",)) as served:
        for principal in (ANN, STRANGER):
            with pytest.raises(ChildStartFailed) as caught:
                await served.answer(a_call(), principal)
            assert "/no" not in str(caught.value)
        assert served.places.taken == 0


async def test_a_server_that_keeps_failing_is_left_alone_for_a_while(tmp_path: Path) -> None:
    argv = (sys.executable, "-I", "-S", "-c", "import sys; sys.exit(1)")
    async with serving(tmp_path, argv=argv, place_timeout_seconds=0.2) as served:
        kinds: list[type[ProxyError]] = []
        while ChildRestarting not in kinds:
            assert len(kinds) < 10
            with pytest.raises(ProxyError) as caught:
                await served.answer(a_call())
            kinds.append(type(caught.value))

        assert set(kinds) == {ChildStartFailed, ChildRestarting}
        assert served.counts.snapshot()["refused.restarting"] == 1


async def test_a_server_that_works_again_is_used_again(tmp_path: Path) -> None:
    flag = tmp_path / "works"
    program = Path(processes.__file__).parents[3] / "tests" / "programs" / "modern.py"
    argv = ("/bin/sh", "-c", f'test -e {flag} && exec {sys.executable} -I -S {program} "starts-file={tmp_path}/starts"')
    async with serving(tmp_path, argv=argv) as served:
        with pytest.raises(ChildStartFailed):
            await served.answer(a_call())
        flag.touch()

        assert await served.tool(a_call(1, "echo", n=1)) == {"echo": {"n": 1}}


# ---- ends


async def test_after_a_crash_the_next_call_has_a_new_process(tmp_path: Path) -> None:
    """SC-11, D.2 step 11: what was in flight fails at once and is not repeated."""
    counts = tmp_path / "counts"
    async with serving(tmp_path, f"counts-file={counts}") as served:
        held = await served.begin(a_call(1, "hold"))
        with pytest.raises(ChildExited):
            await served.answer(a_call(2, "exit"))
        with pytest.raises(ChildExited):
            await answer_of(held)

        assert await served.tool(a_call(3)) == {"echo": {}}
        assert [line.split("\t")[0] for line in counts.read_text().splitlines()] == ["hold", "exit", "echo"]
        assert len(served.started) == 2


async def test_a_crash_is_followed_by_a_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path) as served:
        for failures in range(1, 3):
            with pytest.raises(ChildExited):
                await served.answer(a_call(1, "exit", code=1))
            await served.until_only(0)
            assert served.pool._backoff.failures == failures


async def test_a_request_that_comes_the_moment_a_process_ends_gets_another(tmp_path: Path) -> None:
    """The process is known to be gone before the one who owns it has woken up."""
    async with serving(tmp_path) as served:
        child = await served.pool.shared("everybody", a_call())
        child.end("test", SessionEnded())
        call = served.new_call(a_call(1, "pid"))

        assert not served.serving.begin_at_once(call, {})
        assert served.pool.primary("everybody") is None
        pid = await served.tool(a_call(2, "pid"))
        assert pid["pid"] == served.started[-1]
        assert len(served.started) == 2


async def test_an_idle_process_ends_and_a_busy_one_does_not(tmp_path: Path) -> None:
    async with serving(tmp_path, idle_timeout_seconds=0.3) as served:
        await served.answer(a_call())
        await served.until_only(0)
        held = await served.begin(a_call(1, "sleep", seconds=1.0))
        assert (await answer_of(held))["result"]

        assert len(served.started) == 2


async def test_a_process_that_somebody_listens_to_is_not_idle(tmp_path: Path) -> None:
    params = {"notifications": {"toolsListChanged": True}}
    async with serving(tmp_path, idle_timeout_seconds=0.2) as served:
        listen = await served.begin(a_request(1, "subscriptions/listen", params))
        child = listen.child
        for _ in range(4):
            await anyio.sleep(0.2)  # as long as it might be idle
            assert not child.has_ended
        listen.abandon()
        await served.until_only(0)


async def test_a_fault_of_ours_in_a_look_at_one_thing_is_none_of_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, idle_timeout_seconds=0.3) as served:

        def fail(_: float) -> None:
            raise RuntimeError("injected")

        served.pool.checks.insert(0, fail)
        await served.answer(a_call())
        await served.until_only(0)

    assert "check failed" in caplog.text


# ---- room


async def test_without_room_a_request_waits_and_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, max_children=1, place_timeout_seconds=0.3) as served:
        held = await served.begin(a_call(1, "hold"))
        for principal in (BOB, STRANGER):
            with pytest.raises(TooManyCalls):
                await served.answer(a_call(), principal)

        assert len(served.started) == 1
        assert served.counts.snapshot()["refused.too_many_children"] == 2
        held.abandon()


async def test_one_that_waits_gets_the_place_that_becomes_free(tmp_path: Path) -> None:
    async with serving(tmp_path, max_children=1) as served:
        strangers = await at_once(4, lambda nth: served.tool(a_call(nth, "pid"), STRANGER))

        assert len({each["pid"] for each in strangers}) == 4
        await served.until_only(0)


async def test_an_idle_process_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "EVICTABLE_AFTER_SECONDS", 0.0)
    async with serving(tmp_path, max_children=2) as served:
        ann = await served.tool(a_call(1, "pid"))
        held = await served.begin(a_call(1, "hold"), BOB)
        stranger = await served.tool(a_call(1, "pid"), STRANGER)

        assert (ann["pid"], stranger["pid"]) == (served.started[0], served.started[2])
        assert not held.stream.has_ended
        assert served.counts.snapshot()["evicted.idle_child"] == 1
        held.abandon()


async def test_one_that_is_being_asked_something_makes_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first call with arguments waits for the listing of the tools; its process must not go meanwhile."""
    monkeypatch.setattr(processes, "EVICTABLE_AFTER_SECONDS", 0.0)
    async with serving(tmp_path, max_children=1, place_timeout_seconds=0.3) as served:
        child = await served.pool.shared("everybody", a_call())
        question = child.mux.begin(a_call(1, "hold"), _Nobody(), is_own=True)

        with pytest.raises(TooManyCalls):
            await served.answer(a_call(), BOB)
        child.mux.cancel(question, "test")
        assert await served.tool(a_call(1, "pid"), BOB) == {"pid": served.started[1]}


class _Nobody:
    def notified(self, line: bytes) -> None: ...
    def answered(self, response: Any) -> None: ...
    def failed(self, error: ProxyError) -> None: ...


# ---- places on one process


async def test_calls_over_the_limit_wait_for_their_turn(tmp_path: Path) -> None:
    async with serving(tmp_path, max_calls_per_child=2) as served:
        held = [await served.begin(a_call(nth, "hold", key=nth)) for nth in range(2)]
        waiting = served.new_call(a_call(9))
        assert not served.serving.begin_at_once(waiting, {})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(served.serving.begin, waiting, {})
            await anyio.wait_all_tasks_blocked()
            assert served.serving.calls_in_flight == 2
            held[0].abandon()
        assert "result" in await answer_of(waiting)
        held[1].abandon()
        assert served.serving.calls_in_flight == 0


async def test_calls_for_which_no_place_becomes_free_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, max_calls_per_child=1, place_timeout_seconds=0.2) as served:
        held = await served.begin(a_call(1, "hold"))
        with pytest.raises(TooManyCalls):
            await served.answer(a_call(2))
        held.abandon()

        assert "result" in await served.answer(a_call(3))


async def test_one_that_waits_for_a_place_on_a_process_that_ends_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path, max_calls_per_child=1) as served:
        held = await served.begin(a_call(1, "hold"))
        outcome: list[Any] = []

        async def wait() -> None:
            outcome.extend(await at_once(3, lambda nth: served.answer(a_call(nth))))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            held.child.end("test", ChildExited())

        assert [refusal_of(each) for each in outcome] == [ChildExited] * 3


async def test_one_that_gives_up_its_wait_gives_up_nothing_else(tmp_path: Path) -> None:
    async with serving(tmp_path, max_calls_per_child=1) as served:
        held = await served.begin(a_call(1, "hold"))
        for _ in range(5):
            with anyio.move_on_after(0.01) as given_up:
                await served.begin(a_call(2))
            assert given_up.cancelled_caught
        held.abandon()

        assert "result" in await served.answer(a_call(3))
        assert served.serving.calls_in_flight == 0


# ---- the end of all


async def test_while_the_last_calls_end_nothing_new_begins(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        held = await served.begin(a_call(1, "hold", key="a"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(served.serving.drain, 5.0)
            await anyio.wait_all_tasks_blocked()
            refused = await at_once(2, lambda nth: served.answer(a_call(), [ANN, STRANGER][nth]))
            assert [refusal_of(each) for each in refused] == [Draining] * 2
            held.abandon()

        assert served.pool.cut == 0
        await served.until_only(0)


async def test_what_does_not_end_in_time_is_cut_and_counted(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        held = await served.begin(a_call(1, "hold"))
        await served.serving.drain(0.1)

        with pytest.raises(Stopped):
            await answer_of(held)
        assert served.pool.cut == 1


async def test_a_start_that_is_going_on_ends_with_everything_else(tmp_path: Path) -> None:
    async with serving(tmp_path, "late-discover=30") as served:
        got: list[Any] = []

        async def ask() -> None:
            got.extend(await at_once(3, lambda nth: served.answer(a_call(), [ANN, BOB, STRANGER][nth])))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)

            async def are_there() -> bool:
                return len(served.alive) == 3

            await until(are_there, "three that start")
            await served.serving.drain(0.1)

        assert [refusal_of(each) for each in got] == [Draining] * 3


async def test_all_who_wait_for_a_start_may_leave(tmp_path: Path) -> None:
    """A start that nobody waits for goes on: the next one will need it."""
    async with serving(tmp_path) as served:
        for _ in range(3):
            with anyio.move_on_after(0.001):
                await served.pool.shared("everybody", a_call())
        await served.answer(a_call())

        assert len(served.started) == 1

"""`--isolation shared`: what happens to sessions when their process has become old, and none of them ends for it."""

import json
from pathlib import Path

import anyio
import pytest

from tests.e2e.serving import serving, serving_modern
from tests.support.mcp import Client, call, end_processes, health, open_session, request, until

FLAGS = ("--isolation", "shared")


async def counted(client: Client, name: str) -> int:
    return int((await health(client))["counts"].get(name, 0))


async def served_by(client: Client) -> int:
    """The process that serves a session, which may have been told something before its answer."""
    async with client.stream(call("pid?", "pid")) as events:
        is_stream = events.kind == "text/event-stream"
        answer = (await events.read_to_end())[-1] if is_stream else json.loads(await events.body())
    result = answer["result"]
    return int(result.get("structuredContent", result)["pid"])


async def until_one_child(client: Client) -> None:
    async def is_so() -> bool:
        return bool((await health(client))["children"] == 1)

    await until(is_so, "the old process is gone")


async def test_sessions_go_on_with_the_next_process_as_soon_as_they_are_at_rest() -> None:
    with serving(*FLAGS, "--child-max-calls", "30", modes=("watchable",)) as daemon:
        async with open_session(daemon.url) as one, anyio.create_task_group() as tasks:
            busy = await one.another()
            first = await served_by(busy)
            (held,) = await busy.hold(tasks, call(9, "hold", key="k"))
            await one.answer(request(1, "resources/subscribe", {"uri": "file:///a"}))
            await one.answer(request(2, "logging/setLevel", {"level": "error"}))

            async with one.listen() as events:
                for id_ in range(20, 50):
                    await one.result(id_, "echo")
                told = [await events.next() for _ in range(2)]

                async def has_moved() -> bool:
                    return await served_by(one) != first

                await until(has_moved, "the one at rest is served by the next process")
                assert told[-1]["params"] == {"uri": "file:///a"}
                assert await served_by(busy) == first  # it has a call there
                seen = b"\n".join(await one.seen())
                assert b'"resources/subscribe"' in seen and b'"error"' in seen

                await busy.result(60, "release", key="k")
                assert (await held.response()).json()["result"] == {"released": True}
                await until_one_child(one)
                assert await served_by(busy) == await served_by(one) != first
                assert await counted(one, "retired.worn_child") >= 1
    assert "not handled" not in daemon.log


@pytest.mark.parametrize("policy", ["end", "respawn", "exit"])
async def test_no_session_is_lost_for_an_age_whatever_follows_the_death_of_a_process(policy: str) -> None:
    with serving(*FLAGS, "--child-max-age", "0.5s", "--on-child-exit", policy) as daemon:
        async with open_session(daemon.url) as client:
            pids = {await served_by(client)}

            async def has_seen_three() -> bool:
                pids.add(await served_by(client))
                return len(pids) >= 3

            await until(has_seen_three, "it is served by one after the other")
            assert await counted(client, "retired.old_child") >= 2
            assert (await health(client))["servers"]["default"]["children"]["respawned"] == 0  # none was lost


async def test_a_process_whose_successor_does_not_start_goes_on_until_one_does(tmp_path: Path) -> None:
    modes = tmp_path / "modes"
    with serving(*FLAGS, "--child-max-calls", "1", "--on-child-exit", "exit", modes=(f"more={modes}",)) as daemon:
        async with open_session(daemon.url) as client:
            modes.write_text("exit=3\n")
            first = await served_by(client)

            async def has_tried() -> bool:
                return "never ready" in daemon.log

            await until(has_tried, "another one was tried")
            assert await served_by(client) == first
            modes.unlink()

            async def has_moved() -> bool:
                return await served_by(client) != first

            await until(has_moved, "it is served by the next process")
            assert (await client.http.get(f"{daemon.base_url}/readyz")).status_code == 200


async def test_a_process_that_can_not_be_replaced_goes_on() -> None:
    with serving(*FLAGS, "--child-max-calls", "1", "--max-children", "1") as daemon:
        async with open_session(daemon.url) as client:
            assert len({await served_by(client) for _ in range(5)}) == 1


async def test_sessions_on_a_process_of_the_other_era_go_on_with_the_next_one_too() -> None:
    flags = (*FLAGS, "--child-max-calls", "3", "--child-era", "modern")
    with serving_modern(*flags, modes=("modern-only",)) as daemon:
        async with open_session(daemon.url) as client:
            first = await served_by(client)

            async def has_moved() -> bool:
                return await served_by(client) != first

            await until(has_moved, "it is served by the next process")
            assert await counted(client, "retired.worn_child") >= 1


async def test_who_comes_when_a_process_dies_while_its_successor_starts_is_served_by_that(tmp_path: Path) -> None:
    modes = tmp_path / "modes"
    flags = (*FLAGS, "--child-max-calls", "1")
    with serving(*flags, modes=(f"more={modes}",)) as daemon:
        async with open_session(daemon.url) as client:
            modes.write_text("late=1\n")
            first = await served_by(client)

            async def starts() -> bool:
                return bool((await health(client))["children"] == 2)

            await until(starts, "another one is being started")
            end_processes(first)

            async def is_gone() -> bool:
                return bool((await health(client))["sessions"] == 0)

            await until(is_gone, "the old one is dead")
            later = await client.another()
            assert (await health(later))["children"] == 1  # no third one was needed
            assert await served_by(later) != first

"""What one server of a file does costs the others nothing: a crash at start, a flood of output, a reload."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio

from tests.e2e.serving import CHILD
from tests.support.daemon import Daemon, running_daemon
from tests.support.mcp import Client, Message, call, connected, health, hello, notification, until

GRACES = ("--stdin-grace", "0.3s", "--term-grace", "0.3s", "--commit-after", "60s")
NOISE = json.dumps(notification("notifications/progress", {"progressToken": "nobody", "progress": 1})) + "\n"
CALLS = 100
SESSIONS = 50
RELOADS = 3


def entry(*modes: str, **more: Any) -> dict[str, Any]:
    return {"command": CHILD[0], "args": [*CHILD[1:], *modes], **more}


def write(path: Path, **servers: Any) -> Path:
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


def url_of(daemon: Daemon, name: str) -> str:
    return f"{daemon.base_url}/servers/{name}/mcp"


async def counts(client: Client) -> dict[str, int]:
    shown: dict[str, int] = (await health(client))["counts"]
    return shown


async def test_a_server_that_crashes_and_one_that_floods_cost_a_third_nothing(tmp_path: Path) -> None:
    """Every call is answered, in its turn, while the flood goes on and the crashes do."""
    config = write(tmp_path / "c.json", well=entry(), crashing=entry("exit=3"), flooding=entry())
    with running_daemon(*GRACES, "--config", str(config)) as daemon:
        async with connected(url_of(daemon, "well")) as client, anyio.create_task_group() as tasks:
            well = await client.open()
            pid = await well.pid()
            flooding = await Client(client.http, url_of(daemon, "flooding")).open()
            crashing = Client(client.http, url_of(daemon, "crashing"))
            refused: list[int] = []
            floods: list[int] = []

            async def flood() -> None:
                for number in count():
                    answer = json.dumps({"jsonrpc": "2.0", "result": {}}).replace("}}", '},"id":$ID}\n')
                    body = call(number, "write", text=NOISE, times=20_000, last=answer)
                    assert (await flooding.post(body, seconds=60)).status_code == 200
                    floods.append(number)

            async def crash() -> None:
                while True:
                    refused.append((await crashing.post(hello(1))).status_code)
                    await anyio.sleep(0.05)

            tasks.start_soon(flood)
            tasks.start_soon(crash)
            answered = 0
            # At least so many, and until both have shown what they can.
            while answered < CALLS or len(floods) < 2 or len(refused) < 10:
                assert await well.result(answered, "echo", n=answered) == {"echo": {"n": answered}}
                answered += 1
            assert await well.pid() == pid
            assert (await counts(well))["dropped.progress_of_no_call"] >= 40_000
            assert set(refused) <= {502, 503}
            assert refused[:5] == [502] * 5  # each with its own cause, before the circuit opens
            tasks.cancel_scope.cancel()


async def test_no_server_takes_all_places_and_each_is_held_to_its_own(tmp_path: Path) -> None:
    servers = {"greedy": entry(), "small": entry(mcp_proxy={"max_children": 1}), "last": entry()}
    config = write(tmp_path / "c.json", **servers)
    with running_daemon(*GRACES, "--config", str(config), "--max-children", "6", "--place-timeout", "0.2s") as daemon:
        async with connected(url_of(daemon, "greedy")) as client:

            async def opened(name: str, wanted: int) -> list[int]:
                at = Client(client.http, url_of(daemon, name))
                return [(await at.post(hello(1))).status_code for _ in range(wanted)]

            assert await opened("small", 2) == [200, 503]
            assert await opened("greedy", 5) == [200] * 4 + [503]  # one place is kept for the last
            assert await opened("last", 1) == [200]
            shown = (await health(client))["servers"]
            assert {name: shown[name]["children"]["now"] for name in shown} == {"small": 1, "greedy": 4, "last": 1}
            assert shown["small"]["children"]["limit"] == 1


@asynccontextmanager
async def sessions(url: str) -> AsyncIterator[list[Client]]:
    """Fifty of them, each with its child."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(connected(url))
        clients = [Client(first.http, url) for _ in range(SESSIONS)]
        async with anyio.create_task_group() as tasks:
            for client in clients:
                tasks.start_soon(client.open)
        yield clients


async def test_a_reload_loses_no_call_of_a_server_that_stays_as_it_is(tmp_path: Path) -> None:
    """Fifty sessions talk to it all the while; others are added, changed and removed."""
    config = write(tmp_path / "c.json", same=entry(), changed=entry(env={"V": "0"}), removed=entry())
    with running_daemon(*GRACES, "--config", str(config), "--drain-timeout", "5s") as daemon:
        async with sessions(url_of(daemon, "same")) as clients, connected(daemon.base_url + "/mcp") as watcher:
            pids = [await client.pid() for client in clients]
            answered = [0] * SESSIONS
            is_over = False

            async def talk(number: int) -> None:
                while not is_over:
                    # Slowly, so that there is nearly always one in flight, and the client has time for all of them.
                    assert await clients[number].result(answered[number], "sleep", seconds=0.3) == {"slept": True}
                    answered[number] += 1

            async def reload(number: int) -> None:
                config = tmp_path / "c.json"
                others: dict[str, Message] = {f"added{number}": entry()}
                write(config, same=entry(), changed=entry(env={"V": str(number)}), **others)
                daemon.signal(signal.SIGHUP)

                async def is_read() -> bool:
                    return set((await health(watcher))["servers"]) == {"same", "changed", *others}

                await until(is_read, "the file is read again")
                changed = await Client(watcher.http, url_of(daemon, "changed")).open()
                assert (await changed.result(1, "env"))["env"]["V"] == str(number)

            async with anyio.create_task_group() as tasks:
                for number in range(SESSIONS):
                    tasks.start_soon(talk, number)
                for number in range(1, RELOADS + 1):
                    before = list(answered)
                    await reload(number)

                    async def have_all_gone_on(before: list[int] = before) -> bool:
                        return all(now > then for now, then in zip(answered, before, strict=True))

                    await until(have_all_gone_on, "everybody was answered since")
                is_over = True

            assert [await client.pid() for client in clients] == pids
    assert daemon.returncode == 0

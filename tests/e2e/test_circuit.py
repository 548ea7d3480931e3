"""A server that can't start is left alone for a while, and says so; the others do not notice."""

import json
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.serving import CHILD, MODERN_PROGRAM
from tests.support.daemon import running_daemon
from tests.support.mcp import Client, connected, error_of, health, hello, open_session, until
from tests.support.modern import modern_client, tool


def config(path: Path, modes: Path) -> str:
    """Two servers; the modes of one are in a file."""
    broken = {"command": CHILD[0], "args": [*CHILD[1:], f"more={modes}"]}
    servers = {"broken": broken, "well": {"command": CHILD[0], "args": list(CHILD[1:])}}
    path.write_text(json.dumps({"mcpServers": servers}))
    return str(path)


async def readiness(client: Client) -> tuple[int, str]:
    response = await client.http.get(httpx.URL(client.url).join("/readyz"))
    return response.status_code, response.text


async def starts(client: Client, name: str) -> dict[str, Any]:
    shown: dict[str, Any] = (await health(client))["servers"][name]["starts"]
    return shown


async def until_open(client: Client, name: str) -> None:
    async def is_open() -> bool:
        shown = await starts(client, name)
        return shown["circuit"] in ("open", "half-open")

    await until(is_open, "the circuit is open")


async def test_after_several_failed_starts_new_sessions_are_refused_until_one_succeeds(tmp_path: Path) -> None:
    modes = tmp_path / "modes"
    modes.write_text("exit=3")
    with running_daemon("--config", config(tmp_path / "c.json", modes), "--stdin-grace", "0.3s") as daemon:
        url = daemon.base_url + "/servers/broken/mcp"
        async with connected(url) as client, open_session(daemon.base_url + "/servers/well/mcp") as other:
            for _ in range(5):
                response = await client.post(hello(1))
                assert error_of(response) == (502, -32603, 1)
                assert "code 3" in response.text  # of its own cause
            await until_open(client, "broken")

            refused = await client.post(hello(1))

            assert error_of(refused) == (503, -32603, 1)
            assert int(refused.headers["retry-after"]) >= 1
            assert "failed to start" in refused.text
            assert (await starts(client, "well"))["circuit"] == "closed"
            assert await other.result(1, "echo", a=1) == {"echo": {"a": 1}}
            status, why = await readiness(client)
            assert status == 503 and "broken" in why

            modes.write_text("")

            async def is_ready() -> bool:  # no client has to try it
                return (await readiness(client))[0] == 200

            await until(is_ready, "the server is found to be well")
            assert (await starts(client, "broken"))["circuit"] == "closed"
            assert await (await client.another()).result(1, "echo", a=1) == {"echo": {"a": 1}}
            assert (await health(client))["counts"]["trial.succeeded"] == 1


async def test_the_circuit_is_one_for_clients_with_and_without_sessions(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    broken = {"command": CHILD[0], "args": ["-I", "-S", MODERN_PROGRAM, "modern-only", "exit-on-discover=3"]}
    path.write_text(json.dumps({"mcpServers": {"broken": {**broken, "mcp_proxy": {"child_era": "modern"}}}}))
    with running_daemon("--config", str(path), "--max-failed-starts", "2") as daemon:
        async with modern_client(daemon.url) as modern, connected(daemon.url) as client:
            for _ in range(2):
                assert (await modern.post(tool(1, "pid"))).status_code == 502
            await until_open(client, "broken")

            refused = [await modern.post(tool(1, "pid")), await client.post(hello(1))]

            assert [response.status_code for response in refused] == [503, 503]
            assert (await starts(client, "broken"))["failed_in_a_row"] >= 2
            assert (await health(client))["counts"]["refused.circuit_open"] == 2


async def test_clients_that_make_their_own_children_exit_do_not_keep_others_away() -> None:
    """By what they say in `initialize`, while nobody else has a session: a start of ours shows whose fault it is."""
    with running_daemon("--stdin-grace", "0.3s", "--", *CHILD) as daemon:
        async with connected(daemon.url) as client:
            for _ in range(8):
                assert (await client.post(hello(1, exit_on_initialize="3"))).status_code == 502

            assert await (await client.another()).result(1, "echo", a=1) == {"echo": {"a": 1}}
            assert (await readiness(client))[0] == 200

            async def is_alone() -> bool:  # what was started to find that out is gone
                shown = await health(client)
                return (shown["children"], shown["sessions"]) == (1, 1)

            await until(is_alone, "no child is left of a trial")
            assert (await health(client))["counts"]["trial.succeeded"] >= 1
            assert "refused.circuit_open" not in (await health(client))["counts"]


async def test_a_trial_that_goes_on_at_sigterm_is_no_call_that_was_cut_off(tmp_path: Path) -> None:
    """Nobody waits for it."""
    flag = tmp_path / "tried"
    script = f"read line; [ -e {flag} ] && read line; touch {flag}; exit 3"  # the second one answers nothing
    with running_daemon("--stdin-grace", "0.3s", "--", "sh", "-c", script) as daemon:
        async with connected(daemon.url) as client:
            assert error_of(await client.post(hello(1))) == (502, -32603, 1)

            async def is_tried() -> bool:
                return bool((await health(client))["children"] == 1)

            await until(is_tried, "the trial goes on")
        daemon.signal()
        daemon.wait()

    assert daemon.returncode == 0, daemon.log
    assert "cut off" not in daemon.log

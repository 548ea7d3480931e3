"""Several servers in one process: where each is, what one does to the others, and what a reload does to all."""

import json
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.e2e.serving import CHILD
from tests.support.daemon import Daemon, running_daemon
from tests.support.mcp import call, connected, error_of, health, open_session, request, until
from tests.support.modern import modern_client

GRACES = ("--stdin-grace", "0.3s", "--term-grace", "0.3s")


def entry(*modes: str, **more: Any) -> dict[str, Any]:
    return {"command": CHILD[0], "args": [*CHILD[1:], *modes], **more}


def write(path: Path, **servers: Any) -> Path:
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


def url_of(daemon: Daemon, name: str) -> str:
    return f"{daemon.base_url}/servers/{name}/mcp"


async def env_of(url: str, name: str) -> str | None:
    async with open_session(url) as client:
        env: dict[str, str] = (await client.result(1, "env"))["env"]
        return env.get(name)


async def daemon_says(daemon: Daemon, text: str) -> None:
    async def is_said() -> bool:
        return text in daemon.log

    await until(is_said, f"the log says {text!r}")


async def test_each_server_is_at_its_own_path_with_its_own_environment(tmp_path: Path) -> None:
    odd = {"my notes/é": entry(env={"WHO": "odd"})}
    config = write(tmp_path / "c.json", one=entry(env={"WHO": "one"}), two=entry(env={"WHO": "two"}), **odd)
    with running_daemon(*GRACES, "--config", str(config), "--default-server", "two") as daemon:
        assert await env_of(url_of(daemon, "one"), "WHO") == "one"
        assert await env_of(url_of(daemon, "two"), "WHO") == "two"
        assert await env_of(daemon.base_url + "/mcp", "WHO") == "two"
        assert await env_of(daemon.base_url + "/mcp/one", "WHO") == "one"
        assert await env_of(url_of(daemon, "my%20notes/%C3%A9"), "WHO") == "odd"
        async with connected(url_of(daemon, "one")) as client:
            listing = (await client.http.get(daemon.base_url + "/servers/")).json()
            assert (await client.http.get(daemon.base_url + "/servers")).json() == listing
            listed = [(each["name"], each["default"]) for each in listing["servers"]]
            assert listed == [("one", False), ("two", True), ("my notes/é", False)]
            assert set((await health(client))["servers"]) == {"one", "two", "my notes/é"}
            assert (await client.http.post(daemon.base_url + "/servers/three/mcp")).status_code == 404


async def test_a_session_of_one_server_is_unknown_to_another(tmp_path: Path) -> None:
    config = write(tmp_path / "c.json", one=entry(), two=entry())
    with running_daemon(*GRACES, "--config", str(config)) as daemon:
        async with open_session(url_of(daemon, "one")) as client:
            client.url = url_of(daemon, "two")
            assert error_of(await client.post(request(1, "ping")))[0] == 404


async def test_a_server_that_can_not_start_costs_the_others_nothing(tmp_path: Path) -> None:
    config = write(tmp_path / "c.json", good=entry(), dying=entry("exit=3"), missing={"command": "no-such-program"})
    with running_daemon(*GRACES, "--config", str(config)) as daemon:
        async with connected(url_of(daemon, "dying")) as client:
            assert error_of(await client.post(_hello()))[:2] == (502, -32603)
            client.url = url_of(daemon, "missing")
            assert error_of(await client.post(_hello()))[:2] == (502, -32603)
            states = {name: each["state"] for name, each in (await health(client))["servers"].items()}
            assert states["dying"] == states["missing"] == "last start failed"
        async with open_session(url_of(daemon, "good")) as client:
            assert await client.result(1, "echo", x=1) == {"echo": {"x": 1}}
        assert "no-such-program" in daemon.log
        for what, name in (("child started", "good"), ("child exited", "dying")):
            assert any(f"{what} pid=" in line and f"server={name}" in line for line in daemon.stderr_lines)


def test_when_none_can_start_the_exit_code_is_1(tmp_path: Path) -> None:
    config = write(tmp_path / "c.json", a={"command": "no-such-program"}, b={"command": "nor-this"})
    with pytest.raises(AssertionError, match="does not serve"):
        with running_daemon("--config", str(config)):
            pass


@pytest.mark.parametrize("by", ["signal", "watch"])
async def test_a_reload_adds_changes_and_removes_and_leaves_the_unchanged_alone(tmp_path: Path, by: str) -> None:
    config = tmp_path / "c.json"
    write(config, same=entry(), changed=entry(env={"V": "1"}), removed=entry())
    flags = ("--drain-timeout", "3s", *(("--watch",) if by == "watch" else ()))
    with running_daemon(*GRACES, "--config", str(config), *flags) as daemon:
        async with (
            open_session(url_of(daemon, "same")) as same,
            open_session(url_of(daemon, "changed")) as changed,
            open_session(url_of(daemon, "removed")) as removed,
            anyio.create_task_group() as tasks,
        ):
            pid = await same.pid()
            (held,) = await same.hold(tasks, call("h", "hold"))
            (open_call,) = await changed.hold(tasks, call("h", "hold"))
            missing = {"command": "no-such-program"}
            servers = {"same": entry(), "changed": entry(env={"V": "2"}), "added": entry(), "missing": missing}
            config.write_text(json.dumps({"port": 1, "log_level": "debug", "mcpServers": servers}))
            if by == "signal":
                daemon.signal(signal.SIGHUP)

            async def is_read() -> bool:
                return set((await health(same))["servers"]) == servers.keys()

            await until(is_read, "the file is read again")
            await daemon_says(daemon, "there is no program 'no-such-program'")
            assert "not taken over before a restart: log_level" in daemon.log  # the port is that of a flag
            assert await same.pid() == pid
            assert await env_of(url_of(daemon, "changed"), "V") == "2"
            assert await env_of(url_of(daemon, "added"), "V") is None
            assert (await removed.post(request(1, "ping"))).status_code == 404
            await same.answer(call("r", "release"))
            assert (await held.response()).json()["result"] == {"released": True}
            failed = await open_call.response()  # its drain had its time
            assert error_of(failed) == (500, -32603, "h") and "retry-after" not in failed.headers
            assert "may have been carried out" in failed.text
    assert "its configuration has changed" in daemon.log and "its server was removed" in daemon.log


async def test_sigterm_waits_for_the_open_calls_of_a_server_that_was_taken_away(tmp_path: Path) -> None:
    config = write(tmp_path / "c.json", stays=entry(), goes=entry())
    with running_daemon(*GRACES, "--config", str(config)) as daemon:
        async with open_session(url_of(daemon, "goes")) as goes, anyio.create_task_group() as tasks:
            open_call = goes.begin(tasks, call(1, "sleep", seconds=2.0))

            async def is_open() -> bool:
                return bool((await health(goes))["calls_in_flight"])

            await until(is_open, "the call is open")
            write(config, stays=entry())
            daemon.signal(signal.SIGHUP)

            async def is_read() -> bool:
                return set((await health(goes))["servers"]) == {"stays"}

            await until(is_read, "the file is read again")
            daemon.signal(signal.SIGTERM)
            assert (await open_call.response()).json()["result"] == {"slept": True}
        assert daemon.wait() == 0


async def test_a_file_that_can_not_be_used_leaves_everything_as_it_is(tmp_path: Path) -> None:
    config = write(tmp_path / "c.json", one=entry())
    with running_daemon(*GRACES, "--config", str(config)) as daemon:
        async with open_session(url_of(daemon, "one")) as client:
            config.write_text('{"mcpServers": {"one": ')
            daemon.signal(signal.SIGHUP)
            await daemon_says(daemon, "config file not taken over")
            assert await client.result(1, "echo", x=1) == {"echo": {"x": 1}}


async def test_named_servers_need_no_file() -> None:
    command = " ".join(CHILD)
    with running_daemon(*GRACES, "--named-server", "a", command, "--named-server", "b", command) as daemon:
        async with open_session(url_of(daemon, "a")) as client:
            assert await client.result(1, "echo", x=1) == {"echo": {"x": 1}}
        async with modern_client(url_of(daemon, "b")) as modern:
            assert (await modern.http.get(daemon.base_url + "/servers")).status_code == 200


def _hello() -> dict[str, Any]:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    return request(1, "initialize", params)

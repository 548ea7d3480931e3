"""What becomes of a session whose child does not start?"""

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from tests.e2e.serving import CHILD, serving
from tests.faults.outcomes import INTERNAL_ERROR, QUICK_SECONDS
from tests.faults.unharmed import nothing_left, unharmed
from tests.support.daemon import Daemon, running_daemon
from tests.support.mcp import (
    Client,
    children_of,
    connected,
    error_of,
    hello,
    kind_of,
    notification,
    open_session,
    request,
    until,
    until_counts,
)

PING = request(7, "ping")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving("--start-timeout", "3s", "--commit-after", "0.1s", modes=("stderr=the password is swordfish",)) as it:
        yield it


async def test_a_child_that_dies_during_initialize_is_502_at_once(daemon: Daemon) -> None:
    """Design part 3: its stderr is for the log only."""
    async with unharmed(daemon), connected(daemon.url) as client:
        with anyio.fail_after(QUICK_SECONDS):
            response = await client.post(hello("x", exit_on_initialize="3"))

        assert error_of(response) == (502, INTERNAL_ERROR, "x")
        assert "swordfish" not in response.text and "code 3" in response.text
        assert "mcp-session-id" not in response.headers
        assert "swordfish" in daemon.log
        assert (await client.http.get(daemon.base_url + "/readyz")).status_code == 503
        assert (await client.http.get(daemon.base_url + "/health")).status_code == 200


async def test_a_child_that_never_answers_initialize_is_504(daemon: Daemon) -> None:
    """--start-timeout. Its grandchildren go with it: one in its group, one outside."""
    async with unharmed(daemon), connected(daemon.url) as client, anyio.create_task_group() as tasks:
        others = children_of(daemon.pid)
        later = client.begin(tasks, hello("x", mute="", grandchild="", stray=""))
        await until_counts(client, sessions=2, children=2)

        async def has_forked() -> bool:
            (pid,) = set(children_of(daemon.pid)) - set(others)
            return len(children_of(pid)) == 2

        await until(has_forked, "the grandchildren")

        assert error_of(await later.response()) == (504, INTERNAL_ERROR, "x")


async def test_a_child_that_answers_initialize_late_is_waited_for(daemon: Daemon) -> None:
    """No timer begins that response: its status must be able to say that the child did not start."""
    async with unharmed(daemon), connected(daemon.url) as client:
        response = await client.post(hello("x", late="0.5"))

        assert (response.status_code, kind_of(response)) == (200, "application/json")
        client.session_id = response.headers["mcp-session-id"]
        assert (await client.delete()).status_code == 200


async def test_an_error_in_answer_to_initialize_is_passed_on_and_ends_the_child(daemon: Daemon) -> None:
    """D.1 step 1: as it came, no session."""
    async with unharmed(daemon), connected(daemon.url) as client:
        response = await client.post(hello("x", initialize_error=""))

        assert response.status_code == 200
        assert response.json() == {"jsonrpc": "2.0", "id": "x", "error": {"code": -32000, "message": "not today"}}
        assert "mcp-session-id" not in response.headers


async def test_initialize_cannot_be_cancelled(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/utilities/cancellation: MUST NOT. Nobody has a session to do it in."""
    async with unharmed(daemon), connected(daemon.url) as client, anyio.create_task_group() as tasks:
        later = client.begin(tasks, hello("x", late="0.5"))
        await until_counts(client, sessions=2, children=2)
        cancel = notification("notifications/cancelled", {"requestId": "x"})
        assert error_of(await client.post(cancel))[0] == 400

        response = await later.response()
        assert response.json()["id"] == "x" and "result" in response.json()
        client.session_id = response.headers["mcp-session-id"]
        assert (await client.post(cancel)).status_code == 202  # finished: ignored
        assert not any(b"cancelled" in line for line in await client.seen())
        assert (await client.delete()).status_code == 200


async def test_a_revision_nobody_knows_is_the_clients_business(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/lifecycle: a client that can't live with the answer disconnects."""
    async with unharmed(daemon), connected(daemon.url) as client:
        response = await client.post(hello("x", agree="2099-01-01"))

        assert response.json()["result"]["protocolVersion"] == "2099-01-01"
        client.session_id = response.headers["mcp-session-id"]
        assert (await client.answer(PING))["result"] == {}
        assert (await client.delete()).status_code == 200


# ---- servers that never start


async def test_a_program_that_cannot_be_executed_is_502(tmp_path: Path) -> None:
    """Design part 3: at once, and no word of where it is."""
    program = tmp_path / "broken-server"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    with running_daemon("--", str(program)) as daemon:
        async with nothing_left(daemon), connected(daemon.url) as client:
            with anyio.fail_after(QUICK_SECONDS):
                response = await client.post(hello("x"))

            assert error_of(response) == (502, INTERNAL_ERROR, "x")
            assert str(tmp_path) not in response.text and "broken-server" not in response.text
            assert "mcp-session-id" not in response.headers
            assert (await client.http.get(daemon.base_url + "/readyz")).status_code == 503


async def test_a_child_that_exits_at_once_is_502() -> None:
    """Before it has read anything."""
    with serving(modes=("stderr=no such option", "exit=3")) as daemon:
        async with nothing_left(daemon), connected(daemon.url) as client:
            with anyio.fail_after(QUICK_SECONDS):
                response = await client.post(hello("x"))

            assert error_of(response) == (502, INTERNAL_ERROR, "x")
            assert "code 3" in response.text and "no such option" in daemon.log


async def test_a_failed_start_costs_a_running_session_nothing(tmp_path: Path) -> None:
    """A command that works once."""
    script = tmp_path / "once"
    script.write_text('#!/bin/sh\nmkdir "$1" 2>/dev/null || exit 9\nshift\nexec "$@"\n')
    script.chmod(0o755)
    with running_daemon("--", str(script), str(tmp_path / "mark"), *CHILD) as daemon:
        async with nothing_left(daemon), open_session(daemon.url) as client:
            refused = await Client(client.http, client.url).post(hello("x"))

            assert error_of(refused) == (502, INTERNAL_ERROR, "x")
            assert (await client.answer(PING))["result"] == {}
            await until_counts(client, sessions=1, children=1)
            assert (await client.delete()).status_code == 200

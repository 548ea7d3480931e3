"""What becomes of calls in flight, and of every process, when the daemon ends or is ended?"""

import os
import signal

import anyio
import anyio.to_thread

from tests.e2e.serving import serving
from tests.faults.family import fork_family, guardian_of
from tests.faults.outcomes import INTERNAL_ERROR
from tests.faults.raw import head, post, raw_connection
from tests.support.daemon import Daemon
from tests.support.mcp import call, error_of, health, hello, open_session, until, until_gone

GUARDIAN_SECONDS = 5.0


async def ended(daemon: Daemon) -> int:
    """Its exit code; the loop goes on while it ends."""
    return await anyio.to_thread.run_sync(daemon.wait, 15.0)


async def test_sigkill_with_calls_in_flight_leaves_no_process_and_no_client_waiting() -> None:
    """Design part 5: the guardian ends what is registered and what carries the marker within 5 s, then itself."""
    with serving() as daemon:
        async with open_session(daemon.url) as client:
            other = await client.another()
            pids = [await client.pid(), await other.pid()]
            pids += [*await fork_family(client, pids[0]), *await fork_family(other, pids[1]), guardian_of(daemon.pid)]
            async with (
                raw_connection(daemon) as held,
                raw_connection(daemon) as streaming,
                raw_connection(daemon) as listening,
                raw_connection(daemon) as starting,
                raw_connection(daemon) as uploading,
            ):
                await held.send(post(client, call(1, "hold")))
                await streaming.send(post(client, call(2, "ask", id="q", method="roots/list")))
                await streaming.read_until(b"roots/list")
                await listening.send(head("GET", client, "Accept: text/event-stream"))
                await listening.read_until(b"retry: ")
                client.session_id = None
                await starting.send(post(client, hello(3, mute="", stray="")))
                await uploading.send(head("POST", other, "Content-Type: application/json", "Content-Length: 1000000"))

                async def are_in_flight() -> bool:
                    return bool((await health(client))["calls_in_flight"] == 3)

                await until(are_in_flight, "all calls at their children")
                daemon.signal(signal.SIGKILL)

                with anyio.fail_after(GUARDIAN_SECONDS):
                    await until_gone(*pids)
                for connection in (held, streaming, listening, starting, uploading):
                    assert not (await connection.read_to_end()).endswith(b"\r\n0\r\n\r\n")  # cut, not complete
        assert await ended(daemon) == -signal.SIGKILL


async def test_sigterm_with_calls_in_flight_lets_them_finish_and_leaves_no_process() -> None:
    """Design part 2: exit 1, for those who were deaf to SIGTERM had to be killed."""
    with serving() as daemon:
        async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
            pid = await client.pid()
            pids = [pid, *await fork_family(client, pid), guardian_of(daemon.pid)]
            async with client.stream(call(2, "ask", id="q", method="roots/list")) as events:
                ask = await events.next()
                (held,) = await client.hold(tasks, call(1, "hold"))
                daemon.signal(signal.SIGTERM)

                async def is_refused() -> bool:
                    return bool((await client.post(call(3, "echo"))).status_code == 503)

                await until(is_refused, "new calls are refused")
                assert not held.has_arrived
                assert (await client.post({"jsonrpc": "2.0", "id": ask["id"], "result": {}})).status_code == 202
                assert [answer["id"] for answer in await events.read_to_end()] == [2]
            os.kill(pid, signal.SIGKILL)  # the only way left to end the other

            assert error_of(await held.response()) == (500, INTERNAL_ERROR, 1)
            assert await ended(daemon) == 1
            await until_gone(*pids)
        assert "Traceback" not in daemon.log


async def test_a_child_that_dies_while_the_daemon_drains_fails_its_calls_and_not_the_drain() -> None:
    """Exit 0: it was not us who cut them off."""
    with serving() as daemon:
        async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
            other = await client.another()
            pids = [await client.pid(), await other.pid()]
            (held,) = await client.hold(tasks, call(1, "hold"))
            (others,) = await other.hold(tasks, call(1, "hold"))
            await client.result(2, "close-stdout")
            daemon.signal(signal.SIGTERM)

            assert error_of(await held.response()) == (500, INTERNAL_ERROR, 1)
            assert not others.has_arrived
            os.kill(pids[1], signal.SIGKILL)
            assert error_of(await others.response()) == (500, INTERNAL_ERROR, 1)
            assert await ended(daemon) == 0
            await until_gone(*pids)
        assert "Traceback" not in daemon.log

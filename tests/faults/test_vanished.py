"""What becomes of the sessions of clients whose machine is gone: no FIN, no RST, nothing?"""

import sys
from contextlib import AsyncExitStack

import pytest

from tests.e2e.serving import serving
from tests.faults.raw import head, post, raw_connection
from tests.faults.unharmed import unharmed
from tests.support.mcp import call, health, open_session, until

SAID = '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}\n'
DEAD_PEER_SECONDS = 16


@pytest.mark.skipif(sys.platform != "linux", reason="socket filters and TCP_USER_TIMEOUT are Linux's")
async def test_clients_that_are_cut_off_are_noticed_and_their_sessions_end() -> None:
    """Design part 4, presence: on GET, on a call that streams, and on one of which nothing was said before. Then the
    idle clock runs; the calls are ended with their sessions."""
    times = ("--slow-reader-timeout", "1s", "--dead-peer-timeout", f"{DEAD_PEER_SECONDS}s", "--idle-timeout", "1s")
    with serving(*times, "--ping-interval", "1s", "--commit-after", "2s") as daemon:
        async with unharmed(daemon), AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(open_session(daemon.url)) for _ in range(3)]
            listening, streaming, waiting = [await stack.enter_async_context(raw_connection(daemon)) for _ in clients]
            await listening.send(head("GET", clients[0], "Accept: text/event-stream"))
            await listening.read_until(b"retry: ")
            await streaming.send(post(clients[1], call(1, "hold", token="t", say=SAID)))
            await streaming.read_until(b'"progress":1')
            await waiting.send(post(clients[2], call(1, "hold")))

            async def are_in_flight() -> bool:
                return bool((await health(clients[0]))["calls_in_flight"] == 3)

            await until(are_in_flight, "all calls at their children")
            for connection in (listening, streaming, waiting):
                connection.cut_off()

            async def are_gone() -> bool:
                shown = await health(clients[0])
                return (shown["sessions"], shown["calls_in_flight"]) == (1, 1)

            await until(are_gone, "only the neighbour is left", seconds=4 * DEAD_PEER_SECONDS)
            assert (await health(clients[0]))["counts"]["expired.idle_session"] == 3

"""A client on a train: what it missed is there when it comes back, and it is not left coming back for ever.

Spec: 2025-11-25 basic/transports, Resumability and Redelivery; Sending Messages 6.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.e2e.serving import serving
from tests.support.mcp import Client, open_session

NODE = Path(__file__).parent.parent / "interop" / "node"
AT_ONCE = ("--commit-after", "0.01s")


def call(request_id: Any, tool: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": request_id}}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


async def resumed(client: Client, last_event_id: str) -> list[dict[str, Any]]:
    """What a client that comes back is told, to the end of the response."""
    async with client.listen({"last-event-id": last_event_id}) as events:
        assert events.response.status_code == 200
        return await events.read_to_end()


async def test_a_stream_is_primed_for_clients_that_know_it_and_for_no_others() -> None:
    """HL-11: older parsers choke on empty data."""
    with serving(*AT_ONCE) as daemon:
        async with open_session(daemon.url) as client, client.stream(call(1, "sleep", seconds=0.1)) as events:
            assert re.fullmatch(rb"id: \d+-0\r\nretry: 1000\r\ndata: ", await events.primed())
            assert len(await events.read_to_end()) == 1
        async with (
            open_session(daemon.url, version="2025-06-18") as client,
            client.stream(call(1, "sleep", seconds=0.1)) as events,
        ):
            first = await events._event()
            assert first.startswith(b"id: ") and b"event: message" in first


async def test_an_answer_that_came_while_the_client_was_away_waits_for_it() -> None:
    """HL-14: the disconnect is no cancellation."""
    with serving(*AT_ONCE) as daemon:
        async with open_session(daemon.url) as client:
            async with client.stream(call(1, "sleep", seconds=0.3)) as events:
                await events.primed()

            (answer,) = await resumed(client, events.last_id)

            assert (answer["id"], "result" in answer) == (1, True)


async def test_progress_that_was_missed_comes_in_order_and_before_the_answer() -> None:
    with serving(*AT_ONCE) as daemon:
        async with open_session(daemon.url) as client:
            async with client.stream(call(1, "progress", count=50)) as events:
                first = await events.next()

            rest = await resumed(client, events.last_id)

            seen = [first, *rest]
            assert [m["params"]["progress"] for m in seen[:-1]] == sorted(m["params"]["progress"] for m in seen[:-1])
            assert len(seen) == 51
            assert seen[-1]["id"] == 1


async def test_when_all_was_delivered_there_is_nothing_more_to_come_back_for() -> None:
    with serving(*AT_ONCE) as daemon:
        async with open_session(daemon.url) as client:
            async with client.stream(call(1, "progress", count=2)) as events:
                await events.read_to_end()

            async with client.listen({"last-event-id": events.last_id}) as again:
                assert again.response.status_code == 204


async def test_an_event_of_nobody_opens_an_ordinary_stream() -> None:
    with serving() as daemon:
        async with open_session(daemon.url) as client:
            for unknown in ("99-1", "x", "1-99999"):
                async with client.listen({"last-event-id": unknown}) as events:
                    assert events.response.status_code == 200
                    await events.primed()


async def test_an_answer_that_is_kept_no_more_is_an_error_with_its_id() -> None:
    with serving(*AT_ONCE, "--replay-events", "3") as daemon:
        async with open_session(daemon.url) as client:
            async with client.stream(call("lost", "sleep", seconds=0.2)) as events:
                await events.primed()
            with anyio.fail_after(10):
                async with client.stream(call(2, "sleep", seconds=0.4)) as other:
                    await other.read_to_end()
            async with client.stream(call(3, "progress", count=20)) as other:
                await other.read_to_end()

            (failure,) = await resumed(client, events.last_id)

            assert (failure["id"], failure["error"]["code"]) == ("lost", -32603)


async def test_a_listener_that_comes_back_is_told_what_it_missed_on_its_own_stream() -> None:
    with serving() as daemon:
        async with open_session(daemon.url) as client:
            async with client.listen() as events:
                await events.primed()
                changed = '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n'
                await client.answer(call(1, "write", latin1=changed + '{"jsonrpc":"2.0","id":$ID,"result":{}}\n'))
                assert (await events.next())["method"] == "notifications/tools/list_changed"

            async with client.listen({"last-event-id": events.last_id.split("-")[0] + "-0"}) as again:
                assert (await again.next())["method"] == "notifications/tools/list_changed"


async def test_a_long_call_can_be_cut_into_responses_that_a_gateway_bears() -> None:
    """HL-12: the proxy closes the connection, the client comes back with what it has (SEP-1699)."""
    with serving(*AT_ONCE, "--close-stream-after", "0.1s", "--reconnect-delay", "0.2s") as daemon:
        async with open_session(daemon.url) as client:
            async with client.stream(call(1, "sleep", seconds=0.5)) as events:
                assert b"retry: 200" in await events.primed()
                assert await events.read_to_end() == []
            responses = 1
            answers: list[dict[str, Any]] = []
            with anyio.fail_after(10):
                while not answers:
                    responses += 1
                    answers = await resumed(client, events.last_id)

            assert responses > 2
            assert [answer["id"] for answer in answers] == [1]


async def test_coming_back_takes_the_stream_from_a_connection_that_is_still_open() -> None:
    with serving(*AT_ONCE) as daemon:
        async with open_session(daemon.url) as client, client.stream(call(1, "sleep", seconds=0.5)) as old:
            await old.primed()

            (answer,) = await resumed(client, old.last_id)

            assert answer["id"] == 1
            assert await old.read_to_end() == []


# ---- the official clients


RECONNECTS = """
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
const seen = [];
const counted = (url, init) => { seen.push(init?.method ?? "GET"); return fetch(url, init); };
const client = new Client({ name: "t", version: "1" });
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2]), { fetch: counted }));
const call = (name, args) => client.callTool({ name, arguments: args }).then(() => "result", () => "error");
console.log(await call("sleep", { seconds: 0.1 }));
const log = '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}\\n';
const failure = '{"jsonrpc":"2.0","id":$ID,"error":{"code":-1,"message":"no"}}\\n';
console.log(await call("write", { latin1: log + failure }));
const before = seen.length;
await new Promise((done) => setTimeout(done, Number(process.argv[3])));
console.log(seen.length - before);
await client.close();
"""


@pytest.mark.interop
def test_the_typescript_client_is_not_left_coming_back_for_ever(tmp_path: Path) -> None:
    """After a stream's end with a result, and with an error: at most one look whether there is more."""
    assert (NODE / "node_modules").is_dir(), "run: make interop-setup"
    script = tmp_path / "reconnects.mjs"
    script.write_text(RECONNECTS)
    (tmp_path / "node_modules").symlink_to((NODE / "node_modules").resolve())

    with serving(*AT_ONCE) as daemon:
        done = subprocess.run(
            ["node", str(script), daemon.url, "6000"], capture_output=True, text=True, timeout=60, cwd=tmp_path
        )

    result, error, requests = done.stdout.split()
    assert (result, error) == ("result", "error"), done.stderr
    assert int(requests) <= 1

"""Does every message of both sides arrive at the right place, as the bytes it was?"""

import json
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from tests.e2e.serving import serving
from tests.support.daemon import Daemon
from tests.support.mcp import (
    Client,
    Message,
    call,
    encode,
    error_of,
    health,
    kind_of,
    notification,
    open_session,
    request,
    until,
)

CANCELLED = -32800
LIST_CHANGED = notification("notifications/tools/list_changed")
LOG = notification("notifications/message", {"level": "info", "data": "hello"})


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving("--waiting-messages", "10") as daemon:
        yield daemon


def lines(*messages: Message) -> str:
    """What a child writes to say these."""
    return "".join(json.dumps(message) + "\n" for message in messages)


def answered(result: Message) -> str:
    """What a child writes to answer the call that made it write."""
    return f'{{"jsonrpc":"2.0","id":$ID,"result":{json.dumps(result)}}}\n'


async def say(client: Client, id_: int | str, *messages: Message) -> Message:
    """Let the child say these outside of any call: after the answer to the call that asks for it."""
    return await client.answer(call(id_, "write", text=answered({}) + lines(*messages)))


def cancellation(id_: Any) -> Message:
    return notification("notifications/cancelled", {"requestId": id_, "reason": "enough"})


def result_to(id_: Any, result: Any) -> Message:
    return {"jsonrpc": "2.0", "id": id_, "result": result}


# ---- bytes


async def test_a_pretty_printed_body_reaches_the_child_as_one_line(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/transports, stdio: MUST NOT contain embedded newlines."""
    async with open_session(daemon.url) as client:
        body = json.dumps(call(1, "echo", a=[1, {"b": 2}]), indent=2).replace("\n", "\r\n").encode()
        before = len(await client.seen())

        assert (await client.post(body)).json()["result"] == {"echo": {"a": [1, {"b": 2}]}}
        (line,) = (await client.seen())[before:]
        assert json.loads(line)["params"] == {"name": "echo", "arguments": {"a": [1, {"b": 2}]}}
        assert b"\r" not in line


async def test_a_second_line_cannot_be_smuggled_in(daemon: Daemon) -> None:
    """Design part 4, one message, one line: its second line would pass ids, auth and tool rules by."""
    async with open_session(daemon.url) as client:
        before = len(await client.seen())
        inner = b'{"jsonrpc":"2.0","id":666,"method":"tools/call","params":{"name":"exit"}}'
        body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":\n' + inner + b"\n}}"

        assert (await client.post(body)).json()["result"]["echo"]["id"] == 666
        assert len((await client.seen())[before:]) == 1
        told = b'{"jsonrpc":"2.0","method":"notifications/x","params":\n' + inner + b"\n}"
        assert (await client.post(told)).status_code == 202
        assert (await client.post(b'{"jsonrpc":"2.0","id":99,"result":\n' + inner + b"\n}")).status_code == 202
        assert len((await client.seen())[before:]) == 2


VALUES = [
    rb'{"z":1,"a":2,"m":3}',
    rb'{"int":123456789012345678901234567890,"neg":-9223372036854775809,"float":1.0,"exp":1E+400,"tiny":1e-7}',
    rb'{"surrogate":"\ud83d","pair":"\ud83d\ude00","wrong order":"\ude00\ud83d"}',
    '{"separators":"\u2028\u2029\u0085","bom":"\ufeff","emoji":"😀","nul":"\\u0000"}'.encode(),
    rb'{"escapes":"\/\"\\\b\f\n\r\t\u00e9","e\u0301":"\u0041"}',
    rb'{"spaces" :  [ 1 ,2,  3 ] , "empty" : { } }',
    rb'{"":null,"null":null,"false":false}',
    rb'{"twice":1,"twice":2}',
]


@pytest.mark.parametrize("value", VALUES)
async def test_a_value_is_kept_byte_for_byte_both_ways(daemon: Daemon, value: bytes) -> None:
    """Design part 4, bytes through."""
    async with open_session(daemon.url) as client:
        await client.post(b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"v":' + value + b'},"extra":' + value + b"}")
        text = '{"jsonrpc":"2.0","result":{"v":' + value.decode() + '},"extra":' + value.decode() + ',"id":$ID}\n'
        response = await client.post(call("back", "write", text=text))
        noted = '{"jsonrpc":"2.0","method":"notifications/message","params":{"v":' + value.decode() + "}}\n"
        async with client.stream(call(3, "write", text=noted + answered({}))) as events:
            await events.read_to_end()

        seen = [line for line in await client.seen() if b'"method":"x"' in line]
        assert len(seen) == 1
        assert seen[0].startswith(b'{"jsonrpc":"2.0","id":')
        assert seen[0].endswith(b',"method":"x","params":{"v":' + value + b'},"extra":' + value + b"}")
        assert response.content == (
            b'{"jsonrpc":"2.0","result":{"v":' + value + b'},"extra":' + value + b',"id":"back"}'
        )
        assert events.raw[0] == noted.strip().encode()


IDS = [
    b"0",
    b'"0"',
    b'""',
    b"-1",
    b"9223372036854775808",
    b"123456789012345678901234567890",
    b'"123456789012345678901234567890"',
    rb'"\u0030"',
    b'"' + "ü😀\u2028".encode() + b'"',
    rb'"\ud800"',
    b'"' + b"x" * 4_000 + b'"',
]


@pytest.mark.parametrize("id_", IDS)
async def test_an_id_comes_back_as_the_bytes_it_was(daemon: Daemon, id_: bytes) -> None:
    """Design part 4, ids; HL-42: 0 is an id like any other."""
    async with open_session(daemon.url) as client:
        response = await client.post(b'{"jsonrpc":"2.0","id":' + id_ + b',"method":"ping"}')
        refused = await client.post(b'{"jsonrpc":"2.0","id":' + id_ + b',"method":7}')

        assert response.content == b'{"jsonrpc":"2.0","id":' + id_ + b',"result":{}}'
        assert refused.content.startswith(b'{"jsonrpc":"2.0","id":' + id_ + b',"error"')


async def test_ids_that_look_alike_are_open_at_once(daemon: Daemon) -> None:
    """0, "0" and "" are three ids."""
    async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
        ids: list[int | str] = [0, "0", "", 1, "1"]
        laters = await client.hold(tasks, *(call(id_, "hold", key=repr(id_)) for id_ in ids))
        for id_ in reversed(ids):
            await client.result("r", "release", key=repr(id_))

        answers = [(await later.response()).json() for later in laters]
        assert [repr(answer["id"]) for answer in answers] == [repr(id_) for id_ in ids]


async def test_an_id_in_flight_is_refused_and_the_first_call_unharmed(daemon: Daemon) -> None:
    """Design part 3. Spec: 2025-11-25 basic, Requests: an id MUST NOT be used twice."""
    async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
        (first,) = await client.hold(tasks, call(5, "hold"))
        before = await client.seen()

        assert error_of(await client.post(call(5, "echo"))) == (400, -32600, 5)
        assert error_of(await client.post(b'{"jsonrpc":"2.0","id":  5,"method":"ping"}')) == (400, -32600, 5)
        assert await client.seen() == before
        await client.result(6, "release")
        assert (await first.response()).json() == result_to(5, {"released": True})
        assert (await client.answer(call(5, "echo")))["id"] == 5  # free again


async def test_the_child_gets_ids_of_ours(daemon: Daemon) -> None:
    """Design part 4, ids: small integers, none twice."""
    async with open_session(daemon.url) as client:
        for id_ in ("a", "a", 10**30):
            await client.result(id_, "echo")

        ids = [json.loads(line).get("id") for line in await client.seen()]
        used = [id_ for id_ in ids if id_ is not None]
        assert all(isinstance(id_, int) and 0 < id_ < 1000 for id_ in used)
        assert len(used) == len(set(used))


# ---- JSON or SSE


async def test_an_answer_that_comes_first_is_json(daemon: Daemon) -> None:
    """Design part 4, JSON or SSE."""
    async with open_session(daemon.url) as client:
        assert kind_of(await client.post(call(1, "echo"))) == "application/json"


@pytest.mark.parametrize("first", [LOG, notification("notifications/unknown"), request("q", "roots/list")])
async def test_anything_else_first_makes_it_a_stream(daemon: Daemon, first: Message) -> None:
    """Design part 4, JSON or SSE. The stream ends with the answer."""
    async with open_session(daemon.url) as client:
        async with client.stream(call(1, "write", text=lines(first) + answered({"done": 1}))) as events:
            assert (events.response.status_code, events.kind) == (200, "text/event-stream")
            message, answer = await events.read_to_end()

        assert message["method"] == first["method"]
        assert answer == result_to(1, {"done": 1})


async def test_a_long_call_begins_its_stream_after_a_while() -> None:
    """--commit-after: it survives the time-outs of proxies on the way from then on."""
    with serving("--commit-after", "0.1s") as daemon:
        async with open_session(daemon.url) as client, client.stream(call(1, "hold")) as events:
            assert events.kind == "text/event-stream"

            await client.result(2, "release")
            assert await events.read_to_end() == [result_to(1, {"released": True})]


async def test_10_000_progress_notifications_arrive_in_order_before_the_result(daemon: Daemon) -> None:
    """Design part 4, slow readers: a burst to a live reader loses nothing."""
    async with open_session(daemon.url) as client:
        async with client.stream(call("p", "progress", token="t", count=10_000)) as events:
            messages = await events.read_to_end()

        *steps, answer = messages
        assert answer == result_to("p", {"count": 10_000})
        assert [step["params"]["progress"] for step in steps] == list(range(10_000))
        assert all(step["params"]["progressToken"] == "t" for step in steps)


async def test_progress_tokens_keep_their_type(daemon: Daemon) -> None:
    """0, "0" and "" are three tokens, each on its own call's stream."""
    async with open_session(daemon.url) as client:
        tokens: list[int | str] = [0, "0", "", 2**70]
        for token in tokens:
            async with client.stream(call(1, "progress", token=token, count=1)) as events:
                step, _ = await events.read_to_end()

            assert (step["params"]["progressToken"], type(step["params"]["progressToken"])) == (token, type(token))


async def test_progress_of_no_open_call_goes_nowhere(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/utilities/progress: only for active requests. HL-35."""
    async with open_session(daemon.url) as client:
        stray = notification("notifications/progress", {"progressToken": "unknown", "progress": 1})
        finished = notification("notifications/progress", {"progressToken": "t", "progress": 1})
        async with client.listen() as events:
            async with client.stream(
                call(1, "write", token="t", text=lines(stray) + answered({}) + lines(finished))
            ) as stream:
                assert stream.kind == "application/json"
            await say(client, 2, LIST_CHANGED)

            assert await events.next() == LIST_CHANGED


# ---- calls that overlap


async def test_calls_that_overlap_keep_to_their_own_streams(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/transports, Sending Messages 6: what relates to a request goes on its stream."""
    async with open_session(daemon.url) as client:
        count = 20
        got: dict[int, list[Message]] = {}

        async def run(number: int) -> None:
            async with client.stream(call(number, "progress", token=number, count=50)) as events:
                got[number] = await events.read_to_end()

        async with anyio.create_task_group() as tasks:
            await client.hold(tasks, call("open", "hold"))  # one more that is open all the while
            async with anyio.create_task_group() as runs:
                for number in range(count):
                    runs.start_soon(run, number)
            await client.result("r", "release")

        for number in range(count):
            *steps, answer = got[number]
            assert [step["params"] for step in steps] == [{"progressToken": number, "progress": i} for i in range(50)]
            assert answer["id"] == number


async def test_a_server_request_with_the_id_of_the_open_call_is_a_thing_of_its_own(daemon: Daemon) -> None:
    """Spec: each direction has its own ids (HL-42). The Python server does exactly this."""
    async with open_session(daemon.url) as client:
        seen_id = json.loads((await client.seen())[0])["id"]
        child_id = seen_id + 3  # initialize, `seen` twice: the next one
        assert isinstance(seen_id, int)
        await client.seen()
        for asked_id in (child_id, 1, 0, "1", "", 2**70):
            async with client.stream(
                call(1, "ask", id=asked_id, method="sampling/createMessage", params={"n": 1})
            ) as events:
                ask = await events.next()
                assert (ask["method"], ask["params"]) == ("sampling/createMessage", {"n": 1})
                accepted = await client.post(result_to(ask["id"], {"role": "assistant"}))
                (answer,) = await events.read_to_end()

            assert accepted.status_code == 202
            back = json.loads(answer["result"]["answer"])
            assert back == result_to(asked_id, {"role": "assistant"})
            assert type(back["id"]) is type(asked_id)
            assert answer["id"] == 1


@pytest.mark.parametrize(
    "method", ["sampling/createMessage", "elicitation/create", "roots/list", "ping", "vendor/unknown"]
)
async def test_every_server_request_goes_out_on_the_open_call_and_its_answer_back(daemon: Daemon, method: str) -> None:
    """Spec: 2025-11-25 client/sampling, client/elicitation, client/roots."""
    async with open_session(daemon.url) as client, client.stream(call(1, "ask", id="q", method=method)) as events:
        ask = await events.next()
        error = {"jsonrpc": "2.0", "id": ask["id"], "error": {"code": -1, "message": "User rejected", "data": [1]}}
        await client.post(error)
        (answer,) = await events.read_to_end()

        assert ask["method"] == method
        assert json.loads(answer["result"]["answer"]) == {**error, "id": "q"}


async def test_the_answer_to_a_server_request_is_kept_byte_for_byte(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client, client.stream(call(1, "ask", id="q", method="roots/list")) as events:
        ask = await events.next()
        await client.post(b'{"result": {"z":1,"a":1.0,"s":"\\ud800"},"jsonrpc":"2.0","x":null,"id":%d}' % ask["id"])
        (answer,) = await events.read_to_end()

        assert (
            answer["result"]["answer"] == '{"result":{"z":1,"a":1.0,"s":"\\ud800"},"jsonrpc":"2.0","x":null,"id":"q"}'
        )


async def test_an_answer_that_nobody_waits_for_is_swallowed(daemon: Daemon) -> None:
    """D.1 step 3: 202, and the child sees nothing of it. Answered twice counts as well."""
    async with open_session(daemon.url) as client:
        async with client.stream(call(1, "ask", id="q", method="roots/list")) as events:
            ask = await events.next()
            await client.post(result_to(ask["id"], {"first": 1}))
            await events.read_to_end()
        before = await client.seen()

        for stray in (ask["id"], str(ask["id"]), 12345, "q"):
            assert (await client.post(result_to(stray, {"second": 2}))).status_code == 202
        assert await client.seen() == before


# ---- which stream


async def test_what_is_said_outside_a_call_goes_to_the_get_stream(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/transports, Listening for Messages."""
    async with open_session(daemon.url) as client, client.listen() as events:
        await say(client, 1, LIST_CHANGED, LOG, request("q", "roots/list"))

        assert [await events.next(), await events.next()] == [LIST_CHANGED, LOG]
        assert (await events.next())["method"] == "roots/list"


async def test_a_list_change_goes_to_the_get_stream_while_a_call_runs(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/transports, Listening for Messages 4; a log goes with the call."""
    async with open_session(daemon.url) as client, client.listen() as listening:
        updated = notification("notifications/resources/updated", {"uri": "x://y"})
        text = lines(LIST_CHANGED, LOG, updated) + answered({})
        async with client.stream(call(1, "write", text=text)) as events:
            assert await events.read_to_end() == [LOG, result_to(1, {})]

        assert [await listening.next(), await listening.next()] == [LIST_CHANGED, updated]


async def test_a_client_that_never_listens_hears_of_list_changes_on_a_call(daemon: Daemon) -> None:
    """Ours: nothing is lost silently."""
    async with open_session(daemon.url) as client:
        async with client.stream(call(1, "write", text=lines(LIST_CHANGED) + answered({}))) as events:
            assert await events.read_to_end() == [LIST_CHANGED, result_to(1, {})]


async def test_with_several_calls_a_server_request_goes_to_the_get_stream(daemon: Daemon) -> None:
    """D.1 step 6: stdio does not say which call it belongs to."""
    async with open_session(daemon.url) as client, client.listen() as listening, anyio.create_task_group() as tasks:
        await client.hold(tasks, call("a", "hold"))
        async with client.stream(call("b", "write", text=lines(request("q", "roots/list")) + answered({}))) as events:
            assert events.kind == "application/json"

        ask = await listening.next()
        assert ask["method"] == "roots/list"
        await client.post(result_to(ask["id"], {"roots": []}))
        await client.result("r", "release")
        assert json.loads((await client.seen())[-1 - 1]) == result_to("q", {"roots": []})


async def test_with_several_calls_and_no_get_stream_it_goes_to_the_newest(daemon: Daemon) -> None:
    """D.1 step 6."""
    async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
        (older,) = await client.hold(tasks, call("a", "hold"))
        async with client.stream(call("b", "write", text=lines(request("q", "roots/list")) + answered({}))) as events:
            ask, _ = await events.read_to_end()

        assert ask["method"] == "roots/list"
        await client.result("r", "release")
        assert kind_of(await older.response()) == "application/json"  # nothing was said to it


async def test_of_several_get_streams_exactly_one_gets_a_message(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/transports, Multiple Connections 2: MUST NOT broadcast."""
    async with open_session(daemon.url) as client:
        heard: list[Message] = []
        async with client.listen() as one, client.listen() as two, client.listen() as three, client.listen() as four:
            wanted = [notification("notifications/x", {"n": number}) for number in range(20)]
            await say(client, 1, *wanted)
            assert (await client.delete()).status_code == 200  # which ends them all
            for events in (one, two, three, four):
                heard += await events.read_to_end()

        assert sorted(message["params"]["n"] for message in heard) == list(range(20))


async def test_a_fifth_get_stream_is_refused_until_one_is_closed(daemon: Daemon) -> None:
    """--max-get-streams. Not 409, on which the TypeScript client gives up for good."""
    async with open_session(daemon.url) as client:
        async with client.listen(), client.listen(), client.listen():
            async with client.listen() as fourth:
                assert fourth.response.status_code == 200
                async with client.listen() as fifth:
                    assert fifth.response.status_code == 503
                    assert int(fifth.response.headers["retry-after"]) > 0
                    assert json.loads(await fifth.body())["error"]["code"] == -32603

            async def is_served() -> bool:
                async with client.listen() as again:
                    return again.response.status_code == 200

            await until(is_served, "a place for a GET stream")


async def test_a_get_stream_that_is_gone_gets_no_messages(daemon: Daemon) -> None:
    """The newest live one does."""
    async with open_session(daemon.url) as client, client.listen() as stays:
        async with client.listen():
            pass

        async def arrives() -> bool:
            await say(client, 1, LIST_CHANGED)
            with anyio.move_on_after(0.2):
                return await stays.next() == LIST_CHANGED
            return False

        await until(arrives, "a message on the stream that is left")


# ---- without a stream


async def test_what_nobody_hears_waits_and_comes_in_order(daemon: Daemon) -> None:
    """--waiting-messages 10: the oldest make room."""
    async with open_session(daemon.url) as client:
        await say(client, 1, *(notification("notifications/x", {"n": number}) for number in range(25)))
        async with client.listen() as events:
            numbers = [(await events.next())["params"]["n"] for _ in range(10)]
            await say(client, 2, LIST_CHANGED)

            assert numbers == list(range(15, 25))
            assert await events.next() == LIST_CHANGED


async def test_a_server_request_waits_for_the_next_stream(daemon: Daemon) -> None:
    """Design part 4, which stream."""
    async with open_session(daemon.url) as client:
        await say(client, 1, request("q", "roots/list"))
        async with client.listen() as events:
            ask = await events.next()
            await client.post(result_to(ask["id"], {"roots": []}))

            assert json.loads((await client.seen())[-1]) == result_to("q", {"roots": []})


async def test_a_server_request_that_waits_comes_with_the_next_call(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        await say(client, 1, request("q", "roots/list"))
        async with client.stream(call(2, "echo")) as events:
            ask, answer = await events.read_to_end()

        assert (ask["method"], answer["id"]) == ("roots/list", 2)


async def test_a_server_request_that_no_client_hears_is_answered_with_an_error() -> None:
    """--server-request-timeout: SC-20, never leave one unanswered. It does not come later as well."""
    with serving("--server-request-timeout", "0.2s") as daemon:
        async with open_session(daemon.url) as client:
            await say(client, 1, request("q", "roots/list"))

            async def is_refused() -> bool:  # a call meanwhile would be a stream
                return "refused.ask_without_client" in (await health(client))["counts"]

            await until(is_refused, "the end of the wait")
            told = json.loads((await client.seen())[-1])
            assert (told["id"], told["error"]["code"]) == ("q", -32603)
            async with client.listen() as events:
                await say(client, 2, LIST_CHANGED)
                assert await events.next() == LIST_CHANGED


async def test_a_ping_of_the_child_is_answered_without_a_client(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/utilities/ping: promptly. SC-20."""
    async with open_session(daemon.url) as client:
        await say(client, 1, request("p", "ping"))

        assert json.loads((await client.seen())[-1]) == result_to("p", {})


async def test_a_server_request_taken_back_is_cancelled_with_the_id_that_the_client_knows(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/utilities/cancellation; on the stream on which the request went out."""
    async with open_session(daemon.url) as client, client.listen():
        async with client.stream(call(1, "ask", id="q", method="roots/list", cancel=True)) as events:
            ask, taken_back, answer = await events.read_to_end()

        assert taken_back == notification(
            "notifications/cancelled", {"requestId": ask["id"], "reason": "changed my mind"}
        )
        assert answer["id"] == 1
        before = await client.seen()
        assert (await client.post(result_to(ask["id"], {}))).status_code == 202
        assert await client.seen() == before


async def test_a_server_request_taken_back_while_it_waits_is_never_heard(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        taken_back = notification("notifications/cancelled", {"requestId": "q"})
        await say(client, 1, request("q", "roots/list"), taken_back)
        async with client.listen() as events:
            await say(client, 2, LIST_CHANGED)

            assert await events.next() == LIST_CHANGED


async def test_what_the_child_says_before_its_first_answer_waits_for_the_client() -> None:
    """Spec: 2025-11-25 basic/lifecycle: a server SHOULD only ping and log before; what it does say is not lost."""
    with serving(modes=(f"early={json.dumps(LOG)}",)) as daemon:
        async with open_session(daemon.url) as client, client.listen() as events:
            assert await events.next() == LOG

    with serving(modes=(f"early={json.dumps(request('p', 'ping'))}",)) as daemon:
        async with open_session(daemon.url) as client:
            assert result_to("p", {}) in [json.loads(line) for line in await client.seen()]


# ---- cancellation


async def test_a_cancellation_reaches_the_child_with_the_childs_id(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/utilities/cancellation. Design part 3: 200, -32800."""
    async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
        (mine,) = await client.hold(tasks, call("mine", "hold"))
        assert (await client.post(cancellation("mine"))).status_code == 202

        assert error_of(await mine.response()) == (200, CANCELLED, "mine")
        seen = [json.loads(line) for line in await client.seen()]
        (child_id,) = [each["id"] for each in seen if (each.get("params") or {}).get("name") == "hold"]
        assert cancellation(child_id) in seen


async def test_a_cancelled_stream_ends_with_the_error_and_nothing_late(daemon: Daemon) -> None:
    """HL-34, HL-40: the child answers all the same; nobody hears it."""
    async with open_session(daemon.url) as client, client.listen() as listening:
        async with anyio.create_task_group() as tasks:
            (held,) = await client.hold(tasks, call(1, "hold", late_answer=True))
            await client.post(cancellation(1))
            assert error_of(await held.response()) == (200, CANCELLED, 1)
        assert await client.result(1, "echo", again=True) == {"echo": {"again": True}}
        await say(client, 2, LIST_CHANGED)

        assert await listening.next() == LIST_CHANGED


async def test_an_open_stream_ends_with_the_error_of_its_cancellation() -> None:
    with serving("--commit-after", "0.1s") as daemon:
        async with open_session(daemon.url) as client, client.stream(call(1, "hold")) as events:
            assert events.kind == "text/event-stream"
            await client.post(cancellation(1))
            (refusal,) = await events.read_to_end()

            assert (refusal["id"], refusal["error"]["code"]) == (1, CANCELLED)


@pytest.mark.parametrize("named", [99, "mine ", None, 1.5, [1]])
async def test_a_cancellation_of_nothing_is_ignored(daemon: Daemon, named: Any) -> None:
    """Spec: 2025-11-25 basic/utilities/cancellation: unknown ids are ignored."""
    async with open_session(daemon.url) as client:
        await client.result("mine", "echo")  # finished
        for body in (cancellation(named), cancellation("mine"), notification("notifications/cancelled")):
            assert (await client.post(body)).status_code == 202

        assert not any(b"cancelled" in line for line in await client.seen())


async def test_a_cancellation_of_the_other_kind_of_id_is_ignored(daemon: Daemon) -> None:
    """7 and "7" are two ids."""
    async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
        (seven,) = await client.hold(tasks, call(7, "hold"))
        await client.post(cancellation("7"))
        await client.result(8, "release")

        assert (await seven.response()).json() == result_to(7, {"released": True})


async def test_a_call_that_waits_for_its_turn_can_be_cancelled() -> None:
    """--max-calls-per-child 1: it has not reached the child, and never does."""
    with serving("--max-calls-per-child", "1") as daemon:
        async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
            first = client.begin(tasks, call("first", "sleep", seconds=2))

            async def is_in_flight() -> bool:
                return bool((await health(client))["calls_in_flight"] == 1)

            await until(is_in_flight, "the first call at the child")
            second = client.begin(tasks, call("second", "echo"))

            async def is_over() -> bool:
                await client.post(cancellation("second"))  # again and again: nothing shows that it waits
                return second.has_arrived

            await until(is_over, "the end of the second call")
            assert not first.has_arrived
            assert error_of(await second.response()) == (200, CANCELLED, "second")
            await first.response()
            assert not any(b'"echo"' in line for line in await client.seen())


# ---- disconnects


async def test_a_client_that_leaves_mid_call_cancels_nothing(daemon: Daemon) -> None:
    """Spec: 2025-11-25 basic/transports, Sending Messages 6: SHOULD NOT be interpreted as cancelling."""
    async with open_session(daemon.url) as client:
        async with anyio.create_task_group() as tasks:
            await client.hold(tasks, call(1, "hold"))
            tasks.cancel_scope.cancel()  # which closes the connection
        await client.result(2, "release")

        assert not any(b"cancelled" in line for line in await client.seen())
        assert error_of(await client.post(b'{"jsonrpc":"2.0","id":1,"method":1}'))[0] == 400
        assert await client.result(1, "echo") == {"echo": {}}  # its id is free: the child has answered


async def test_a_server_request_nobody_saw_goes_to_the_next_stream(daemon: Daemon) -> None:
    """A call whose client is gone is no place for a question."""
    async with open_session(daemon.url) as client:
        async with anyio.create_task_group() as tasks:
            await client.hold(tasks, call(1, "hold"))
            tasks.cancel_scope.cancel()

        async def is_heard() -> bool:
            async with client.listen() as events:
                await say(client, "s", request("q", "roots/list"))
                with anyio.move_on_after(0.3):
                    return bool((await events.next())["method"] == "roots/list")
            return False

        await until(is_heard, "the question on the GET stream")
        await client.result(2, "release")


# ---- slow and silent


async def test_a_slow_reader_loses_its_stream_and_nobody_elses() -> None:
    """Design part 4, slow readers: while another call waits for the child, one that is not read is ended."""
    with serving("--stream-backlog", "1MiB", "--commit-after", "60s") as daemon:
        async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
            (held,) = await client.hold(tasks, call(1, "hold"))
            body = encode(call("slow", "progress", token="t", count=200_000))  # 18 MB: more than the sockets take
            head = (
                f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Mcp-Session-Id: {client.session_id}\r\nContent-Length: {len(body)}\r\n\r\n"
            ).encode()
            async with await anyio.connect_tcp("127.0.0.1", daemon.port) as socket:
                await socket.send(head + body)

                async def is_cut() -> bool:
                    return "cut.slow_reader" in (await health(client))["counts"]

                await until(is_cut, "the end of the slow one")
                assert await client.result(2, "echo") == {"echo": {}}
                await client.result(3, "release")
                assert (await held.response()).json() == result_to(1, {"released": True})
                assert not any(b"cancelled" in line for line in await client.seen())


async def test_a_silent_stream_is_kept_alive_with_comments() -> None:
    """--ping-interval: for the idle time-outs of everything on the way. No client takes them for messages."""
    with serving("--ping-interval", "0.2s", "--commit-after", "0.1s") as daemon:
        async with open_session(daemon.url) as client:
            async with client.listen() as listening, client.stream(call(1, "hold")) as events:
                for stream in (listening, events):
                    await stream.comment()
                    await stream.comment()
                await client.result(2, "release")

                assert await events.read_to_end() == [result_to(1, {"released": True})]


# ---- large ones


@pytest.mark.parametrize("mib", [1, 12])
async def test_a_large_answer_arrives_whole_while_other_calls_are_open(daemon: Daemon, mib: int) -> None:
    """Design part 4, slow readers: the backlog counts behind the message that is being written."""
    async with open_session(daemon.url) as client, anyio.create_task_group() as tasks:
        await client.hold(tasks, call("open", "hold"))
        size = mib * 1024 * 1024

        response = await client.post(call(1, "blob", size=size))
        await client.result("r", "release")

        assert (response.status_code, kind_of(response)) == (200, "application/json")
        assert len(response.json()["result"]["blob"]) == size


async def test_a_large_argument_arrives_whole(daemon: Daemon) -> None:
    async with open_session(daemon.url) as client:
        text = "x" * (12 * 1024 * 1024)

        response = await client.post(encode(call(1, "echo", text=text)))

        assert response.json() == result_to(1, {"echo": {"text": text}})

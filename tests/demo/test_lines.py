"""The demo server, line by line: errors, garbage, batches, cancellation, revisions."""

from typing import Any

import pytest

from tests.demo.raw import call, hello, notification, open_demo, request

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")

WRONG_REQUESTS: list[tuple[str, Any, int]] = [
    ("no/such/method", {}, -32601),
    ("server/discover", {}, -32601),
    ("tools/call", {}, -32602),
    ("tools/call", {"name": 7}, -32602),
    ("tools/call", {"name": "nope"}, -32602),
    ("tools/call", {"name": "echo", "arguments": []}, -32602),
    ("tools/call", [], -32602),
    ("tools/list", {"cursor": "nope"}, -32602),
    ("tools/list", {"cursor": 7}, -32602),
    ("tools/list", {"_meta": 7}, -32602),
    ("resources/list", {"cursor": "from-50"}, -32602),
    ("resources/read", {}, -32602),
    ("resources/read", {"uri": "demo://nope"}, -32002),
    ("resources/read", {"uri": "demo://greeting/"}, -32002),
    ("resources/read", {"uri": "demo://greeting/a/b"}, -32002),
    ("resources/subscribe", {"uri": "demo://nope"}, -32002),
    ("prompts/get", {"name": "nope"}, -32602),
    ("prompts/get", {"name": "introduce"}, -32602),
    ("prompts/get", {"name": "introduce", "arguments": {"language": 7}}, -32602),
    ("prompts/get", {"name": "introduce", "arguments": {"language": "go", "what": "x"}}, -32602),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "introduce"}}, -32602),
    (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "nope"}, "argument": {"name": "a", "value": ""}},
        -32602,
    ),
    ("logging/setLevel", {"level": "loud"}, -32602),
    ("initialize", hello("2025-11-25"), -32600),
]

WRONG_ARGUMENTS: list[tuple[str, dict[str, Any]]] = [
    ("echo", {}),
    ("echo", {"text": 7}),
    ("echo", {"text": "x", "what": "y"}),
    ("add", {"a": True, "b": 1}),
    ("slow", {"steps": 1.5}),
    ("slow", {"steps": 0}),
    ("log", {"level": "loud"}),
    ("touch", {"add": "Not a name\n"}),
]

GARBAGE = [
    b"garbage",
    b"\xff\xfe",
    b"[" * 100_000,
    b"7",
    b"[]",
    b'{"jsonrpc":"2.0"}',
    b'{"jsonrpc":"1.0","id":1,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}',
    b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
]


async def test_wrong_requests_get_the_error_of_the_specification() -> None:
    """Spec: 2025-11-25 server/tools, server/resources, server/prompts, Error Handling."""
    async with open_demo() as demo:
        await demo.initialize("2025-11-25")

        for id_, (method, params, code) in enumerate(WRONG_REQUESTS):
            answer = await demo.request(id_, method, params)

            assert (answer["id"], answer["error"]["code"]) == (id_, code), (method, params)


async def test_a_method_that_is_not_a_string_is_an_invalid_request() -> None:
    """Spec: JSON-RPC 2.0, 5.1."""
    async with open_demo() as demo:
        await demo.write({"jsonrpc": "2.0", "id": "a", "method": 7})

        answer = await demo.read()

        assert (answer["id"], answer["error"]["code"]) == ("a", -32600)


@pytest.mark.parametrize("revision", REVISIONS)
async def test_wrong_arguments_are_for_the_model_since_2025_11_25(revision: str) -> None:
    """Spec: 2025-11-25 server/tools, Error Handling; before, they were protocol errors."""
    async with open_demo() as demo:
        await demo.initialize(revision)

        for tool, arguments in WRONG_ARGUMENTS:
            await demo.write(call(1, tool, **arguments))
            answer = await demo.read()

            if revision == "2025-11-25":
                assert answer["result"]["isError"] is True
            else:
                assert answer["error"]["code"] == -32602


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
async def test_a_line_that_is_no_message_is_ignored_with_one_line_of_log(garbage: bytes) -> None:
    """Spec: protocol.md C.1, no -32700 comes back."""
    async with open_demo() as demo:
        await demo.initialize("2025-11-25")

        await demo.write(garbage, b"", b"\r", request(2, "ping"))

        assert await demo.read() == {"jsonrpc": "2.0", "id": 2, "result": {}}
        await demo.end_stdin()
        rest, log, status = await demo.read_to_end()
        assert (rest, log.count("\n"), status) == (b"", 1, 0)
        assert log.startswith("demo: ignored ")


async def test_before_initialize_only_ping_is_answered() -> None:
    """Spec: 2025-11-25 basic/lifecycle, Initialization."""
    async with open_demo() as demo:
        # Id 0 is as good as any: never test ids for truth.
        assert (await demo.request(0, "ping")) == {"jsonrpc": "2.0", "id": 0, "result": {}}
        assert (await demo.request(1, "tools/list"))["error"]["code"] == -32600
        assert (await demo.request(2, "server/discover"))["error"]["code"] == -32601
        assert (await demo.request(3, "initialize", {"protocolVersion": 7}))["error"]["code"] == -32602

        assert (await demo.initialize("2025-06-18"))["protocolVersion"] == "2025-06-18"


@pytest.mark.parametrize("revision", REVISIONS)
async def test_each_revision_gets_the_fields_it_has(revision: str) -> None:
    """Spec: protocol.md A.2."""
    async with open_demo() as demo:
        hi = await demo.initialize(revision)
        tools = (await demo.request(1, "tools/list"))["result"]["tools"]
        await demo.write(call(2, "add", a=1, b=2.5))
        total = (await demo.read())["result"]

        add = next(tool for tool in tools if tool["name"] == "add")
        assert hi["protocolVersion"] == revision
        assert ("completions" in hi["capabilities"]) == (revision >= "2025-03-26")
        assert ("annotations" in add) == (revision >= "2025-03-26")
        assert ("outputSchema" in add) == ("title" in add) == (revision >= "2025-06-18")
        assert total["content"] == [{"type": "text", "text": "3.5"}]
        assert total.get("structuredContent") == ({"sum": 3.5} if revision >= "2025-06-18" else None)
        assert ("description" in hi["serverInfo"]) == (revision >= "2025-11-25")


async def test_an_unknown_revision_is_answered_with_the_newest() -> None:
    """Spec: 2025-11-25 basic/lifecycle, Version Negotiation."""
    async with open_demo() as demo:
        assert (await demo.initialize("2099-01-01"))["protocolVersion"] == "2025-11-25"


async def test_a_batch_is_answered_with_one_array() -> None:
    """Spec: 2025-03-26 basic, Batching."""
    async with open_demo() as demo:
        await demo.initialize("2025-03-26")

        await demo.write(
            [
                call(1, "slow", steps=1, seconds=0),
                notification("notifications/roots/list_changed"),
                request(2, "no/such/method"),
                request(3, "ping"),
            ]
        )

        answers = {answer["id"]: answer for answer in await demo.read()}
        assert answers.keys() == {1, 2, 3}
        assert answers[1]["result"]["content"][0]["text"] == "1 steps done"
        assert answers[2]["error"]["code"] == -32601


async def test_a_batch_of_notifications_is_not_answered() -> None:
    """Spec: JSON-RPC 2.0, 6."""
    async with open_demo() as demo:
        await demo.initialize("2025-03-26")

        await demo.write([notification("notifications/roots/list_changed")], request(1, "ping"))

        assert (await demo.read())["id"] == 1


async def test_a_slow_call_does_not_hold_up_an_echo_and_a_cancelled_one_gets_no_answer() -> None:
    """Spec: 2025-11-25 basic/utilities/cancellation."""
    async with open_demo() as demo:
        await demo.initialize("2025-11-25")
        slow = call("slow", "slow", steps=1000, seconds=60)
        slow["params"]["_meta"] = {"progressToken": 0}
        await demo.write(slow)
        started = await demo.read()

        await demo.write(call(1, "echo", text="quick"))
        echoed = await demo.read()
        # The unknown id, and the id of another type, change nothing.
        for id_ in (99, None, 1, "slow"):
            await demo.write(notification("notifications/cancelled", {"requestId": id_}))
        await demo.write(call("slow", "echo", text="same id again"))
        # The id may be free already or not yet: what matters is that nothing of the slow call comes.
        await demo.write(request(2, "ping"))
        await demo.end_stdin()
        rest, _, status = await demo.read_to_end()

        assert started["params"] == {"progressToken": 0, "progress": 0, "total": 1000, "message": "started"}
        assert echoed["result"]["content"][0]["text"] == "quick"
        assert b"steps done" not in rest and b"notifications/progress" not in rest
        assert rest.endswith(b'{"jsonrpc":"2.0","id":2,"result":{}}\n')
        assert status == 0


async def test_the_id_of_an_open_request_is_not_served_twice() -> None:
    """Ours: an error would be taken for the answer to the first."""
    async with open_demo() as demo:
        await demo.initialize("2025-11-25", {"roots": {}})
        await demo.write(call(1, "roots"))
        question = await demo.read()

        await demo.write(call(1, "echo", text="again"))
        log = await demo.read_log()
        await demo.write({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}})

        assert "still open: 1" in log
        assert (await demo.read())["result"]["structuredContent"] == {"roots": []}


async def test_cancelling_a_call_cancels_what_it_asked_the_client() -> None:
    """Spec: 2025-11-25 basic/utilities/cancellation; a late answer is ignored."""
    async with open_demo() as demo:
        await demo.initialize("2025-11-25", {"sampling": {}})
        await demo.write(call(1, "sample", prompt="Hi"))
        question = await demo.read()

        await demo.write(notification("notifications/cancelled", {"requestId": 1}))
        cancelled = await demo.read()
        await demo.write({"jsonrpc": "2.0", "id": question["id"], "result": {}}, request(2, "ping"))

        assert cancelled["method"] == "notifications/cancelled"
        assert cancelled["params"]["requestId"] == question["id"]
        assert (await demo.read())["id"] == 2


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"code": -1, "message": "User rejected sampling request"}},
        {"result": {}},
        {"result": {"content": 7}},
        {"result": 7},
    ],
    ids=["error", "empty", "wrong content", "no object"],
)
async def test_a_client_that_answers_wrongly_gets_a_result_that_says_so(answer: dict[str, Any]) -> None:
    """Spec: 2025-11-25 server/tools, Error Handling."""
    async with open_demo() as demo:
        await demo.initialize("2025-11-25", {"sampling": {}})
        await demo.write(call(1, "sample", prompt="Hi"))
        question = await demo.read()

        await demo.write({"jsonrpc": "2.0", "id": question["id"]} | answer)

        result = (await demo.read())["result"]
        assert result["isError"] is True
        assert "sampling/createMessage" in result["content"][0]["text"]


@pytest.mark.parametrize(
    ("revision", "capabilities", "tool", "missing"),
    [
        ("2025-03-26", {"elicitation": {}}, "elicit", "needs revision 2025-06-18"),
        ("2025-11-25", {"elicitation": {"url": {}}}, "elicit", "without form mode"),
        ("2024-11-05", {}, "roots", "did not declare the capability roots"),
    ],
)
async def test_a_tool_that_cannot_ask_the_client_says_what_is_missing(
    revision: str, capabilities: dict[str, Any], tool: str, missing: str
) -> None:
    """Spec: 2025-11-25 basic/lifecycle, Operation."""
    async with open_demo() as demo:
        await demo.initialize(revision, capabilities)

        await demo.write(call(1, tool))

        result = (await demo.read())["result"]
        assert result["isError"] is True
        assert missing in result["content"][0]["text"]


async def test_the_client_is_not_asked_before_it_says_initialized() -> None:
    """Spec: 2025-11-25 basic/lifecycle, Initialization."""
    async with open_demo() as demo:
        await demo.request(0, "initialize", hello("2025-11-25", {"roots": {}}))

        await demo.write(call(1, "roots"))

        assert "notifications/initialized" in (await demo.read())["result"]["content"][0]["text"]


async def test_text_that_breaks_naive_readers_comes_back_whole_and_on_one_line() -> None:
    """Spec: 2025-11-25 basic/transports, stdio: no embedded newlines."""
    text = "\u2028 \x85 \r\n \x00 \U0001f600 é"
    async with open_demo() as demo:
        await demo.initialize("2025-11-25")

        await demo.write(call(1, "echo", text=text))

        assert (await demo.read())["result"]["content"][0]["text"] == text


async def test_numbers_json_cannot_write_do_not_get_out() -> None:
    """Spec: JSON has no infinity."""
    async with open_demo() as demo:
        await demo.initialize("2025-11-25")

        await demo.write(
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":1e308,"b":1e308}}}',
            call(2, "add", a=10**400, b=0.5),
        )

        assert (await demo.read())["result"]["isError"] is True
        assert (await demo.read())["result"]["isError"] is True

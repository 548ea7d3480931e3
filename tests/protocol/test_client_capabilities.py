"""What a server is not told of its client."""

import json
from typing import Any

from proxy.protocol.client_capabilities import without_capabilities
from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.envelope import CAPABILITIES_KEY, read_envelope
from proxy.protocol.messages import ENVELOPE_KEY, Message, Request


def parsed(method: str, params: Any) -> Message:
    return parse_client_message(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())


def shown(message: Message) -> Any:
    assert isinstance(message, Request)
    return json.loads(message.encode(id=1))["params"]


def test_initialize_loses_the_capabilities_and_nothing_else() -> None:
    text = (
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","x":1e400,"params":{"protocolVersion":"2025-11-25",'
        b'"capabilities":{"roots":{"listChanged":true},"sampling":{ "tools" : {} }},"clientInfo":{ "name":"n"}}}'
    )
    message = without_capabilities(parse_client_message(text), ("roots", "elicitation"))

    assert isinstance(message, Request)
    assert message.encode(id=1) == text.replace(b'"roots":{"listChanged":true},', b"").replace(b"1e400", b"1e400")


def test_an_envelope_loses_them_too() -> None:
    capabilities: dict[str, Any] = {"roots": {}, "elicitation": {"form": {}}}
    meta = {ENVELOPE_KEY: "2026-07-28", CAPABILITIES_KEY: capabilities, "progressToken": 7}
    message = without_capabilities(parsed("tools/call", {"name": "x", "_meta": meta}), ("roots",))

    assert shown(message) == {"name": "x", "_meta": {**meta, CAPABILITIES_KEY: {"elicitation": {"form": {}}}}}
    assert isinstance(message, Request)
    request = read_envelope(message)
    assert not request.declares("roots")
    assert request.declares("elicitation", "form")
    assert json.loads(bytes(request.params["_meta"])) == json.loads(json.dumps(shown(message)["_meta"]))


def test_what_declares_none_of_them_is_the_same_message() -> None:
    for message in (
        parsed("initialize", {"capabilities": {"sampling": {}}}),
        parsed("initialize", {"capabilities": 7}),
        parsed("initialize", []),
        parsed("tools/call", {"capabilities": {"roots": {}}}),
        parsed("tools/call", {"_meta": {ENVELOPE_KEY: "2026-07-28", CAPABILITIES_KEY: {}}}),
        parse_client_message(b'{"jsonrpc":"2.0","method":"initialize","params":{"capabilities":{"roots":{}}}}'),
        parse_client_message(b'{"jsonrpc":"2.0","id":1,"result":{}}'),
    ):
        assert without_capabilities(message, ("roots",)) is message

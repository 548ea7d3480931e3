"""What a client hears whose server has shaken hands with somebody else."""

import json
from typing import Any

import pytest

from proxy.protocol.child_lines import parse_child_line
from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.kept_handshake import keep_handshake
from proxy.protocol.messages import Request
from proxy.protocol.tokens import token_in, under_token


def initialize(**params: Any) -> Request:
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    request = parse_client_message(json.dumps(message).encode())
    assert isinstance(request, Request)
    return request


def kept(text: str) -> Any:
    (answer,) = parse_child_line(('{"jsonrpc":"2.0","id":1,' + text + "}").encode())
    return keep_handshake(answer.members)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "text", ['"error":{"code":-1,"message":"no"}', '"result":7', '"result":{"protocolVersion":"2025-11-25", "x":1.0}']
)
def test_what_needs_no_change_is_passed_on_as_it_is_written(text: str) -> None:
    name, _, value = text.partition(":")

    (member,) = kept(text).answer_for(initialize(protocolVersion="2025-11-25")).items()

    assert (f'"{member[0]}"', bytes(member[1]).decode()) == (name, value)


def test_of_a_result_only_the_revision_changes() -> None:
    handshake = kept('"result":{"a":1.0, "protocolVersion":"2025-11-25","z":[ 1 ]}')

    answer = handshake.answer_for(initialize(protocolVersion="2025-03-26"))

    assert bytes(answer["result"]) == b'{"a":1.0,"protocolVersion":"2025-03-26","z":[ 1 ]}'


@pytest.mark.parametrize(
    ("params", "token"),
    [
        ('{"_meta":{"progressToken":7}}', b"7"),
        ('{"_meta":{"progress\\u0054oken":"x"}}', b'"x"'),
        ('{"_meta":{"progressToken":true}}', None),
        ('{"_meta":[],"progressToken":7}', None),
        ('{"text":"\\u0041"}', None),
        ("[7]", None),
    ],
)
def test_the_token_of_a_request_is_found_and_replaced(params: str, token: bytes | None) -> None:
    (request,) = parse_child_line(f'{{"jsonrpc":"2.0","id":1,"method":"m","params":{params}}}'.encode())
    assert isinstance(request, Request)

    changed, found = under_token(request.members, 12)

    assert found == token_in(request.members)
    assert (bytes(found) if found is not None else None) == token
    if token is not None:
        assert json.loads(bytes(changed["params"]))["_meta"] == {"progressToken": 12}
    else:
        assert b'"_meta":{"progressToken"' not in bytes(changed["params"])

"""Which protocol revisions are there, and what do they change for the bridge?"""

import json

import pytest

from proxy.errors import NotJson
from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.messages import Request
from proxy.protocol.versions import BATCH_VERSION, LEGACY_VERSIONS, lower_version, version_of_result


def initialize(params: str | None) -> Request:
    rest = "" if params is None else f',"params":{params}'
    message = parse_client_message(('{"jsonrpc":"2.0","id":"a","method":"initialize"' + rest + "}").encode())
    assert isinstance(message, Request)
    return message


def test_revisions_compare_as_text() -> None:
    assert sorted(LEGACY_VERSIONS) == list(LEGACY_VERSIONS)
    assert BATCH_VERSION in LEGACY_VERSIONS


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('"result":{"protocolVersion":"2025-11-25","capabilities":{}}', "2025-11-25"),
        ('"result" : { "protocolVersion" : "2025-\\u0030\\u0036-18" }', "2025-06-18"),
        ('"result":{"protocolVersion":"nobody knows"}', "nobody knows"),
        ('"result":{"protocolVersion":"2025-11-25","instructions":"\\ud800"}', "2025-11-25"),
        ('"result":{"capabilities":{}}', "2024-11-05"),
        ('"result":{"protocolVersion":null}', "2024-11-05"),
        ('"result":{"protocolVersion":20251125}', "2024-11-05"),
        ('"result":{}', "2024-11-05"),
        ('"result":[]', "2024-11-05"),
        ('"result":null', "2024-11-05"),
        ('"result":"2025-11-25"', "2024-11-05"),
        ('"error":{"code":-32603,"message":"x"}', None),
    ],
)
def test_a_result_names_the_version_or_counts_as_the_oldest(answer: str, expected: str | None) -> None:
    assert version_of_result(('{"jsonrpc":"2.0","id":1,' + answer + "}").encode()) == expected


def test_an_answer_that_is_no_json_has_no_version() -> None:
    with pytest.raises(NotJson):
        version_of_result(b"{")


@pytest.mark.parametrize(
    ("asked", "newest", "offered"),
    [
        ("2025-11-25", "2025-06-18", "2025-06-18"),
        ("2025-11-25", "2024-11-05", "2024-11-05"),
        ("2026-07-28", "2025-11-25", "2025-11-25"),
        ("DRAFT-2026", "2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-06-18", "2025-03-26"),
        ("1.0", "2025-06-18", "1.0"),
        ("", "2025-06-18", ""),
        ("2025-11-25", None, "2025-11-25"),
        ("2026-07-28", "2026-07-28", "2026-07-28"),
        ("2025-11-25", "nobody knows", "2025-11-25"),
        ("2026-07-28", "2026-01-01", "2026-07-28"),
    ],
)
def test_initialize_offers_at_most_the_newest_version(asked: str, newest: str | None, offered: str) -> None:
    """Ours: `MCP_PROTOCOL_VERSION`."""
    message = initialize(f'{{"capabilities":{{}}, "protocolVersion":"{asked}","clientInfo":{{"name":"\\ud800"}}}}')

    lowered = lower_version(message, newest)

    assert json.loads(lowered.encode(id=7)) == {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "initialize",
        "params": {"capabilities": {}, "protocolVersion": offered, "clientInfo": {"name": "\ud800"}},
    }
    assert (lowered is message) == (asked == offered)


def test_lowering_changes_that_member_and_nothing_else() -> None:
    message = initialize('{"protocolVersion":"2025-11-25","n": 1.10,"_meta":{"progressToken": "t"}}')

    lowered = lower_version(message, "2025-06-18")

    assert lowered.id == "a"
    assert bytes(lowered.raw_id) == b'"a"'
    assert lowered.progress_token == "t"
    assert lowered.is_enveloped is False
    assert lowered.encode(id=1) == (
        b'{"jsonrpc":"2.0","id":1,"method":"initialize",'
        b'"params":{"protocolVersion":"2025-06-18","n":1.10,"_meta":{"progressToken": "t"}}}'
    )
    assert bytes(parse_client_message(message.encode(id=1)).members["params"]).startswith(
        b'{"protocolVersion":"2025-11-25"'
    )


@pytest.mark.parametrize(
    "params", [None, "null", "[]", "{}", '{"protocolVersion":null}', '{"protocolVersion":20251125}']
)
def test_an_initialize_without_a_readable_version_is_left_to_the_child(params: str | None) -> None:
    message = initialize(params)

    assert lower_version(message, "2024-11-05") is message

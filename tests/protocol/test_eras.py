"""Which era a message belongs to: the body decides, the header only where the body says nothing."""

import json
from typing import Any

import pytest

from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.eras import era_of, is_modern_header
from proxy.protocol.messages import Message
from tests.support.modern import PREFIX, envelope

ENVELOPED = {"_meta": envelope()}
KEY_ALONE: dict[str, Any] = {"_meta": {f"{PREFIX}protocolVersion": None}}
REST_ALONE: dict[str, Any] = {"_meta": {f"{PREFIX}clientCapabilities": {}}}

# message, header -> era
MESSAGES: list[tuple[dict[str, Any], bytes | None, str]] = [
    ({"id": 1, "method": "tools/list", "params": ENVELOPED}, b"2026-07-28", "modern"),
    ({"id": 1, "method": "tools/list", "params": ENVELOPED}, b"2025-11-25", "modern"),
    ({"id": 1, "method": "tools/list", "params": ENVELOPED}, None, "modern"),
    ({"id": 1, "method": "initialize", "params": ENVELOPED}, None, "modern"),
    ({"id": 1, "method": "tools/list", "params": KEY_ALONE}, None, "modern"),
    ({"id": 1, "method": "tools/list", "params": REST_ALONE}, None, "legacy"),
    ({"id": 1, "method": "tools/list", "params": {"_meta": None}}, None, "legacy"),
    ({"id": 1, "method": "tools/list"}, b"2026-07-28", "modern"),
    ({"id": 1, "method": "tools/list"}, b" 2026-07-28\t", "modern"),
    ({"id": 1, "method": "initialize", "params": {}}, b"2026-07-28", "modern"),
    ({"id": 1, "method": "tools/list"}, b"2025-11-25", "legacy"),
    ({"id": 1, "method": "tools/list"}, b"2099-01-01", "legacy"),
    ({"id": 1, "method": "tools/list"}, b"\xff", "legacy"),
    ({"id": 1, "method": "tools/list"}, b"", "legacy"),
    ({"id": 1, "method": "initialize", "params": {}}, None, "legacy"),
    ({"method": "notifications/cancelled", "params": {"requestId": 1}}, None, "legacy"),
    ({"method": "notifications/cancelled", "params": {"requestId": 1}}, b"2026-07-28", "modern"),
    ({"method": "notifications/cancelled", "params": ENVELOPED}, None, "modern"),
    ({"id": 1, "result": {}}, None, "legacy"),
    ({"id": 1, "result": {"_meta": envelope()}}, None, "legacy"),
    ({"id": 1, "result": {}}, b"2026-07-28", "modern"),
]


def parsed(message: dict[str, Any]) -> Message:
    return parse_client_message(json.dumps({"jsonrpc": "2.0", **message}).encode())


@pytest.mark.parametrize(("message", "header", "era"), MESSAGES)
def test_the_era_of_a_message(message: dict[str, Any], header: bytes | None, era: str) -> None:
    """D.0.1, steps 8 and 9."""
    assert era_of(parsed(message), header) == era


def test_one_enveloped_message_makes_a_batch_modern() -> None:
    """D.0.1, step 6: it is refused there."""
    plain, enveloped, answer = (parsed(MESSAGES[index][0]) for index in (8, 0, 18))

    assert era_of([plain, answer, plain], None) == "legacy"
    assert era_of([plain, answer, enveloped], None) == "modern"
    assert era_of([plain], b"2026-07-28") == "modern"


@pytest.mark.parametrize(
    ("header", "expected"), [(None, False), (b"2026-07-28", True), (b"2025-11-25", False), (b"2026-07-28, x", False)]
)
def test_which_header_names_a_revision_without_a_handshake(header: bytes | None, expected: bool) -> None:
    assert is_modern_header(header) is expected

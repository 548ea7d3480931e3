"""Changes and logs, for a client of the handshake era."""

import json
from typing import Any

import pytest
from msgspec import Raw

from proxy.protocol.changes import (
    acknowledged_resources,
    change,
    listenable,
    log_level_of,
    subscription_of,
    without_subscription,
)
from proxy.protocol.child_lines import parse_child_line
from proxy.protocol.jsontext import parse_members
from proxy.protocol.messages import Notification

KEY = "io.modelcontextprotocol/subscriptionId"


def notification(params: str | None, method: str = "notifications/x") -> Notification:
    text = f'{{"jsonrpc":"2.0","method":"{method}"' + (f',"params":{params}' if params else "") + "}"
    (message,) = parse_child_line(text.encode())
    assert isinstance(message, Notification)
    return message


def meta(text: str) -> str:
    return text.replace("KEY", KEY)


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("capabilities", "kinds"),
    [
        ({}, ()),
        ({"tools": {}, "prompts": {"listChanged": False}, "resources": {"subscribe": True}}, ()),
        ({"tools": {"listChanged": True}}, ("toolsListChanged",)),
        (
            {name: {"listChanged": True} for name in ("resources", "prompts", "tools", "other")},
            ("toolsListChanged", "promptsListChanged", "resourcesListChanged"),
        ),
        ({"tools": True, "prompts": {"listChanged": "true"}}, ()),
    ],
)
def test_only_lists_that_may_change_are_listened_to(capabilities: Any, kinds: tuple[str, ...]) -> None:
    assert listenable(parse_members(json.dumps(capabilities).encode())) == kinds


def test_a_change_is_a_notification() -> None:
    assert change("notifications/tools/list_changed") == (
        b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
    )
    assert change("notifications/resources/updated", uri=Raw(rb'"a\/b"')).endswith(rb'"params":{"uri":"a\/b"}}')


@pytest.mark.parametrize(
    ("params", "uris"),
    [
        (None, None),
        ("{}", None),
        ('{"notifications":{}}', set()),
        ('{"notifications":{"toolsListChanged":true}}', set()),
        ('{"notifications":{"resourceSubscriptions":["a","b",7]}}', {"a", "b"}),
        ('{"notifications":{"resourceSubscriptions":"a"}}', set()),
    ],
)
def test_what_a_server_honours_is_read(params: str | None, uris: set[str] | None) -> None:
    """Spec: 2026-07-28 basic/patterns/subscriptions: the acknowledgement names the honoured subset."""
    assert acknowledged_resources(notification(params)) == uris


@pytest.mark.parametrize(
    ("params", "level"),
    [('{"level":"warning"}', "warning"), ('{"level":"loud"}', None), ('{"level":7}', None), ("{}", None), ("[]", None)],
)
def test_a_level_is_one_of_eight(params: str, level: str | None) -> None:
    assert log_level_of(Raw(params.encode())) == level


@pytest.mark.parametrize(
    ("params", "subscription"),
    [
        (meta('{"_meta":{"KEY":7}}'), 7),
        (meta('{"_meta":{"KEY":"7"}}'), "7"),
        (meta('{"_meta":{"KEY":true}}'), None),
        ('{"_meta":{}}', None),
        ('{"_meta":7}', None),
        (None, None),
    ],
)
def test_the_subscription_of_a_message_keeps_its_type(params: str | None, subscription: int | str | None) -> None:
    """SC-09."""
    assert subscription_of(notification(params)) == subscription


@pytest.mark.parametrize(
    ("params", "left"),
    [
        (meta('{"_meta":{"KEY":7},"uri":"a"}'), '{"uri":"a"}'),
        (meta('{"uri":"a","_meta":{"x":1.0,"KEY":7}}'), '{"uri":"a","_meta":{"x":1.0}}'),
        ('{"_meta":{"x":1}}', '{"_meta":{"x":1}}'),
        ('{"uri":"a"}', '{"uri":"a"}'),
        (None, None),
    ],
)
def test_only_the_subscription_is_taken_out(params: str | None, left: str | None) -> None:
    assert without_subscription(notification(params)) == notification(left).encode()

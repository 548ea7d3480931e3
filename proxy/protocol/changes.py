"""How is a client of the handshake era told of changes and of logs?

Spec: 2026-07-28 basic/patterns/subscriptions, server/utilities/logging; 2025-11-25 server/utilities/logging.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import Raw

from proxy.protocol.envelope import LOG_LEVELS, SUBSCRIPTION_KEY
from proxy.protocol.framing import one_line
from proxy.protocol.ids import decode_id
from proxy.protocol.jsontext import Members, as_object, encode
from proxy.protocol.messages import Notification
from proxy.protocol.translate_to_legacy import offers, strings_in, with_meta
from proxy.protocol.translate_to_modern import CHANGES

CHANGE_OF = {kind: method for method, kind in CHANGES.items()}
"""How a client is told of what one can listen to."""

RESOURCE_UPDATED = "notifications/resources/updated"


def listenable(capabilities: Members) -> tuple[str, ...]:
    """The lists that a server tells the changes of, as it is asked for them."""
    return tuple(
        f"{name}ListChanged" for name in ("tools", "prompts", "resources") if offers(capabilities, name, "listChanged")
    )


def change(method: str, **params: Any) -> bytes:
    """A notification of a change, of our own, on one line."""
    return encode({"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})})


def may_have_changed(initialize_result: Raw | None, uris: Iterable[str]) -> list[bytes]:
    """What to tell a client whose server is another process than before: all that it may have read may be otherwise.

    Args:
        initialize_result: Of the new one: only lists that it tells the changes of are known to be read.
        uris: The resources that the client has subscribed to.
    """
    result = as_object(initialize_result) or {}
    lists = listenable(as_object(result.get("capabilities")) or {})
    return [
        *(change(CHANGE_OF[kind]) for kind in lists),
        *(change(RESOURCE_UPDATED, uri=uri) for uri in uris),
    ]


def acknowledged_resources(notification: Notification) -> frozenset[str] | None:
    """The resources that a server has agreed to tell of; None if it does not say."""
    params = as_object(notification.members.get("params")) or {}
    honoured = as_object(params.get("notifications"))
    return None if honoured is None else frozenset(strings_in(honoured.get("resourceSubscriptions")))


def log_level_of(params: Raw | None) -> str | None:
    """The level that a log message has, or that a client sets; None if it is none."""
    members = as_object(params) or {}
    level = decode_id(members["level"]) if "level" in members else None
    return level if isinstance(level, str) and level in LOG_LEVELS else None


def subscription_of(notification: Notification) -> int | str | None:
    """The id of the `subscriptions/listen` that a notification belongs to."""
    params = as_object(notification.members.get("params")) or {}
    meta = as_object(params.get("_meta")) or {}
    return decode_id(meta[SUBSCRIPTION_KEY]) if SUBSCRIPTION_KEY in meta else None


def without_subscription(notification: Notification) -> bytes:
    """The notification on one line, without the id of its subscription: the handshake era has none."""
    params = as_object(notification.members.get("params"))
    meta = as_object((params or {}).get("_meta"))
    if params is None or meta is None:
        return notification.encode()
    return one_line(encode({**notification.members, "params": with_meta(params, meta, without=SUBSCRIPTION_KEY)}))

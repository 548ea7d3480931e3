"""Requests of revision 2026-07-28 as the bridge has them, once they are read."""

import json
from typing import Any

from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.envelope import ModernRequest, read_envelope
from proxy.protocol.messages import Request
from tests.support.modern import modern, tool


def read(body: bytes | dict[str, Any]) -> ModernRequest:
    """Parse a request and its envelope. Raises as `parse_client_message` and `read_envelope`."""
    message = parse_client_message(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert isinstance(message, Request)
    return read_envelope(message)


def a_request(id_: int | str, method: str, params: dict[str, Any] | None = None, **more: Any) -> ModernRequest:
    """As `modern`, read."""
    return read(modern(id_, method, params, **more))


def a_call(id_: int | str = 1, name: str = "echo", /, **more: Any) -> ModernRequest:
    """As `tool`, read."""
    return read(tool(id_, name, **more))

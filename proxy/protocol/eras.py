"""Is this message of the handshake era or of 2026-07-28?

The body decides; the header only where the body says nothing. So an enveloped request without the header is told what
it lacks instead of being taken for something else.
"""

from typing import Literal

from proxy.protocol.envelope import MODERN_VERSIONS
from proxy.protocol.messages import Message, Notification, Request

Era = Literal["legacy", "modern"]


def era_of(message: Message | list[Message], version_header: bytes | None) -> Era:
    """The era of what a client has posted."""
    if isinstance(message, list):
        is_enveloped = any(map(_is_enveloped, message))
    else:
        is_enveloped = _is_enveloped(message)
    if is_enveloped:
        return "modern"
    return "modern" if is_modern_header(version_header) else "legacy"


def _is_enveloped(message: Message) -> bool:
    return isinstance(message, Request | Notification) and message.is_enveloped


def is_modern_header(version_header: bytes | None) -> bool:
    """Whether an `MCP-Protocol-Version` names a revision without a handshake."""
    return version_header is not None and version_header.strip().decode("latin-1") in MODERN_VERSIONS

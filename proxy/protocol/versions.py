"""Which protocol revisions are there, and what do they change for the bridge?"""

from msgspec import Raw

from proxy.protocol.ids import decode_id
from proxy.protocol.jsontext import encode, parse_members
from proxy.protocol.messages import Request

LEGACY_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""The revisions with a handshake, oldest first."""

BATCH_VERSION = "2025-03-26"
"""The one revision of streamable HTTP in which a body may be an array (basic, Batching)."""


POLLING_VERSION = "2025-11-25"
"""The first revision whose clients know a priming event and come back to a stream that was closed on them."""


def version_of_result(answer: bytes) -> str | None:
    """`result.protocolVersion` of the answer to `initialize`; None if it is an error.

    A result without a version is as good as the oldest one: it is the child's business, and the client's.
    """
    members = parse_members(answer)
    result = members.get("result")
    if result is None:
        return None
    raw = parse_members(bytes(result)).get("protocolVersion") if bytes(result).startswith(b"{") else None
    version = decode_id(raw) if raw is not None else None
    return version if isinstance(version, str) else LEGACY_VERSIONS[0]


def lower_version(initialize: Request, newest: str | None) -> Request:
    """The same `initialize`, offering at most `newest`; only `params.protocolVersion` changes.

    Dates compare as text, so a revision that is not known here and later than `newest` is lowered, too.
    """
    raw = initialize.members.get("params")
    if newest is None or newest not in LEGACY_VERSIONS or raw is None or not bytes(raw).startswith(b"{"):
        return initialize
    params = parse_members(bytes(raw))
    asked = decode_id(params["protocolVersion"]) if "protocolVersion" in params else None
    if not isinstance(asked, str) or asked <= newest:
        return initialize
    params["protocolVersion"] = Raw(encode(newest))
    members = {**initialize.members, "params": Raw(encode(params))}
    return Request(
        initialize.id,
        initialize.raw_id,
        initialize.method,
        members,
        initialize.progress_token,
        initialize.envelope,
    )

"""What does this HTTP request say, and is it one that we read?"""

from functools import lru_cache

from starlette.types import Scope

from proxy.errors import NotAcceptable, NotJsonRpc, UnsupportedMediaType, VersionUnsupported
from proxy.protocol.versions import LEGACY_VERSIONS

_SINGLE = frozenset({b"content-type", b"content-length"})
_SINGLE_IN_SESSIONS = (b"mcp-session-id", b"mcp-protocol-version")


_REMEMBERED_BYTES = 1024
"""Longer values are nobody's; what is remembered of those that came is bounded by it."""


def read_headers(scope: Scope) -> dict[bytes, bytes]:
    """The headers of a request by lower-case name; repeated ones joined with a comma.

    Raises:
        NotJsonRpc: If one of those that tell how to read the body stands there twice: two readers could act on
            different ones.
    """
    headers: dict[bytes, bytes] = {}
    repeated: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        if name in headers:
            if name in _SINGLE:
                raise NotJsonRpc(f"Bad Request: the header {name.decode('latin-1')} is repeated")
            repeated.setdefault(name, [headers[name]]).append(value)
        else:
            headers[name] = value
    for name, values in repeated.items():  # at the end: joined one by one, a thousand of them would take seconds
        headers[name] = b", ".join(values)
    return headers


def refuse_repeated(headers: dict[bytes, bytes], scope: Scope) -> None:
    """Raises NotJsonRpc if a header that sessions act on stands there twice.

    Args:
        headers: As of `read_headers`.
        scope: Of the request.
    """
    if len(headers) == len(scope["headers"]):
        return  # nothing stands there twice
    for name in _SINGLE_IN_SESSIONS:
        if b"," in headers.get(name, b"") and sum(each == name for each, _ in scope["headers"]) > 1:
            raise NotJsonRpc(f"Bad Request: the header {name.decode()} is repeated")


def _media_ranges(accept: bytes) -> frozenset[bytes]:
    return _known_media_ranges(accept) if len(accept) <= _REMEMBERED_BYTES else _read_media_ranges(accept)


def _read_media_ranges(accept: bytes) -> frozenset[bytes]:
    """The media ranges of an Accept header, without parameters; those with q=0 are left out."""
    ranges = set()
    for part in accept.lower().split(b","):
        media, *parameters = (piece.strip() for piece in part.split(b";"))
        if not any(p.replace(b" ", b"").rstrip(b"0") in (b"q=", b"q=0.") for p in parameters):
            ranges.add(media)
    return frozenset(ranges)


_known_media_ranges = lru_cache(maxsize=256)(_read_media_ranges)


def _accepts(accept: bytes | None, media: bytes) -> bool:
    if accept is None:
        return True
    return not _media_ranges(accept).isdisjoint((media, media.partition(b"/")[0] + b"/*", b"*/*"))


def check_post_headers(headers: dict[bytes, bytes]) -> None:
    """Refuse a POST that can't be an MCP message or whose client can't read the answer.

    Raises:
        UnsupportedMediaType: If the body is not `application/json`.
        NotAcceptable: Unless both `application/json` and `text/event-stream` are accepted.

    Spec: 2025-11-25 basic/transports, Sending Messages 2.
    """
    check_json(headers)
    accept = headers.get(b"accept")
    if not (_accepts(accept, b"application/json") and _accepts(accept, b"text/event-stream")):
        raise NotAcceptable


def check_json(headers: dict[bytes, bytes]) -> None:
    """Raises UnsupportedMediaType if the body is not `application/json`."""
    content_type = headers.get(b"content-type", b"")
    if len(content_type) > _REMEMBERED_BYTES or not _is_json(content_type):
        raise UnsupportedMediaType


@lru_cache(maxsize=256)
def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == b"application/json"


def check_get_headers(headers: dict[bytes, bytes]) -> None:
    """Raises NotAcceptable if the client does not accept a stream of events."""
    if not _accepts(headers.get(b"accept"), b"text/event-stream"):
        raise NotAcceptable("Not Acceptable: the client must accept text/event-stream")


def check_version(headers: dict[bytes, bytes], *, agreed: str | None = None) -> None:
    """Raises VersionUnsupported for an `MCP-Protocol-Version` we don't speak; none at all is fine.

    Args:
        headers: Of the request.
        agreed: What the session's child has agreed to, which may be a revision that we have not heard of.

    Spec: 2025-11-25 basic/transports, Protocol Version Header: absent means 2025-03-26, unsupported is 400.
    """
    version = headers.get(b"mcp-protocol-version")
    if version is not None and version.decode("latin-1").strip() not in (*LEGACY_VERSIONS, agreed):
        raise VersionUnsupported(
            f"Bad Request: unsupported MCP-Protocol-Version; supported: {', '.join(LEGACY_VERSIONS)}"
        )

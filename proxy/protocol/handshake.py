"""How does the handshake of a server read as what 2026-07-28 asks and says on every request?

Spec: 2025-11-25 basic/lifecycle; 2026-07-28 basic, Request metadata; server/discover.
"""

from typing import Any

import msgspec
from msgspec import Raw

from proxy.protocol.envelope import MODERN_VERSIONS, PREFIX
from proxy.protocol.ids import decode_text, text_at
from proxy.protocol.jsontext import Members, as_object, encode, parse_array
from proxy.protocol.translate_to_modern import COMPLETE, NO_HOLD, meta_of
from proxy.protocol.versions import LEGACY_VERSIONS

SAME_EXTENSIONS = frozenset({f"{PREFIX}ui"})
"""Extensions that are the same in both eras: all they need are unknown members, which pass."""

_UNKNOWN_CLIENT = Raw(b'{"name":"mcp-proxy","version":"0"}')


class Server(msgspec.Struct, frozen=True):
    """What a server says of itself in the handshake.

    Attributes:
        version: The revision it speaks.
        capabilities: What it can do.
        info: Its name and version.
        instructions: How it wants to be used, a string.
    """

    version: str
    capabilities: Members
    info: Raw | None
    instructions: Raw | None

    def offers(self, capability: str, flag: str | None = None) -> bool:
        """Whether it has this capability and, if `flag` is given, that is true in it."""
        offered = as_object(self.capabilities.get(capability))
        if offered is None:
            return False
        return flag is None or bytes(offered.get(flag, b"")) == b"true"

    @property
    def changes(self) -> frozenset[str]:
        """The list changes that it tells of, as a listen calls them."""
        kinds = ("tools", "prompts", "resources")
        return frozenset(f"{kind}ListChanged" for kind in kinds if self.offers(kind, "listChanged"))


def legacy_capabilities(capabilities: Members) -> Members:
    """What a client of 2026-07-28 can do, as `initialize` says it.

    Clients for which this is the same are the same to a server of the handshake era.
    """
    found: Members = {}
    for name in ("sampling", "elicitation", "experimental"):
        if as_object(capabilities.get(name)) is not None:
            found[name] = capabilities[name]
    if as_object(capabilities.get("roots")) is not None:
        found["roots"] = Raw(b'{"listChanged":false}')
    extensions = _same_extensions(capabilities)
    return {**found, "extensions": extensions} if extensions is not None else found


def initialize(request_id: int, *, capabilities: Members, client_info: Raw | None) -> bytes:
    """The first request to a server of the handshake era, on one line.

    Args:
        request_id: Its id.
        capabilities: As `legacy_capabilities` gives them.
        client_info: Name and version of the client; whatever lacks one of them is replaced.
    """
    named = as_object(client_info) or {}
    is_whole = all(text_at(named, member) is not None for member in ("name", "version"))
    params = {
        "protocolVersion": LEGACY_VERSIONS[-1],
        "capabilities": capabilities,
        "clientInfo": client_info if is_whole else _UNKNOWN_CLIENT,
    }
    return encode({"jsonrpc": "2.0", "id": request_id, "method": "initialize", "params": params})


INITIALIZED = encode({"jsonrpc": "2.0", "method": "notifications/initialized"})


def read_server(result: Raw | None) -> Server | None:
    """What the result of `initialize` says; None if that is no object."""
    members = as_object(result)
    if members is None:
        return None
    version = text_at(members, "protocolVersion")
    instructions = members.get("instructions")
    return Server(
        version if isinstance(version, str) else LEGACY_VERSIONS[0],
        as_object(members.get("capabilities")) or {},
        members["serverInfo"] if as_object(members.get("serverInfo")) is not None else None,
        instructions if instructions is not None and bytes(instructions).startswith(b'"') else None,
    )


def supported_versions(data: Raw | None) -> list[str]:
    """The revisions that the data of a refused handshake names. Spec: 2026-07-28 basic, Version negotiation."""
    listed = bytes((as_object(data) or {}).get("supported", b""))
    named = [decode_text(each) for each in parse_array(listed)] if listed.startswith(b"[") else []
    return [each for each in named if each is not None]


def discover_result(server: Server) -> Raw:
    """The result of `server/discover`. Spec: 2026-07-28 server/discover."""
    capabilities = {
        name: raw
        for name, raw in server.capabilities.items()
        if name not in ("tasks", "extensions") and as_object(raw) is not None
    }
    extensions = _same_extensions(server.capabilities)
    if extensions is not None:
        capabilities["extensions"] = extensions
    result: dict[str, Any] = {"supportedVersions": MODERN_VERSIONS, "capabilities": capabilities}
    if server.instructions is not None:
        result["instructions"] = server.instructions
    return Raw(encode({**result, "resultType": COMPLETE, **NO_HOLD, **meta_of({}, server.info)}))


def _same_extensions(capabilities: Members) -> Raw | None:
    extensions = as_object(capabilities.get("extensions")) or {}
    same = {name: raw for name, raw in extensions.items() if name in SAME_EXTENSIONS}
    return Raw(encode(same)) if same else None

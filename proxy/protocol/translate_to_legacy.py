"""What does a message of 2026-07-28 say in the handshake era, and the other way around?

For a client of the handshake era and a server that speaks only the modern one. Values are the bytes that came; only
what has another name, place or meaning in the other era is touched.

Spec: 2026-07-28 basic, Request metadata; basic/patterns/mrtr; 2025-11-25 basic/lifecycle; 2026-07-28, Key changes.
"""

from typing import Any, NamedTuple

from msgspec import Raw

from proxy.protocol.envelope import (
    CAPABILITIES_KEY,
    CLIENT_INFO_KEY,
    LOG_LEVEL_KEY,
    MODERN_VERSIONS,
)
from proxy.protocol.framing import one_line
from proxy.protocol.ids import decode_id
from proxy.protocol.jsontext import Members, as_object, encode, parse_array
from proxy.protocol.messages import ENVELOPE_KEY, Request, Response
from proxy.protocol.translate_to_modern import CACHEABLE_METHODS, SERVER_INFO_KEY
from proxy.protocol.versions import LEGACY_VERSIONS

_ELICITING = "2025-06-18"
_LATEST = "2025-11-25"  # the first with elicitation by URL, and with tools in sampling
_NOBODY = {"name": "mcp-server", "version": "unknown"}
_VERSION = Raw(encode(MODERN_VERSIONS[-1]))


class LegacyClient(NamedTuple):
    """What a client has said of itself in `initialize`.

    Attributes:
        version: The revision that is agreed with it.
        capabilities: As a modern server reads them.
        info: Its name and version; None if it did not say both.
    """

    version: str
    capabilities: Members
    info: Raw | None

    @property
    def size_bytes(self) -> int:
        """What of it is text of the client's."""
        return sum(len(bytes(raw)) for raw in (*self.capabilities.values(), *([self.info] if self.info else [])))


def read_initialize(request: Request) -> LegacyClient:
    """Who is asking, in memory of its own: the members of a request are views that would keep the whole body.

    Spec: 2025-11-25 basic/lifecycle, Version Negotiation.
    """
    params = as_object(request.members.get("params")) or {}
    asked = decode_id(params["protocolVersion"]) if "protocolVersion" in params else None
    version = asked if isinstance(asked, str) and asked in LEGACY_VERSIONS else LEGACY_VERSIONS[-1]
    info = as_object(params.get("clientInfo")) or {}
    is_named = all(isinstance(decode_id(info.get(name, b"")), str) for name in ("name", "version"))
    declared = as_object(params.get("capabilities")) or {}
    capabilities = {name: raw.copy() for name, raw in _modern_capabilities(declared, version).items()}
    return LegacyClient(version, capabilities, params["clientInfo"].copy() if is_named else None)


def _modern_capabilities(declared: Members, version: str) -> Members:
    """Without what its revision lacks, and without what has no counterpart: core tasks are gone."""
    kept = {name: raw for name, raw in declared.items() if name not in ("tasks", "extensions")}
    for name in ("roots", "sampling", "elicitation"):
        if name in kept and as_object(kept[name]) is None:
            del kept[name]
    if "roots" in kept:
        kept["roots"] = Raw(b"{}")  # listChanged is gone
    if version < _LATEST and "sampling" in kept:
        kept["sampling"] = _without(kept["sampling"], "tools", "context")
    if version < _ELICITING:
        kept.pop("elicitation", None)
    elif version < _LATEST and "elicitation" in kept:
        kept["elicitation"] = _without(kept["elicitation"], "form", "url")
    return kept


def _without(raw: Raw, *names: str) -> Raw:
    members = as_object(raw) or {}
    return Raw(encode({name: value for name, value in members.items() if name not in names}))


# ---- requests, to the server


class Outgoing(NamedTuple):
    """A request of the client as the server gets it, but for its id."""

    members: Members
    params: Members

    @property
    def name(self) -> str | None:
        """Of the tool that is called."""
        name = decode_id(self.params["name"]) if "name" in self.params else None
        return name if isinstance(name, str) else None

    def encode(self, *, id: int, **more: Any) -> bytes:
        """On one line. `more` are further members of `params`."""
        return one_line(encode({**self.members, "id": id, "params": {**self.params, **more}}))


def enveloped(request: Request, client: LegacyClient, *, log_level: str | None) -> Outgoing | None:
    """A request with the envelope that a modern server needs; None if its params are no object.

    Args:
        request: As a client of the handshake era sends it.
        client: Whose it is.
        log_level: The least severe log message that its client wants; None if it wants none.
    """
    params = _object_or_nothing(request.members.get("params"))
    meta = _object_or_nothing(params.get("_meta")) if params is not None else None
    if params is None or meta is None:
        return None
    envelope = {ENVELOPE_KEY: _VERSION, CAPABILITIES_KEY: Raw(encode(client.capabilities))}
    if client.info is not None:
        envelope[CLIENT_INFO_KEY] = client.info
    if log_level is not None:
        envelope[LOG_LEVEL_KEY] = Raw(encode(log_level))
    # The first was never a member of the handshake era, the others mean something only to a server that has asked.
    kept = {name: raw for name, raw in params.items() if name not in ("task", "inputResponses", "requestState")}
    return Outgoing(request.members, {**kept, "_meta": Raw(encode({**meta, **envelope}))})


def own_request(method: str, client: LegacyClient, **params: Any) -> Outgoing:
    """A request of the bridge itself, on behalf of this client."""
    raw_params = {name: Raw(encode(value)) for name, value in params.items()}
    members = {"jsonrpc": Raw(b'"2.0"'), "method": Raw(encode(method)), "params": Raw(encode(raw_params))}
    outgoing = enveloped(Request(0, Raw(b"0"), method, members), client, log_level=None)
    assert outgoing is not None  # params are an object
    return outgoing


def discovery(request_id: int) -> bytes:
    """A `server/discover` on one line that asks for no client in particular."""
    return own_request("server/discover", LegacyClient(LEGACY_VERSIONS[-1], {}, None)).encode(id=request_id)


def _object_or_nothing(raw: Raw | None) -> Members | None:
    """An absent value is as good as an empty object; None for one that is something else."""
    return {} if raw is None or bytes(raw) == b"null" else as_object(raw)


# ---- results and errors, to the client


def initialize_result(discovered: Members, version: str) -> Members:
    """The result of `initialize` that says what a DiscoverResult says. Spec: 2025-11-25 basic/lifecycle."""
    meta = as_object(discovered.get("_meta")) or {}
    info = meta.get(SERVER_INFO_KEY)
    capabilities = as_object(discovered.get("capabilities")) or {}
    offered = {name: raw for name, raw in capabilities.items() if name not in ("extensions", "tasks")}
    rest = {
        name: raw for name, raw in plain_result("server/discover", discovered).items() if name != "supportedVersions"
    }
    return {
        **rest,
        "protocolVersion": Raw(encode(version)),
        "capabilities": Raw(encode(offered)),
        "serverInfo": info if as_object(info) is not None and info is not None else Raw(encode(_NOBODY)),
    }


def discover_fault(response: Response) -> Raw | None:
    """Why an answer to `server/discover` is none that can be used; None if it is one."""
    result = as_object(response.members.get("result"))
    if response.is_error:
        return response.members["error"]
    if result is None or result_kind(result) != "complete":
        return Raw(encode({"code": -32603, "message": "The server's answer could not be used"}))
    supported = strings_in(result.get("supportedVersions"))
    if not supported or MODERN_VERSIONS[-1] in supported:
        return None
    data = {"supported": result["supportedVersions"], "requested": MODERN_VERSIONS[-1]}
    return Raw(encode({"code": -32022, "message": "Unsupported protocol version", "data": data}))


def offers(capabilities: Members, name: str, member: str | None = None) -> bool:
    """Whether a server has a capability, or (with `member`) whether that says so of this part of it."""
    capability = as_object(capabilities.get(name))
    return capability is not None and (member is None or bytes(capability.get(member, b"")) == b"true")


def initialize_error(error: Raw, initialize: Request) -> Raw:
    """The error in answer to `initialize` when a server has refused `server/discover`.

    A refused revision is told as the handshake era tells it. Spec: 2025-11-25 basic/lifecycle, Error Handling.
    """
    members = as_object(error) or {}
    if not is_revision_refused(error):
        return legacy_error(error)
    data = as_object(members.get("data")) or {}
    params = as_object(initialize.members.get("params")) or {}
    told: dict[str, Any] = {"supported": data.get("supported", []), "requested": params.get("protocolVersion")}
    return Raw(encode({"code": -32602, "message": "Unsupported protocol version", "data": told}))


def result_kind(result: Members) -> str | None:
    """The `resultType`; one that is not there is `complete`. None if it is no text."""
    kind = decode_id(result["resultType"]) if "resultType" in result else "complete"
    return kind if isinstance(kind, str) else None


def plain_result(method: str, result: Members) -> Members:
    """A result without what only modern ones have."""
    gone = {"resultType"} | ({"ttlMs", "cacheScope"} if method in CACHEABLE_METHODS else set())
    kept = {name: raw for name, raw in result.items() if name not in gone}
    meta = as_object(kept.get("_meta"))
    return kept if meta is None else with_meta(kept, meta, without=SERVER_INFO_KEY)


def with_meta(members: Members, meta: Members, *, without: str) -> Members:
    """`members` whose `_meta` lacks one name; without any, if nothing is left in it."""
    if without not in meta:
        return members
    left = {name: raw for name, raw in meta.items() if name != without}
    if left:
        return {**members, "_meta": Raw(encode(left))}
    return {name: raw for name, raw in members.items() if name != "_meta"}


def legacy_error(error: Raw) -> Raw:
    """An error in the numbers of the handshake era.

    An envelope or a revision that is refused is a fault of the bridge, which has written them: the client did nothing
    wrong. A resource that does not exist keeps -32602: the SDK servers say the same in both eras.
    """
    members = as_object(error) or {}
    return Raw(encode({**members, "code": -32603})) if _code_of(members) in (-32020, -32022) else error


def is_revision_refused(error: Raw) -> bool:
    """Whether a server has refused a revision, as only those of the modern era do."""
    return _code_of(as_object(error) or {}) == -32022


def has_no_handshake(error: Raw) -> bool:
    """Whether an error in answer to `initialize` says that the server has no revision with a handshake.

    -32022 says so, as does a list of its revisions in which all are later ones; and a server with a handshake has the
    method. Spec: 2026-07-28 basic/versioning, Version negotiation.
    """
    members = as_object(error) or {}
    data = as_object(members.get("data")) or {}
    supported = strings_in(data.get("supported"))
    return _code_of(members) in (-32022, -32601) or (bool(supported) and min(supported) > LEGACY_VERSIONS[-1])


def _code_of(members: Members) -> int | None:
    code = decode_id(members["code"]) if "code" in members else None
    return code if isinstance(code, int) else None


def strings_in(raw: Raw | None) -> list[str]:
    """The texts in an array; none if it is no array."""
    if raw is None or not bytes(raw).startswith(b"["):
        return []
    values = [decode_id(element) for element in parse_array(bytes(raw))]
    return [value for value in values if isinstance(value, str)]


def failed_tool(why: str) -> Raw:
    """The result of a tool that could not do what it was called for."""
    return Raw(encode({"content": [{"type": "text", "text": why}], "isError": True}))

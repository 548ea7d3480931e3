"""What can a client of the handshake revisions have without a session?

Each of its requests stands for itself: what a server remembers of its client, and what it says between two requests,
has no place.

Spec: 2025-11-25 basic/lifecycle; basic/transports, Session Management 1 ("MAY assign a session ID").
"""

import msgspec
from msgspec import Raw

from proxy.protocol.ids import decode_id
from proxy.protocol.jsontext import Members, as_object, encode, parse_members
from proxy.protocol.messages import Notification, Request, cancellation
from proxy.protocol.versions import BATCH_VERSION, LEGACY_VERSIONS

LISTS = frozenset({"tools/list", "prompts/list", "resources/list", "resources/templates/list"})
"""What is the same for all clients of a server, as a rule; every client asks for it first."""

_OF_A_SESSION = frozenset({"initialize", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
_CAPABILITIES_OF_A_SESSION = frozenset({"logging", "tasks"})
_FLAGS_OF_A_SESSION = frozenset({"listChanged", "subscribe"})

INITIALIZED = Notification(
    "notifications/initialized", parse_members(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
)


def needs_session(method: str) -> bool:
    """Whether a request makes sense only if something is remembered when it has been answered.

    `initialize` among them: inside of a batch nobody would be told of the answer.
    """
    return method in _OF_A_SESSION or method.startswith("tasks/")


def version_spoken(header: bytes | None, newest: str) -> str:
    """The revision that a client speaks which has sent this `MCP-Protocol-Version`, `newest` at most.

    Spec: 2025-11-25 basic/transports, Protocol Version Header: without one, "SHOULD assume" 2025-03-26.
    """
    return min(header.decode("latin-1").strip() if header is not None else BATCH_VERSION, newest)


def handshake(version: str, product_version: str) -> Request:
    """The `initialize` of a client that can be asked nothing: whoever it serves has no session to answer in.

    Args:
        version: The revision to ask for.
        product_version: Ours.
    """
    params = {
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": {"name": "mcp-proxy", "version": product_version},
    }
    raw_id = Raw(b"0")
    members = {
        "jsonrpc": Raw(b'"2.0"'),
        "id": raw_id,
        "method": Raw(b'"initialize"'),
        "params": Raw(encode(params)),
    }
    return Request(0, raw_id, "initialize", members)


def answer_to(initialize: Request, said: Members) -> bytes:
    """The answer to a client's `initialize`, on one line.

    The older one of the revision that it asks for and the one that the server has agreed to; of the capabilities,
    nothing that only a session has. All else is what the server says.

    Args:
        initialize: What the client asks.
        said: The result of a child's handshake.
    """
    result = dict(said)
    agreed = decode_id(said["protocolVersion"]) if "protocolVersion" in said else LEGACY_VERSIONS[0]
    asked = decode_id((as_object(initialize.members.get("params")) or {}).get("protocolVersion", Raw(b"null")))
    if asked in LEGACY_VERSIONS and isinstance(agreed, str):
        result["protocolVersion"] = Raw(encode(min(str(asked), agreed)))
    if as_object(said.get("capabilities")) is not None:
        result["capabilities"] = Raw(encode(_offered(parse_members(bytes(said["capabilities"])))))
    return encode({"jsonrpc": "2.0", "id": initialize.raw_id, "result": result})


def _offered(capabilities: Members) -> Members:
    offered: Members = {}
    for name, raw in capabilities.items():
        members = as_object(raw)
        if name in _CAPABILITIES_OF_A_SESSION:
            continue
        if members is None or members.keys().isdisjoint(_FLAGS_OF_A_SESSION):
            offered[name] = raw
        else:
            kept = {key: Raw(b"false") if key in _FLAGS_OF_A_SESSION else each for key, each in members.items()}
            offered[name] = Raw(encode(kept))
    return offered


def without_task(request: Request) -> Request:
    """The same request, to be answered when it is done: a task would end with the child that has begun it.

    Spec: 2025-11-25 basic/utilities/tasks: receivers that don't offer tasks "MUST process requests of that type
    normally, ignoring any task-augmentation metadata if present".
    """
    params = as_object(request.members.get("params"))
    if params is None or "task" not in params:
        return request
    del params["task"]
    return msgspec.structs.replace(request, members={**request.members, "params": Raw(encode(params))})


def given_up(request: Request) -> Notification:
    """That the client of a request is gone, and cannot come back for the answer."""
    members = parse_members(cancellation(0, reason="The client is gone"))
    return Notification("notifications/cancelled", members, request.id)

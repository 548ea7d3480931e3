"""Which capabilities of its client is a server not told of?

For a client that declares `roots` and never answers: a server that does not know of it does not ask.

Spec: 2025-11-25 basic/lifecycle, Capability Negotiation; 2026-07-28 basic, Request metadata.
"""

from collections.abc import Collection

import msgspec
from msgspec import Raw

from proxy.protocol.envelope import CAPABILITIES_KEY
from proxy.protocol.jsontext import Members, as_object, encode
from proxy.protocol.messages import Message, Request


def without_capabilities(message: Message, names: Collection[str]) -> Message:
    """The same message without these capabilities, if it is one that declares any; every other member untouched."""
    if not isinstance(message, Request):
        return message
    if message.envelope is not None:
        return _without_in_meta(message, message.envelope, names)
    params = as_object(message.members.get("params")) if message.method == "initialize" else None
    left = _left(params, "capabilities", names)
    if params is None or left is None:
        return message
    params = {**params, "capabilities": left}
    return msgspec.structs.replace(message, members={**message.members, "params": Raw(encode(params))})


def _without_in_meta(request: Request, envelope: tuple[Members, Members], names: Collection[str]) -> Request:
    params, meta = envelope
    left = _left(meta, CAPABILITIES_KEY, names)
    if left is None:
        return request
    meta = {**meta, CAPABILITIES_KEY: left}
    params = {**params, "_meta": Raw(encode(meta))}
    return msgspec.structs.replace(
        request, members={**request.members, "params": Raw(encode(params))}, envelope=(params, meta)
    )


def _left(members: Members | None, key: str, names: Collection[str]) -> Raw | None:
    """What is left of the capabilities under this key; None if nothing has to go."""
    declared = as_object((members or {}).get(key))
    if declared is None or not declared.keys() & set(names):
        return None
    return Raw(encode({name: value for name, value in declared.items() if name not in names}))

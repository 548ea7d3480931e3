"""How does a request or a progress notification read under another progress token?"""

import re

from msgspec import Raw

from proxy.protocol.ids import decode_id
from proxy.protocol.jsontext import Members, as_object, encode, parse_members

_TOKEN = re.compile(rb'"progressToken"\s*:\s*([0-9]+)(?=\s*[,}])')


def with_token(line: bytes, token: int, raw_token: Raw) -> bytes:
    """A progress notification of a child under its client's token.

    A quote inside of a JSON string has a backslash before it, so what looks like the member is one; if there is only
    one, with the value that was found in `params`, it is that.

    Args:
        line: The notification.
        token: The number that the child knows.
        raw_token: What its client wrote.
    """
    if _TOKEN.findall(line) == [b"%d" % token]:
        return _TOKEN.sub(lambda _: b'"progressToken":' + bytes(raw_token), line)
    members = parse_members(line)
    params = {**parse_members(bytes(members["params"])), "progressToken": raw_token}
    return encode({**members, "params": params})


def token_in(members: Members) -> Raw | None:
    """The progress token that a request asks for, as it is written; None if it asks for none."""
    params = members.get("params")
    if params is None or _names_no_token(bytes(params)):
        return None
    raw = (as_object((as_object(params) or {}).get("_meta")) or {}).get("progressToken")
    return raw.copy() if raw is not None and decode_id(raw) is not None else None


def with_request_token(members: Members, token: int) -> Members:
    """The members of a request that asks for progress, asking for it under this token."""
    params = as_object(members.get("params")) or {}
    meta = as_object(params.get("_meta")) or {}
    changed = {**params, "_meta": Raw(encode({**meta, "progressToken": token}))}
    return {**members, "params": Raw(encode(changed))}


def _names_no_token(params: bytes) -> bool:
    """Whether a look at the text is enough: the name may also be written with escapes."""
    return b"progressToken" not in params and b"\\u" not in params

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
    """The progress token that a request asks for, as it is written; None if it asks for none, or for no legal one."""
    raw = (_meta_with_token(members) or {}).get("progressToken")
    return raw.copy() if raw is not None and decode_id(raw) is not None else None


def under_token(members: Members, token: int) -> tuple[Members, Raw | None]:
    """The members of a request, asking for progress under this token if they ask for any; and the token they named.

    One that is no legal token (null, 5.0) is left out: the child could take it for a number that is another request's.
    """
    meta = _meta_with_token(members)
    if meta is None or "progressToken" not in meta:
        return members, None
    raw_token = token_in(members)
    if raw_token is None:
        del meta["progressToken"]
    else:
        meta["progressToken"] = Raw(b"%d" % token)
    params = {**(as_object(members["params"]) or {}), "_meta": Raw(encode(meta))}
    return {**members, "params": Raw(encode(params))}, raw_token


def _meta_with_token(members: Members) -> Members | None:
    """The `_meta` of a request; None if it can be told without a look at it that no token is named there."""
    params = members.get("params")
    if params is None or _names_no_token(bytes(params)):
        return None
    return as_object((as_object(params) or {}).get("_meta"))


def _names_no_token(params: bytes) -> bool:
    """Whether a look at the text is enough: the name may also be written with escapes."""
    return b"progressToken" not in params and b"\\u" not in params

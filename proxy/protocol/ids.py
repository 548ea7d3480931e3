"""What is this id, and whose?

Ids are strings or integers and are kept apart: `0`, `"0"` and `False` are three things. They are compared as decoded
values (children re-encode them) and given back as the bytes they came as.

Spec: 2025-11-25 basic, Requests: "The ID MUST be a string or integer", "MUST NOT be null".
"""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import count

from msgspec import Raw

Id = int | str
"""A decoded id or progress token. Never a bool: `decode_id` refuses those."""

MAX_ID_BYTES = 4096
"""Longest id as it is written. Ours: an id is kept when nothing else of its message is. SDKs need 36 at most."""

_PLAIN = re.compile(rb'"[ !#-\[\]-~]*"')  # printable ASCII, nothing escaped: nearly all there are
_INTEGER = re.compile(rb"-?[0-9]{1,4000}")


def decode_id(raw: bytes | Raw) -> Id | None:
    """The id that these bytes write down, or None if they are not a legal one (null, bool, float, object, longer)."""
    text = bytes(raw)
    if len(text) > MAX_ID_BYTES:
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    return decode_text(text)


def decode_text(raw: bytes | Raw) -> str | None:
    """The string that these bytes write down, of any length; None if they are no string."""
    text = bytes(raw)
    if _PLAIN.fullmatch(text):
        return text[1:-1].decode()
    if not text.startswith(b'"'):
        return None
    try:
        decoded = json.loads(text)  # not msgspec: it may hold an escaped lone surrogate
    except ValueError:
        return None
    return decoded if isinstance(decoded, str) else None


def text_at(members: Mapping[str, Raw], name: str) -> str | None:
    """The string that a member is; None if there is no such member, or it is no string."""
    raw = members.get(name)
    return decode_text(raw) if raw is not None else None


class IdMinter:
    """Small positive integers, each given once in the life of its owner."""

    def __init__(self) -> None:
        self._next: Iterator[int] = count(1)

    def mint(self) -> int:
        """The next id. Never one that was given before, so a late answer finds nobody instead of somebody else."""
        return next(self._next)

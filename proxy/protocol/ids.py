"""What is this id, and whose?

Ids are strings or integers and are kept apart: `0`, `"0"` and `False` are three things. They are compared as decoded
values (children re-encode them) and given back as the bytes they came as.

Spec: 2025-11-25 basic, Requests: "The ID MUST be a string or integer", "MUST NOT be null".
"""

import json
import re
from collections.abc import Iterator
from itertools import count

from msgspec import Raw

Id = int | str
"""A decoded id or progress token. Never a bool: `decode_id` refuses those."""

MAX_ID_BYTES = 4096
"""Longest id as it is written. Ours: an id is kept when nothing else of its message is. SDKs need 36 at most."""

_INTEGER = re.compile(rb"-?[0-9]{1,4000}")


def decode_id(raw: bytes | Raw) -> Id | None:
    """The id that these bytes write down, or None if they are not a legal one (null, bool, float, object, longer)."""
    text = bytes(raw)
    if len(text) > MAX_ID_BYTES:
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    if text.startswith(b'"'):
        try:
            decoded = json.loads(text)  # not msgspec: an id may hold an escaped lone surrogate
        except ValueError:
            return None
        return decoded if isinstance(decoded, str) else None
    return None


class IdMinter:
    """Small positive integers, each given once in the life of its owner."""

    def __init__(self) -> None:
        self._next: Iterator[int] = count(1)

    def mint(self) -> int:
        """The next id. Never one that was given before, so a late answer finds nobody instead of somebody else."""
        return next(self._next)

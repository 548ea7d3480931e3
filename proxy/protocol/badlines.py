"""Which call does a line answer that can't be read?"""

import re
from collections.abc import Collection

_ID = re.compile(rb'"id"\s*:\s*([0-9]{1,18})\b')


def call_answered_by(ends: bytes, open_calls: Collection[int]) -> int | None:
    """The one open call whose answer this is; None if it is none, or may be that of several.

    Args:
        ends: The beginning and the end of the line.
        open_calls: Ids as the child knows them.
    """
    if not _looks_like_an_answer(ends):
        return None
    named = {int(found) for found in _ID.findall(ends)}.intersection(open_calls)
    return named.pop() if len(named) == 1 else None


def _looks_like_an_answer(ends: bytes) -> bool:
    """Whether these are the ends of an answer: not of a log, not of a notification."""
    if b'"result"' in ends or b'"error"' in ends:
        return True
    return b'"jsonrpc"' in ends and b'"method"' not in ends

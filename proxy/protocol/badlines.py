"""Which call does a line answer that can't be read, and which lines are not worth a look?"""

import re
from collections.abc import Collection

from proxy.protocol.child_lines import BadLine
from proxy.protocol.framing import OversizedLine

MAX_NOISE_LINES = 100
"""Lines without a message in them that are looked at in one turn. Ours: a hundred say all that a flood of it says."""

_ID = re.compile(rb'"id"\s*:\s*([0-9]{1,18})\b')


def without_noise(lines: list[bytes | OversizedLine]) -> tuple[list[bytes | OversizedLine], int]:
    """The lines that are worth a look, and how many are not: a flood of noise must not hold up everybody."""
    if len(lines) <= MAX_NOISE_LINES:
        return lines, 0
    kept: list[bytes | OversizedLine] = []
    noise = 0
    for line in lines:
        if isinstance(line, bytes) and b'"jsonrpc"' not in line:
            noise += 1
            if noise > MAX_NOISE_LINES:
                continue
        kept.append(line)
    return kept, max(0, noise - MAX_NOISE_LINES)


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


def unusable_answer(call_id: int, line: BadLine) -> bytes | OversizedLine:
    """A line that is as bad as this one, and shows that it answers this call."""
    head = b'{"jsonrpc":"2.0","id":%d,"result":' % call_id
    return OversizedLine(line.size_bytes, head, b"") if line.reason == "oversized" else head

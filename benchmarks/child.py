"""A stdio server that costs next to nothing, so that what is measured is what stands in front of it.

Run with `python -I -S`: it imports no more than the interpreter has loaded anyway. It takes all lines of one read and
answers them in one write. It is no parser: it finds members by name, in compact JSON without escapes in its strings,
as `messages.py` writes them.

Tools: `echo` gives `text` back, `blob` repeats `text` `count` times, `progress` reports `count` times, then answers.
"""

import os

READ_BYTES = 1 << 18
PROGRESS_LINES_PER_WRITE = 500
NOT_FOUND = b'{"jsonrpc":"2.0","id":%b,"error":{"code":-32601,"message":"not for this child"}}\n'
RESULT = b'{"jsonrpc":"2.0","id":%b,"result":%b}\n'
DISCOVERED = (
    b'{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},'
    b'"ttlMs":0,"cacheScope":"private"}'
)
HELLO = b'{"protocolVersion":%b,"capabilities":{"tools":{}},"serverInfo":{"name":"benchmark-child","version":"1"}}'
TEXT = b'{"content":[{"type":"text","text":%b}],"isError":false}'
PROGRESS = (
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%b,"progress":%d,"total":%d}}\n'
)


def member(line: bytes, name: bytes) -> bytes:
    """The string (with its quotes) or number behind `"name":`; empty if there is none."""
    start = line.find(b'"%b":' % name)
    if start < 0:
        return b""
    start += len(name) + 3
    if line[start : start + 1] == b'"':
        return line[start : line.index(b'"', start + 1) + 1]
    ends = (line.find(b",", start), line.find(b"}", start))
    return line[start : min(end for end in ends if end >= 0)]


def answer(line: bytes) -> bytes:
    """What one line gets: nothing for a notification, else everything up to its result."""
    raw_id = member(line[:200], b"id")  # it comes before the params
    if not raw_id:
        return b""
    head = line[:200]
    if b'"method":"initialize"' in head:
        return RESULT % (raw_id, HELLO % member(line, b"protocolVersion"))
    if b'"method":"server/discover"' in head:
        return RESULT % (raw_id, DISCOVERED)
    if b'"method":"tools/call"' not in head:
        return NOT_FOUND % raw_id
    if b'"name":"echo"' in head:
        return RESULT % (raw_id, TEXT % member(line, b"text"))
    if b'"name":"blob"' in head:
        text = member(line, b"text")[1:-1] * int(member(line, b"count"))
        return RESULT % (raw_id, TEXT % (b'"%b"' % text))
    if b'"name":"progress"' in head:
        report_progress(member(line, b"progressToken"), int(member(line, b"count")))
        return RESULT % (raw_id, TEXT % member(line, b"text"))
    return NOT_FOUND % raw_id


def report_progress(token: bytes, count: int) -> None:
    """Write this many notifications, a few hundred at a time."""
    for first in range(1, count + 1, PROGRESS_LINES_PER_WRITE):
        last = min(first + PROGRESS_LINES_PER_WRITE, count + 1)
        write(b"".join([PROGRESS % (token, done, count) for done in range(first, last)]))


def write(data: bytes) -> None:
    """All of it; waits while the pipe is full."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def main() -> None:
    """Answer until stdin ends."""
    parts: list[bytes] = []
    while chunk := os.read(0, READ_BYTES):
        parts.append(chunk)
        if b"\n" not in chunk:
            continue
        *lines, rest = b"".join(parts).split(b"\n")
        parts = [rest]
        write(b"".join([answer(line) for line in lines]))


if __name__ == "__main__":
    main()

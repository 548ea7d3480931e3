"""One HTTP request, byte for byte as a test writes it, and the answer to it."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.support.mcp import speak
from tests.support.modern import headers_of

Fields = list[tuple[str, str | bytes]]


class Answer(NamedTuple):
    """Status and JSON body of a response; None if it has no body."""

    status: int
    headers: dict[str, str]
    body: Any


def fields_of(message: dict[str, Any]) -> Fields:
    """The header lines that go with a request of 2026-07-28."""
    return list(headers_of(message).items())


async def posted(base_url: str, body: bytes | dict[str, Any] | list[Any], fields: Sequence[tuple[str, Any]]) -> Answer:
    """POST a body with exactly these header lines, beside Host and Content-Length."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [b"POST /mcp HTTP/1.1", b"Connection: close"]
    if not any(name.lower() == "host" for name, _ in fields):
        lines.append(b"Host: localhost")
    for name, value in fields:
        lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()))
    lines.append(b"Content-Length: %d" % len(data))
    head, _, rest = (await speak(base_url, b"\r\n".join(lines) + b"\r\n\r\n" + data)).partition(b"\r\n\r\n")
    status, *named = head.split(b"\r\n")
    pairs = (line.decode("latin-1").partition(": ") for line in named)
    headers = {name.lower(): value for name, _, value in pairs}
    return Answer(int(status.split()[1]), headers, json.loads(rest) if rest else None)

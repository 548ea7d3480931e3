"""Which addresses of resources are the same, and which lie above another?

Servers write an address as their library does: `http://h` comes back as `http://h/`, a space as `%20`.

Spec: RFC 3986 part 6.2.2, Syntax-Based Normalization; WHATWG URL for what JavaScript and pydantic make of the schemes
of the web. 2025-11-25 schema, ResourceUpdatedNotification: "This might be a sub-resource of the one that the client
actually subscribed to."
"""

import re
from collections.abc import Iterator
from urllib.parse import quote

MAX_PARENTS = 64
"""How far up it is looked for who watches a resource in which something changed. Ours: deeper than any path."""
MAX_URI_BYTES = 4096
"""Longest address that is compared otherwise than as it is written. Ours: nobody can watch a longer one."""

_PARTS = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(.*)", re.DOTALL)
_DEFAULT_PORTS = {"http": ":80", "https": ":443", "ws": ":80", "wss": ":443", "ftp": ":21", "file": ""}
"""The schemes of which URL libraries know more than RFC 3986 says of all."""
_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile("[A-Za-z0-9._~-]")
_LEGAL = "%!#$&'()*+,/:;=?@[]~"


class Watched:
    """The addresses that are watched, each as it was written."""

    def __init__(self) -> None:
        self._spellings: dict[str, dict[str, None]] = {}  # by what they are compared as, the oldest first

    def __len__(self) -> int:
        return sum(map(len, self._spellings.values()))

    def add(self, uri: str) -> None:
        """From now on this one is watched; nothing if it was."""
        self._spellings.setdefault(comparable(uri), {})[uri] = None

    def discard(self, uri: str) -> None:
        """Nobody watches it any more, as it is written here; nothing if nobody did."""
        key = comparable(uri)
        spellings = self._spellings.get(key, {})
        spellings.pop(uri, None)
        if not spellings:
            self._spellings.pop(key, None)

    def concerned_by(self, uri: str) -> list[str]:
        """Those that a change of this one is a change of, too: the same however it is written, and what is above."""
        found = [each for above in _with_parents(comparable(uri)) for each in self._spellings.get(above, ())]
        return list(dict.fromkeys(found))


def comparable(uri: str) -> str:
    """The same text for addresses that are the same. Only to compare: never said to anybody."""
    parts = _PARTS.fullmatch(uri) if len(uri) <= MAX_URI_BYTES else None
    if parts is None or parts[1] is None:
        return uri
    scheme, authority, path, rest = parts[1].lower(), parts[2], parts[3], parts[4]
    if scheme in _DEFAULT_PORTS:
        user, at, host = (authority or "").rpartition("@")
        host = host.lower().removesuffix(_DEFAULT_PORTS[scheme])
        authority = user + at + ("" if scheme == "file" and host == "localhost" else host)
        path = path or "/"
    if path.startswith("/"):
        path = _without_dots(path)
    return f"{scheme}:" + (f"//{authority}" if authority is not None else "") + _one_way_of_escaping(path + rest)


def _without_dots(path: str) -> str:
    """Spec: RFC 3986 part 5.2.4, Remove Dot Segments."""
    left: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del left[-1:]
        elif segment != ".":
            left.append(segment)
    if segments[-1] in (".", ".."):
        left.append("")
    return "/" + "/".join(left)


def _one_way_of_escaping(text: str) -> str:
    return quote(_ESCAPE.sub(_unescaped, text), safe=_LEGAL, errors="surrogatepass")


def _unescaped(escape: re.Match[str]) -> str:
    letter = chr(int(escape[1], 16))
    return letter if _UNRESERVED.fullmatch(letter) else escape[0].upper()


def _with_parents(uri: str) -> Iterator[str]:
    yield uri
    at = len(uri)
    for _ in range(MAX_PARENTS):
        at = uri.rfind("/", 0, at)
        if not 0 <= at <= 3 * MAX_URI_BYTES:
            return  # nobody watches one that is longer
        yield uri[: at + 1]
        if at > 0:
            yield uri[:at]

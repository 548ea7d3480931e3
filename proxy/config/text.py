"""How does the text of a config file become objects?

Clients write JSON with comments and trailing commas into theirs. The standard library's parser takes milliseconds for
a thousand servers, where one for the whole of JSON5 takes seconds, in which a reload would hold up everybody's calls.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

_SPACE = re.compile(r"[^\n]")
_STRING = r'"(?:[^"\\\n]|\\.)*+"?'
_COMMENT = re.compile(_STRING + r"|(?P<comment>//[^\n]*|/\*.*?(?:\*/|\Z))", re.DOTALL)
_COMMA = re.compile(_STRING + r"|(?P<comma>,)(?=\s*[}\]])")


class NotParsed(Exception):
    """A text is no JSON; the message says where, never what stands there: it may be a secret."""


class Object(dict[str, Any]):
    """An object of the file.

    Attributes:
        twice: A name that it has twice, if there is one; clients let one of the two win, and not all the same.
    """

    def __init__(self, pairs: Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__()
        self.twice: str | None = None
        for name, value in pairs:
            if name in self:
                self.twice = self.twice or name
            self[name] = value


def parse(data: bytes) -> Any:
    """What a file says, objects as `Object`.

    Raises:
        NotParsed: If it is no JSON, comments and trailing commas allowed, or no Unicode.
    """
    try:
        text = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError:
        raise NotParsed("is not UTF-8") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _COMMENT.sub(_blank, text)
    if not text.strip():
        raise NotParsed("is empty")
    try:
        return json.loads(_COMMA.sub(_blank, text), object_pairs_hook=Object)
    except json.JSONDecodeError as exc:
        raise NotParsed(f"is no JSON: line {exc.lineno}, column {exc.colno}: {exc.msg}") from None
    except RecursionError:
        raise NotParsed("is nested too deeply") from None
    except ValueError:
        raise NotParsed("is no JSON: it has a number with too many digits") from None


def _blank(match: re.Match[str]) -> str:
    """A string as it is; of anything else as much white space, so that faults are found where they stand."""
    return match[0] if match[0].startswith('"') else _SPACE.sub(" ", match[0])

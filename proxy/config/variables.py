"""What does `${VAR}` in a config file stand for?"""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(\}|:-)")
_UNKNOWN = re.compile(r"(\$\{[A-Za-z_][A-Za-z0-9_]*[:+=?-])[^}]*\}")
_BRACE = re.compile(r"[{}]")


class VariableMissing(Exception):
    """A variable that is referred to is not set, and no default is given.

    Attributes:
        name: Its name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class ReferenceUnknown(Exception):
    """Something looks like a reference and is none, such as `${input:key}`.

    Attributes:
        head: How it begins; what follows may be a secret.
    """

    def __init__(self, head: str) -> None:
        super().__init__(head)
        self.head = head


def expand(text: str, environ: Mapping[str, str]) -> str:
    """The text with `${VAR}`, `${env:VAR}` and `${VAR:-default}` replaced; what was put in is not looked at again.

    As in a shell, the default stands in for a variable that is empty, too, and may have references in it, and braces
    that are closed again. `$${` stands for `${`; so does `${` before anything that is no name.

    Raises:
        VariableMissing: If one without a default is not set.
        ReferenceUnknown: If a name is followed by anything else, as in `${input:key}` or `${VAR-default}`.
    """
    parts: list[str] = []
    at = 0
    while (begin := text.find("${", at)) >= 0:
        end = begin + 2
        reference = _REFERENCE.match(text, begin)
        closed = _closed(text, reference) if reference else None
        if at < begin and text[begin - 1] == "$":
            parts += [text[at : begin - 1], "${"]
        elif reference and closed:
            end = closed
            parts += [text[at:begin], _value(reference, text[reference.end() : end - 1], environ)]
        elif unknown := _UNKNOWN.match(text, begin):
            raise ReferenceUnknown(unknown[1])
        else:
            parts.append(text[at:end])
        at = end
    return "".join((*parts, text[at:]))


def _value(reference: re.Match[str], default: str, environ: Mapping[str, str]) -> str:
    name, has_default = reference[1], reference[2] == ":-"
    if has_default:
        return environ.get(name) or expand(default, environ)
    if name not in environ:
        raise VariableMissing(name)
    return environ[name]


def _closed(text: str, reference: re.Match[str]) -> int | None:
    """Where a reference ends, behind its brace; None if it does not."""
    if reference[2] == "}":
        return reference.end()
    depth = 1
    for brace in _BRACE.finditer(text, reference.end()):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.end()
    return None

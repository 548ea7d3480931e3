"""Does a command mean a shell that it does not get?"""

import re
from collections.abc import Sequence
from pathlib import PurePath

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "fish"})
_OPERATORS = frozenset({"|", "||", "&&", "&", ";", "<", "<<", "2>&1", "&>"})
_REDIRECT = re.compile(r"[0-9]?>>?(?=[\w./~-]|$)")
_VARIABLE = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*|\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


def shell_syntax(argv: Sequence[str]) -> str | None:
    """What in a command only a shell would understand; None if there is nothing. Without values: they may be secret."""
    if PurePath(argv[0]).name in _SHELLS:
        return None
    if assignment := _ASSIGNMENT.match(argv[0]):
        return f"{assignment[0]}..."
    return next((found for word in argv if (found := _in_word(word))), None)


def _in_word(word: str) -> str | None:
    if word in _OPERATORS:
        return word
    if found := _REDIRECT.match(word) or _VARIABLE.match(word):
        return found[0]
    if "$(" in word:
        return "$(...)"
    if word.startswith("`"):
        return "`...`"
    if word.startswith("~/"):
        return "~"
    return ";" if word.endswith(";") else None


def advice(found: str, *, in_file: bool) -> str:
    """What to do about it."""
    if found.endswith("=..."):
        return "env sets variables" if in_file else "--env sets variables"
    if in_file and found.startswith("$") and found[1].isidentifier():
        return f"${{{found[1:]}}} would be replaced"
    return "sh -c '...' runs a command in a shell"

"""What does `${VAR}` in a config file stand for?"""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class VariableMissing(Exception):
    """A variable that is referred to is not set, and no default is given.

    Attributes:
        name: Its name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def expand(text: str, environ: Mapping[str, str]) -> str:
    """The text with `${VAR}`, `${env:VAR}` and `${VAR:-default}` replaced; what was put in is not looked at again.

    As in a shell, the default stands in for a variable that is empty, too.

    Raises:
        VariableMissing: If one without a default is not set.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if default is not None:
            return environ.get(name) or default
        if name not in environ:
            raise VariableMissing(name)
        return environ[name]

    return _REFERENCE.sub(value, text)

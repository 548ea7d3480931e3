"""How are durations and sizes written?"""

import re
from typing import Any

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 1000, "mb": 1000**2, "gb": 1000**3}
_NUMBER = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)")
_NONE = {"none", "off", "never"}


def parse_duration(value: Any) -> Any:
    """Seconds from `30`, `30s`, `500ms`, `5m`, `2h`, `1d`. What is not text is left to the type's own check.

    Raises:
        ValueError: If the text is no duration.
    """
    return _parse(value, _SECONDS) if isinstance(value, str) else value


def parse_optional_duration(value: Any) -> Any:
    """As `parse_duration`; `none`, `off` and `never` stand for no limit."""
    return None if _is_none(value) else parse_duration(value)


def parse_optional_size(value: Any) -> Any:
    """As `parse_size`; `none`, `off` and `never` stand for no limit."""
    return None if _is_none(value) else parse_size(value)


def parse_optional_number(value: Any) -> Any:
    """A number as it is written, `4` or `0.5`; `none`, `off` and `never` stand for no limit.

    Raises:
        ValueError: If the text is no number.
    """
    if _is_none(value):
        return None
    return _parse(value, {"": 1}) if isinstance(value, str) else value


def parse_size(value: Any) -> Any:
    """Bytes from `1024`, `64KiB`, `16MiB`, `1GiB`, `10MB`.

    Raises:
        ValueError: If the text is no size.
    """
    return int(_parse(value, _BYTES)) if isinstance(value, str) else value


def format_duration(seconds: float) -> str:
    """The shortest way to write it."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def format_size(size: int) -> str:
    """The shortest way to write it."""
    for unit, number in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= number and size % number == 0:
            return f"{size // number}{unit}"
    return str(size)


def _is_none(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in _NONE


def _parse(text: str, units: dict[str, Any]) -> float:
    match = _NUMBER.fullmatch(text.strip())
    if match is None or match[2].lower() not in units:
        raise ValueError("not a number with one of the units that are known")
    number: float = float(match[1]) * units[match[2].lower()]
    return number

"""How may the value of a setting be written, and what is said to whoever wrote another?"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from proxy.units import parse_duration, parse_optional_duration, parse_optional_number, parse_optional_size, parse_size


@dataclass(frozen=True, slots=True)
class Shape:
    """What a value looks like, for the one who wrote another."""

    noun: str


Seconds = Annotated[float, BeforeValidator(parse_duration), Shape("a duration such as 30, 30s, 5m or 2h")]
OptionalSeconds = Annotated[
    Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,
    BeforeValidator(parse_optional_duration),
    Shape("a duration such as 30, 30s, 5m or 2h, more than 0s, or none"),
]
Bytes = Annotated[int, BeforeValidator(parse_size), Shape("a size such as 65536, 64KiB or 16MiB")]
OptionalBytes = Annotated[
    Annotated[int, Field(ge=8 << 20, le=1 << 50)] | None,
    BeforeValidator(parse_optional_size),
    Shape("a size such as 512MiB or 2GiB, at least 8MiB, or none"),
]
OptionalCount = Annotated[
    Annotated[int, Field(ge=1, le=1_000_000_000)] | None,
    BeforeValidator(parse_optional_number),
    Shape("a whole number, at least 1, or none"),
]
OptionalFiles = Annotated[
    Annotated[int, Field(ge=16, le=1_000_000_000)] | None,
    BeforeValidator(parse_optional_number),
    Shape("a whole number, at least 16, or none"),
]
OptionalShare = Annotated[
    Annotated[float, Field(ge=0.01, le=1_000_000, allow_inf_nan=False)] | None,
    BeforeValidator(parse_optional_number),
    Shape("a number of CPUs such as 0.5 or 2, at least 0.01, or none"),
]
Count = Annotated[int, Shape("a whole number")]
Name = Annotated[str, Shape("at most 128 printable characters that make a path: no empty part, no '.' or '..'")]
Words = Annotated[tuple[str, ...], Shape("a list")]

LegacyVersion = Literal["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"]

MIB = 1 << 20

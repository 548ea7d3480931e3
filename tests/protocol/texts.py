"""What JSON texts are there? Strategies that write down every spelling of a value, as bytes."""

import json
import os
from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

bounded = settings(
    max_examples=int(os.environ.get("TEST_EXAMPLES", "30")),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
"""For every property here: quick, and others each time. `TEST_EXAMPLES=1000` looks for longer."""

spaces = st.sampled_from([b"", b"", b"", b" ", b"\n", b"\r\n", b"\t ", b"\n    "])

_letters = st.characters(min_codepoint=0x20, exclude_characters='"\\', exclude_categories=["Cs"]).map(str.encode)
_tricky = st.sampled_from(
    [
        *(rb"\"", rb"\\", rb"\/", rb"\b", rb"\f", rb"\n", rb"\r", rb"\t", rb"\u0041", rb"\u00E9", rb"\u0000"),
        *(rb"\ud83d\ude00", rb"\\u0041", rb"\\\"", rb"\\\\", b"[", b"]", b"{", b"}", b",", b":", b"//", b"\x7f"),
        *("\u2028\u0085\ufeff\N{GRINNING FACE}".encode(), rb"\\ud800", b"id", b'\\"id\\":'),
    ]
)
_lone_surrogates = st.sampled_from([rb"\ud800", rb"\uDC00", rb"\udFff", rb"\\\ud800", rb"\ude00\ud83d", rb"\ud800A"])


def _quoted(pieces: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(pieces, max_size=6).map(lambda parts: b'"' + b"".join(parts) + b'"')


plain_strings = _quoted(_letters | _tricky)
strings = plain_strings | _quoted(_letters | _tricky | _lone_surrogates)
numbers = st.one_of(
    st.integers().map(lambda number: b"%d" % number),
    st.sampled_from(
        [b"0", b"-0", b"1.0", b"1e5", b"-1.5E+300", b"0.1e-7", b"1e999", b"9223372036854775809", b"9" * 400]
    ),
)
scalars = st.one_of(numbers, strings, st.sampled_from([b"true", b"false", b"null", b"{}", b"[]"]))


def decoded(text: bytes) -> str:
    """The string that this JSON text writes down."""
    value = json.loads(text)
    assert isinstance(value, str)
    return value


class Written(NamedTuple):
    """An object as it was written."""

    text: bytes
    names: list[str]
    values: list[bytes]


@st.composite
def written_objects(
    draw: st.DrawFn,
    values: st.SearchStrategy[bytes],
    names: st.SearchStrategy[bytes] = plain_strings,
    *,
    max_size: int = 5,
) -> Written:
    """One object in some style of white space, each name once."""
    members = draw(st.lists(st.tuples(names, values), unique_by=lambda member: decoded(member[0]), max_size=max_size))
    text = write_object(draw, members)
    return Written(text, [decoded(name) for name, _ in members], [value for _, value in members])


def write_object(draw: st.DrawFn, members: list[tuple[bytes, bytes]]) -> bytes:
    """These members as one object, in any style of white space."""
    parts = [draw(spaces) + name + draw(spaces) + b":" + draw(spaces) + value + draw(spaces) for name, value in members]
    return draw(spaces) + b"{" + (b",".join(parts) or draw(spaces)) + b"}" + draw(spaces)


@st.composite
def _arrays(draw: st.DrawFn, values: st.SearchStrategy[bytes]) -> bytes:
    parts = [draw(spaces) + value + draw(spaces) for value in draw(st.lists(values, max_size=4))]
    return b"[" + (b",".join(parts) or draw(spaces)) + b"]"


values = st.recursive(
    scalars,
    lambda inner: _arrays(inner) | written_objects(inner, max_size=3).map(lambda written: written.text.strip()),
    max_leaves=6,
)
"""Any JSON value, without white space around it."""

objects = written_objects(values)
"""Any JSON object, with white space around it."""


@st.composite
def near_json(draw: st.DrawFn) -> bytes:
    """A text that was an object before some bytes of it were changed."""
    text = draw(objects).text
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        end = draw(st.integers(at, min(at + 3, len(text))))
        put = draw(st.binary(max_size=2) | st.sampled_from(_SPLICES) | st.just(text[at:end] * 2))
        text = text[:at] + put + text[end:]
    return text


_SPLICES = [
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".", b"e", b"+", b"\n", b"\x00", b"\x0b", b"'"),
    *(b"NaN", b"Infinity", b"-Infinity", b"nul", b"//", b"\xff", b"\xed\xa0\x80", b"\xc2\xa0", b"\xef\xbb\xbf"),
    *(rb"\u12", rb"\x41", rb"\ud800", b"\x1f", b'"a":1,', b"1 2", b"\xc0\x80", b"\xf4\x90\x80\x80"),
]


def is_json(text: bytes) -> bool:
    """What the standard library thinks of it, when asked to be strict."""
    try:
        json.loads(text.decode(), parse_constant=_refuse)
    except ValueError:
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(constant)

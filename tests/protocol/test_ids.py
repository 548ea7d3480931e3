"""What is this id? Tables of the legal and the illegal ones."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from proxy.protocol.ids import MAX_ID_BYTES, Id, IdMinter, decode_id, decode_text
from tests.protocol.texts import bounded, strings, values

LEGAL: list[tuple[bytes, Id]] = [
    (b"0", 0),
    (b'"0"', "0"),
    (b"7", 7),
    (b"-7", -7),
    (b"-0", 0),
    (b"9007199254740993", 9007199254740993),
    (b"9223372036854775809", 2**63 + 1),
    (b"-9223372036854775809", -(2**63) - 1),
    (b"9" * 4000, 10**4000 - 1),
    (b'"%b"' % (b"x" * (MAX_ID_BYTES - 2)), "x" * (MAX_ID_BYTES - 2)),
    (b'""', ""),
    (b'"null"', "null"),
    (b'" 1"', " 1"),
    (b'"\\u0031"', "1"),
    (b'"\\ud800"', "\ud800"),
    (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
    ('"\N{GRINNING FACE}"'.encode(), "\N{GRINNING FACE}"),
    (b'"\\u0000"', "\0"),
    (b'"a\\nb"', "a\nb"),
]

ILLEGAL = [
    *(b"null", b"true", b"false", b"1.0", b"1e0", b"1.5", b"{}", b"[]", b"[1]", b'{"a":1}', b"", b" ", b"-"),
    *(b"1 ", b" 1", b"+1", b"1\n", b'"a', b'"', b'"a"b', b'"\n"', b'"\xff"', b'"\xed\xa0\x80', b"NaN", b"nul"),
    *("\N{ARABIC-INDIC DIGIT ONE}".encode(), b"9" * 4001, b"1_0", b"0x1"),
    b'"%b"' % (b"x" * (MAX_ID_BYTES - 1)),
]


@pytest.mark.parametrize(("raw", "expected"), LEGAL)
def test_an_id_is_a_string_or_an_integer(raw: bytes, expected: Id) -> None:
    """Spec: 2025-11-25 basic, Requests."""
    for spelled in (raw, Raw(raw)):
        found = decode_id(spelled)
        assert found == expected
        assert type(found) is type(expected)


@pytest.mark.parametrize("raw", ILLEGAL)
def test_nothing_else_is_an_id(raw: bytes) -> None:
    """Spec: 2025-11-25 basic, Requests: "MUST NOT be null". The longest ones are ours."""
    assert decode_id(raw) is None
    assert decode_id(Raw(raw)) is None


def test_zero_the_string_zero_and_false_are_three_things() -> None:
    assert len({decode_id(b"0"), decode_id(b'"0"'), decode_id(b"false")}) == 3


@bounded
@given(values)
def test_a_json_value_is_an_id_just_when_python_decodes_it_to_a_string_or_an_int(raw: bytes) -> None:
    expected = json.loads(raw)

    assert decode_id(raw) == (expected if type(expected) in (str, int) else None)


@bounded
@given(strings)
def test_a_string_id_is_found_in_every_spelling(raw: bytes) -> None:
    assert decode_id(raw) == decode_id(json.dumps(json.loads(raw)).encode()) == json.loads(raw)


@bounded
@given(st.binary(max_size=30) | st.binary(max_size=20).map(lambda inside: b'"' + inside + b'"'))
def test_no_bytes_make_it_raise(raw: bytes) -> None:
    assert isinstance(decode_id(raw), int | str | None)


def test_an_id_is_minted_once_and_counts_from_one() -> None:
    minter, other = IdMinter(), IdMinter()

    assert [minter.mint() for _ in range(5)] == [1, 2, 3, 4, 5]
    assert other.mint() == 1


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (b'"plain ~ text"', "plain ~ text"),
        (b'"' + b"x" * 100_000 + b'"', "x" * 100_000),
        (b'"a\\"b"', 'a"b'),
        ('"\u00e9"'.encode(), "\u00e9"),
        (b'"\\ud800"', "\ud800"),
        (b'"a\nb"', None),
        (b"7", None),
        (b"null", None),
        (b'"open', None),
    ],
)
def test_a_text_may_be_of_any_length_and_is_nothing_else(written: bytes, text: str | None) -> None:
    assert decode_text(written) == text

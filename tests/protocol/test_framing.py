"""Where does one line end? Whatever the pipe does to the bytes in between."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.protocol.framing import EDGE_BYTES, LineDecoder, OversizedLine, one_line
from tests.protocol.texts import bounded, objects

LIMIT = 3 * EDGE_BYTES

Lines = list[bytes | OversizedLine]

LINES: dict[str, tuple[list[bytes], list[bytes]]] = {
    "one line": ([b"a\n"], [b"a"]),
    "two lines in one chunk": ([b"a\nb\n"], [b"a", b"b"]),
    "one line in three chunks": ([b"a", b"b", b"c\n"], [b"abc"]),
    "a newline that comes alone": ([b"a", b"\n"], [b"a"]),
    "an empty chunk": ([b"a", b"", b"b\n"], [b"ab"]),
    "a trailing carriage return": ([b"a\r\n"], [b"a"]),
    "a carriage return and its newline in two chunks": ([b"a\r", b"\n"], [b"a"]),
    "only one carriage return is taken off": ([b"a\r\r\n"], [b"a\r"]),
    "a carriage return inside ends nothing": ([b"a\rb\n"], [b"a\rb"]),
    "blank lines": ([b"\n\r\n \t\n\v\f\na\n\n"], [b"a"]),
    "a blank line in pieces": ([b" ", b" \r", b"\n"], []),
    "white space around a line stays": ([b"  a \n"], [b"  a "]),
    "other line ends of Unicode": (["a\u2028\u0085\v\f\x1cb\n".encode()], ["a\u2028\u0085\v\f\x1cb".encode()]),
    "bytes that are not UTF-8": ([b"\xff\xfe\x00\n"], [b"\xff\xfe\x00"]),
}


def decode(chunks: list[bytes], *, limit: int = LIMIT) -> Lines:
    """All the lines of these chunks, the unfinished last one too."""
    decoder = LineDecoder(max_line_bytes=limit)
    lines = [line for chunk in chunks for line in decoder.feed(chunk)]
    return lines + decoder.finish()


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in pieces."""
    bounds = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]


def reference(stream: bytes, limit: int) -> Lines:
    """The same in the plainest way."""
    lines: Lines = []
    for line in stream.split(b"\n"):
        if len(line) > limit:
            lines.append(OversizedLine(len(line), line[:EDGE_BYTES], line[-EDGE_BYTES:]))
        elif line.strip():
            lines.append(line.removesuffix(b"\r"))
    return lines


@pytest.mark.parametrize(("chunks", "expected"), LINES.values(), ids=LINES.keys())
def test_only_a_newline_ends_a_line(chunks: list[bytes], expected: list[bytes]) -> None:
    """Spec: 2025-11-25 basic/transports, stdio."""
    decoder = LineDecoder(max_line_bytes=LIMIT)

    assert [line for chunk in chunks for line in decoder.feed(chunk)] == expected
    assert decoder.finish() == []


def test_a_last_line_without_a_newline_is_not_lost() -> None:
    decoder = LineDecoder(max_line_bytes=LIMIT)

    assert decoder.feed(b"a\nb") == [b"a"]
    assert decoder.unfinished_bytes == 1
    assert decoder.finish() == [b"b"]
    assert decoder.unfinished_bytes == 0
    assert decoder.finish() == []


def test_a_blank_rest_at_the_end_is_no_line() -> None:
    assert decode([b"a\n", b"  \r"]) == [b"a"]


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_a_line_of_just_the_limit_is_kept_and_one_more_byte_is_too_many(pieces: int) -> None:
    fits, exceeds = b"x" * LIMIT, b"x" * (LIMIT + 1)

    lines = decode(cut(fits + b"\n" + exceeds + b"\nnext\n", list(range(0, 2 * LIMIT, LIMIT // pieces))))

    assert lines == [fits, OversizedLine(LIMIT + 1, exceeds[:EDGE_BYTES], exceeds[-EDGE_BYTES:]), b"next"]


def test_an_oversized_last_line_without_a_newline_is_reported() -> None:
    line = b"a" * EDGE_BYTES + b"b" * LIMIT

    assert decode([line]) == [OversizedLine(len(line), b"a" * EDGE_BYTES, b"b" * EDGE_BYTES)]


def test_the_length_of_an_unfinished_oversized_line_counts_what_was_thrown_away() -> None:
    decoder = LineDecoder(max_line_bytes=10)

    decoder.feed(b"x" * 25)
    decoder.feed(b"x" * 25)

    assert decoder.unfinished_bytes == 50


@bounded
@given(
    st.lists(st.binary(max_size=40) | objects.map(lambda written: written.text), max_size=12),
    st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    st.lists(st.integers(0, 2000), max_size=30),
)
def test_any_chunking_gives_the_same_lines(lines: list[bytes], newline: bytes, places: list[int]) -> None:
    stream = newline.join(lines)

    assert decode(cut(stream, places)) == reference(stream, LIMIT)


@bounded
@given(
    st.lists(
        st.builds(lambda size, fill, end: fill * size + end, st.integers(0, 9000), st.binary(max_size=3), st.binary()),
        max_size=5,
    ),
    st.lists(st.integers(0, 100_000), max_size=12),
    st.sampled_from([0, 1, 10, EDGE_BYTES - 1, EDGE_BYTES, EDGE_BYTES + 1, 2 * EDGE_BYTES, 10_000]),
)
def test_oversized_lines_keep_both_ends_whatever_the_chunking(
    lines: list[bytes], places: list[int], limit: int
) -> None:
    stream = b"\n".join(lines)

    assert decode(cut(stream, places), limit=limit) == reference(stream, limit)


def test_memory_stays_bounded_under_a_line_that_never_ends() -> None:
    """Ours: a limit on memory. The chunk itself is not counted."""
    decoder = LineDecoder(max_line_bytes=1 << 20)
    chunk = b"x" * (1 << 16)
    tracemalloc.start()
    try:
        for _ in range(1024):
            assert decoder.feed(chunk) == []
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert decoder.unfinished_bytes == 64 << 20
    assert held < 4 * EDGE_BYTES
    assert peak < 4 << 20  # the line up to its limit, while it grows


def test_time_is_linear_in_tiny_chunks_and_in_huge_lines() -> None:
    """Not timed: with a cost that grows with the square of the length this would not end today."""
    decoder = LineDecoder(max_line_bytes=64 << 20)
    half_a_megabyte = [b"x"] * (1 << 19)

    assert [line for chunk in half_a_megabyte for line in decoder.feed(chunk)] == []
    assert decoder.feed(b"\n") == [b"x" * (1 << 19)]
    assert len(decoder.feed(b"ab\n" * (1 << 18))) == 1 << 18
    for _ in range(512):
        assert decoder.feed(b"y" * (1 << 16)) == []
    assert [len(line) for line in decoder.feed(b"\n") if isinstance(line, bytes)] == [32 << 20]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"a":1}', b'{"a":1}'),
        (b'{\n "a": 1\r\n}', b'{  "a": 1  }'),
        (b'{"a":"\\r\\n"}', b'{"a":"\\r\\n"}'),
        ('{"a":"\u2028\u0085"}'.encode(), '{"a":"\u2028\u0085"}'.encode()),
        (b"\r", b" "),
        (b"", b""),
    ],
)
def test_a_message_becomes_one_line_of_the_same_length(text: bytes, expected: bytes) -> None:
    """Spec: 2025-11-25 basic/transports, stdio: messages "MUST NOT contain embedded newlines"."""
    assert one_line(text) == expected


def test_a_message_on_one_line_is_not_copied() -> None:
    text = b'{"a":1}'

    assert one_line(text) is text

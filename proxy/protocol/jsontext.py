"""What are the members of this JSON object, as the bytes they were sent as?

A message is parsed just deep enough to route it; the rest travels untouched. msgspec finds the members; what it
does not notice (duplicate names, invalid UTF-8 inside a value, depth) or refuses although it is legal (escaped lone
surrogates, which JavaScript writes) is settled here.
"""

import codecs
import re
from itertools import accumulate
from json import loads

import msgspec
from msgspec import Raw

from proxy.errors import NotJson, NotJsonRpc, TooDeep

Members = dict[str, Raw]

encode = msgspec.json.Encoder().encode
"""Write an object (of Raw members, untouched) as compact JSON on one line."""

_decode_members = msgspec.json.Decoder(Members).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode


class _Name:
    """Stands for one name as it is written: equal to no other, so that a dict keeps them all."""

    __slots__ = ()


_decode_names = msgspec.json.Decoder(dict[_Name, Raw], dec_hook=lambda _type, _text: _Name()).decode

# A lone surrogate (the group). Pairs and escaped backslashes are matched too, so that no match begins inside one.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|\\(?:\\\\)*+)"
)
_NAME = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"')
_SPACE = re.compile(rb"[ \t\r\n]*")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_STRING = re.compile(rb'"[^"]*"')
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_STEPS = bytes.maketrans(b"[]", b"\x01\xff")
_DEPTH_CHUNK = 1 << 16
_DECODE_CHUNK = 1 << 16
_utf8_decoder = codecs.getincrementaldecoder("utf-8")


def parse_members(data: bytes) -> Members:
    """The members of one JSON object, in order, each value as the bytes it had.

    Raises:
        NotJson: If `data` is not one valid JSON text in UTF-8.
        NotJsonRpc: If it is, but not an object.
        TooDeep: If it is nested deeper than the parser can follow (about 900 levels).
    """
    try:
        members = _decode_members(data)
    except msgspec.ValidationError as exc:
        raise NotJsonRpc from exc
    except msgspec.DecodeError as exc:
        members = _parse_masked(data, exc)
    except UnicodeDecodeError as exc:  # in a name; inside a value only check_utf8 sees it
        raise NotJson from exc
    except RecursionError as exc:
        raise TooDeep from exc
    check_utf8(data)
    return members


def parse_array(data: bytes) -> list[bytes]:
    """The elements of one JSON array. Raises like `parse_members`."""
    try:
        elements = [bytes(element) for element in _decode_array(data)]
    except msgspec.ValidationError as exc:
        raise NotJsonRpc from exc
    except msgspec.DecodeError as exc:
        elements = _parse_masked_array(data, exc)
    except RecursionError as exc:
        raise TooDeep from exc
    check_utf8(data)
    return elements


def as_object(raw: Raw | None) -> Members | None:
    """The members of a value that is an object; None if it is none, or too deep to be looked into.

    The text that it is a part of has been parsed, so it is known to be UTF-8.
    """
    data = bytes(raw) if raw is not None else b""
    if not data.startswith(b"{"):
        return None
    try:
        return _decode_members(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return parse_members(data)
    except (NotJson, NotJsonRpc, TooDeep):
        return None


def check_utf8(data: bytes) -> None:
    """Raises NotJson if `data` is not UTF-8: inside a raw member nobody else looks."""
    if data.isascii():
        return
    try:
        if len(data) <= _DECODE_CHUNK:
            data.decode()
            return
        decoder, view = _utf8_decoder(), memoryview(data)
        for start in range(0, len(data), _DECODE_CHUNK):  # in pieces: the text of 10 MiB takes 40, and twice as long
            decoder.decode(view[start : start + _DECODE_CHUNK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as exc:
        raise NotJson from exc


def refuse_duplicates(data: bytes, members: Members) -> None:
    """Raises NotJsonRpc if an object names a member twice.

    `members` are those that `parse_members` found in `data`, of which the last copy wins; a child's parser may let
    the first win, and would then act on what nobody here has seen.
    """
    if encode(members) == data:  # compact, as the SDKs write: each name stands there once
        return
    try:
        written = len(_decode_names(data))
    except msgspec.DecodeError:  # lone surrogates: _parse_masked has walked along it, name by name
        return
    except RecursionError as exc:
        raise TooDeep from exc
    if written != len(members):
        raise NotJsonRpc("Invalid Request: a member is named twice")


def depth_exceeds(data: bytes, limit: int) -> bool:
    """Whether valid JSON `data` nests deeper than `limit` arrays and objects.

    Most texts have fewer brackets in all than the limit and are answered by counting those; the others are reduced
    to their brackets first.
    """
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    if b"\\" in data:  # only strings have backslashes; without the escaped quotes they end where they seem to
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = _STRING.sub(b"", data.translate(None, _NOT_STRUCTURE).replace(b'""', b"")).translate(_ONE_KIND)
    peeled = 0
    while peeled < 16 and brackets:  # takes off the innermost level, at memory speed
        brackets = brackets.replace(b"[]", b"")
        peeled += 1
    level, deepest = peeled, peeled
    for start in range(0, len(brackets), _DEPTH_CHUNK):  # in pieces: a thread that does this must let others run
        steps = memoryview(brackets[start : start + _DEPTH_CHUNK].translate(_STEPS)).cast("b")
        *_, level = levels = list(accumulate(steps, initial=level))
        deepest = max(deepest, *levels)
    return deepest > limit


def _mask(data: bytes, cause: msgspec.DecodeError) -> bytes:
    masked = _ESCAPE.sub(lambda match: b"\\u0061" if match[1] else match[0], data)
    if masked == data:
        raise NotJson from cause
    return masked


def _parse_masked(data: bytes, cause: msgspec.DecodeError) -> Members:
    """Parse a text with lone surrogates: hide the escapes behind others of their length, cut the original there."""
    masked = _mask(data, cause)
    try:
        members = _decode_members(masked)
    except msgspec.ValidationError as exc:
        raise NotJsonRpc from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise NotJson from exc
    except RecursionError as exc:
        raise TooDeep from exc
    found: Members = {}
    for name, start, end, name_start in _spans(masked, members):
        if masked[name_start:start] != data[name_start:start]:
            raise NotJsonRpc
        found[name] = Raw(data[start:end])
    return found


def _parse_masked_array(data: bytes, cause: msgspec.DecodeError) -> list[bytes]:
    """The same for an array: its elements have the lengths of the masked ones."""
    masked = _mask(data, cause)
    try:
        lengths = [len(bytes(element)) for element in _decode_array(masked)]
    except msgspec.ValidationError as exc:
        raise NotJsonRpc from exc
    except msgspec.DecodeError as exc:
        raise NotJson from exc
    except RecursionError as exc:
        raise TooDeep from exc
    elements: list[bytes] = []
    at = _skip_space(data, 0) + 1
    for length in lengths:
        start = _skip_space(data, at)
        elements.append(data[start : start + length])
        at = _skip_space(data, start + length) + 1
    return elements


def _spans(data: bytes, members: Members) -> list[tuple[str, int, int, int]]:
    """Name, start and end of each member's value, and where its name starts.

    Walks the top level of `data` by the lengths that the parser found. A member named twice stops the walk: either
    its value is not the one that won, or its name has been seen.

    Raises:
        NotJsonRpc: If a name stands there twice.
    """
    spans: list[tuple[str, int, int, int]] = []
    seen: set[str] = set()
    at = _skip_space(data, 0) + 1
    for _ in range(len(members)):
        name_start = _skip_space(data, at)
        match = _NAME.match(data, name_start)
        assert match is not None  # valid JSON has a name here
        name = loads(match[0])
        start = _skip_space(data, _skip_space(data, match.end()) + 1)
        value = members.get(name)
        if value is None or name in seen:
            raise NotJsonRpc("Invalid Request: a member is named twice")
        written = bytes(value)
        end = start + len(written)
        if not data.startswith(written, start):
            raise NotJsonRpc("Invalid Request: a member is named twice")
        seen.add(name)
        spans.append((name, start, end, name_start))
        at = _skip_space(data, end)
        if data[at : at + 1] not in (b",", b"}"):
            raise NotJsonRpc("Invalid Request: a member is named twice")
        at += 1
    if members and data[at - 1 : at] != b"}":
        raise NotJsonRpc("Invalid Request: a member is named twice")
    return spans


def _skip_space(data: bytes, at: int) -> int:
    match = _SPACE.match(data, at)
    assert match is not None  # the pattern matches nothing at all, too
    return match.end()

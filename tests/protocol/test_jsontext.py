"""What are the members of this JSON object, as the bytes they were sent as?

The standard library is the oracle: it parses everything, and is right about what JSON is.
"""

import json
import re
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from proxy.errors import NotJson, NotJsonRpc, ProxyError, TooDeep
from proxy.protocol.jsontext import (
    Members,
    check_utf8,
    depth_exceeds,
    encode,
    parse_array,
    parse_members,
    refuse_duplicates,
)
from tests.protocol.texts import (
    Written,
    bounded,
    decoded,
    is_json,
    near_json,
    objects,
    plain_strings,
    scalars,
    spaces,
    values,
    write_object,
)

NOT_JSON = [
    *(b"", b" ", b"\n", b"{", b"}", b"nul", b"x", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{"a":1', b'{"a" 1}', b"{1:2}"),
    *(b"{'a':1}", b"{a:1}", b'{"a":1}x', b'{"a":1}{}', b'{"a":1}\x00', b'{"a":1}\x0b', b'{"a":1}\xc2\xa0', b"\x00"),
    *(b'\xef\xbb\xbf{"a":1}', '{"a":1}'.encode("utf-16"), '{"a":1}'.encode("utf-32-le"), b'{"a":1}\xef\xbb\xbf'),
    *(b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":[NaN]}', b'{"a":{"b":-Infinity}}', b'{"a":nan}'),
    *(b'{"a":01}', b'{"a":[01]}', b'{"a":-01}', b'{"a":+1}', b'{"a":1.}', b'{"a":.5}', b'{"a":1e}', b'{"a":0x1}'),
    *(b'{"a":"\x00"}', b'{"a":"\n"}', b'{"a":["\t"]}', b'{"a\x1f":1}', b'{"a":"\\x"}', b'{"a":"\\u12"}'),
    *(b'{"a":"\\u12G4"}', b'{"a":"\\U0041"}', b'{"a":["\\"]}', b'{"a":tru}', b'{"a":True}', b'{"a":1 2}'),
    *(b'{"a":"\\ud800"', b'{"a":"\\ud800",}', b'{"a":"\\ud800","b":01}', b'{"a":"\\\\ud800"', b'{"a":/**/1}'),
]

NOT_UTF8 = [
    *(b'{"a":"\xff"}', b'{"\xff":1}', b'{"a":{"\xff":1}}', b'{"a":["\xff"]}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc3"}'),
    *(b'{"a":"\xc0\x80"}', b'{"a":"\xf4\x90\x80\x80"}', b'{"a":"\xe2\x82"}', b'{"\xed\xa0\x80":1}', b'{"a":"caf\xe9"}'),
    *(b'{"a":"\\ud800\xff"}', b'{"\xff":"\\ud800"}', b'{"a":"\\ud800","b":"\xff"}'),
]

NO_OBJECT = [b"[]", b"1", b"-1.5", b'"a"', b"null", b"true", b" [1] ", b'"\\ud800"', b'["\\ud800"]']

TWICE = [
    *(b'{"a":1,"a":1}', b'{"a":1,"a":2}', b'{"a":1,"b":2,"a":1}', b'{"a":1,"a":12}', b'{"a":12,"a":1}'),
    *(b'{"a":1, "a":1}', b'{\n  "a": 1,\n  "a": 1\n}', b'{"a":{},"a":{} }', b'{"a":[1],"b":{},"a":[1]}'),
    *(b'{"a":1,"\\u0061":1}', b'{"\\u0061":1,"a":2}', b'{"\\u0061":1,"\\u0061":1}', b'{"":1,"":1}'),
    *(b'{"id":1,"i\\u0064":2}', '{"é":1,"\\u00e9":1}'.encode(), b'{"\\/":1,"/":1}', b'{"\\n":1,"\\u000A":1}'),
    *('{"\N{GRINNING FACE}":1,"\\ud83d\\ude00":1}'.encode(), b'{"a":"\\ud800","a":"\\ud800"}'),
    *(b'{"a":"\\ud800","b":1,"\\u0061":1}', b'{"a":"\\ud800","a":"\\udc00" }', b'{"a":1,"a":"\\ud800"}'),
    *(b'{"a":"\\ud800","b":12,"b":1}', b'{"b":1,"b":12,"a":"\\ud800"}', b'{"b":12,"b":1,"a":"\\ud800"}'),
    b'{"a":{"x":1,"b":"\\ud800"},"b":"\\ud800","a":[1,23]}',
]

ONCE = [
    *(b"{}", b"{ }", b'{"a":1}', b' { "a" : 1 } ', b'{"a":1,"A":1}', b'{"a":"a","b":"a"}', b'{"a":{"a":1}}'),
    *(b'{"a":1,"b":1,"c":1}', b'{"a" : "\\"a\\":1,"}', b'{ "a":{"b":1,"b":1}}', b'{ "a":[{"b":1,"b":1}]}'),
    *(
        '{ "é":1,"e\u0301":2}'.encode(),
        b'{"\\\\u0061":1, "a":1}',
        b'{"a":"\\ud800", "b":"\\ud800"}',
        b'{"a\\"":1, "a":1}',
    ),
]

DEPTHS: list[tuple[bytes, int]] = [
    *((b"1", 0), (b'"["', 0), (b"[]", 1), (b"{}", 1), (b'{"a":1}', 1), (b"[[],[]]", 2), (b'{"a":[{"b":[]}]}', 4)),
    *((b'["[[[["]', 1), (b'["\\"[["]', 1), (b'["\\\\","[["]', 1), (b'["\\\\\\"[[","]"]', 1), (b'{"]":"["}', 1)),
    *((b'["\\\\",[[]]]', 3), (b'["\\"",[[]]]', 3), (b'["\\\\\\\\",[]]', 2), (b'["[","]",[]]', 2), (b'["",[""]]', 2)),
    *((b"[" * 15 + b"]" * 15, 15), (b"[" * 16 + b"]" * 16, 16), (b"[" * 17 + b"]" * 17, 17)),
    *((b'{"a":' * 300 + b"1" + b"}" * 300, 300), (b"[" * 50 + b"]" * 49 + b",[]]", 50)),
    *((b"[" * 5000 + b"]" * 5000, 5000), (b"[" + b"[]," * 5000 + b"[[[]]]]", 4)),
]


def reference_depth(value: Any) -> int:
    """How deep Python's own reading of it nests."""
    if isinstance(value, dict):
        return 1 + max(map(reference_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(reference_depth, value), default=0)
    return 0


def raw_values(members: Members) -> list[bytes]:
    return [bytes(value) for value in members.values()]


@bounded
@given(objects)
def test_members_come_back_byte_for_byte_in_order(written: Written) -> None:
    members = parse_members(written.text)

    assert list(members) == written.names
    assert raw_values(members) == written.values

    again = encode(members)

    assert json.loads(again) == json.loads(written.text)
    assert list(parse_members(again)) == written.names
    assert raw_values(parse_members(again)) == written.values


@pytest.mark.parametrize(
    "value",
    [
        *(b"9223372036854775809", b"-" + b"9" * 5000, b"1e999", b"0.10", b"1E+05", b"-0", b'"\\u0041\\/"', b"[ 1 ,2]"),
        *(b'"\\ud800"', b'"\\uD800\\uDbFF"', b'["\\udc00\\ud800"]', b'{"\\udfff":"\\\\\\ud800"}', b'{"a":1,"a":2}'),
        *('"\u2028\u0085"'.encode(), '"\N{GRINNING FACE}"'.encode(), b'"\x7f"', b'{"b": {\n}}'),
    ],
)
def test_a_value_is_kept_as_it_was_written(value: bytes) -> None:
    text = b'{"first":0, "value" : ' + value + b' , "last":"x"}'

    members = parse_members(text)

    assert raw_values(members) == [b"0", value, b'"x"']
    assert encode(members) == b'{"first":0,"value":' + value + b',"last":"x"}'


@pytest.mark.parametrize("text", NOT_JSON + NOT_UTF8)
def test_what_is_not_json_in_utf_8_is_refused(text: bytes) -> None:
    assert not is_json(text)
    with pytest.raises(NotJson):
        parse_members(text)


@pytest.mark.parametrize("text", NO_OBJECT)
def test_json_that_is_no_object_is_not_json_rpc(text: bytes) -> None:
    with pytest.raises(NotJsonRpc):
        parse_members(text)


@pytest.mark.parametrize("text", [b'{"\\ud800":1}', b'{"a":1,"x\\udc00":2}', b'{"\\ude00\\ud83d":"\\ud800"}'])
def test_a_name_with_a_lone_surrogate_is_refused(text: bytes) -> None:
    """Ours: the name could not be written in UTF-8 again."""
    with pytest.raises(NotJsonRpc):
        parse_members(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"[]", []),
        (b" [ ] ", []),
        (b'[1 , {"a": 1} ,"x"]', [b"1", b'{"a": 1}', b'"x"']),
        (b"[[],[1,2]]", [b"[]", b"[1,2]"]),
        (b'["\\ud800"]', [b'"\\ud800"']),
        (b' [ {"a" : "\\ud800"} ,\n2, "\\\\ud800" ] ', [b'{"a" : "\\ud800"}', b"2", b'"\\\\ud800"']),
    ],
)
def test_the_elements_of_an_array_are_kept_as_they_were_written(text: bytes, expected: list[bytes]) -> None:
    assert parse_array(text) == expected


@bounded
@given(st.lists(values, max_size=5), st.lists(spaces, min_size=12, max_size=12))
def test_elements_come_back_byte_for_byte(elements: list[bytes], gaps: list[bytes]) -> None:
    parts = [gaps[2 * at] + element + gaps[2 * at + 1] for at, element in enumerate(elements)]

    assert parse_array(gaps[10] + b"[" + b",".join(parts) + b"]" + gaps[11]) == elements


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", NotJson),
        (b"[1,]", NotJson),
        (b"[1", NotJson),
        (b"[1] 2", NotJson),
        (b"[NaN]", NotJson),
        (b'["\xff"]', NotJson),
        (b'["\\ud800"', NotJson),
        (b'["\\ud800\xff"]', NotJson),
        (b"{}", NotJsonRpc),
        (b'"\\ud800"', NotJsonRpc),
        (b"[" * 5000 + b"]" * 5000, TooDeep),
        (b'["\\ud800",' + b"[" * 5000 + b"]" * 5001, TooDeep),
    ],
)
def test_what_is_no_array_is_refused(text: bytes, fault: type[ProxyError]) -> None:
    with pytest.raises(fault):
        parse_array(text)


@bounded
@given(near_json())
@example(b'{"":"\\ud800","":0}')
@example(b'{"\xff":1}')
def test_json_is_accepted_just_when_python_accepts_it(text: bytes) -> None:
    """Where Python says no, so do we. Where it says yes, we refuse only what is no object or has odd names."""
    try:
        members = parse_members(text)
    except NotJson:
        assert not is_json(text)
    except NotJsonRpc:
        if text.lstrip(b" \t\r\n").startswith(b"{"):
            assert is_json(text)
            assert re.search(rb"\\u[dD][89a-fA-F]", text)
    else:
        assert is_json(text)
        expected = json.loads(text)
        assert {name: json.loads(bytes(value)) for name, value in members.items()} == expected


@bounded
@given(near_json().map(lambda text: b"[" + text + b"]"))
def test_an_array_is_accepted_just_when_python_accepts_it(text: bytes) -> None:
    try:
        elements = parse_array(text)
    except NotJson:
        assert not is_json(text)
    else:
        assert is_json(text)
        assert [json.loads(element) for element in elements] == json.loads(text)


@bounded
@given(st.binary(max_size=30))
def test_no_bytes_make_the_parsers_raise_anything_else(data: bytes) -> None:
    for parse in (parse_members, parse_array):
        for text in (data, b'{"a":"' + data + b'"}', b'{"' + data + b'":1}', b'["' + data + b'"]'):
            try:
                parse(text)
            except (NotJson, NotJsonRpc):
                pass


@bounded
@given(objects, st.data())
def test_a_byte_that_is_not_utf_8_is_found_wherever_it_is(written: Written, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(written.text)))

    with pytest.raises(NotJson):
        parse_members(written.text[:at] + b"\xff" + written.text[at:])


@pytest.mark.parametrize("before", range(65_530, 65_540))
def test_letters_and_faults_are_found_across_the_pieces_of_a_large_text(before: int) -> None:
    for letter in ("\u00e9", "\u20ac", "\N{GRINNING FACE}"):
        check_utf8(b"x" * before + letter.encode() + b"x" * 100)
        for fault in (letter.encode()[:-1], b"\xff", b"\xed\xa0\x80", letter.encode()[1:]):
            with pytest.raises(NotJson):
                check_utf8(b"x" * before + fault + b"x" * 100)
        with pytest.raises(NotJson):
            check_utf8(b"x" * before + letter.encode()[:-1])


@pytest.mark.parametrize("text", NOT_UTF8)
def test_utf_8_is_checked(text: bytes) -> None:
    with pytest.raises(NotJson):
        check_utf8(text)
    check_utf8(text.decode("latin-1").encode())


@pytest.mark.parametrize("levels", [1000, 5000, 200_000])
@pytest.mark.parametrize("prefix", [b'{"a":', b'{"b":"\\ud800","a":'])
def test_what_is_nested_too_deep_for_the_parser_is_said_to_be(levels: int, prefix: bytes) -> None:
    text = prefix + b"[" * levels + b"]" * levels + b"}"

    with pytest.raises(TooDeep):
        parse_members(text)


def test_duplicates_are_not_looked_for_in_what_is_nested_too_deep() -> None:
    with pytest.raises(TooDeep):
        refuse_duplicates(b'{ "a":' + b"[" * 5000 + b"]" * 5000 + b"}", {})


def test_the_depth_limit_that_we_set_is_parsed() -> None:
    """Ours: `max_json_depth` is 256 by default; the parser must reach that."""
    text = b'{"a":' + b"[" * 400 + b'"\\ud800"' + b"]" * 400 + b"}"

    assert raw_values(parse_members(text)) == [text[5:-1]]


# ---- duplicates


@pytest.mark.parametrize("text", TWICE)
def test_a_member_named_twice_is_refused_in_any_spelling(text: bytes) -> None:
    """Ours: the first copy may be what the child acts on."""
    assert is_json(text)
    with pytest.raises(NotJsonRpc) as caught:
        refuse_duplicates(text, parse_members(text))

    assert str(caught.value) == "Invalid Request: a member is named twice"


@pytest.mark.parametrize("text", ONCE)
def test_members_named_once_are_not_refused(text: bytes) -> None:
    refuse_duplicates(text, parse_members(text))


@bounded
@given(objects)
def test_no_text_without_duplicates_is_refused(written: Written) -> None:
    refuse_duplicates(written.text, parse_members(written.text))


@st.composite
def spellings(draw: st.DrawFn, name: str) -> bytes:
    """The same name, with any of its characters escaped."""
    units = name.encode("utf-16-be")
    code_points = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
    plain = json.dumps(name, ensure_ascii=draw(st.booleans()))
    escaped = '"' + "".join("\\u" + draw(st.sampled_from([unit, unit.upper()])) for unit in code_points) + '"'
    return draw(st.sampled_from([plain, escaped])).encode()


@st.composite
def doubled(draw: st.DrawFn) -> bytes:
    """An object that names one of its members twice or more."""
    element = st.tuples(plain_strings, scalars)
    members = draw(st.lists(element, min_size=1, max_size=4, unique_by=lambda member: decoded(member[0])))
    name, value = draw(st.sampled_from(members))
    for _ in range(draw(st.integers(1, 2))):
        copy = (draw(spellings(decoded(name))), draw(st.just(value) | scalars))
        members.insert(draw(st.integers(0, len(members))), copy)
    return write_object(draw, members)


@bounded
@given(doubled())
def test_a_duplicate_is_refused_in_every_style_of_white_space_and_escapes(text: bytes) -> None:
    assert is_json(text)
    with pytest.raises(NotJsonRpc):
        refuse_duplicates(text, parse_members(text))


def test_a_message_of_a_hundred_thousand_members_is_checked() -> None:
    """Not timed: with a cost that grows with the square of their number this would not end today."""
    text = b"{ " + b",".join(b'"%d":0' % number for number in range(100_000)) + b"}"
    members = parse_members(text)

    refuse_duplicates(text, members)
    with pytest.raises(NotJsonRpc):
        refuse_duplicates(text[:-1] + b',"7":0}', members)


@pytest.mark.parametrize("text", [b"{", b"\\", b"\\\\", b"\\u", b'{"a":"' + b"\\\\" * 10, b'{"\\ud800'])
def test_a_megabyte_of_garbage_is_refused_in_one_go(text: bytes) -> None:
    """Not timed, as above: the search for surrogates must not start anew at each byte."""
    with pytest.raises(NotJson):
        parse_members(text * (1_000_000 // len(text)))


# ---- depth


@pytest.mark.parametrize(("text", "depth"), DEPTHS)
def test_depth_is_counted_in_arrays_and_objects(text: bytes, depth: int) -> None:
    assert depth > 900 or is_json(text)
    assert not depth_exceeds(text, depth)
    assert depth == 0 or depth_exceeds(text, depth - 1)


@bounded
@given(st.one_of(values, objects.map(lambda written: written.text)), st.integers(0, 6))
def test_depth_is_what_a_recursive_count_says(text: bytes, limit: int) -> None:
    assert depth_exceeds(text, limit) == (reference_depth(json.loads(text)) > limit)


@bounded
@given(values, st.integers(0, 60), st.lists(st.booleans(), min_size=60, max_size=60), st.integers(0, 70))
def test_depth_is_right_far_below_the_surface(inner: bytes, levels: int, kinds: list[bool], limit: int) -> None:
    text = inner
    for is_object in kinds[:levels]:
        text = b'{"]\\"}":0,"a":' + text + b"}" if is_object else b'["[\\\\",' + text + b",[]]"
    assume(is_json(text))

    assert depth_exceeds(text, limit) == (reference_depth(json.loads(text)) > limit)


def test_the_deepest_place_is_found_in_a_text_of_many_pieces() -> None:
    """The brackets are counted in pieces of 64 KiB; the level goes on from one to the next."""
    hill = b"[" * 40 + b"]" * 40
    text = b"[" + (hill + b",") * 3000 + b"[" + hill + b"]," + (hill + b",") * 3000 + b"[]]"

    assert depth_exceeds(text, 41)
    assert not depth_exceeds(text, 42)

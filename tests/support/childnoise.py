"""What can a child write that is no answer to an open call? Strategies of lines, for fuzzing."""

from hypothesis import strategies as st

from tests.protocol.texts import near_json, objects, values

IDS = [
    *(
        b"1000000",
        b"0",
        b"-1",
        b"-0",
        b"9223372036854775809",
        b"9" * 4000,
        b"9" * 5000,
        b"1e3",
        b"0.5",
        b"true",
        b"null",
    ),
    *(b'"x"', b'""', b'"0"', rb'"\ud800"', rb'"\u0000"', b'"' + b"i" * 5000 + b'"', b"{}", b"[]", b"[1]"),
]
"""Legal and illegal ones, none of them that of an open call."""
METHODS = [
    *(b'"ping"', b'"roots/list"', b'"x"', b'""', rb'"\ud800"', b"null", b"1", b"{}", b'"initialize"'),
    *(b'"notifications/progress"', b'"notifications/cancelled"', b'"notifications/message"'),
    *(b'"notifications/tools/list_changed"', rb'"notifications\/progress"'),
]
VERSIONS = [b'"2.0"', b'"2.0"', b'"2.0"', rb'"\u0032.0"', b'"1.0"', b"2.0", b"null", b'"2.0" ']

_ids = st.sampled_from(IDS)
_subjects = st.tuples(st.sampled_from([b"progressToken", b"requestId", b"x"]), _ids | values).map(
    lambda member: b'{"%b":%b}' % member
)
_members = st.one_of(
    st.tuples(st.just(b"id"), _ids),
    st.tuples(st.just(b"method"), st.sampled_from(METHODS)),
    st.tuples(st.just(b"params"), _subjects | values),
    st.tuples(st.sampled_from([b"result", b"error"]), values),
    st.tuples(st.sampled_from([b"ID", b"Result", b"jsonrpc", rb"\u0069d", b"x", rb"\ud800", b"\xff"]), values),
)


@st.composite
def _messages(draw: st.DrawFn) -> bytes:
    """Something with the members of a message: some missing, some twice, in any order."""
    members = [(b"jsonrpc", draw(st.sampled_from(VERSIONS))), *draw(st.lists(_members, max_size=5))]
    return b"{%b}" % b",".join([b'"%b":%b' % member for member in draw(st.permutations(members))])


_legal_ids = st.sampled_from([b"1000000", b'"x"', b"0", b"9223372036854775809", rb'"\ud800"'])
_legal = st.one_of(
    st.tuples(_legal_ids, values).map(lambda pair: b'{"jsonrpc":"2.0","id":%b,"result":%b}' % pair),
    st.tuples(_legal_ids, st.sampled_from([b"ping", b"roots/list", b"x", rb"\ud800"])).map(
        lambda pair: b'{"jsonrpc":"2.0","id":%b,"method":"%b"}' % pair
    ),
    st.tuples(st.sampled_from(METHODS[-5:]), _subjects).map(
        lambda pair: b'{"jsonrpc":"2.0","method":%b,"params":%b}' % pair
    ),
)
_batches = st.lists(_messages() | _legal, max_size=4).map(lambda parts: b"[%b]" % b",".join(parts))
_large = st.sampled_from([b"[" * 5000, b'{"a":' * 2000, b"x" * 70_000, b'{"jsonrpc":"2.0","method":"' + b"y" * 70_000])

noise = st.one_of(
    st.binary(max_size=100),
    _messages(),
    _legal,
    _legal.map(lambda text: b"... " + text),
    near_json(),
    objects.map(lambda written: written.text),
    _batches,
    _large,
).map(lambda text: text + b"\n")
"""One or more lines."""

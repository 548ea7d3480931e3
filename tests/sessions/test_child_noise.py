"""Whatever a child writes: no exception, every valid answer arrives once and unchanged, and nothing stays behind."""

import json
import logging
from itertools import count

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proxy.observe import Counts
from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.framing import LineDecoder
from proxy.protocol.messages import Request
from proxy.sessions.exchange import Exchange
from proxy.sessions.limits import SessionLimits
from proxy.sessions.stream import Ask, Failure, Stream
from tests.support.childnoise import noise
from tests.support.fake_link import FakeLink

CALLS = 4
MAX_LINE_BYTES = 50_000
FIRST_ID = 777_000_001
"""Of our ids for the calls: no noise has one, or it would be taken for an answer that can't be read."""

scripts = st.lists(st.integers(0, CALLS - 1) | noise, max_size=8)
"""What the child writes: noise, and the answer to one of its calls where a number stands; the others follow."""
cuts = st.lists(st.integers(1, 300), max_size=20)
"""The sizes of the first reads."""


def answer_to(call: int) -> bytes:
    """A line as servers write it."""
    return b'{"jsonrpc":"2.0","id":%d,"result":{"call":%d}}\n' % (FIRST_ID + call, call)


def as_read(data: bytes, sizes: list[int]) -> list[bytes]:
    """The bytes in pieces of these sizes, the rest in one."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


class Client:
    """Open calls, some of whose clients are there, and listeners."""

    def __init__(self) -> None:
        self.exchange = Exchange(limits=SessionLimits(), counts=Counts(), clock=lambda: 100.0, tag="test")
        self.exchange.attach(FakeLink())
        self.exchange.streams.open_to_client()
        self.exchange._minter._next = count(FIRST_ID)
        self.requests: list[Request] = []
        self.streams: list[Stream] = []
        for number in range(CALLS):
            token = {"_meta": {"progressToken": number}}
            text = json.dumps({"jsonrpc": "2.0", "id": f"call {number}", "method": "x", "params": token})
            request = parse_client_message(text.encode())
            assert isinstance(request, Request)
            stream = self.exchange.streams.new(request.raw_id)
            self.exchange.begin(request, stream)
            self.requests.append(request)
            self.streams.append(stream)
        self.listen = self.exchange.streams.listen()
        self.exchange.streams.begin(self.streams[0])
        self.exchange.streams.begin(self.streams[1])
        self.exchange.disconnected(self.streams[1])

    def got(self, call: int) -> list[bytes]:
        """The messages on the stream of a call; its client comes back for them if it was gone."""
        stream = self.streams[call]
        if not stream.is_live:
            assert self.exchange.resume(f"{stream.number}-0") is stream
        return texts(stream)


def texts(stream: Stream) -> list[bytes]:
    """What waits on a stream, as it goes out."""
    items = stream.take()[1]
    assert not any(isinstance(item, Failure) for item in items)
    return [item.message if isinstance(item, Ask) else item for item in items if not isinstance(item, Failure)]


@settings(max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(scripts, cuts)
@example([b'{"jsonrpc":"2.0","id":"' + b"i" * 5000 + b'","method":"ping"}\n', 0], [])
@example([b'{"jsonrpc":"2.0","id":1000000,"id":1000001,"method":"ping"}\n'], [])
@example([rb'{"jsonrpc":"2.0","method":"\ud800","params":{"\udfff":[]}}' + b"\n", 1], [40])
@example([b'[{"jsonrpc":"2.0","method":"x"},{"jsonrpc":"2.0","id":"\xff","method":"x"}]\n'], [1] * 20)
@example([b'{"jsonrpc":"2.0","method":"x","params":{"a":"\xff"}}\n'], [])
@example([b"\r\n \n\x00\n\xef\xbb\xbf\n", 3, b"x" * 70_000 + b"\n"], [70_000])
@example([b'{"jsonrpc":"2.0","id":1000000,"result":1,"error":{"code":1,"message":""}}\n'], [])
def test_valid_answers_arrive_in_the_middle_of_any_noise(script: list[int | bytes], sizes: list[int]) -> None:
    client = Client()
    faults: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = faults.append  # type: ignore[assignment, method-assign]
    logging.getLogger("proxy").addHandler(handler)
    answered = list(dict.fromkeys(each for each in script if isinstance(each, int)))
    left = [call for call in range(CALLS) if call not in answered]
    lines = [each if isinstance(each, bytes) else answer_to(each) for each in [*script, *left]]
    decoder = LineDecoder(max_line_bytes=MAX_LINE_BYTES)
    try:
        for piece in as_read(b"".join(lines), sizes):
            client.exchange.received(decoder.feed(piece))
        client.exchange.received(decoder.finish())
    finally:
        logging.getLogger("proxy").removeHandler(handler)

    assert [record.getMessage() for record in faults] == []
    for call in range(CALLS):
        *before, answer = client.got(call)
        assert json.loads(answer) == {"jsonrpc": "2.0", "id": f"call {call}", "result": {"call": call}}
        assert client.streams[call].has_ended
        assert all(is_one_message(text) for text in before)
    assert all(is_one_message(text) for text in texts(client.listen))
    assert client.exchange.calls_in_flight == 0
    client.exchange.check_new_ids(client.requests)  # the ids are free again
    client.exchange.check(1000.0)
    assert decoder.unfinished_bytes == 0


def is_one_message(text: bytes) -> bool:
    """Whether it can stand in an event and be read as JSON-RPC."""
    message = json.loads(text.decode(), parse_int=float)  # integers may be longer than Python likes
    return b"\n" not in text and b"\r" not in text and message["jsonrpc"] == "2.0" and "method" in message


def test_the_noise_is_worth_its_name() -> None:
    """Some of what the strategies make is refused for each of the reasons, and some of it is a message."""
    counts = Counts()
    exchange = Exchange(limits=SessionLimits(), counts=counts, clock=lambda: 100.0, tag="test")
    link = FakeLink()
    exchange.attach(link)

    @settings(max_examples=150, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(noise)
    def write(text: bytes) -> None:
        exchange.received(LineDecoder(max_line_bytes=MAX_LINE_BYTES).feed(text))

    write()

    seen = counts.snapshot()
    for reason in ("oversized", "not_utf8", "not_json", "not_jsonrpc"):
        assert seen[f"bad_line.{reason}"] >= 1, seen
    assert seen["dropped.answer_to_no_call"] >= 1, seen
    assert link.sent_lines, "no ping among them"


@pytest.mark.parametrize("size", [1, 7, 4096, 100_000])
def test_an_answer_is_found_however_it_is_cut(size: int) -> None:
    client = Client()
    decoder = LineDecoder(max_line_bytes=MAX_LINE_BYTES)
    data = b"".join([b"noise\n", *map(answer_to, range(CALLS))])

    for start in range(0, len(data), size):
        client.exchange.received(decoder.feed(data[start : start + size]))

    assert all(len(client.got(call)) == 1 for call in range(CALLS))

"""Every error has a status, a code and a message for the client."""

import inspect
import json

import anyio
import pytest
from msgspec import Raw
from starlette.types import Message

from proxy import errors
from proxy.edge.answers import MIDDLING_BYTES, PIECE_BYTES, REFUSALS, SMALL_BYTES, error_body, send_json_in_time
from proxy.errors import ProxyError, RevisionUnsupported

LEAVES = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, ProxyError) and not error.__subclasses__()
]


@pytest.mark.parametrize("error", LEAVES)
def test_every_leaf_has_a_row(error: type[ProxyError]) -> None:
    assert error in REFUSALS


def test_every_row_is_a_leaf_or_our_own_fault() -> None:
    assert set(REFUSALS) == {*LEAVES, ProxyError}


@pytest.mark.parametrize("error", LEAVES)
def test_the_tree_in_the_docstring_names_every_leaf(error: type[ProxyError]) -> None:
    assert errors.__doc__ is not None
    assert error.__name__ in errors.__doc__


@pytest.mark.parametrize(("raw_id", "shown"), [(None, None), (Raw(b"0"), 0), (Raw(b'"0"'), "0")])
def test_an_error_carries_the_id_it_is_about(raw_id: Raw | None, shown: object) -> None:
    body = json.loads(error_body(errors.SessionNotFound(), raw_id))

    assert body == {"jsonrpc": "2.0", "id": shown, "error": {"code": -32001, "message": "Session not found"}}


@pytest.mark.parametrize("refusal", [r for r in REFUSALS.values() if r.status == 503])
def test_being_full_says_when_to_come_back(refusal: object) -> None:
    assert dict(refusal.headers)[b"retry-after"].isdigit()  # type: ignore[attr-defined]  # a Refusal


class Reader:
    """A server whose client takes so many parts of a body, and then nothing."""

    def __init__(self, parts: int) -> None:
        self.messages: list[Message] = []
        self._parts = parts

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            if not self._parts:
                await anyio.sleep_forever()
            self._parts -= 1
        self.messages.append(message)


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (0, 1),
        (SMALL_BYTES, 1),
        (SMALL_BYTES + 1, 1),
        (MIDDLING_BYTES, 1),
        (MIDDLING_BYTES + 1, MIDDLING_BYTES // PIECE_BYTES + 1),
        (8 * PIECE_BYTES, 8),
    ],
)
async def test_a_large_answer_goes_out_in_pieces_that_are_the_whole(size: int, pieces: int) -> None:
    reader, body = Reader(10), bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    await send_json_in_time(reader.send, 200, body, [(b"a", b"b")], timeout_seconds=5)

    head, *parts = reader.messages
    assert (b"content-length", b"%d" % size) in head["headers"] and (b"a", b"b") in head["headers"]
    assert b"".join(part["body"] for part in parts) == body
    assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [False]
    assert len(parts) == pieces


async def test_a_client_that_takes_nothing_more_is_left_with_half_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """Ours: a request that is never over would keep its session alive for ever."""
    reader = Reader(2)

    with anyio.fail_after(5):
        await send_json_in_time(reader.send, 200, b"x" * 8 * PIECE_BYTES, timeout_seconds=0.02)

    assert len(reader.messages) == 3
    assert "answer of a slow reader cut" in caplog.text


def test_what_a_program_may_read_of_an_error_is_shown_whatever_it_is() -> None:
    error = RevisionUnsupported(data={"supported": ["é"], "requested": "\ud800"})

    assert json.loads(error_body(error, Raw(b"1")))["error"]["data"] == {"supported": ["é"], "requested": "\ud800"}

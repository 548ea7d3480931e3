"""One request, from its beginning to its answer."""

from typing import Any

import pytest
from msgspec import Raw

from proxy.errors import AnswerUnusable, NotJsonRpc, ProxyError, TooManyContinuations
from proxy.protocol.messages import Response
from proxy.sessions.modern.call import ModernCall
from proxy.sessions.stream import Failure, Stream
from tests.sessions.modern.servings import ANN
from tests.support.parsed import a_call

RESPONSE = Response(1, {"jsonrpc": Raw(b'"2.0"'), "id": Raw(b"1"), "result": Raw(b"{}")})


def a_modern_call(finish: Any) -> ModernCall:
    request = a_call("mine")
    stream = Stream(
        backlog_bytes=1 << 20,
        on_full=lambda _: None,
        on_emptied=lambda _: None,
        on_record=lambda *_: None,
        call_ids=(request.raw_id,),
    )
    return ModernCall(request, ANN, stream, finish=finish, on_cut=lambda: None)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (TooManyContinuations(), TooManyContinuations),
        (NotJsonRpc(), AnswerUnusable),  # it was the child's, not the client's
        (RuntimeError("a bug"), ProxyError),
    ],
)
def test_an_answer_that_can_not_be_used_is_no_silence(fault: Exception, told: type[ProxyError]) -> None:
    def finish(_call: ModernCall, _response: Response) -> Response:
        raise fault

    call = a_modern_call(finish)
    ended: list[int] = []
    call.on_ended = lambda: ended.append(1)
    call.answered(RESPONSE)

    (item,) = call.stream.take()[1]
    assert isinstance(item, Failure)
    assert (type(item.error), bytes(item.raw_id)) == (told, b'"mine"')
    assert (call.stream.has_ended, ended) == (True, [1])
    assert "bug" not in str(item.error)


def test_an_answer_goes_out_under_the_clients_id() -> None:
    call = a_modern_call(lambda _, response: response)

    call.answered(RESPONSE)

    assert call.stream.take()[1] == [b'{"jsonrpc":"2.0","id":"mine","result":{}}']
    assert call.code is None


def test_one_whose_client_is_gone_is_over() -> None:
    call = a_modern_call(lambda _, response: response)

    call.abandon()
    call.abandon()

    assert (call.stream.has_ended, call.stream.is_live, call.stream.items) == (True, False, [])

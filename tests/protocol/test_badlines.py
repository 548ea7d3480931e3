"""Which call a line answers that can't be read."""

import pytest

from proxy.protocol.badlines import call_answered_by


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{"cut', 7),
        (b'{"result":"\xff","id" : 7}', 7),
        (b'{"jsonrpc":"2.0","id":7', 7),
        (b'{"id":7,"error":', 7),
        (b'{"id":7,"result":{"id":8', None),  # which of the two can't be told
        (b'{"id":9,"result":{}}', None),  # nobody's
        (b'{"jsonrpc":"2.0","method":"x","params":{"id":7', None),  # a notification about it
        (b'{"level":"info","id":7}', None),  # a log
        (b'{"id":77,"result":{}', None),
        (b'{"id":"7","result":{}', None),
    ],
)
def test_the_call_is_the_one_that_is_named_if_it_is_an_answer_at_all(ends: bytes, expected: int | None) -> None:
    assert call_answered_by(ends, {7: "", 8: ""}) == expected

"""What a client may listen to."""

import json

import pytest

from proxy.errors import NotJsonRpc
from proxy.protocol.envelope import ModernRequest
from proxy.protocol.subscriptions import with_own_tasks
from tests.support.modern import envelope
from tests.support.parsed import a_request, read


def listening(notifications: str) -> ModernRequest:
    meta = json.dumps(envelope())
    params = f'{{"notifications":{notifications},"_meta":{meta}}}'
    return read(f'{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{params}}}'.encode())


ASKED: list[tuple[str, str]] = [
    ("{}", "as it is"),
    ('{ "toolsListChanged" : true, "later":[1.0] }', "as it is"),
    ('{"taskIds":["mine"]}', '{"taskIds":["mine"]}'),
    ('{"taskIds":["mine","theirs","mine 2"]}', '{"taskIds":["mine", "mine 2"]}'),
    ('{"taskIds":["theirs"],"toolsListChanged":true}', '{"toolsListChanged":true}'),
    (
        '{"toolsListChanged":1.0,"taskIds":["mine"],"x":"\\ud800"}',
        '{"toolsListChanged":1.0,"x":"\\ud800","taskIds":["mine"]}',
    ),
    ('{"task\\u0049ds":["theirs"]}', "{}"),
    ('{"taskIds":["mine\\ud800"]}', '{"taskIds":["mine\\ud800"]}'),
    ('{"taskIds":[]}', "{}"),
    ('{"taskIds":[1,null,["mine"],{"mine":1}]}', "{}"),
    ('{"taskIds":"mine"}', "{}"),
    ('{"taskIds":{"mine":1}}', "{}"),
    ('{"taskIds":null}', "{}"),
    ('{"taskIds":["mine"],"taskIds":["theirs"]}', "{}"),
    ("[]", "as it is"),
    ("null", "as it is"),
    ('"taskIds"', "as it is"),
]


@pytest.mark.parametrize(("asked", "expected"), ASKED)
def test_a_client_is_told_of_its_own_tasks_alone(asked: str, expected: str) -> None:
    """HM-32: each task request must be authorised."""
    told = with_own_tasks(listening(asked), lambda task_id: task_id.startswith("mine"))

    assert told is None if expected == "as it is" else told is not None and bytes(told).decode() == expected


@pytest.mark.parametrize("name", ["taskids", "TaskIds", "TASKIDS"])
def test_nor_can_it_ask_in_another_case(name: str) -> None:
    with pytest.raises(NotJsonRpc):
        with_own_tasks(listening(f'{{"{name}":["theirs"]}}'), lambda _: False)


def test_one_that_asks_for_nothing_is_left_to_the_child() -> None:
    assert with_own_tasks(a_request(1, "subscriptions/listen"), lambda _: False) is None

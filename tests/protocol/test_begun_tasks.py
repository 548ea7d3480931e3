"""Which answers begin a task: a table."""

import json
from typing import Any

import pytest

from proxy.protocol.jsontext import parse_members
from proxy.protocol.tasks import MAX_RESULT_BYTES, begins_task

TASK = {"taskId": "t", "status": "working"}


@pytest.mark.parametrize(
    ("answer", "is_one"),
    [
        ({"result": {"task": TASK}}, True),
        ({"result": {"task": TASK, "_meta": {}}}, True),
        ({"result": TASK}, False),
        ({"result": {"task": {"taskId": 7}}}, False),
        ({"result": {"task": ["taskId"]}}, False),
        ({"result": ["taskId"]}, False),
        ({"result": {"content": []}}, False),
        ({"result": {"task": TASK, "pad": "x" * MAX_RESULT_BYTES}}, False),
        ({"error": {"code": 1, "message": "taskId"}}, False),
    ],
)
def test_an_answer_that_begins_a_task(answer: dict[str, Any], is_one: bool) -> None:
    assert begins_task(parse_members(json.dumps(answer, separators=(",", ":")).encode())) == is_one

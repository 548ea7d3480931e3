"""Does this answer begin a task?

Spec: 2025-11-25 basic/utilities/tasks, CreateTaskResult. The progress token of the call goes on being that of the task.
"""

from msgspec import Raw

from proxy.protocol.ids import text_at
from proxy.protocol.jsontext import Members, as_object

MAX_TASK_TOKENS = 1024
"""Tasks whose progress is passed on, of one client or one process. Ours: a runaway backstop."""
MAX_RESULT_BYTES = 64 * 1024
"""A longer result is no task: nothing but a few names, dates and one line of text is in one."""

_NONE: dict[str, Raw] = {}


def begins_task(answer: Members) -> bool:
    """Whether these members of a response say that the call goes on as a task."""
    result = answer.get("result")
    if result is None or memoryview(result).nbytes > MAX_RESULT_BYTES or b'"taskId"' not in bytes(result):
        return False
    return text_at(as_object((as_object(result) or _NONE).get("task")) or _NONE, "taskId") is not None

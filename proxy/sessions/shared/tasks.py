"""Whose is a task that a shared child works on?

The child gives its id to the session that has begun it, and would tell every other one of it.

Spec: 2025-11-25 basic/utilities/tasks.
"""

from msgspec import Raw

from proxy.protocol.ids import text_at
from proxy.protocol.jsontext import Members, as_object, encode, parse_array
from proxy.sessions.shared.levels import Ask
from proxy.sessions.shared.port import Port

LIST = "tasks/list"
CANCEL = "tasks/cancel"
OF_ONE_TASK = frozenset({"tasks/get", "tasks/result", CANCEL})
STATUS = "notifications/tasks/status"
MAX_TASKS = 1024
"""Tasks of one child that are remembered. Ours: the oldest are forgotten, and can be asked for no more."""


class SharedTasks:
    """The tasks of the sessions of one child.

    Args:
        ask: Asks the child.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._owners: dict[str, Port] = {}  # the oldest first

    def is_own(self, port: Port, params: Raw | None) -> bool:
        """Whether the task that these `params` name is the session's."""
        return self.owner(params) is port

    def owner(self, params: Raw | None) -> Port | None:
        """Whose task these `params` name."""
        task_id = text_at(as_object(params) or {}, "taskId")
        return self._owners.get(task_id) if task_id is not None else None

    def begun(self, port: Port, answer: Members) -> Members:
        """A call that is to be a task is answered. Returns the answer, as it is."""
        result = as_object(answer.get("result")) or {}
        task_id = text_at(as_object(result.get("task")) or {}, "taskId")
        if task_id is not None:
            self._owners[task_id] = port
            if len(self._owners) > MAX_TASKS:
                del self._owners[next(iter(self._owners))]
        return answer

    def own_of_list(self, port: Port, answer: Members) -> Members:
        """The answer to `tasks/list` with nothing in it but the session's tasks."""
        result = as_object(answer.get("result"))
        listed = bytes((result or {}).get("tasks", b""))
        if result is None or not listed.startswith(b"["):
            return answer
        own = [Raw(task) for task in parse_array(listed) if self.is_own(port, Raw(task))]
        return {**answer, "result": Raw(encode({**result, "tasks": own}))}

    def leave(self, port: Port) -> None:
        """A session has gone: nobody will ask for its tasks."""
        for task_id in [task_id for task_id, owner in self._owners.items() if owner is port]:
            del self._owners[task_id]
            self._ask(CANCEL, Raw(encode({"taskId": task_id})), None, None)


def asks_for_task(params: Raw | None) -> bool:
    """Whether a call with these `params` is to be a task."""
    return params is not None and b'"task"' in bytes(params) and "task" in (as_object(params) or {})

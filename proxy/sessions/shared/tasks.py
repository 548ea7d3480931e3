"""Whose is a task that a shared child works on?

The child gives its id to the session that has begun it, and would tell every other one of it.

Spec: 2025-11-25 basic/utilities/tasks.
"""

from functools import partial

from msgspec import Raw

from proxy.protocol.ids import decode_id, text_at
from proxy.protocol.jsontext import Members, as_object, encode, parse_array
from proxy.protocol.messages import Request, Response
from proxy.sessions.shared.attribution import Attribution
from proxy.sessions.shared.levels import Ask
from proxy.sessions.shared.port import Port, Read

LIST = "tasks/list"
RESULT = "tasks/result"
CANCEL = "tasks/cancel"
OF_ONE_TASK = frozenset({"tasks/get", RESULT, CANCEL})
STATUS = "notifications/tasks/status"
RELATED = "io.modelcontextprotocol/related-task"
"""In `_meta`: the task that a message is about."""
MAX_TASKS = 1024
"""Tasks of one child that are remembered. Ours: the oldest are forgotten, and can be asked for no more."""

_DONE = frozenset({"completed", "failed"})
_CANCELLED = "cancelled"


class SharedTasks:
    """The tasks of the sessions of one child.

    Args:
        ask: Asks the child.
        attribution: Told which of them the child works on: it may log for them, and ask.
    """

    def __init__(self, ask: Ask, attribution: Attribution) -> None:
        self._ask = ask
        self._attribution = attribution
        self._owners: dict[str, Port] = {}  # the oldest first
        self._unread: set[str] = set()  # those among them whose result their client has not got

    def is_own(self, port: Port, params: Raw | None) -> bool:
        """Whether the task that these `params` name is the session's."""
        return self.owner(params) is port

    def owner(self, params: Raw | None) -> Port | None:
        """Whose task these `params` name."""
        task_id = _task_id_in(params)
        return self._owners.get(task_id) if task_id is not None else None

    def has_unread(self, port: Port) -> bool:
        """Whether the child has a task for this session whose result it has not got yet."""
        return any(self._owners[task_id] is port for task_id in self._unread)

    def is_about_one(self, params: Raw | None) -> bool:
        """Whether a message with these `params` says that it is about a task."""
        return params is not None and b"related-task" in bytes(params) and _related_in(params) is not None

    def owner_of_related(self, params: Raw | None) -> Port | None:
        """Whose task it is that a message with these `params` is about; None if it is no session's that is there."""
        return self.owner(_related_in(params))

    def reader_of(self, request: Request) -> Read:
        """Who is to look at the answer to a request about one task of the session that makes it."""
        task_id = _task_id_in(request.members.get("params")) or ""
        return partial(self._answered, task_id, is_result=request.method == RESULT)

    def begun(self, port: Port, answer: Members) -> Members:
        """A call that is to be a task is answered. Returns the answer, as it is."""
        task = (as_object(answer.get("result")) or {}).get("task")
        task_id = _task_id_in(task)
        if task_id is None:
            return answer
        self._owners[task_id] = port
        self._unread.add(task_id)
        self._attribution.works_on(task_id, port)
        self._note(task_id, task)
        if len(self._owners) > MAX_TASKS:
            self._forget(next(iter(self._owners)))
        return answer

    def told(self, params: Raw | None) -> Port | None:
        """The child tells how a task stands. Returns whose it is."""
        owner = self.owner(params)
        if owner is not None:
            self._note(_task_id_in(params) or "", params)
        return owner

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
            self._forget(task_id)
            self._ask(CANCEL, Raw(encode({"taskId": task_id})), partial(self._ended, task_id), None)

    def _answered(self, task_id: str, port: Port, answer: Members, *, is_result: bool) -> Members:
        if self._owners.get(task_id) is port:
            if is_result:  # which comes when the task is over; its error is that of the call
                self._unread.discard(task_id)
                self._attribution.has_done(task_id)
            else:
                self._note(task_id, answer.get("result"))
        return answer

    def _note(self, task_id: str, task: Raw | None) -> None:
        status = text_at(as_object(task) or {}, "status")
        if status in _DONE:
            self._attribution.has_done(task_id)
        elif status == _CANCELLED:
            self._unread.discard(task_id)
            self._attribution.given_up(task_id)

    def _ended(self, task_id: str, response: Response) -> None:
        """The child was asked to end a task; it refuses that if there is nothing to end."""
        if response.is_error and b"-32602" in bytes(response.members["error"]):
            self._attribution.has_done(task_id)

    def _forget(self, task_id: str) -> None:
        del self._owners[task_id]
        self._unread.discard(task_id)
        self._attribution.given_up(task_id)


def asks_for_task(params: Raw | None) -> bool:
    """Whether a call with these `params` is to be a task."""
    if params is None or (b'"task"' not in bytes(params) and b"\\u" not in bytes(params)):
        return False  # a look at the text is enough: the name may also be written with escapes
    return "task" in (as_object(params) or {})


def _task_id_in(params: Raw | None) -> str | None:
    raw = (as_object(params) or {}).get("taskId")
    task_id = decode_id(raw) if raw is not None else None
    return task_id if isinstance(task_id, str) else None


def _related_in(params: Raw | None) -> Raw | None:
    return (as_object((as_object(params) or {}).get("_meta")) or {}).get(RELATED)

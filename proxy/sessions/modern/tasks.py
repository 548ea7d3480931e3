"""Whose task is this, and where does it run?

A child can't tell clients apart, so whoever knows a task's id could have it. Here it belongs to the client that was
given it; to all others it does not exist. Where clients can't be told apart either, the id is the only thing that tells
whose it is: they get one of ours, which nobody guesses.

Spec: extension io.modelcontextprotocol/tasks (SEP-2663): each task request must be authorised.
"""

import secrets
from collections.abc import Callable
from typing import Generic, TypeVar

from proxy.errors import AnswerUnusable, TaskUnknown

Child = TypeVar("Child")

MAX_TASKS = 4096
"""Tasks that are remembered; the one that was not asked for the longest makes room. Ours: a runaway backstop."""


class Task(Generic[Child]):
    """One task.

    Attributes:
        task_id: As its client knows it.
        inner_id: As the child knows it.
        principal: Whose it is.
        child: Where it runs.
        used_at: When its client last asked for it, on the loop's clock.
    """

    __slots__ = ("child", "inner_id", "principal", "task_id", "used_at")

    def __init__(self, task_id: str, inner_id: str, principal: str, child: Child, now: float) -> None:
        self.task_id = task_id
        self.inner_id = inner_id
        self.principal = principal
        self.child = child
        self.used_at = now


class Tasks(Generic[Child]):
    """The tasks of one server's children.

    Args:
        timeout_seconds: How long a task is remembered without its client.
        clock: The loop's clock.
        on_forgotten: Told of each that is remembered no more.
    """

    def __init__(
        self, *, timeout_seconds: float, clock: Callable[[], float], on_forgotten: Callable[[Task[Child]], None]
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._on_forgotten = on_forgotten
        self._tasks: dict[tuple[str, str], Task[Child]] = {}  # the one not asked for the longest first

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, inner_id: str, *, principal: str, child: Child, is_strangers: bool = False) -> str:
        """A child has begun a task for this client; returns the id that the client gets.

        Args:
            inner_id: As the child calls it.
            principal: Of the client.
            child: The child.
            is_strangers: Whether other clients go by the name of this one.

        Raises:
            AnswerUnusable: If another child has a task of this id for clients of this name: one of them would get the
                other's.
        """
        task_id = secrets.token_urlsafe(24) if is_strangers else inner_id
        key = (principal, task_id)
        before = self._tasks.get(key)
        if before is not None and before.child is not child:
            raise AnswerUnusable
        self._forget(key)
        self._tasks[key] = Task(task_id, inner_id, principal, child, self._clock())
        while len(self._tasks) > MAX_TASKS:
            self._forget(next(iter(self._tasks)))
        return task_id

    def find(self, task_id: str | None, *, principal: str) -> Task[Child]:
        """A task of this client.

        Raises:
            TaskUnknown: If there is none, or it is another's.
        """
        key = (principal, task_id or "")
        task = self._tasks.pop(key, None)
        if task is None:
            raise TaskUnknown
        task.used_at = self._clock()
        self._tasks[key] = task
        return task

    def owns(self, task_id: str, *, principal: str, child: Child) -> bool:
        """Whether this task is this client's, and runs there."""
        task = self._tasks.get((principal, task_id))
        return task is not None and task.child is child

    def expire(self, now: float) -> None:
        """Forget those that nobody has asked for in a long time."""
        for key in [key for key, each in self._tasks.items() if now - each.used_at > self._timeout_seconds]:
            self._forget(key)

    def drop(self, child: Child) -> None:
        """The child is gone, and its tasks with it."""
        for key in [key for key, each in self._tasks.items() if each.child is child]:
            del self._tasks[key]

    def _forget(self, key: tuple[str, str]) -> None:
        task = self._tasks.pop(key, None)
        if task is not None:
            self._on_forgotten(task)

"""How does the task that owns a process say that it is there?"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Own(Protocol[T_co]):
    """Owns something from its beginning to its end."""

    def __call__(self, *, task_status: TaskStatus[T_co]) -> Coroutine[Any, Any, None]:
        """Tells `task_status` once it is there; raises if it never will be."""


class _Told(TaskStatus[T], Generic[T]):
    """Passes on what is there now."""

    def __init__(self, future: "asyncio.Future[T]") -> None:
        self._future = future
        self.is_told = False

    def started(self, value: T | None = None) -> None:
        """It is there."""
        self.is_told = True
        if not self._future.done():
            self._future.set_result(value)  # type: ignore[arg-type]  # None where T is None


async def start_owner(tasks: TaskGroup, own: Own[T], *, undo: Callable[[], None]) -> T:
    """Start a task that owns something, and wait until that is there.

    As `TaskGroup.start`. That one waits for ever, against any cancellation, for a task that asyncio has cancelled
    before its first step, as it does when an event loop is torn down. And it waits for a task that it has cancelled;
    here that ends on its own, and whoever ends the group waits for it.

    Args:
        tasks: Whose task it will be.
        own: What the task does.
        undo: Takes back what was done for the task. Called if it never ran.

    Raises:
        Exception: What `own` has raised.
    """
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    told, scope = _Told(future), anyio.CancelScope()
    has_begun = is_off = False

    async def run() -> None:
        nonlocal has_begun
        if is_off:
            return
        has_begun = True
        with scope:
            try:
                await own(task_status=told)
            except Exception as exc:
                if told.is_told:
                    raise
                if not future.done():  # else nobody waits to be told
                    future.set_exception(exc)

    tasks.start_soon(run)
    try:
        return await future
    except BaseException:
        is_off = True
        scope.cancel()
        if not has_begun:
            undo()
        raise

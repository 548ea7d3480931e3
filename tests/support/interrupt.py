"""Interrupts a coroutine wherever it waits: the only places where a cancellation or a fault of another can reach it.

A walk runs a scenario again and again, and each time strikes at one more of the places where it waits, until it has
run to its end without a strike.
"""

import ast
import asyncio
import gc
import inspect
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Iterator
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any, Generic, NamedTuple, TypeVar

import anyio

import proxy

T = TypeVar("T")

PACKAGE = Path(proxy.__file__).parent
PATIENCE_SECONDS = 20.0
TIMES_AT_ONE_PLACE = {"scope": 2, "task": 2, "os-error": 1, "runtime-error": 1}
"""A loop waits at the same place over and over: the first rounds stand for all."""

Place = tuple[str, ...]
"""Where a coroutine waits: each await of ours on the way, outermost first."""


class Await(NamedTuple):
    """One await of the package, as `file function: what is awaited`."""

    key: str
    first: tuple[int, int]
    last: tuple[int, int]
    """Line and column where it begins and ends."""


@lru_cache
def awaits_of(file: str) -> list[tuple[str, Await]]:
    """Every await of one file, with the function that it is in."""
    found: list[tuple[str, Await]] = []

    def look(node: ast.AST, function: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                look(child, (*function, child.name))
                continue
            if isinstance(child, ast.Await):
                note(child, child.value, function)
            elif isinstance(child, ast.AsyncFor):
                note(child.iter, child.iter, function)
            elif isinstance(child, ast.AsyncWith):
                for item in child.items:
                    note(item.context_expr, item.context_expr, function)
            look(child, function)

    def note(node: ast.expr, awaited: ast.expr, function: tuple[str, ...]) -> None:
        what = ast.unparse(awaited.func if isinstance(awaited, ast.Call) else awaited)
        name = ".".join(function)
        last = (node.end_lineno or node.lineno, node.end_col_offset or 0)
        found.append((name, Await(f"{file} {name}: {what}", (node.lineno, node.col_offset), last)))

    look(ast.parse((PACKAGE / file).read_text(encoding="utf-8")), ())
    return found


def awaits_in(*folders: str) -> set[str]:
    """Every await in these folders of the package, as the keys that `Place` is made of."""
    files = [path.relative_to(PACKAGE).as_posix() for folder in folders for path in (PACKAGE / folder).glob("*.py")]
    return {each.key for file in files for _, each in awaits_of(file)}


def place_of(coroutine: Any) -> Place:
    """Where a suspended coroutine waits."""
    return tuple(key for frame in _frames(coroutine) if (key := _key(frame)) is not None)


def _frames(waiting: Any) -> Iterator[FrameType]:
    """The frames that wait for one another, outermost first; those of async generators included."""
    while waiting is not None:
        if inspect.iscoroutine(waiting):
            frame, waiting = waiting.cr_frame, waiting.cr_await
        elif inspect.isasyncgen(waiting):
            frame, waiting = waiting.ag_frame, waiting.ag_await
        elif inspect.isgenerator(waiting):
            frame, waiting = waiting.gi_frame, waiting.gi_yieldfrom
        else:  # what `anext` and the like return does not tell whom it is of
            frame = None
            waiting = next((each for each in gc.get_referents(waiting) if inspect.isasyncgen(each)), None)
        if frame is not None:
            yield frame


def _key(frame: FrameType) -> str | None:
    path = Path(frame.f_code.co_filename)
    if not path.is_relative_to(PACKAGE):
        return None
    function = frame.f_code.co_qualname.replace(".<locals>", "")
    line, last_line, column, last_column = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    first, last = (line or 0, column or 0), (last_line or 0, last_column or 0)
    known = awaits_of(path.relative_to(PACKAGE).as_posix())
    here = [each for name, each in known if name == function and each.first <= first and last <= each.last]
    return max(here, key=lambda each: each.first).key if here else None


Strike = Callable[[], BaseException | None]
"""Cancels the one that waits in its own way, or gives an exception that the awaited thing is to raise."""


class Interrupted(Awaitable[T], Generic[T]):
    """Runs a coroutine, and strikes once: when it waits at this place for the n-th time.

    Attributes:
        places: Where it has waited so far, in order.
        was_struck: Whether it has come to that.
    """

    def __init__(
        self, coroutine: Coroutine[Any, Any, T], *, at: Place = (), nth: int = 0, strike: Strike | None = None
    ) -> None:
        self.places: list[Place] = []
        self.was_struck = False
        self._coroutine = coroutine
        self._at = at
        self._nth = nth
        self._strike = strike

    def __await__(self) -> Generator[Any, Any, T]:
        error: BaseException | None = None
        while True:
            try:
                yielded = self._coroutine.throw(error) if error is not None else self._coroutine.send(None)
            except StopIteration as stop:
                result: T = stop.value
                return result
            place = place_of(self._coroutine)
            self.places.append(place)
            error = None
            if not self.was_struck and place == self._at and self.places.count(place) == self._nth:
                self.was_struck = True
                error = self._strike() if self._strike is not None else None
            if error is not None:
                if hasattr(yielded, "_asyncio_future_blocking"):
                    yielded._asyncio_future_blocking = False  # nobody waits for it any more
                continue
            try:
                yield yielded
            except BaseException as exc:
                error = exc


class Walk:
    """What a walk has seen.

    Attributes:
        struck: Every place at which it has struck.
    """

    def __init__(self, times: int) -> None:
        self.struck: set[Place] = set()
        self._times = times
        self._todo: list[tuple[Place, int]] = []
        self._known: set[tuple[Place, int]] = set()

    def note(self, places: list[Place]) -> None:
        """A run has come by these places: strike at each, later."""
        for index, place in enumerate(places):
            entry = (place, places[: index + 1].count(place))
            if place and entry[1] <= self._times and entry not in self._known:
                self._known.add(entry)
                self._todo.append(entry)

    def next(self) -> tuple[Place, int]:
        """Where to strike in the next run; nowhere when all is done."""
        return self._todo.pop(0) if self._todo else ((), 0)

    @property
    def is_done(self) -> bool:
        """Whether it has struck everywhere."""
        return not self._todo

    @property
    def keys(self) -> set[str]:
        """Every await that was on the way to where it has struck."""
        return {key for place in self.struck for key in place}


async def walk(
    scenario: Callable[[], Coroutine[Any, Any, object]],
    way: str,
    *,
    expected: Collection[type[BaseException]] = (),
    after_each: Callable[[], Awaitable[None]],
) -> Walk:
    """Run a scenario until it was struck in this way wherever it waits, each run in a task of its own.

    Args:
        scenario: What to run; makes the coroutine anew.
        way: A key of `WAYS`.
        expected: What the scenario may make of a strike, beside the exception itself and its cancellation.
        after_each: Raises if anything is left.
    """
    seen = Walk(TIMES_AT_ONE_PLACE[way])
    while True:
        place, nth = seen.next()
        run = await struck(scenario(), way, place, nth, expected)
        if run.was_struck:
            seen.struck.add(place)
        seen.note(run.places)
        try:
            await after_each()
        except BaseException as exc:
            exc.add_note(f"struck ({way}) at {place}, time {nth}")
            raise
        if seen.is_done:
            return seen


async def struck(
    coroutine: Coroutine[Any, Any, object], way: str, place: Place, nth: int, expected: Collection[type[BaseException]]
) -> "Interrupted[object]":
    """Run this coroutine in a task of its own, struck at one place; it must end in time, and by the strike alone."""
    scope = anyio.CancelScope()
    run: Interrupted[object] = Interrupted(coroutine, at=place, nth=nth, strike=lambda: WAYS[way](scope))

    async def in_scope() -> None:
        with scope:
            await run

    task = asyncio.get_running_loop().create_task(in_scope())
    _, pending = await asyncio.wait([task], timeout=PATIENCE_SECONDS)
    if pending:
        task.cancel()
        raise AssertionError(f"it hangs, struck ({way}) at {place}, time {nth}, and waits at {run.places[-1]}")
    if not task.cancelled() and (exc := task.exception()) is not None:
        if not run.was_struck or not all(isinstance(each, (Injected, *expected)) for each in leaves(exc)):
            exc.add_note(f"struck ({way}) at {place}, time {nth}")
            raise exc
    return run


def leaves(exc: BaseException) -> list[BaseException]:
    """The exceptions in a group of them, however deep; one that is no group is the only one."""
    return [leaf for each in exc.exceptions for leaf in leaves(each)] if isinstance(exc, BaseExceptionGroup) else [exc]


class Injected(Exception):
    """What an injected exception is, beside what it looks like."""


class InjectedOSError(Injected, OSError):
    """As from the system."""


class InjectedRuntimeError(Injected, RuntimeError):
    """As from a library, or a bug."""


def _cancel_scope(scope: anyio.CancelScope) -> None:
    scope.cancel()


def _cancel_task(_: anyio.CancelScope) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


WAYS: dict[str, Callable[[anyio.CancelScope], BaseException | None]] = {
    "scope": _cancel_scope,
    "task": _cancel_task,
    "os-error": lambda _: InjectedOSError(5, "injected"),
    "runtime-error": lambda _: InjectedRuntimeError("injected"),
}
"""As an owner cancels that uses anyio, as one does that uses asyncio, and as what is awaited fails."""

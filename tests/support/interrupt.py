"""Interrupts a coroutine wherever it waits: the only places where a cancellation or a fault of another can reach it.

A walk runs a scenario again and again, and each time strikes at one more of the places where it waits, until it has
run to its end without a strike.
"""

import ast
import asyncio
import gc
import inspect
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any, Generic, NamedTuple, TypeVar

import anyio

import proxy

T = TypeVar("T")

PACKAGE = Path(proxy.__file__).parent
PATIENCE_SECONDS = 20.0

Place = tuple[str, ...]
"""Where a coroutine waits: each await of ours on the way, outermost first; empty where it waits by itself."""


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
                note(child, [child.value], function)
            elif isinstance(child, ast.AsyncFor):
                note(child.iter, [child.iter], function)
            elif isinstance(child, ast.AsyncWith):
                note(child, [item.context_expr for item in child.items], function)
            look(child, function)

    def note(node: ast.expr | ast.stmt, awaited: list[ast.expr], function: tuple[str, ...]) -> None:
        what = ", ".join(ast.unparse(each.func if isinstance(each, ast.Call) else each) for each in awaited)
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
        at: Where it strikes.
        was_struck: Whether it has come to that.
    """

    def __init__(
        self, coroutine: Coroutine[Any, Any, T], *, at: Place = (), nth: int = 0, strike: Strike | None = None
    ) -> None:
        self.places: list[Place] = []
        self.was_struck = False
        self._coroutine = coroutine
        self.at = at
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
            if not self.was_struck and place == self.at and self.places.count(place) == self._nth:
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


NOWHERE: tuple[Place, int] = ((), 0)


class Walk:
    """Where to strike in the next run, beginning with nowhere, until it has struck everywhere.

    Args:
        times: A loop waits at the same place over and over: so many rounds stand for all.
        skip: Awaits that are not struck.

    Attributes:
        struck: Every place at which it has struck.
    """

    def __init__(self, times: int = 1, skip: Collection[str] = ()) -> None:
        self.struck: set[Place] = set()
        self._times = times
        self._skip = set(skip)
        self._todo: list[tuple[Place, int]] = [NOWHERE]
        self._known: set[tuple[Place, int]] = set()

    def __iter__(self) -> Iterator[tuple[Place, int]]:
        while self._todo:
            yield self._todo.pop(0)

    def note(self, run: "Interrupted[Any]") -> None:
        """A run has come by some places: strike at each, later."""
        if run.was_struck:
            self.struck.add(run.at)
        for index, place in enumerate(run.places):
            entry = (place, run.places[: index + 1].count(place))
            if self._skip.isdisjoint(place) and entry[1] <= self._times and entry not in self._known:
                self._known.add(entry)
                self._todo.append(entry)

    @property
    def keys(self) -> set[str]:
        """Every await that was on the way to where it has struck."""
        return {key for place in self.struck for key in place}


async def walk(
    scenario: Callable[[], Coroutine[Any, Any, object]],
    way: str,
    *,
    times: int = 1,
    expected: Collection[type[BaseException]] = (),
    skip: Collection[str] = (),
    before_each: Callable[[], Awaitable[None]] | None = None,
    after_each: Callable[[], Awaitable[None]],
) -> Walk:
    """Run a scenario until it was struck in this way wherever it waits, each run in a task of its own.

    Args:
        scenario: What to run; makes the coroutine anew.
        way: A key of `WAYS`.
        times: A loop waits at the same place over and over: so many rounds stand for all.
        expected: What the scenario may make of a strike, beside the exception itself and its cancellation.
        skip: Awaits that are not struck.
        before_each: Prepares a run; not struck.
        after_each: Raises if anything is left.
    """
    seen = Walk(times, skip)
    for place, nth in seen:
        if before_each is not None:
            await before_each()
        seen.note(await struck(scenario(), way, place, nth, expected))
        with told(way, place, nth):
            await after_each()
    return seen


@contextmanager
def told(way: str, place: Place, nth: int) -> Iterator[None]:
    """What goes wrong in the block says after which strike."""
    try:
        yield
    except BaseException as exc:
        exc.add_note(f"struck ({way}) at {place}, time {nth}")
        raise


async def struck(
    coroutine: Coroutine[Any, Any, object], way: str, place: Place, nth: int, expected: Collection[type[BaseException]]
) -> "Interrupted[object]":
    """Run this coroutine in a task of its own, struck at one place; it must end in time, and by the strike alone."""
    scope = anyio.CancelScope()
    run: Interrupted[object] = Interrupted(coroutine, at=place, nth=nth, strike=lambda: ALL_WAYS[way](scope))

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
            with told(way, place, nth):
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

AGAIN = "task-again"
"""As an owner cancels that has no patience: again and again, until it is over."""


def _cancel_task_again(_: anyio.CancelScope) -> None:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()

    def cancel() -> None:
        if task is not None and not task.done():
            task.cancel()
            loop.call_later(0.005, cancel)

    cancel()


FAULTS = {"os-error", "runtime-error"}
"""The ways that are no cancellation."""

ALL_WAYS = {**WAYS, AGAIN: _cancel_task_again}

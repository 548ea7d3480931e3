"""How do many share one look at the process table?

A look costs ten to thirty microseconds for each process of the machine: too much for the event loop, and too much to
be done once for each of two hundred children that end at the same moment.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

import anyio
import anyio.to_thread

K = TypeVar("K")
T = TypeVar("T")


class SharedLook(Generic[K, T]):
    """Runs a slow function in a thread, for all who have asked before it began.

    Args:
        look: Gets what was asked about, returns what it found of it. Runs in a thread, once at a time.
        nothing: Makes the answer for what it has not found.
    """

    def __init__(self, look: Callable[[Collection[K]], Mapping[K, T]], nothing: Callable[[], T]) -> None:
        self._look = look
        self._nothing = nothing
        self._asked: dict[K, list[asyncio.Future[T]]] = {}
        self._looking: asyncio.Future[None] | None = None  # done when the look that is on is over

    async def ask(self, key: K) -> T:
        """What a look that begins later finds of this. Waits for it.

        Raises:
            RuntimeError: If no thread can be started.
            OSError: As the function does.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(key, []).append(future)
        try:
            while not future.done():
                if self._looking is not None:
                    waited: list[asyncio.Future[Any]] = [future, self._looking]
                    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await self._answer_all()
        finally:
            if not future.done():
                self._forget(key, future)
        return future.result()

    async def _answer_all(self) -> None:
        looking = self._looking = asyncio.get_running_loop().create_future()
        asked, self._asked = self._asked, {}
        try:
            # A limiter of its own: a host may hold all the threads that are shared.
            look = partial(self._look, tuple(asked))
            found = await anyio.to_thread.run_sync(look, limiter=anyio.CapacityLimiter(1))
        except BaseException:
            for key, futures in asked.items():  # the others try for themselves
                self._asked.setdefault(key, []).extend(futures)
            raise
        finally:
            self._looking = None
            looking.set_result(None)
        for key, futures in asked.items():
            answer = found[key] if key in found else self._nothing()
            for each in futures:
                if not each.done():
                    each.set_result(answer)

    def _forget(self, key: K, future: "asyncio.Future[T]") -> None:
        """Nobody waits for this answer any more."""
        futures = self._asked.get(key, [])
        with suppress(ValueError):
            futures.remove(future)
        if not futures:
            self._asked.pop(key, None)

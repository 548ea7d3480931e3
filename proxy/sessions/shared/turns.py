"""Whose call is next at a child that many sessions use?"""

import asyncio
from collections import deque

import anyio


class Turns:
    """The places for calls in flight at one child.

    Sessions that wait for one get it in turn, one call each, however many calls one of them has waiting. The last
    eighth of the places is for sessions that have no call in flight, so that nobody can keep the others out.

    Args:
        places: How many there are.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._kept_free = places // 8
        self._waiting: dict[Seat, None] = {}  # the next in turn first

    def seat(self) -> "Seat":
        """What one more session takes places with."""
        return Seat(self)

    def may_take(self, seat: "Seat") -> bool:
        """Whether there is a place for one more call of this session."""
        return self._free > (self._kept_free if seat.taken else 0)

    def take(self, seat: "Seat") -> None:
        """Take a place, which there is."""
        self._free -= 1
        seat.taken += 1

    def give_back(self, seat: "Seat") -> None:
        """A call has ended: somebody who waits is next."""
        self._free += 1
        seat.taken -= 1
        self._next()

    def wait(self, seat: "Seat") -> None:
        """A session waits; nothing if it does already."""
        self._waiting.setdefault(seat)

    def _next(self) -> None:
        for seat in list(self._waiting):
            if not seat.drop_those_that_gave_up():
                del self._waiting[seat]
            elif self.may_take(seat):
                self.take(seat)
                del self._waiting[seat]
                seat.waiters.popleft().set_result(None)
                if seat.waiters:
                    self._waiting[seat] = None  # behind those that wait for their first
                return


class Seat:
    """The places of one session, to be used as `anyio.Semaphore` is.

    Attributes:
        taken: Those that it has.
        waiters: Its calls that wait for one, oldest first.
    """

    def __init__(self, turns: Turns) -> None:
        self.taken = 0
        self.waiters: deque[asyncio.Future[None]] = deque()
        self._turns = turns

    @property
    def value(self) -> int:
        """Not 0 if a call would have a place at once."""
        return int(not self.drop_those_that_gave_up() and self._turns.may_take(self))

    def acquire_nowait(self) -> None:
        """Take a place.

        Raises:
            anyio.WouldBlock: If there is none for this session now.
        """
        if not self.value:
            raise anyio.WouldBlock
        self._turns.take(self)

    async def acquire(self) -> None:
        """Take a place, in turn. Waits until there is one."""
        if self.value:
            self._turns.take(self)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        self._turns.wait(self)
        try:
            await waiter
        except BaseException:
            if not waiter.cancelled():
                self.release()  # it was given a place in the moment in which it gave up
            raise

    def drop_those_that_gave_up(self) -> bool:
        """Whether somebody is left that waits."""
        while self.waiters and self.waiters[0].done():
            self.waiters.popleft()
        return bool(self.waiters)

    def release(self) -> None:
        """A call that had a place has ended."""
        self._turns.give_back(self)

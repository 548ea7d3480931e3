"""Is a child that was started ahead ready for a client, or only alive? And does its server bear being asked?"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import anyio

from proxy.sessions.warm.kind import Ahead, Kind

logger = logging.getLogger(__name__)

UNPROVED_SECONDS = 1.0
"""Where a server does not bear a proof, a child that has lived so long counts as ready. Longer than a program takes to
find out that it can't run."""


class Proof:
    """The proofs that one server's children give.

    Args:
        timeout_seconds: How long a child may take.
        name: The server's, for the log.
    """

    def __init__(self, *, timeout_seconds: float, name: str) -> None:
        self._timeout_seconds = timeout_seconds
        self._name = name
        self._seconds: dict[str, float] = {}  # of the last proof of each kind
        self.is_asked_for = True
        """Whether children are asked that may be taken without; else they have to live for a while."""
        self.has_served_client = False
        """Whether a child has answered a client."""

    def known_seconds(self, kinds: Iterable[str]) -> dict[str, float]:
        """How long a proof takes, of each of these kinds of which that is known."""
        return self._seconds if self.is_asked_for else dict.fromkeys(kinds, UNPROVED_SECONDS)

    async def given_by(self, kind: Kind[Any], child: Ahead, *, since: float) -> bool:
        """Wait until a child has proved itself; returns whether it has.

        Args:
            kind: Its kind; told if it is the child's fault that it has not.
            child: Which.
            since: When its start began.
        """
        is_asked = self.is_asked_for or not kind.is_proof_optional
        if await self._wait(kind, child, is_asked):
            if is_asked:
                self._seconds[kind.name] = asyncio.get_running_loop().time() - since
            return True
        if not self._is_at_fault(kind, child, is_asked) and not child.ended.is_set():
            kind.judged(child, is_good=False)
        return False

    async def _wait(self, kind: Kind[Any], child: Ahead, is_asked: bool) -> bool:
        is_good = not is_asked
        seconds = self._timeout_seconds if is_asked else UNPROVED_SECONDS
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:

                async def watch() -> None:
                    await child.ended.wait()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(watch)
                if is_asked:
                    is_good = await kind.prove(child)
                    tasks.cancel_scope.cancel()
        return is_good and not child.ended.is_set()

    def _is_at_fault(self, kind: Kind[Any], child: Ahead, is_asked: bool) -> bool:
        """A child has not proved itself: is that its fault, or does its server not bear the question?

        One that exits on it may have been about to exit anyway: that shows when the next one, which is not asked, exits
        as well. One that is silent is slow, unless others of its server have served. A server that has answered once
        bears it.
        """
        has_exited = child.ended.is_set()
        if not kind.is_proof_optional or not (has_exited or self.has_served_client):
            return False
        if kind.name in self._seconds:
            return False
        self.is_asked_for = not is_asked
        if is_asked:
            how = "exited on" if has_exited else "has not answered"
            logger.info(
                "a child %s the ping; the next is not asked, to see if that was why", how, extra={"server": self._name}
            )
        return is_asked

"""What becomes of a process that sessions share, from the wait for its place until it is reaped?"""

import logging

import anyio

from proxy.child.process import Child, open_child
from proxy.child.spec import ChildSpec
from proxy.errors import ChildStartFailed, Draining, ProxyError, TooManySessions
from proxy.observe import Counts
from proxy.sessions.limits import SessionLimits
from proxy.sessions.places import Places
from proxy.sessions.shared.child import SharedProcess
from proxy.sessions.starts import Starts

logger = logging.getLogger(__name__)


class Owner:
    """Owns the processes of one server that sessions share, one task each.

    Args:
        spec: How to start one.
        limits: Bounds of a session.
        counts: What an operator may see.
        places: Room for them, which others share.
        starts: Told that a start went well.
    """

    def __init__(
        self, *, spec: ChildSpec, limits: SessionLimits, counts: Counts, places: Places, starts: Starts
    ) -> None:
        self._spec = spec
        self._limits = limits
        self._counts = counts
        self._places = places
        self._starts = starts
        self.running = 0
        """Tasks that own a process, or wait for the place of one. Whoever starts `own` counts it."""
        self.is_ending = False
        """Whether everything ends."""
        self.cut = 0
        """What an end could not end in peace."""

    async def own(self, process: SharedProcess, wait_seconds: float) -> None:
        """Own one process.

        Args:
            process: It.
            wait_seconds: Before it is started.
        """
        try:
            with anyio.move_on_after(wait_seconds):
                await process.ended.wait()
            await self._take_place(process)
            try:
                await self._live(process)
            finally:
                self._places.give_back()
        except ProxyError as error:
            process.end("not started", error)
        except Exception:
            logger.exception("shared child ended badly", extra={"child": process.tag, "pid": process.pid})
        finally:
            process.end("not started", ChildStartFailed())
            self.running -= 1
            self._places.wake()

    async def all_gone(self) -> None:
        """Wait until no process is left."""
        while self.running:
            await self._places.changed(1.0)

    async def _take_place(self, process: SharedProcess) -> None:
        places = self._places
        with places.wish() as wish, anyio.move_on_after(self._limits.place_timeout_seconds):
            while not process.ended.is_set():
                if places.has_room:
                    places.take()
                    return
                if not wish.make_room() and not process.is_ahead:
                    places.make_room()
                await places.changed(1.0)
        if process.ended.is_set():
            raise Draining
        self._counts.add("refused.too_many_children")
        raise TooManySessions("Too many processes; try again later")

    async def _live(self, process: SharedProcess) -> None:
        child: Child | None = None
        try:
            async with open_child(
                self._spec,
                on_lines=process.hub.received,
                on_gone=process.gone,
                finder=self._places.finder,
                watch=self._places.watch,
                turns=self._places.turns,
            ) as child:
                self._places.started(child, in_place_of_another=process.replaces_another)
                process.attach(child)
                with anyio.move_on_after(self._limits.start_timeout_seconds):
                    await process.settled.wait()
                if not process.settled.is_set():
                    process.start_timed_out()
                if process.error is None:
                    self._starts.note(failed=False)
                await process.ended.wait()
            self.cut += child.was_killed and self.is_ending
        finally:
            if child is not None:
                self._places.ended(child)

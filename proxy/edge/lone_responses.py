"""How does the stream of a call become an HTTP response, if its client can't come back to it?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.types import Receive, Scope, Send

from proxy.edge.presence import Presence
from proxy.edge.shutdown import Shutdown
from proxy.edge.sse import OPENING, SlowReader, send_stream
from proxy.errors import StreamOverflow
from proxy.sessions.stream import Item, Stream


class Call(Protocol):
    """What is answered by one response."""

    @property
    def stream(self) -> Stream:
        """Where the answers come."""

    def abandon(self) -> None:
        """The client is gone."""

    def cut(self) -> None:
        """The client does not read."""


@dataclass(frozen=True, slots=True)
class LoneResponses:
    """Responses with nothing to come back to."""

    presence: Presence
    shutdown: Shutdown
    ping_interval_seconds: float
    slow_reader_timeout_seconds: float
    drain_timeout_seconds: float

    async def answers(
        self,
        call: Call,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        count: int = 1,
        commit_after_seconds: float | None,
    ) -> Sequence[Item]:
        """So many answers, if they are the first that there is; they are to be sent as JSON.

        Else everything is sent as a stream, or the client has left, and there is nothing to do.

        Args:
            call: What is answered.
            scope: Of the request, as `receive` and `send`.
            receive: See `scope`.
            send: See `scope`.
            count: How many requests there are.
            commit_after_seconds: When the response begins without anything to say; None for never.
        """
        stream = call.stream
        if not stream.items and not stream.has_ended:
            await self._hold(call, receive, commit_after_seconds)
        if stream.was_cut:
            raise StreamOverflow
        if not stream.is_live:
            return ()
        if stream.has_ended and len(stream.items) == count:
            return stream.take()[1]
        try:
            await send_stream(
                scope,
                receive,
                send,
                stream,
                opening=OPENING if not stream.items else b"",
                ping_seconds=self.ping_interval_seconds,
                send_timeout_seconds=self.slow_reader_timeout_seconds,
                shutdown_grace_seconds=self.drain_timeout_seconds,
                shutdown=self.shutdown,
            )
        except SlowReader:
            call.cut()
        return ()

    async def _hold(self, call: Call, receive: Receive, commit_after_seconds: float | None) -> None:
        """Wait for the first thing to say, or for the moment when the response begins without."""
        stream = call.stream
        held = self.presence.hold(
            receive, commit_after_seconds=commit_after_seconds, on_commit=stream.wake, on_gone=call.abandon
        )
        try:
            await stream.wait()
        finally:
            self.presence.release(held)

"""How much of request bodies may be under way, and how slowly may they come?

Nearly every body is there when its request is looked at, and costs one entry in a table. The others are watched by one
shared timer: a scope with a deadline for each would cost a tenth of a call.
"""

import asyncio
import logging
from dataclasses import dataclass

import anyio
from starlette.types import Message, Receive

from proxy.errors import BodyStalled, BodyTooLarge, ProxyError, TooManyUploads
from proxy.observe import Counts

logger = logging.getLogger(__name__)

CHECK_SECONDS = 0.25
"""How often uploads are looked at; each limit may be late by twice this."""

_IDLE_SECONDS = 1.0
"""Over the limit, an upload of which nothing has come for this long makes room for one that moves."""


class ClientGone(Exception):
    """The client closed the connection before its request was complete. Nobody is left to be told."""


@dataclass(slots=True, eq=False)
class _Upload:
    """One body that is being received."""

    since: float
    moved_at: float
    size_bytes: int = 0
    verdict: ProxyError | None = None
    """Why it is given up."""


class Uploads:
    """The request bodies that are being received. Used while `watch` runs.

    Args:
        max_body_bytes: Of one body.
        max_size_bytes: Of all bodies that came in more than one part, together.
        stall_timeout_seconds: How long nothing may come.
        min_rate_bytes: A second, on average, after a first `stall_timeout_seconds`.
        counts: What was refused.
    """

    def __init__(
        self,
        *,
        max_body_bytes: int,
        max_size_bytes: int,
        stall_timeout_seconds: float,
        min_rate_bytes: int,
        counts: Counts,
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_size_bytes = max_size_bytes
        self._stall_timeout_seconds = stall_timeout_seconds
        self._min_rate_bytes = min_rate_bytes
        self._counts = counts
        self._uploads: dict[asyncio.Task[object], _Upload | None] = {}  # None: has just begun
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """What has been received of bodies that are not complete."""
        return self._size_bytes

    async def watch(self) -> None:
        """Give up, for ever, what comes too slowly. Returns only by cancellation."""
        loop = asyncio.get_running_loop()
        while True:
            await anyio.sleep(CHECK_SECONDS)
            try:
                self._check(loop.time())
            except Exception:  # a bug; the task group that this is in has everything else in it
                logger.exception("uploads not looked at")

    async def read(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes:
        """The whole body; its limit is enforced while it arrives: a Content-Length may lie or be absent.

        Raises:
            BodyTooLarge: As soon as it is known to be larger than `max_body_bytes`.
            BodyStalled: If it comes too slowly.
            TooManyUploads: If it does not fit beside the others, or moved least of all when one did not.
            ClientGone: If the client closes the connection first.
        """
        declared = headers.get(b"content-length")
        if declared is not None and declared.isdigit() and int(declared[:20]) > self._max_body_bytes:
            raise self._too_large()
        task = asyncio.current_task()
        assert task is not None  # a coroutine runs in one
        self._uploads[task] = None
        try:
            message = await receive()
            if not message.get("more_body", False):
                return self._last_part(message, 0)
            return await self._read_on(task, message, receive)
        except asyncio.CancelledError:
            upload = self._uploads[task]
            # As `asyncio.timeout` does it: only a cancellation of ours, and no other beside it, ends here.
            if upload is None or upload.verdict is None or task.uncancel() > 0:
                raise
            raise upload.verdict from None
        finally:
            upload = self._uploads.pop(task)
            if upload is not None:
                self._size_bytes -= upload.size_bytes

    async def _read_on(self, task: "asyncio.Task[object]", first: Message, receive: Receive) -> bytes:
        now = asyncio.get_running_loop().time
        upload = self._uploads[task] = self._uploads[task] or _Upload(now(), now())
        body = bytearray()  # not a list of parts: those may be of one byte each
        message = first
        while message.get("more_body", False):
            part = message.get("body", b"")
            if len(body) + len(part) > self._max_body_bytes:
                raise self._too_large()
            body += part
            upload.moved_at = now()
            upload.size_bytes += len(part)
            self._size_bytes += len(part)
            if self._size_bytes > self._max_size_bytes:
                self._make_room(upload)
            message = await receive()
        body += self._last_part(message, len(body))
        return bytes(body)

    def _last_part(self, message: Message, before: int) -> bytes:
        part: bytes = message.get("body", b"")
        if before + len(part) > self._max_body_bytes:
            raise self._too_large()
        if message["type"] == "http.disconnect":
            raise ClientGone
        return part

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"Request body too large: at most {self._max_body_bytes} bytes")

    def _make_room(self, upload: _Upload) -> None:
        """Raises TooManyUploads unless others stand still and can go in its place."""
        self._counts.add("refused.too_many_uploads")
        others = [(other.moved_at, task) for task, other in self._uploads.items() if other and other.size_bytes]
        for moved_at, task in sorted(others, key=lambda entry: entry[0]):
            if self._size_bytes <= self._max_size_bytes:
                return
            if upload.moved_at - moved_at < _IDLE_SECONDS:
                break
            self._give_up(task, TooManyUploads())
        if self._size_bytes > self._max_size_bytes:
            raise TooManyUploads

    def _check(self, now: float) -> None:
        for task, upload in list(self._uploads.items()):
            if upload is None:
                self._uploads[task] = _Upload(now, now)
            elif upload.verdict is None and self._is_too_slow(upload, now):
                self._counts.add("refused.body_stalled")
                self._give_up(task, BodyStalled())

    def _is_too_slow(self, upload: _Upload, now: float) -> bool:
        stall = self._stall_timeout_seconds
        return now - upload.moved_at > stall or now - upload.since > stall + upload.size_bytes / self._min_rate_bytes

    def _give_up(self, task: "asyncio.Task[object]", verdict: ProxyError) -> None:
        upload = self._uploads[task]
        if upload is not None and upload.verdict is None:
            upload.verdict = verdict
            self._size_bytes -= upload.size_bytes
            upload.size_bytes = 0
            task.cancel()

"""How are bytes read from and written to a pipe of a child?

Plain non-blocking descriptors on the event loop's selector instead of its pipe transports: everything a child wrote
can be read at the moment its death is known, and a pause really leaves the bytes in the pipe. No task, lock or queue
per message.
"""

import asyncio
import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

READ_BYTES = 1 << 18
_MAX_BUFFERS = 64  # IOV_MAX is at least 1024; 64 lines in one system call are enough

_JOIN_BYTES = 1 << 16
"""Lines shorter than this wait in one buffer: a million objects of 40 bytes would take ten times what they hold."""

PIPE_BYTES = 1 << 18
"""Asked of the kernel for stdin and stdout: fewer wake-ups for large messages. Refused beyond a per-user sum."""


def widen(fd: int) -> None:
    """Ask for a larger pipe; a refusal costs speed, nothing else."""
    setpipe_sz = getattr(fcntl, "F_SETPIPE_SZ", None)
    if setpipe_sz is not None:
        try:
            fcntl.fcntl(fd, setpipe_sz, PIPE_BYTES)
        except OSError:
            return


@contextmanager
def undone(*undo: Callable[[], object]) -> Iterator[None]:
    """Call these if the block fails: whoever takes a descriptor closes it, also when it can't be made."""
    try:
        yield
    except BaseException:
        for each in undo:
            each()
        raise


class PipeReader:
    """Calls `on_data` with what arrives, then once `on_eof`. Owns the descriptor, also when it can't be made.

    Raises:
        OSError: If the kernel watches no more descriptors for us.
    """

    def __init__(self, fd: int, *, on_data: Callable[[bytes], None], on_eof: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._on_data = on_data
        self._on_eof = on_eof
        self._paused = False
        self._held = False
        with undone(partial(os.close, fd)):
            os.set_blocking(fd, False)
            self._loop.add_reader(fd, self._readable)

    @property
    def is_paused(self) -> bool:
        """Whether bytes are left in the pipe on purpose."""
        return self._paused

    def pause(self) -> None:
        """Leave what arrives in the pipe: its writer will wait once that is full."""
        self._set(paused=True, held=self._held)

    def resume(self) -> None:
        """Read on."""
        self._set(paused=False, held=self._held)

    def hold(self) -> None:
        """Read nothing for a moment: what was read is not all taken yet. No pause."""
        self._set(paused=self._paused, held=True)

    def release(self) -> None:
        """It is taken."""
        self._set(paused=self._paused, held=False)

    def _set(self, *, paused: bool, held: bool) -> None:
        was_watched = not (self._paused or self._held)
        self._paused, self._held = paused, held
        is_watched = not (paused or held)
        if self._fd >= 0 and was_watched != is_watched:
            if is_watched:
                self._loop.add_reader(self._fd, self._readable)
            else:
                self._loop.remove_reader(self._fd)

    def drain(self) -> None:
        """Read at once what is in the pipe now, paused or not; never waits.

        Bounded: a writer that goes on writing is not followed for ever.
        """
        left = 2 * PIPE_BYTES
        while self._fd >= 0 and left > 0:
            got = self._readable()
            if not got:
                return
            left -= got

    def close(self) -> None:
        """Stop reading; what is still in the pipe is lost."""
        if self._fd >= 0:
            if not (self._paused or self._held):
                self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _readable(self) -> int:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if data:
            self._on_data(data)
            return len(data)
        self.close()
        self._on_eof()
        return 0


class PipeWriter:
    """Writes whole lines in order; what the pipe does not take waits here. Owns the descriptor.

    Args:
        fd: The end to write to.
        on_broken: Called once when nobody has the other end open any more, written to or not: what has been written
            may never have been read.
    """

    def __init__(self, fd: int, *, on_broken: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        with undone(partial(os.close, fd)):
            os.set_blocking(fd, False)
            self._loop.add_reader(fd, self._break)  # nothing can be read here; only the error is ever reported
        self._fd = fd
        self._on_broken = on_broken
        self._pending: deque[memoryview] = deque()
        self._short = bytearray()  # short lines, behind those in `_pending`
        self._pending_bytes = 0
        self._moved_at = 0.0  # when the pipe last took something, or began to be full
        self._emptied: list[asyncio.Future[None]] = []

    @property
    def pending_bytes(self) -> int:
        """Bytes that the pipe has not taken."""
        return self._pending_bytes

    @property
    def is_open(self) -> bool:
        """Whether a line can still be written."""
        return self._fd >= 0

    def stuck_seconds(self) -> float:
        """For how long bytes have waited without one being taken; 0 if none wait."""
        return self._loop.time() - self._moved_at if self._pending_bytes else 0.0

    def restart_clock(self) -> None:
        """Count `stuck_seconds` from now: the reader had a reason to wait that was ours."""
        self._moved_at = self._loop.time()

    def write(self, data: bytes) -> None:
        """Write, or keep until the pipe takes it. Nothing is ever written half and given up."""
        if self._fd < 0:
            return
        if not self._pending_bytes:
            try:
                taken = os.write(self._fd, data)
            except BlockingIOError:
                taken = 0
            except OSError:
                self._break()
                return
            if taken == len(data):
                return
            self._moved_at = self._loop.time()
            self._loop.add_writer(self._fd, self._writable)
            self._keep(memoryview(data)[taken:])
        else:
            self._keep(memoryview(data))

    async def emptied(self) -> None:
        """Wait until nothing is pending, or the pipe is closed."""
        while self._pending_bytes:
            future: asyncio.Future[None] = self._loop.create_future()
            self._emptied.append(future)
            try:
                await future
            finally:
                if future in self._emptied:
                    self._emptied.remove(future)

    def close(self) -> None:
        """Close the pipe; what it has not taken is lost."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            if self._pending_bytes:
                self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._pending.clear()
            self._short.clear()
            self._pending_bytes = 0
            self._wake()

    def _keep(self, view: memoryview) -> None:
        self._pending_bytes += len(view)
        if len(view) < _JOIN_BYTES:
            self._short += view
            if len(self._short) >= _JOIN_BYTES:
                self._join()
        else:
            self._join()
            self._pending.append(view)

    def _join(self) -> None:
        """Let no line overtake the short ones."""
        if self._short:
            self._pending.append(memoryview(self._short))
            self._short = bytearray()

    def _writable(self) -> None:
        if len(self._pending) < _MAX_BUFFERS:
            self._join()
        buffers = [self._pending[i] for i in range(min(len(self._pending), _MAX_BUFFERS))]
        try:
            taken = os.writev(self._fd, buffers)
        except BlockingIOError:
            return
        except OSError:
            self._break()
            return
        self._moved_at = self._loop.time()
        self._pending_bytes -= taken
        while taken:
            first = self._pending.popleft()
            if taken < len(first):
                self._pending.appendleft(first[taken:])
                break
            taken -= len(first)
        if not self._pending_bytes:
            self._loop.remove_writer(self._fd)
            self._wake()

    def _break(self) -> None:
        self.close()
        self._on_broken()

    def _wake(self) -> None:
        for future in self._emptied:
            if not future.done():
                future.set_result(None)
        self._emptied.clear()

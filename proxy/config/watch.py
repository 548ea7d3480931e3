"""When does a config file say something else?

It is looked at, not listened to: volumes of containers and of other machines tell nobody of a change, and a ConfigMap
changes by a link to another folder, which leaves whoever listens at the old one deaf.
"""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import anyio.to_thread
import watchfiles

LOOK_MS = 500
"""How often it is looked at."""
COMPLETE_MS = 700
"""A file is complete once nothing has changed for so long: longer than from one look to the next."""
COMPARE_MS = 5000
"""How often what is there is compared with what was read, whatever was noticed: nobody looked between the two."""

Stamp = tuple[int, ...] | None
"""Which version of a file there is; None if there is none."""


def stamp_of(path: Path) -> Stamp:
    """The version that is there now, links followed."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


async def changes(path: Path, known: Stamp) -> AsyncGenerator[None]:
    """Yield whenever the file is not what it was, as soon as it is complete.

    Args:
        path: Of the file; links that lead to it may change, too.
        known: The version that was read.
    """
    last = known
    while True:
        try:
            async for noticed in watchfiles.awatch(
                path,
                recursive=False,
                force_polling=True,
                poll_delay_ms=LOOK_MS,
                step=COMPLETE_MS,
                rust_timeout=COMPARE_MS,
                yield_on_timeout=True,
            ):
                now = await anyio.to_thread.run_sync(stamp_of, path)
                if now != known and (noticed or now == last):  # without news of it, it may be incomplete
                    known = now
                    yield
                last = now
        except (OSError, RuntimeError):  # it is not there, say, or the library failed: that must not end the daemon
            now = await anyio.to_thread.run_sync(stamp_of, path)
            if now != known:
                known = last = now
                yield
            await anyio.sleep(LOOK_MS / 1000)

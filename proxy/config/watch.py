"""When does a config file say something else?

It is looked at: volumes of containers and of other machines tell nobody of a change, and a ConfigMap changes by a link
to another folder, which leaves whoever listens at the old one deaf.
"""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import anyio.to_thread

LOOK_SECONDS = 0.5
"""How often it is looked at. A file that is being written is the same twice once it is complete."""

Stamp = tuple[int, ...] | None
"""Which version of a file there is; None if there is none."""


def stamp_of(path: Path) -> Stamp:
    """The version that is there now, links followed."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


class News:
    """Tells a version that is complete and not yet known. Pure; it is told what each look has found."""

    def __init__(self, known: Stamp) -> None:
        self._known = self._last = known

    def is_in(self, now: Stamp) -> bool:
        """Whether this version is news: not what was known, and the same as at the last look."""
        is_news = now == self._last != self._known
        self._last = now
        if is_news:
            self._known = now
        return is_news


async def changes(path: Path, known: Stamp) -> AsyncGenerator[None]:
    """Yield whenever the file is not what it was and has been the same for two looks.

    Args:
        path: Of the file; links that lead to it may change, too.
        known: The version that was read.
    """
    news = News(known)
    while True:
        await anyio.sleep(LOOK_SECONDS)
        if news.is_in(await anyio.to_thread.run_sync(stamp_of, path)):
            yield

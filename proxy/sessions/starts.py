"""Did the last start of a child succeed?"""

from collections.abc import Callable

FAILED_START_SECONDS = 30.0
"""For how long a start that failed makes us unready. Ours: long enough to be seen, short enough to recover alone."""


class Starts:
    """What is known of the starts of a server's children.

    Args:
        clock: The loop's clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failed_at: float | None = None
        self._has_succeeded = False

    def note(self, *, failed: bool) -> None:
        """A child was started, or could not be."""
        self._has_succeeded = self._has_succeeded or not failed
        self._failed_at = self._clock() if failed else None

    @property
    def last_failed(self) -> bool | None:
        """Whether the last start failed; None before the first, and some time after one that failed.

        A readiness probe keeps clients away while this is true, and nobody else would try again.
        """
        if self._failed_at is None:
            return False if self._has_succeeded else None
        return True if self._clock() - self._failed_at < FAILED_START_SECONDS else None

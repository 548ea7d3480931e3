"""Does anything new begin at a server, and what is whoever comes told if it does not?"""

from proxy.errors import Draining

SHUTDOWN = "shutdown"
"""The reason of an end that is not that of one server alone."""


class Closing:
    """How far the end of a server's sessions has come.

    Attributes:
        is_draining: Whether only what is open goes on.
        is_ending: Whether nothing goes on.
        cut: What could not end in peace: calls that were cut off, and children that were killed.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Everything begins."""
        self.is_draining = False
        self.is_ending = False
        self.cut = 0
        self._is_replaced = False

    def drain(self, reason: str) -> None:
        """Nothing new begins; the server is replaced, or served no more, unless the reason is that all shuts down."""
        self.is_draining = True
        self._is_replaced = reason != SHUTDOWN

    def refusal(self) -> Draining:
        """What a client is told that comes, or waits, when nothing more begins here."""
        if self._is_replaced:
            return Draining("The server's configuration has changed; try again", retry_after_seconds=1)
        return Draining()

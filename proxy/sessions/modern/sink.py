"""Who gets what a child says about one request?"""

from typing import Protocol

from proxy.errors import ProxyError
from proxy.protocol.messages import Response


class Sink(Protocol):
    """The other end of one request: an HTTP response, or a question of the bridge itself.

    After `answered` or `failed` nothing follows.
    """

    def notified(self, line: bytes) -> None:
        """A notification about the request, as its client is to get it."""

    def answered(self, response: Response) -> None:
        """The answer, still under the id that the child knows."""

    def failed(self, error: ProxyError) -> None:
        """There will be no answer."""

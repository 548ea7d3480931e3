"""Where does a line go while children come and go?"""

from proxy.child.link import Link


class CurrentLink(Link):
    """The link to the child that is there now, if there is one. What is written while there is none is lost.

    Whoever uses it as his link overrides `send`, which is not to the child but to who stands in front of it.
    """

    def __init__(self) -> None:
        self._link: Link | None = None
        self._is_paused = False

    @property
    def has_child(self) -> bool:
        """Whether there is one."""
        return self._link is not None

    def write(self, line: bytes) -> None:
        """Send a line to the child."""
        if self._link is not None:
            self._link.send(line)

    def replace(self, link: Link | None) -> None:
        """Another child is there, or none. One that comes while the output is left unread is left unread, too."""
        self._link = link
        if link is not None and self._is_paused:
            link.pause()

    @property
    def pending_bytes(self) -> int:
        """Bytes that the child's stdin has not taken yet."""
        return self._link.pending_bytes if self._link is not None else 0

    async def sent(self) -> None:
        """Wait until the child's stdin has taken everything, or is closed."""
        if self._link is not None:
            await self._link.sent()

    def stuck_seconds(self) -> float:
        """For how long the child has not read its stdin although something waits for it."""
        return self._link.stuck_seconds() if self._link is not None else 0.0

    def pause(self) -> None:
        """Leave the child's output unread."""
        self._is_paused = True
        if self._link is not None:
            self._link.pause()

    def resume(self) -> None:
        """Read the child's output again."""
        self._is_paused = False
        if self._link is not None:
            self._link.resume()

    @property
    def is_shared(self) -> bool:
        """Whether the child is not for one session alone."""
        return self._link is not None and self._link.is_shared

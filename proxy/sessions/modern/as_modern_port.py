"""What does the bridge say to a server of the handshake era, and to the layer above?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import Raw

from proxy.child.link import Link
from proxy.observe import Counts
from proxy.protocol.framing import one_line
from proxy.protocol.ids import IdMinter
from proxy.protocol.jsontext import Members, encode
from proxy.protocol.messages import Response
from proxy.protocol.translate_to_modern import error_object
from proxy.sessions.replies import Replies


class Timer(Protocol):
    """Something that will happen, unless it is cancelled."""

    def cancel(self) -> object:
        """Let it not happen."""


Later = Callable[[float, Callable[[], None]], Timer]
"""Do something in so many seconds: `loop.call_later`, or what stands in for it."""


@dataclass(frozen=True, slots=True)
class AsModernLimits:
    """How long the bridge waits, and how much it keeps for a child that does not read."""

    debounce_seconds: float = 0.01
    """From the first question of a call until the client is asked: those that come at once make one round of it."""
    roots_wait_seconds: float = 50.0
    """For a call that a question for the roots, which no call caused, can be asked with."""
    cancel_grace_seconds: float = 10.0
    """For any sign that a child has noticed the cancellation of its call."""
    settle_seconds: float = 1.0
    """For the late answer of a cancelled call, once its child has answered a ping: most never answer it."""
    acknowledge_seconds: float = 5.0
    """For the answers to `resources/subscribe`, before a listen is acknowledged without them."""
    reply_backlog_bytes: int = 8 * 1024 * 1024
    """Of our own answers to a child that reads none of them."""


class Port:
    """Both ends of the bridge.

    What goes up is collected until whoever is at work has finished: nothing above is called in the middle of a change.

    Attributes:
        info: Name and version of the server, once it has said them.
    """

    def __init__(self, *, counts: Counts, limits: AsModernLimits, minter: IdMinter) -> None:
        self.info: Raw | None = None
        self.link: Link | None = None
        self._minter = minter
        self._own: dict[int, Callable[[Response], None]] = {}  # requests of the bridge itself
        self._up: list[bytes] = []
        self._after: list[Callable[[], None]] = []
        self._replies = Replies(limit_bytes=limits.reply_backlog_bytes, counts=counts)

    # ---- to the child

    def mint(self) -> int:
        """An id for the child."""
        return self._minter.mint()

    def down(self, line: bytes) -> None:
        """Send the child a line."""
        if self.link is not None:
            self.link.send(one_line(line))

    def reply(self, line: bytes) -> None:
        """Answer the child ourselves, within bounds."""
        if self.link is not None:
            self._replies.send(self.link, one_line(line))

    def request(self, method: str, params: dict[str, Any], on_response: Callable[[Response], None]) -> int:
        """Ask the child something on nobody's behalf; returns the id, for `forget`."""
        own_id = self.expect(on_response)
        self.down(encode({"jsonrpc": "2.0", "id": own_id, "method": method, "params": params}))
        return own_id

    def expect(self, on_response: Callable[[Response], None]) -> int:
        """An id whose response is for us."""
        own_id = self.mint()
        self._own[own_id] = on_response
        return own_id

    def forget(self, own_id: int | None) -> None:
        """Nobody waits for that response any more."""
        if own_id is not None:
            self._own.pop(own_id, None)

    def responded(self, response: Response) -> bool:
        """Whether this answered a request of ours."""
        on_response = self._own.pop(response.id, None) if isinstance(response.id, int) else None
        if on_response is not None:
            on_response(response)
        return on_response is not None

    @property
    def own_requests(self) -> int:
        """Requests of ours without an answer."""
        return len(self._own)

    # ---- to the layer above

    def up(self, line: bytes) -> None:
        """Say this line above, soon."""
        self._up.append(one_line(line))

    def answer(self, upper_id: int, response: Members) -> None:
        """Answer a request from above with this result or error."""
        self.up(encode({**response, "jsonrpc": "2.0", "id": upper_id}))

    def fail(self, upper_id: int, code: int, message: str, data: Any = None) -> None:
        """Answer a request from above with an error of ours."""
        self.answer(upper_id, {"error": error_object(code, message, data)})

    def after(self, callback: Callable[[], None]) -> None:
        """Call this once everything that is to be said has been said."""
        self._after.append(callback)

    def take_lines(self) -> list[bytes]:
        """What is to be said above; it is not kept."""
        lines, self._up = self._up, []
        return lines

    def take_callback(self) -> Callable[[], None] | None:
        """What is to be called next; it is not kept."""
        return self._after.pop(0) if self._after else None

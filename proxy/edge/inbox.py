"""How does the body of a request become messages?"""

from collections.abc import Callable, Collection

import anyio.to_thread
from msgspec import Raw
from starlette.types import Receive

from proxy.edge.uploads import Uploads
from proxy.errors import ClientFault, TooDeep
from proxy.protocol.client_capabilities import without_capabilities
from proxy.protocol.client_messages import parse_client_batch, parse_client_message, readable_id
from proxy.protocol.jsontext import depth_exceeds
from proxy.protocol.messages import Message, is_batch

_PARSE_IN_THREAD_BYTES = 512 * 1024
"""Larger bodies are parsed in a thread: every step of it is short, all of them together would hold up the loop."""


class Refused(Exception):
    """What was posted can't be read, or not be taken.

    Attributes:
        error: Why.
        raw_id: The id of the message, as far as there is one to be read.
    """

    def __init__(self, error: ClientFault, raw_id: Raw | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.raw_id = raw_id


class Inbox:
    """Reads what clients post.

    Args:
        uploads: Reads bodies.
        max_json_depth: Deepest nesting of one.
        stripped: Capabilities of clients that nobody is told of.
    """

    def __init__(self, *, uploads: Uploads, max_json_depth: int, stripped: Collection[str] = ()) -> None:
        self._uploads = uploads
        self._stripped = stripped
        self._max_json_depth = max_json_depth

    async def read(
        self, receive: Receive, headers: dict[bytes, bytes], check: Callable[[dict[bytes, bytes]], None]
    ) -> Message | list[Message]:
        """What was posted.

        Args:
            receive: The request's ASGI `receive`.
            headers: Its headers.
            check: Raises ClientFault for headers that are refused; the body is read all the same, for the id in it.

        Raises:
            Refused: If it is no message, or the headers are refused.
            ClientGone: If the client closes the connection before it is complete.
        """
        body = b""
        try:
            try:
                check(headers)
            finally:
                body = await self._uploads.read(receive, headers)
            if len(body) > _PARSE_IN_THREAD_BYTES:
                return await anyio.to_thread.run_sync(self._parse, body)
            return self._parse(body)
        except ClientFault as error:
            large = len(body) > _PARSE_IN_THREAD_BYTES
            found = await anyio.to_thread.run_sync(readable_id, body) if large else readable_id(body)
            raise Refused(error, found) from error

    def _parse(self, body: bytes) -> Message | list[Message]:
        """Raises ClientFault if the body is no message, or nested too deeply."""
        parsed: Message | list[Message] = (
            list(parse_client_batch(body)) if is_batch(body) else parse_client_message(body)
        )
        if depth_exceeds(body, self._max_json_depth):
            raise TooDeep
        if self._stripped and not isinstance(parsed, list):  # nothing in a batch declares any
            return without_capabilities(parsed, self._stripped)
        return parsed

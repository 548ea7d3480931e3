"""What is an id, an error, a batch?

Spec: 2025-11-25 basic, Messages; 2025-03-26 basic, Batching.
"""

import threading
from collections.abc import Callable
from typing import Any, TypeGuard

from proxy.demo.wire import encode

Json = dict[str, Any]
Id = str | int

INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
RESOURCE_NOT_FOUND = -32002
"""2025-11-25 server/resources, Error Handling."""


class RpcError(Exception):
    """The answer to a request is this error."""

    def __init__(self, code: int, message: str, data: Json | None = None) -> None:
        super().__init__(message)
        self.body: Json = {"code": code, "message": message} | ({} if data is None else {"data": data})


def is_id(value: Any) -> TypeGuard[Id]:
    """Tell if it may be an id. Spec: 2025-11-25 basic, Requests: a string or integer, MUST NOT be null."""
    return isinstance(value, str | int) and not isinstance(value, bool)


def error_line(id_: Id, error: RpcError) -> bytes:
    """Give the line that answers request `id_` with `error`."""
    return encode({"jsonrpc": "2.0", "id": id_, "error": error.body})


class Batch:
    """Collects the answers to one batch, and writes them as one array when the last is there.

    Args:
        write_line: Writes one line whole, from any thread.
        members: Number of messages in the batch; each calls `leave` once.
    """

    def __init__(self, write_line: Callable[[bytes], None], members: int) -> None:
        self._write_line = write_line
        self._missing = members
        self._answers: list[bytes] = []
        self._lock = threading.Lock()

    def leave(self, line: bytes | None) -> None:
        """Take the answer to one member, None if it gets none.

        Raises:
            ClientGone: If the batch is complete and cannot be written.
        """
        with self._lock:
            self._missing -= 1
            if line is not None:
                self._answers.append(line)
            is_complete = self._missing == 0 and bool(self._answers)
        if is_complete:
            self._write_line(b"[" + b",".join(self._answers) + b"]")

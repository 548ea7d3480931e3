"""What `modern.py` and its tools share: messages in and out. Standard library only."""

import json
import os
from typing import Any, NoReturn

Json = dict[str, Any]

PREFIX = "io.modelcontextprotocol/"
SUBSCRIPTION = PREFIX + "subscriptionId"
TASKS = PREFIX + "tasks"
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


class Refused(Exception):
    """A request is answered with this error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class Call:
    """A request that was taken and not answered yet.

    Attributes:
        id: As the parent sent it.
        is_modern: The era in which it is answered.
        client: Revision, clientInfo and capabilities of who asks: of the envelope, or of the handshake.
        rounds: The answers to the questions of each round that is over, by the questions' keys.
        answers: Those of the round that is not over.
        waiting: Legacy: the keys of the questions that are open, by the ids of our requests.
    """

    def __init__(self, message: Json, *, is_modern: bool, handshake: Json) -> None:
        self.id: Any = message["id"]
        self.method: str = message["method"]
        self.is_modern = is_modern
        self.params = as_object(message.get("params"))
        self.meta = as_object(self.params.get("_meta"))
        self.arguments = as_object(self.params.get("arguments"))
        self.name = str(self.params.get("name") or self.params.get("uri") or "")
        self.client: Json = {"era": "modern" if is_modern else "legacy"}
        for key in ("protocolVersion", "clientInfo"):
            self.client[key] = self.meta.get(PREFIX + key) if is_modern else handshake.get(key)
        self.capabilities = as_object(
            self.meta.get(PREFIX + "clientCapabilities") if is_modern else handshake.get("capabilities")
        )
        self.rounds: list[Json] = []
        self.answers: Json = {}
        self.waiting: dict[Any, str] = {}


def as_object(value: Any) -> Json:
    """The value, or an empty object if it is none."""
    return value if isinstance(value, dict) else {}


def tool_result(value: Json) -> Json:
    """What a call of a tool answers: an object, for programs and for people."""
    return {"content": [{"type": "text", "text": json.dumps(value)}], "structuredContent": value}


def encode(message: Json) -> bytes:
    """A message as a line."""
    return json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n"


def send(message: Json) -> None:
    """Write a message as a line."""
    write(encode(message))


def notify(method: str, params: Json | None = None) -> None:
    """Say something nobody answers."""
    send({"method": method, **({} if params is None else {"params": params})})


def write(data: bytes) -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def leave(code: int) -> NoReturn:
    """Exit at once: nothing is flushed, nobody is told."""
    os._exit(code)

"""Which era does this process speak?

Asked of the process that will be used, never of one that nobody has asked for.

Spec: 2026-07-28 basic/transports/stdio, Backward compatibility: `server/discover` first; no single error code may be
what the fallback hangs on.
"""

from enum import Enum
from typing import Any

import anyio
import msgspec
from msgspec import Raw

from proxy.errors import AnswerUnusable, ProxyError
from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.envelope import CAPABILITIES_KEY, CLIENT_INFO_KEY, MODERN_VERSIONS, ModernRequest, read_envelope
from proxy.protocol.ids import decode_id
from proxy.protocol.jsontext import as_object
from proxy.protocol.messages import ENVELOPE_KEY, Request, Response
from proxy.sessions.modern.child import SharedChild
from proxy.version import __version__

UNSUPPORTED_VERSION = -32022


class Finding(Enum):
    """What a process has shown of itself."""

    MODERN = "answered server/discover"
    NOT_MODERN = "refused server/discover"
    NO_COMMON_REVISION = "speaks only revisions unknown here"
    GONE = "exited on server/discover"
    SILENT = "has not answered server/discover"


class Question:
    """A request of the bridge itself; a sink whose answer is waited for."""

    def __init__(self) -> None:
        self._outcome: Response | ProxyError = ProxyError()
        self._settled = anyio.Event()

    def notified(self, line: bytes) -> None:
        """Nobody wants to know."""

    def answered(self, response: Response) -> None:
        """The answer has come."""
        self._settle(response)

    def failed(self, error: ProxyError) -> None:
        """It never will."""
        self._settle(error)

    async def answer(self) -> Response | ProxyError:
        """Wait for the answer, or for the reason why there is none."""
        await self._settled.wait()
        return self._outcome

    def _settle(self, outcome: Response | ProxyError) -> None:
        self._outcome = outcome
        self._settled.set()


def own_request(method: str, params: dict[str, Any] | None = None, *, capabilities: Raw | None = None) -> ModernRequest:
    """A request that the bridge sends for itself."""
    meta = {
        ENVELOPE_KEY: MODERN_VERSIONS[-1],
        CAPABILITIES_KEY: capabilities if capabilities is not None else {},
        CLIENT_INFO_KEY: {"name": "mcp-proxy", "version": __version__},
    }
    body = {"jsonrpc": "2.0", "id": 0, "method": method, "params": {**(params or {}), "_meta": meta}}
    request = parse_client_message(msgspec.json.encode(body))
    assert isinstance(request, Request)  # it has a method and an id
    return read_envelope(request)


async def ask(child: SharedChild, request: ModernRequest, *, seconds: float) -> Response | ProxyError | None:
    """Ask the child something; None if it has not answered in time, and is told that nobody waits any more."""
    question = Question()
    call = child.mux.begin(request, question, is_own=True)
    try:
        with anyio.move_on_after(seconds):
            return await question.answer()
    finally:
        child.mux.cancel(call, "nobody waits any more")
    return None


class Discovery:
    """`server/discover`, sent to a process that has not answered anything yet."""

    def __init__(self, child: SharedChild) -> None:
        self._question = Question()
        child.mux.begin(own_request("server/discover"), self._question, is_own=True)

    async def finding(self, *, seconds: float) -> Finding:
        """What the process has shown within this time; may be asked again after `SILENT`."""
        with anyio.move_on_after(seconds):
            return _finding(await self._question.answer())
        return Finding.SILENT


def _finding(answer: Response | ProxyError) -> Finding:
    if isinstance(answer, AnswerUnusable):
        return Finding.NOT_MODERN  # it lives, and can be told something else
    if isinstance(answer, ProxyError):
        return Finding.GONE
    if answer.is_error:
        code = code_of(answer)
        return Finding.NO_COMMON_REVISION if code == UNSUPPORTED_VERSION else Finding.NOT_MODERN
    result = _decoded(answer.members["result"])
    versions = result.get("supportedVersions") if isinstance(result, dict) else None
    if isinstance(versions, list) and any(version in MODERN_VERSIONS for version in versions):
        return Finding.MODERN
    return Finding.NOT_MODERN


def code_of(response: Response) -> int | None:
    """The code of an error; None if it is a result, or the error has no proper code."""
    error = as_object(response.members.get("error"))
    code = decode_id(error["code"]) if error is not None and "code" in error else None
    return code if isinstance(code, int) else None


def _decoded(raw: Raw) -> Any:
    try:
        return msgspec.json.decode(bytes(raw))
    except (msgspec.DecodeError, RecursionError):
        return None

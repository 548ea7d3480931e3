"""What does a request of revision 2026-07-28 say about itself?

Spec: 2026-07-28 basic, Request metadata. Every request stands alone: revision, capabilities and name of its client
are in `params._meta`.
"""

from typing import Any

import msgspec
from msgspec import Raw

from proxy.errors import EnvelopeMalformed
from proxy.protocol.client_messages import refuse_lookalikes
from proxy.protocol.framing import one_line
from proxy.protocol.ids import text_at
from proxy.protocol.jsontext import Members, as_object, encode
from proxy.protocol.messages import ENVELOPE_KEY, Notification, Request

MODERN_VERSIONS = ("2026-07-28",)
"""The revisions without a handshake, oldest first."""

PREFIX = "io.modelcontextprotocol/"
CAPABILITIES_KEY = f"{PREFIX}clientCapabilities"
CLIENT_INFO_KEY = f"{PREFIX}clientInfo"
LOG_LEVEL_KEY = f"{PREFIX}logLevel"
SUBSCRIPTION_KEY = f"{PREFIX}subscriptionId"
TASKS_EXTENSION = f"{PREFIX}tasks"

LOG_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""From the most talkative on. Spec: 2026-07-28 server/utilities/logging."""

MAX_CLIENT_BYTES = 64 * 1024
"""What a client may say of itself, in one member. Ours: it is parsed for each request, and kept with a child."""

REMOVED_METHODS = frozenset(
    {
        *("initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"),
        *("tasks/result", "tasks/list"),
    }
)
"""Requests of the handshake era that this one does not have. Spec: 2026-07-28, Key changes."""

RETRIED_METHODS = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Those that may be answered with `input_required`. Spec: 2026-07-28 basic/patterns/mrtr."""


def _names(*names: str) -> dict[str, str]:
    return {name.casefold(): name for name in names}


_ACTED_ON = _names("name", "uri", "taskId", "requestState", "inputResponses", "arguments", "notifications")
_ACTED_ON_IN_META = _names(ENVELOPE_KEY, CAPABILITIES_KEY, CLIENT_INFO_KEY, LOG_LEVEL_KEY)


class ModernRequest(msgspec.Struct, frozen=True):
    """A request with its envelope.

    Attributes:
        request: As it was parsed.
        params: Its `params`.
        meta: Their `_meta`.
        version: The revision that it is written in.
        capabilities: What its client can do, an object.
        log_level: The least severe log message that its client wants; None if it wants none.
    """

    request: Request
    params: Members
    meta: Members
    version: str
    capabilities: Raw
    log_level: str | None
    digest: bytes = b""
    """Stands for `params` where these are kept no more."""

    def slim(self, digest: bytes) -> "ModernRequest":
        """What is needed of a request that has been sent: not the bytes that it came in, which may be many."""
        request = Request(
            self.request.id, self.request.raw_id, self.request.method, {}, self.request.progress_token, ({}, {})
        )
        token = self.meta.get("progressToken")
        meta = {"progressToken": token.copy()} if token is not None else {}
        return ModernRequest(request, {}, meta, self.version, Raw(b"{}"), self.log_level, digest)

    @property
    def raw_id(self) -> Raw:
        """Its id, as its client wrote it."""
        return self.request.raw_id

    @property
    def method(self) -> str:
        """Its method."""
        return self.request.method

    @property
    def raw_token(self) -> Raw | None:
        """Its progress token, as its client wrote it."""
        return self.meta.get("progressToken") if self.request.progress_token is not None else None

    def text(self, name: str) -> str | None:
        """The string that `params` has under this name; None if there is none."""
        return text_at(self.params, name)

    def declares(self, *path: str) -> bool:
        """Whether its client declares the capability at this path, as `("elicitation", "url")`."""
        at = self.capabilities
        for name in path:
            members = as_object(at)
            if members is None or name not in members or bytes(members[name]) == b"null":
                return False
            at = members[name]
        return True

    def encode(self, *, id: int, **changed: Raw | None) -> bytes:
        """This request on one line, under another id and, if it has one, with that as its progress token.

        Args:
            id: Unique among the requests that the child ever gets.
            changed: Members of `params` that are to be others; None leaves one out.
        """
        if self.request.progress_token is None and not changed:
            return self.request.encode(id=id)
        params: dict[str, Any] = {**self.params, **changed}
        params = {name: value for name, value in params.items() if value is not None}
        if self.request.progress_token is not None:
            params["_meta"] = {**self.meta, "progressToken": id}
        return one_line(encode({**self.request.members, "id": id, "params": params}))


def read_envelope(request: Request) -> ModernRequest:
    """Read the envelope of a request.

    Raises:
        EnvelopeMalformed: If it has none, or something in it is missing or no legal value; says what.
        NotJsonRpc: If a member that is acted on stands there in another case, too.

    Spec: 2026-07-28 basic, Request metadata: a request without the required fields is refused with -32602.
    """
    params, meta = request.envelope or _read(request)
    missing = [key for key in (ENVELOPE_KEY, CAPABILITIES_KEY) if key not in meta]
    if missing:
        raise EnvelopeMalformed(f"Invalid params: _meta lacks {' and '.join(missing)}")
    refuse_lookalikes(params, _ACTED_ON)
    refuse_lookalikes(meta, _ACTED_ON_IN_META)
    version = text_at(meta, ENVELOPE_KEY)
    if version is None:
        raise EnvelopeMalformed(f"Invalid params: {ENVELOPE_KEY} must be a string")
    for key in (CAPABILITIES_KEY, CLIENT_INFO_KEY):
        if key in meta and len(memoryview(meta[key])) > MAX_CLIENT_BYTES:
            raise EnvelopeMalformed(f"Invalid params: {key} is larger than {MAX_CLIENT_BYTES} bytes")
        if key in meta and bytes(meta[key])[:1] != b"{":
            raise EnvelopeMalformed(f"Invalid params: {key} must be an object")
    level = text_at(meta, LOG_LEVEL_KEY)
    if LOG_LEVEL_KEY in meta and level not in LOG_LEVELS:
        raise EnvelopeMalformed(f"Invalid params: {LOG_LEVEL_KEY} must be one of {', '.join(LOG_LEVELS)}")
    if "progressToken" in meta and request.progress_token is None:
        raise EnvelopeMalformed("Invalid params: progressToken must be a string or an integer")
    return ModernRequest(request, params, meta, version, meta[CAPABILITIES_KEY], level)


def _read(request: Request) -> tuple[Members, Members]:
    """`params` and `_meta` of a request that is taken for a modern one only by its header."""
    params = as_object(request.members.get("params")) or {}
    return params, as_object(params.get("_meta")) or {}


def version_of(notification: Notification) -> str | None:
    """The revision that a notification says it is written in; None if it says nothing that could be one."""
    meta = as_object((as_object(notification.members.get("params")) or {}).get("_meta")) or {}
    return text_at(meta, ENVELOPE_KEY)


def reaches(level: str | None, wanted: str | None) -> bool:
    """Whether a log message of this level is one of those that are wanted."""
    if level not in LOG_LEVELS or wanted not in LOG_LEVELS:
        return False
    return LOG_LEVELS.index(level) >= LOG_LEVELS.index(wanted)

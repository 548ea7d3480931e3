"""What can go wrong, and whose fault is it?

    ProxyError
    ├── ClientFault          the HTTP peer did something the protocol forbids
    │   ├── BadHttp · HeadTooLarge · HeadStalled
    │   ├── NotJson · NotJsonRpc · TooDeep · BatchRefused
    │   ├── MethodNotAllowed · NotAcceptable · UnsupportedMediaType · BodyTooLarge · BodyStalled
    │   ├── OriginRefused · HostRefused · ServerUnknown · VersionUnsupported
    │   ├── SessionMissing · SessionNeeded · SessionNotFound · AlreadyInitialized · DuplicateId
    │   ├── CallCancelled
    │   ├── ToolUnknown · ModernToolUnknown
    │   └── EnvelopeMalformed · HeaderMismatch · RevisionUnsupported · CapabilityMissing · MethodNotFound
    │       ModernMethodNotAllowed · PostNotAllowed · StateRefused · AnswersMalformed · TaskUnknown
    ├── ChildFault           the child did
    │   ├── ChildStartFailed · ChildStartTimedOut
    │   ├── ChildExited · ChildOverMemory · AnswerUnusable
    │   └── CallTimedOut · ChildNotReading
    ├── SessionEnded         nobody's: the session ended while a call was open
    ├── Stopped              nobody's: a shutdown, or a new configuration, cut a call off
    ├── EventsGone           nobody's: what a client comes back for is kept no more
    └── CapacityReached      we are full, or going away
        └── TooManyConnections · TooManySessions · TooManyCalls · TooManyStreams · TooManyUploads
            StreamOverflow · OutOfResources · Draining · TooManyListens · TooManyContinuations · ChildRestarting
            CircuitOpen

The message of each is written for the client: it names the fault, never a path, an argv, a stack or
the text of another exception. `proxy/edge/answers.py` has the one table that gives each a status and a code.
"""

from collections.abc import Mapping
from typing import Any


class ProxyError(Exception):
    """Base of everything a client can be told."""

    message = "Internal error"

    def __init__(
        self,
        message: str | None = None,
        *,
        data: Mapping[str, Any] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message or self.message)
        self.data = data
        """What a program may read of it; nothing if None."""
        self.retry_after_seconds = retry_after_seconds
        """When it is worth while to try again, if that is known."""

    def __str__(self) -> str:
        return str(self.args[0])


class ClientFault(ProxyError):
    """The HTTP peer did something the protocol forbids."""


class BadHttp(ClientFault):
    message = "Bad Request: not HTTP/1.1 as it is served here"


class HeadTooLarge(ClientFault):
    message = "Request Header Fields Too Large"


class HeadStalled(ClientFault):
    message = "Request Timeout: the headers did not come in time"


class NotJson(ClientFault):
    message = "Parse error: the body is not valid JSON in UTF-8"


class NotJsonRpc(ClientFault):
    message = "Invalid Request: the body is not a JSON-RPC 2.0 message"


class TooDeep(ClientFault):
    message = "Invalid Request: the body is nested too deeply"


class BatchRefused(ClientFault):
    message = "Invalid Request: batches exist only in protocol version 2025-03-26"


class MethodNotAllowed(ClientFault):
    message = "Method Not Allowed"


class ModernMethodNotAllowed(ClientFault):
    message = "Method Not Allowed: in this revision everything is a POST"


class PostNotAllowed(ClientFault):
    message = "Method Not Allowed: messages are POSTed here"


class NotAcceptable(ClientFault):
    message = "Not Acceptable: the client must accept both application/json and text/event-stream"


class UnsupportedMediaType(ClientFault):
    message = "Unsupported Media Type: Content-Type must be application/json"


class BodyTooLarge(ClientFault):
    message = "Request body too large"


class BodyStalled(ClientFault):
    message = "Request Timeout: the body did not come in time"


class OriginRefused(ClientFault):
    message = "Forbidden: this Origin is not allowed; the operator can allow it with --allowed-origin"


class HostRefused(ClientFault):
    message = "Misdirected Request: this Host is not served here; the operator can allow it with --allowed-host"


class ServerUnknown(ClientFault):
    message = "Not Found: no server is served at this path; GET /servers lists those that are, and where"


class VersionUnsupported(ClientFault):
    message = "Bad Request: unsupported MCP-Protocol-Version"


class SessionMissing(ClientFault):
    message = "Bad Request: Missing session ID; begin with initialize"


class SessionNeeded(ClientFault):
    message = "Method not found: it needs a session, and this server is served without"


class SessionNotFound(ClientFault):
    message = "Session not found"


class AlreadyInitialized(ClientFault):
    message = "Invalid Request: this session is already initialized"


class DuplicateId(ClientFault):
    message = "Invalid Request: a request with this id is already in flight in this session"


class CallCancelled(ClientFault):
    message = "Request cancelled"


class ToolUnknown(ClientFault):
    message = "Unknown tool"


class ModernToolUnknown(ClientFault):
    message = "Unknown tool"


class EnvelopeMalformed(ClientFault):
    message = "Invalid params: _meta is not that of a 2026-07-28 request"


class HeaderMismatch(ClientFault):
    message = "Header mismatch"


class RevisionUnsupported(ClientFault):
    message = "Unsupported protocol version"


class CapabilityMissing(ClientFault):
    message = "Missing required client capability"


class MethodNotFound(ClientFault):
    message = "Method not found"


class StateRefused(ClientFault):
    message = "Invalid or expired requestState"


class AnswersMalformed(ClientFault):
    message = "Invalid params: inputResponses do not answer what was asked"


class TaskUnknown(ClientFault):
    message = "Unknown task"


class ChildFault(ProxyError):
    """The server behind the bridge did something a server must not do."""


class ChildStartFailed(ChildFault):
    message = "The server could not be started"


class ChildStartTimedOut(ChildFault):
    message = "The server did not answer in time after its start"


class ChildExited(ChildFault):
    message = "The server exited before it answered"


class ChildOverMemory(ChildFault):
    message = "The server used more memory than it may, and was ended"


class AnswerUnusable(ChildFault):
    message = "The server's answer could not be used"


class CallTimedOut(ChildFault):
    message = "The server did not answer in time"


class ChildNotReading(ChildFault):
    message = "The server has stopped reading its input"


class SessionEnded(ProxyError):
    message = "The session ended before the request was answered"


class Stopped(ProxyError):
    message = "The server was stopped before the request was answered; it may have been carried out"


class EventsGone(ProxyError):
    message = "What followed the last event is no longer kept; the request's answer is lost"


class CapacityReached(ProxyError):
    """Nothing is wrong with the request; there is no room for it now."""


class TooManyConnections(CapacityReached):
    message = "Too many connections; try again later"


class TooManySessions(CapacityReached):
    message = "Too many open sessions; try again later"


class TooManyCalls(CapacityReached):
    message = "Too many requests in flight in this session; try again later"


class TooManyStreams(CapacityReached):
    message = "Too many open streams in this session; try again later"


class TooManyUploads(CapacityReached):
    message = "Too many request bodies are being received; try again later"


class TooManyListens(CapacityReached):
    message = "Subscription limit reached; try again later"


class TooManyContinuations(CapacityReached):
    message = "Too many requests wait for input of their clients; try again later"


class ChildRestarting(CapacityReached):
    message = "The server is being restarted; try again later"


class StreamOverflow(CapacityReached):
    message = "More was sent for this request than its client took"


class OutOfResources(CapacityReached):
    message = "There is no room for another server process; try again later"


class CircuitOpen(CapacityReached):
    message = "The server has failed to start several times in a row; try again later"


class Draining(CapacityReached):
    message = "Shutting down; try again later"

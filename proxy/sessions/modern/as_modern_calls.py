"""Which requests from above is a server of the handshake era working on, and what does it say of them meanwhile?"""

from dataclasses import dataclass, field
from typing import Any

from msgspec import Raw

from proxy.observe import Counts
from proxy.protocol.envelope import LOG_LEVEL_KEY, LOG_LEVELS, RETRIED_METHODS, reaches
from proxy.protocol.handshake import Server
from proxy.protocol.ids import text_at
from proxy.protocol.input_requests import Declared, url_elicitations
from proxy.protocol.jsontext import Members, as_object, encode
from proxy.protocol.messages import Notification, Response
from proxy.protocol.translate_to_modern import (
    URL_ELICITATION_REQUIRED,
    error_code,
    is_failure,
    legacy_params,
    log_level_of,
    missing_capability,
    modern_response,
    with_token,
)
from proxy.sessions.modern.as_modern_port import Port


@dataclass(slots=True)
class Caller:
    """A request from above that waits for an answer.

    Attributes:
        upper_id: Its id; also its progress token, if it has one.
        method: What is called.
        params: As they came.
        meta: Their `_meta`.
        wants_progress: Whether it has a token.
        log_level: The least severe log message that it wants; None if it wants none.
    """

    upper_id: int
    method: str
    params: Members
    meta: Members
    wants_progress: bool
    log_level: str | None


def caller_of(upper_id: int, method: str, params: Members) -> Caller | None:
    """Read a request from above; None if the log level that it asks for does not exist."""
    meta = as_object(params.get("_meta")) or {}
    level = text_at(meta, LOG_LEVEL_KEY)
    if LOG_LEVEL_KEY in meta and level not in LOG_LEVELS:
        return None
    return Caller(upper_id, method, params, meta, "progressToken" in meta, level)


@dataclass(slots=True)
class Call:
    """A request that the child is working on. Keeps no argument of it: the child may take hours.

    Attributes:
        child_id: The id that the child knows it by; also its progress token.
        method: What is called.
        upper_id: Who waits for it above; None while nobody does.
        wants_progress: Whether that one wants to know of progress.
        log_level: The least severe log message that it wants.
        lacked: What the child wanted to ask and could not, as `ClientCapabilities`.
    """

    child_id: int
    method: str
    upper_id: int | None = None
    wants_progress: bool = False
    log_level: str | None = None
    lacked: dict[str, Any] = field(default_factory=dict)


class Calls:
    """The calls of one child, by its ids.

    Args:
        port: Both ends of the bridge.
        declared: What the client can be asked.
    """

    def __init__(self, *, port: Port, declared: Declared, counts: Counts) -> None:
        self._port = port
        self._declared = declared
        self._counts = counts
        self._open: dict[int, Call] = {}
        self._by_upper: dict[int, Call] = {}
        self._can_log = False
        self._level: str | None = None  # what the child was told last
        self._level_request: int | None = None

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, server: Server) -> None:
        """The child is ready."""
        self._can_log = server.offers("logging")

    # ---- from above

    def forward(self, caller: Caller) -> Call:
        """Send a request to the child."""
        call = Call(self._port.mint(), caller.method)
        self._open[call.child_id] = call
        self.attach(call, caller)
        meta = dict(caller.meta)
        if caller.wants_progress:
            meta["progressToken"] = Raw(b"%d" % call.child_id)
        params = legacy_params(caller.method, caller.params, meta)
        self._port.down(encode({"jsonrpc": "2.0", "id": call.child_id, "method": caller.method, "params": params}))
        return call

    def attach(self, call: Call, caller: Caller) -> None:
        """This caller waits for the call from now on."""
        call.upper_id = caller.upper_id
        call.wants_progress = caller.wants_progress
        call.log_level = caller.log_level
        self._by_upper[caller.upper_id] = call
        if caller.log_level is not None:
            self._set_level()

    def detach(self, call: Call) -> None:
        """Nobody waits for it any more, or for now."""
        if call.upper_id is not None:
            self._by_upper.pop(call.upper_id, None)
        call.upper_id = None
        call.log_level = None

    def waited_for_by(self, upper_id: int) -> Call | None:
        """The call that this request from above is."""
        return self._by_upper.get(upper_id)

    def remove(self, call: Call) -> None:
        """The child has answered it, or its answer is of no use any more."""
        self._open.pop(call.child_id, None)
        self.detach(call)

    # ---- from the child

    def of_child(self, child_id: object) -> Call | None:
        """The call with this id, as the child knows it."""
        return self._open.get(child_id) if isinstance(child_id, int) else None

    @property
    def ids(self) -> dict[int, Call]:
        """The open calls by the child's ids."""
        return self._open

    def only_one_that_may_ask(self) -> Call | None:
        """The call that a question must belong to; None if it may be that of several, or of none."""
        asking = [call for call in self._open.values() if call.method in RETRIED_METHODS]
        return asking[0] if len(asking) == 1 else None

    def answered(self, call: Call, response: Members) -> None:
        """Pass the child's answer on, in the words of 2026-07-28."""
        upper_id = call.upper_id
        assert upper_id is not None  # one that nobody waits for is not kept, unless it has the turn
        self.remove(call)
        self._port.answer(upper_id, self.translated(call, response))

    def addresses_in(self, call: Call, response: Members) -> list[Raw]:
        """The addresses that must be opened before this call can be carried out, as questions; mostly none.

        Spec: 2025-11-25 client/elicitation, URL Elicitation Required Error; 2026-07-28 has a question for it.
        """
        if not self._declared.urls or not _needs_an_address(call, response):
            return []
        return url_elicitations(response["error"])

    def translated(self, call: Call, response: Members) -> Members:
        """A response to this call as one of 2026-07-28.

        A call that failed after it had asked what its client has not declared failed because of that. Spec:
        2026-07-28 basic, Client capabilities: a server that needs one MUST answer -32021.
        """
        if not self._declared.urls and _needs_an_address(call, response):
            return {"error": missing_capability({"elicitation": {"url": {}}}, response)}
        if call.lacked and is_failure(response):
            return {"error": missing_capability(call.lacked, response)}
        return modern_response(response, call.method, self._port.info)

    def progress(self, notification: Notification) -> None:
        """Pass progress on to whoever wants to know of it."""
        call = self.of_child(notification.subject)
        if call is None or call.upper_id is None or not call.wants_progress:
            self._counts.add("dropped.progress_of_no_call")
            return
        self._port.up(with_token(notification.members, call.upper_id))

    def log(self, notification: Notification, *, owner: Call | None) -> None:
        """Pass a log message on, if it is certain whose it is and that it is wanted.

        Args:
            notification: Names no call: the handshake era has one log for all.
            owner: The call that has the turn. Without one it must be the only call there is.
        """
        if owner is None and len(self._open) == 1:
            (owner,) = self._open.values()
        level = log_level_of(notification.members)
        if owner is None or owner.upper_id is None or not reaches(level, owner.log_level):
            self._counts.add("dropped.log_of_no_call")
            return
        self._port.up(notification.encode())

    def _set_level(self) -> None:
        """Tell the child the most talkative level of all calls, if that is news to it."""
        wanted = min(
            (call.log_level for call in self._open.values() if call.log_level is not None), key=LOG_LEVELS.index
        )
        if not self._can_log or wanted == self._level:
            return
        self._level = wanted
        self._port.forget(self._level_request)
        self._level_request = self._port.request("logging/setLevel", {"level": wanted}, _ignore)


def _needs_an_address(call: Call, response: Members) -> bool:
    is_one = call.method in RETRIED_METHODS and "error" in response
    return is_one and error_code(response["error"]) == URL_ELICITATION_REQUIRED


def _ignore(response: Response) -> None:
    """A server that does not want to be told how much to log logs what it likes; that is filtered anyway."""

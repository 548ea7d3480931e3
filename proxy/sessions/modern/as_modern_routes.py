"""Where does each message go that crosses between the eras?

Spec: 2026-07-28; 2025-11-25 basic/lifecycle.
"""

import logging
from collections.abc import Callable
from typing import Any

from proxy.observe import Counts
from proxy.protocol.badlines import call_answered_by
from proxy.protocol.child_lines import BadLine
from proxy.protocol.envelope import REMOVED_METHODS, RETRIED_METHODS
from proxy.protocol.handshake import INITIALIZED, Server, discover_result, read_server, supported_versions
from proxy.protocol.ids import Id, decode_id, text_at
from proxy.protocol.input_requests import QUESTIONS, Declared, lacking
from proxy.protocol.jsontext import Members, as_object, encode
from proxy.protocol.messages import (
    Message,
    Notification,
    Request,
    Response,
    cancellation,
    pong,
    refusal,
)
from proxy.protocol.translate_to_modern import error_code, error_object
from proxy.sessions.modern.as_modern_calls import Call, Calls, caller_of
from proxy.sessions.modern.as_modern_listens import BridgeListens
from proxy.sessions.modern.as_modern_port import Port
from proxy.sessions.modern.as_modern_turns import Turns

logger = logging.getLogger(__name__)

MAX_EARLY_LINES = 1024
"""Lines from above that wait for the end of the handshake. Ours: calls are to be sent after `on_ready`."""
LOGGED_EVERY_SECONDS = 10.0

_CONSUMED = frozenset({"notifications/initialized", "notifications/progress", "notifications/roots/list_changed"})
"""Notifications of clients that the new revision does not have."""
_SWALLOWED = frozenset({"notifications/elicitation/complete", "notifications/tasks/status"})
"""Notifications of servers that it does not have."""


class Routes:
    """The ways between one child of the handshake era and what is above.

    Args:
        port: Both ends of the bridge.
        calls, turns, listens: The tables of the child.
        declared: What its client can be asked.
        on_ready: Called when the handshake is done.
        on_refused: Called when the child has refused it.
        clock: The loop's clock.
        tag: Names the child in the log.
    """

    def __init__(
        self,
        *,
        port: Port,
        calls: Calls,
        turns: Turns,
        listens: BridgeListens,
        declared: Declared,
        on_ready: Callable[[], None],
        on_refused: Callable[[int, str, list[str]], None],
        clock: Callable[[], float],
        counts: Counts,
        tag: str,
    ) -> None:
        self._port = port
        self._calls = calls
        self._turns = turns
        self._listens = listens
        self._declared = declared
        self._on_ready = on_ready
        self._on_refused = on_refused
        self._clock = clock
        self._counts = counts
        self._tag = tag
        self._server: Server | None = None
        self._early: dict[int, Members] = {}  # requests, by their ids
        self._logged_at = -LOGGED_EVERY_SECONDS

    @property
    def early_count(self) -> int:
        """Requests that wait for the end of the handshake."""
        return len(self._early)

    # ---- requests and notifications from above

    def from_above(self, members: Members) -> None:
        """Take a request of 2026-07-28, or a notification."""
        method = text_at(members, "method") or ""
        upper_id = decode_id(members["id"]) if "id" in members else None
        if not isinstance(upper_id, int):
            if method:
                self._told_from_above(method, members)
            return
        if not method:
            self._port.fail(upper_id, -32600, "Invalid Request")
            return
        params = as_object(members.get("params")) or {}
        try:
            if self._server is None:
                self._keep(upper_id, members)
                return
            self._asked_from_above(self._server, upper_id, method, params)
        except Exception:
            logger.exception("request not translated", extra={"child": self._tag, "method": method})
            self._port.fail(upper_id, -32603, "Internal error")
        if self._wants_turn(method, params):
            self._turns.not_begun()

    def _keep(self, upper_id: int, members: Members) -> None:
        if len(self._early) >= MAX_EARLY_LINES:
            self._port.fail(upper_id, -32603, "The server is not ready yet")
        else:
            self._early[upper_id] = members

    def _wants_turn(self, method: str, params: Members) -> bool:
        return self._declared.anything and method in RETRIED_METHODS and "requestState" not in params

    def _asked_from_above(self, server: Server, upper_id: int, method: str, params: Members) -> None:
        if method in REMOVED_METHODS or method.startswith("tasks/"):
            self._port.fail(upper_id, -32601, "Method not found")
        elif method == "server/discover":
            self._port.answer(upper_id, {"result": discover_result(server)})
        elif method == "subscriptions/listen":
            self._listens.open(upper_id, params)
        else:
            caller = caller_of(upper_id, method, params)
            if caller is None:
                self._port.fail(upper_id, -32602, "Invalid params: unknown log level")
            elif self._wants_turn(method, params):
                self._turns.begin(caller, params.get("inputResponses"))
            elif method in RETRIED_METHODS and "requestState" in params:
                self._turns.retry(caller, text_at(params, "requestState"), params.get("inputResponses"))
            else:
                self._calls.forward(caller)

    def _told_from_above(self, method: str, members: Members) -> None:
        if method != "notifications/cancelled":
            if method in _CONSUMED:
                self._counts.add("dropped.notification_of_another_era")
            else:
                self._port.down(encode(members))
            return
        params = as_object(members.get("params")) or {}
        upper_id = decode_id(params.get("requestId", b"null"))
        if isinstance(upper_id, int):
            self._cancel(upper_id, text_at(params, "reason") or "cancelled by the client")

    def _cancel(self, upper_id: int, reason: str) -> None:
        """Nobody waits for this request any more. What is not known here is answered already."""
        early = self._early.pop(upper_id, None)
        if early is not None:
            if self._wants_turn(text_at(early, "method") or "", as_object(early.get("params")) or {}):
                self._turns.not_begun()
            return
        if self._listens.close(upper_id):
            return
        if self._turns.cancel(upper_id, reason):
            return
        call = self._calls.waited_for_by(upper_id)
        if call is None:
            self._counts.add("dropped.cancel_of_unknown_call")
            return
        self._calls.remove(call)
        self._port.down(cancellation(call.child_id, reason=reason))

    # ---- messages of the child

    def from_child(self, message: Message | BadLine) -> None:
        """Take a message of the handshake era."""
        if isinstance(message, Response):
            self._answered(message)
        elif isinstance(message, Request):
            self._asked(message)
        elif isinstance(message, Notification):
            self._told(message)
        else:
            self._bad_line(message)

    def _answered(self, response: Response) -> None:
        call = self._calls.of_child(response.id)
        if call is None:
            if not self._port.responded(response):
                self._counts.add("dropped.answer_to_no_call")  # late after a cancellation, or of no known id
        elif self._turns.has(call):
            self._turns.finished(response.members)
        else:
            self._calls.answered(call, response.members)

    def initialized(self, response: Response) -> None:
        """The child has answered `initialize`."""
        server = read_server(response.members.get("result"))
        if server is None:
            error = as_object(response.members.get("error")) or {}
            code = error_code(response.members.get("error"))
            message = text_at(error, "message") or "The server's answer to initialize could not be used"
            versions = supported_versions(error.get("data"))
            self._port.after(lambda: self._on_refused(code if code is not None else -32603, message, versions))
            return
        self._server = server
        self._port.info = server.info
        self._calls.begin(server)
        self._listens.begin(server)
        self._port.down(INITIALIZED)
        self._port.after(self._on_ready)
        early, self._early = self._early, {}
        for members in early.values():
            self.from_above(members)

    def _asked(self, request: Request) -> None:
        if request.method == "ping":
            self._port.reply(pong(request.raw_id))
            return
        if request.method not in QUESTIONS:
            self._port.reply(refusal(request.raw_id, code=-32601, message="Method not found"))
            return
        required = lacking(request.method, as_object(request.members.get("params")) or {}, self._declared)
        if not required:
            self._turns.asked(request)
            return
        call = self._asking_call()
        if call is not None:
            call.lacked.update(required)
        self._counts.add("refused.ask_client_cannot_answer")
        self._port.reply(refusal(request.raw_id, code=-32601, message="The client does not support this"))

    def _asking_call(self) -> Call | None:
        """The call that a question of the child is for, as far as that can be known."""
        turn = self._turns.current
        if turn is None:
            return self._calls.only_one_that_may_ask()
        return turn.call if turn.is_asking else None

    def _told(self, notification: Notification) -> None:
        method = notification.method
        if method == "notifications/progress":
            self._calls.progress(notification)
        elif method == "notifications/message":
            turn = self._turns.current
            self._calls.log(notification, owner=turn.call if turn is not None else None)
        elif method == "notifications/cancelled":
            self._turns.withdrawn(notification.subject)
        elif method in _SWALLOWED:
            self._counts.add("dropped.notification_of_another_era")
        elif not self._listens.told(notification):
            self._port.up(notification.encode())

    def _bad_line(self, line: BadLine) -> None:
        self._counts.add(f"bad_line.{line.reason}")
        now = self._clock()
        if now - self._logged_at >= LOGGED_EVERY_SECONDS:
            self._logged_at = now
            logger.warning(
                "bad line from the child; more within 10 s are only counted",
                extra={"child": self._tag, "reason": line.reason, "bytes": line.size_bytes},
            )
        answered: Id | None = call_answered_by(line.ends, self._calls.ids)
        if answered is not None:
            error: dict[str, Any] = {"error": error_object(-32603, "The server's answer could not be used")}
            self._answered(Response(answered, error))

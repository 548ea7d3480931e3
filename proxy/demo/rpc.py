"""How do requests get their answers, in both directions?

Requests are served on the thread that reads, in order. One that has to wait goes on in its own thread.

Spec: 2025-11-25 basic, Messages; basic/utilities/cancellation; basic/utilities/progress.
"""

import itertools
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from proxy.demo.messages import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    Batch,
    Id,
    Json,
    RpcError,
    error_line,
    is_id,
)
from proxy.demo.wire import ClientGone, decode, encode, log

Outcome = Json | Callable[[], Json]
"""The result, or what is left to do for it if that has to wait."""

CLIENT_ANSWER_SECONDS = 600.0
"""Wait for an answer of the client, who may have to ask a human. 2025-11-25 basic/lifecycle, Timeouts."""


class CallCancelled(Exception):
    """The client no longer wants the answer."""


class ClientRefused(Exception):
    """The client answered our request with an error, or not in time."""


class Call:
    """One request of the client, while it is being served.

    A call waits for one thing at a time: for time to pass, or for one answer of the client.
    """

    def __init__(self, peer: "Peer", request: Json, leave: Callable[[bytes | None], None]) -> None:
        self.id: Id = request["id"]
        self.method: str = request["method"]
        self.params: Json = request.get("params", {})
        self.leave = leave
        self.cancelled = False
        self.woken = threading.Event()
        self.answer: Json | None = None
        self._peer = peer

    def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            CallCancelled: As soon as the client cancels the request.
        """
        self.woken.wait(seconds)
        self.raise_if_cancelled()

    def raise_if_cancelled(self) -> None:
        """Raises: CallCancelled: If the client has cancelled the request."""
        if self.cancelled:
            raise CallCancelled

    def expect_answer(self) -> None:
        """Forget what came before, so that the next waking is for the next answer."""
        self.answer = None
        self.woken.clear()

    def ask(self, method: str, params: Json) -> Json:
        """Send the client a request and wait for its result, for at most `CLIENT_ANSWER_SECONDS`.

        Raises:
            CallCancelled: If the client cancels the request this call serves.
            ClientRefused: If the client answers with an error, or not in time.
        """
        return self._peer.ask(self, method, params)


class Peer:
    """One end of a JSON-RPC conversation.

    Args:
        write_line: Writes one line whole, from any thread.
        serve: Answers a request; called on the thread that reads, so it does not wait.
        notice: Takes a notification; likewise.
    """

    def __init__(
        self,
        write_line: Callable[[bytes], None],
        serve: Callable[[Call], Outcome],
        notice: Callable[[str], None],
    ) -> None:
        self.accepts_batches = False
        self._write_line = write_line
        self._serve = serve
        self._notice = notice
        self._lock = threading.Lock()  # Over the two tables, and `cancelled` and `answer` of the calls in them.
        self._served: dict[Id, Call] = {}
        self._asked: dict[Id, Call] = {}
        self._ids = itertools.count(1)

    def receive(self, line: bytes) -> None:
        """Act on one line; what is no message is logged and ignored.

        Raises:
            ClientGone: If an answer cannot be written.

        Spec: 2025-03-26 basic, Batching: MUST support receiving batches. No other revision has them.
        """
        try:
            message = decode(line)
        except ValueError as exc:
            log(f"ignored a line that is not JSON: {exc}")
            return
        if not isinstance(message, list):
            self._receive_one(message, self._answer_alone)
        elif self.accepts_batches and message:
            batch = Batch(self._write_line, len(message))
            for member in message:
                self._receive_one(member, batch.leave)
        else:
            log("ignored a batch: this revision has none, or it is empty")

    def notify(self, method: str, params: Json | None = None) -> None:
        """Send a notification. Raises: ClientGone: If it cannot be written."""
        message: Json = {"jsonrpc": "2.0", "method": method}
        self._write_line(encode(message if params is None else message | {"params": params}))

    def ask(self, call: Call, method: str, params: Json) -> Json:
        """See `Call.ask`."""
        with self._lock:
            call.raise_if_cancelled()
            call.expect_answer()
            id_ = next(self._ids)
            self._asked[id_] = call
        self._write_line(encode({"jsonrpc": "2.0", "id": id_, "method": method, "params": params}))
        call.woken.wait(CLIENT_ANSWER_SECONDS)
        with self._lock:
            self._asked.pop(id_, None)
            answer = call.answer
            if not call.cancelled:
                call.woken.clear()  # Or the next pause would be none.
        if answer is None:
            reason = "the call it was for is cancelled" if call.cancelled else "no answer in time"
            self.notify("notifications/cancelled", {"requestId": id_, "reason": reason})
        call.raise_if_cancelled()
        if answer is None:
            raise ClientRefused(f"the client did not answer {method} in time")
        if isinstance(answer.get("result"), dict):
            result: Json = answer["result"]
            return result
        error = encode(answer.get("error")).decode()
        raise ClientRefused(f"the client answered {method} with an error: {error}")

    def _receive_one(self, message: Any, leave: Callable[[bytes | None], None]) -> None:
        """Act on one message; `leave` is called once for each, with the answer if it gets one."""
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            log("ignored a line that is not a JSON-RPC message")
        elif "method" not in message and ("result" in message or "error" in message):
            self._receive_answer(message)
        elif "id" not in message and isinstance(message.get("method"), str):
            self._receive_notification(message["method"], message.get("params"))
        elif not is_id(message.get("id")):
            log("ignored a request whose id is not a string or an integer, or a message of no kind")
        elif not isinstance(message.get("method"), str):
            leave(error_line(message["id"], RpcError(INVALID_REQUEST, "method must be a string")))
            return
        elif not isinstance(message.get("params", {}), dict):
            leave(error_line(message["id"], RpcError(INVALID_PARAMS, "params must be an object")))
            return
        else:
            self._receive_request(Call(self, message, leave))
            return
        leave(None)

    def _receive_request(self, call: Call) -> None:
        with self._lock:
            is_taken = call.id in self._served
            if not is_taken:
                self._served[call.id] = call
        if is_taken:
            # Not an error answer: the client would take it for the answer to the first request.
            log(f"ignored a request with the id of one that is still open: {call.id!r}")
            call.leave(None)
        else:
            self._work(call, lambda: self._serve(call))

    def _receive_answer(self, message: Json) -> None:
        with self._lock:
            # An unknown id is a late answer to a question we gave up: nothing to say about it.
            call = self._asked.pop(message["id"], None) if is_id(message.get("id")) else None
            if call is not None:
                call.answer = message
                call.woken.set()

    def _receive_notification(self, method: str, params: Any) -> None:
        if method != "notifications/cancelled":
            self._notice(method)
            return
        id_ = params.get("requestId") if isinstance(params, dict) else None
        with self._lock:
            call = self._served.get(id_) if is_id(id_) else None
            if call is not None:
                call.cancelled = True
                call.woken.set()

    def _work(self, call: Call, work: Callable[[], Outcome]) -> None:
        """Do the work of a call and answer it, or hand it to a thread if it has to wait."""
        try:
            outcome = work()
            if callable(outcome):
                # A daemon: a call that still waits must not keep the process from ending.
                threading.Thread(target=self._work_aside, args=(call, outcome), daemon=True).start()
                return
            line = encode({"jsonrpc": "2.0", "id": call.id, "result": outcome})
        except RpcError as exc:
            line = error_line(call.id, exc)
        except CallCancelled:
            line = b""
        except ClientGone:
            raise
        except Exception:
            log(f"{call.method} failed: {traceback.format_exc()}")
            line = error_line(call.id, RpcError(INTERNAL_ERROR, "internal error"))
        with self._lock:
            del self._served[call.id]
            is_wanted = not call.cancelled
        # Cancellation, Behavior Requirements: receivers SHOULD not send a response for the cancelled request.
        call.leave(line if is_wanted else None)

    def _work_aside(self, call: Call, work: Callable[[], Outcome]) -> None:
        with suppress(ClientGone):  # The thread that reads finds out for itself.
            self._work(call, work)

    def _answer_alone(self, line: bytes | None) -> None:
        if line is not None:
            self._write_line(line)

"""Which request that is with a shared child is whose?

Each has an id of ours there, which is also the token of its progress; the session's own are given back.
"""

from collections.abc import Callable

from msgspec import Raw

from proxy.observe import Counts
from proxy.protocol.badlines import call_answered_by
from proxy.protocol.child_lines import BadLine
from proxy.protocol.ids import Id, IdMinter
from proxy.protocol.jsontext import encode
from proxy.protocol.messages import Notification, Request, Response, cancellation
from proxy.protocol.tasks import MAX_TASK_TOKENS, begins_task
from proxy.protocol.tokens import under_token, with_token
from proxy.sessions.shared.attribution import Attribution
from proxy.sessions.shared.port import Port, Read, SharedCall


class SharedCalls:
    """The requests without an answer at one child: those of its sessions, and ours.

    Args:
        send: Says a line to the child.
        attribution: Told which of them are open.
        counts: What was dropped and why.
    """

    def __init__(self, *, send: Callable[[bytes], None], attribution: Attribution, counts: Counts) -> None:
        self._send = send
        self._attribution = attribution
        self._counts = counts
        self._minter = IdMinter()
        self._calls: dict[int, SharedCall] = {}
        self._own: dict[int, Callable[[Response], None] | None] = {}  # requests that no session has made
        self._as_tasks: dict[int, SharedCall] = {}  # those that were answered and go on; the oldest first
        self.given = 0
        """Requests of sessions that the child was given so far."""

    def __len__(self) -> int:
        return len(self._calls) + len(self._own)

    # ---- to the child

    def ask(
        self, method: str, params: Raw, on_answer: Callable[[Response], None] | None, port: Port | None = None
    ) -> None:
        """Ask the child something on behalf of one session that waits for the answer, or of nobody in particular."""
        own_id = self._minter.mint()
        self._own[own_id] = on_answer
        self._attribution.asked(own_id, port)
        self._send(encode({"jsonrpc": "2.0", "id": own_id, "method": method, "params": params}))

    def begin(self, port: Port, request: Request, read: Read | None = None) -> None:
        """Pass on a request of a session; `read` looks at the answer first."""
        assert isinstance(request.id, int)  # a session mints them
        child_id = self._minter.mint()
        members, raw_token = under_token(request.members, child_id)
        call = SharedCall(port, request.id, child_id, raw_token, read)
        self.given += 1
        self._calls[child_id] = port.calls[call.port_id] = call
        self._attribution.began(call)
        self._send(encode({**members, "id": child_id}))

    def cancel(self, port: Port, notification: Notification) -> None:
        """A session cancels a request; nothing if it is none that is open."""
        call = port.calls.get(notification.subject) if isinstance(notification.subject, int) else None
        if call is not None:
            self._send(notification.encode_about(call.child_id))
            self._drop(call)

    def cancel_all(self, port: Port) -> None:
        """A session has ended, and nobody waits for what it has asked."""
        for call in list(port.calls.values()):
            self._send(cancellation(call.child_id, reason="The session has ended"))
            self._drop(call)
        for child_id in [child_id for child_id, call in self._as_tasks.items() if call.port is port]:
            del self._as_tasks[child_id]

    # ---- from the child

    def answered(self, response: Response) -> None:
        """The child has answered something."""
        child_id = response.id if isinstance(response.id, int) else 0
        call = self._calls.get(child_id)
        if call is not None:
            self._close(call)
            members = response.members if call.read is None else call.read(call.port, response.members)
            call.port.answer(call.port_id, members)
            if call.raw_token is not None and begins_task(members):
                self._as_tasks[child_id] = call
                if len(self._as_tasks) > MAX_TASK_TOKENS:
                    del self._as_tasks[next(iter(self._as_tasks))]
        elif child_id in self._own:
            on_answer = self._own.pop(child_id)
            self._attribution.has_told(child_id)
            if on_answer is not None:
                on_answer(response)
        else:
            self._attribution.answered_late(child_id)
            self._counts.add("dropped.answer_to_no_call")

    def spoiled(self, line: BadLine) -> bool:
        """Whether a bad line was the answer to a call; then its session gets one that it can't use either."""
        child_id = call_answered_by(line.ends, self._calls)
        if child_id is None:
            return False
        call = self._calls[child_id]
        self._close(call)
        call.port.spoil(call.port_id, line)
        return True

    def progress(self, token: Id | None, line: bytes) -> None:
        """Tell a session of the progress of its call."""
        child_id = token if isinstance(token, int) else 0
        call = self._calls.get(child_id) or self._as_tasks.get(child_id)
        if call is None or call.raw_token is None:
            self._counts.add("dropped.progress_of_no_call")
            return
        call.port.deliver(with_token(line, call.child_id, call.raw_token))

    # ---- inside

    def _close(self, call: SharedCall) -> None:
        """It is answered."""
        del self._calls[call.child_id], call.port.calls[call.port_id]
        self._attribution.answered(call)

    def _drop(self, call: SharedCall) -> None:
        """Nobody waits for its answer any more."""
        del self._calls[call.child_id], call.port.calls[call.port_id]
        self._attribution.cancelled(call)

"""A real daemon, and clients that send whatever hypothesis thinks of."""

import json
import socket
import time
from typing import Any

import httpx
import psutil
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.e2e.serving import serving
from tests.support.daemon import Daemon
from tests.support.httpnoise import SESSION, SESSIONS, Sent, requests
from tests.support.mcp import ACCEPT, hello, notification

FLAGS = (
    *("--max-body", "64KiB", "--commit-after", "0.05s", "--max-get-streams", "1000", "--legacy-sse"),
    *("--unused-timeout", "3s", "--idle-timeout", "5s", "--upload-stall-timeout", "2s"),
)
ANSWER_SECONDS = 20.0
HALF_SECONDS = 0.03
"""What a request from which something is missing is given to be refused."""


class Sessions:
    """Sessions that the requests may name; those that they end are begun again."""

    def __init__(self, http: httpx.Client, url: str) -> None:
        self._http = http
        self._url = url
        self._ids = [""] * SESSIONS

    def ids(self) -> list[bytes]:
        """Their ids; all are alive."""
        for place, session_id in enumerate(self._ids):
            if not session_id or self._post(notification("notifications/x"), session_id).status_code != 202:
                self._ids[place] = self._post(hello(version="2025-03-26")).headers["mcp-session-id"]
        return [session_id.encode() for session_id in self._ids]

    def end(self) -> None:
        """Say goodbye to all."""
        for session_id in self._ids:
            self._http.delete(self._url, headers={"mcp-session-id": session_id})

    def _post(self, message: Any, session_id: str | None = None) -> httpx.Response:
        headers = {"accept": ACCEPT, **({"mcp-session-id": session_id} if session_id else {})}
        return self._http.post(self._url, json=message, headers=headers)


def answer_to(daemon: Daemon, sent: Sent, session_id: bytes) -> bytes:
    """The head of the answer and its body, or of a stream its beginning; empty if there is none."""
    deadline = time.monotonic() + (ANSWER_SECONDS if sent.is_whole else HALF_SECONDS)
    received = b""
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=ANSWER_SECONDS) as connection:
        try:
            for piece in sent.pieces:
                connection.sendall(piece.replace(SESSION, session_id))
            while not is_answer(received, sent.has_body) and (left := deadline - time.monotonic()) > 0:
                connection.settimeout(left)
                more = connection.recv(1 << 16)
                if not more:
                    break
                received += more
        except TimeoutError:
            pass
        except ConnectionError:
            return received or b"reset"
    return received


def is_answer(received: bytes, has_body: bool) -> bool:
    """Whether this is a whole answer, or the head of one that is not ended by its length."""
    head, found, body = received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    return bool(found) and (not has_body or len(body) >= (length_of(head) or 0))


def length_of(head: bytes) -> int | None:
    """The length of what follows a head, if it is told."""
    lengths = [line[16:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
    return int(lengths[0]) if lengths else None


def check(sent: Sent, received: bytes) -> None:
    """It is an answer, no fault of ours, and what it says can be read."""
    if not received or received == b"reset":
        assert not sent.is_whole, "no answer"
        return
    answer = received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 "), answer
    status = int(answer[9:12])
    # The child takes what is asked of its tools for right, and dies of it if it is not.
    assert 200 <= status < 500 or b"The server exited with code 1" in answer, answer
    head, _, body = answer.partition(b"\r\n\r\n")
    if status >= 400 and body:
        assert b"content-type: application/json" in head.lower(), answer
        assert isinstance(json.loads(body[: length_of(head)]), dict)


def test_clients_that_send_anything_are_answered_and_leave_nothing() -> None:
    limits = settings(
        max_examples=70,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],  # a shorter example is not worth minutes of waiting for answers
    )
    with serving(*FLAGS) as daemon, httpx.Client(timeout=20, trust_env=False) as http:
        before = http.get(f"{daemon.base_url}/health").json()
        descriptors = psutil.Process(daemon.pid).num_fds()
        sessions = Sessions(http, daemon.url)

        @limits
        @given(st.lists(requests(), min_size=3, max_size=6))
        def send(sequence: list[Sent]) -> None:
            ids = sessions.ids()
            for sent in sequence:
                check(sent, answer_to(daemon, sent, ids[sent.session]))
            assert [line for line in daemon.stderr_lines if " ERROR " in line or "Traceback" in line] == []

        send()
        sessions.end()
        deadline = time.monotonic() + 30
        while True:
            health = http.get(f"{daemon.base_url}/health").json()
            left = {name: health[name] for name in ("sessions", "children", "calls_in_flight", "tasks")}
            left["descriptors"] = psutil.Process(daemon.pid).num_fds()
            expected = {name: before[name] for name in ("sessions", "children", "calls_in_flight", "tasks")}
            if left == {**expected, "descriptors": descriptors}:
                break
            assert time.monotonic() < deadline, (left, expected, descriptors)
            time.sleep(0.1)
    assert daemon.returncode == 0
    assert [line for line in daemon.stderr_lines if " ERROR " in line or "Traceback" in line] == []

"""A real child that writes whatever hypothesis thinks of, in front of, between and behind its answers."""

import json
from typing import Any

import httpx
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.e2e.serving import serving
from tests.support.childnoise import noise
from tests.support.mcp import ACCEPT, call, hello, notification

FLAGS = ("--max-line", "64KiB", "--commit-after", "0.05s")
ANSWER = '{"jsonrpc":"2.0","id":$ID,"result":{"n":%d}}\n'


def any_integer(digits: str) -> int | str:
    """An integer; as text if Python finds it too long."""
    return int(digits) if len(digits) < 4000 else digits


class Session:
    """A client that reads its answers whole."""

    def __init__(self, http: httpx.Client, url: str) -> None:
        self._http = http
        self._url = url
        self._headers = {"accept": ACCEPT, "content-type": "application/json"}
        self._ids = 0
        response = self._http.post(url, json=hello(), headers=self._headers)
        self._headers["mcp-session-id"] = response.headers["mcp-session-id"]
        assert self._http.post(url, json=notification("notifications/initialized"), headers=self._headers).is_success

    def messages(self, tool: str, **arguments: Any) -> tuple[int, list[dict[str, Any]]]:
        """The id of a call, and everything on its response; the status must be 200."""
        self._ids += 1
        response = self._http.post(self._url, json=call(self._ids, tool, **arguments), headers=self._headers)
        assert response.status_code == 200, response.text
        if response.headers["content-type"].startswith("application/json"):
            return self._ids, [response.json()]
        lines = [line[6:] for line in response.content.split(b"\r\n") if line.startswith(b"data: ")]
        return self._ids, [json.loads(line, parse_int=any_integer) for line in lines if line]

    def end(self) -> None:
        """Say goodbye."""
        assert self._http.delete(self._url, headers=self._headers).status_code == 200


def test_a_child_that_writes_anything_gets_its_answers_through_and_leaves_nothing() -> None:
    limits = settings(
        max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    with serving(*FLAGS) as daemon, httpx.Client(timeout=20, trust_env=False) as http:
        session = Session(http, daemon.url)

        @limits
        @given(st.lists(noise, max_size=6), noise, st.integers(0, 10**6), st.lists(st.integers(1, 300), max_size=4))
        @example(
            [b'{"jsonrpc":"2.0","id":1000000,"method":"roots/list","params":{"\\ud800":"\xff"}}\n'], b"\n", 1, [60]
        )
        @example([b'{"jsonrpc":"2.0","id":"' + b"i" * 5000 + b'","method":"ping"}\n'], b"\x00\n", 2, [])
        @example([b"x" * 200_000 + b"\n"], b"\n", 3, [70_000])
        def write(before: list[bytes], behind: bytes, number: int, cuts: list[int]) -> None:
            data = b"".join(before) + (ANSWER % number).encode() + behind
            request_id, (*_, answer) = session.messages("write", latin1=data.decode("latin-1"), cuts=cuts)
            assert answer == {"jsonrpc": "2.0", "id": request_id, "result": {"n": number}}
            request_id, (*_, answer) = session.messages("echo", n=number)
            assert answer == {"jsonrpc": "2.0", "id": request_id, "result": {"echo": {"n": number}}}

        write()
        health = http.get(daemon.base_url + "/health").json()
        assert (health["sessions"], health["calls_in_flight"]) == (1, 0)
        assert health["counts"]["bad_line.oversized"] >= 1
        session.end()

    assert daemon.returncode == 0
    assert [line for line in daemon.stderr_lines if " ERROR " in line or "Traceback" in line] == []

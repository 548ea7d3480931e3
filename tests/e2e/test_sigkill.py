"""What is left when the daemon gets no chance to end anything."""

import signal
import sys
import time

import httpx

from tests.support.children import is_alive
from tests.support.daemon import running_daemon

# A server that answers `initialize` with the ids of its own process and of two grandchildren, one outside its group.
WITH_FAMILY = """
import json, os, subprocess, sys
argv = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]
inside = subprocess.Popen(argv)
outside = subprocess.Popen(argv, start_new_session=True, stdin=subprocess.DEVNULL)
request = json.loads(sys.stdin.readline())
pids = [os.getpid(), inside.pid, outside.pid]
info = {"name": "family", "version": json.dumps(pids)}
result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": info}
print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
sys.stdin.read()
"""
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
ACCEPT = {"accept": "application/json, text/event-stream"}


def wait_until_dead(pids: list[int], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while alive := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < deadline, f"still alive: {alive}"
        time.sleep(0.02)


def family_of_a_session(url: str) -> list[int]:
    answer = httpx.post(url, json=HELLO, headers=ACCEPT, timeout=20).json()
    pids: list[int] = httpx.Response(200, text=answer["result"]["serverInfo"]["version"]).json()
    return pids


def test_the_daemon_killed_leaves_no_process_behind() -> None:
    with running_daemon("--", sys.executable, "-I", "-S", "-c", WITH_FAMILY) as daemon:
        pids = family_of_a_session(daemon.url) + family_of_a_session(daemon.url)
        assert all(is_alive(pid) for pid in pids)

        daemon.signal(signal.SIGKILL)

        wait_until_dead(pids, seconds=5)
        assert daemon.wait() == -signal.SIGKILL


def test_the_daemon_ended_leaves_no_process_behind_and_reaps_what_it_adopted() -> None:
    with running_daemon("--", sys.executable, "-I", "-S", "-c", WITH_FAMILY) as daemon:
        pids = family_of_a_session(daemon.url)
        session = httpx.post(daemon.url, json=HELLO, headers=ACCEPT, timeout=20)
        httpx.delete(daemon.url, headers={"mcp-session-id": session.headers["mcp-session-id"]})

        daemon.signal()

        assert daemon.wait() == 0
        wait_until_dead(pids, seconds=1)

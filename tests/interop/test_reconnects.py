"""After the end of a stream, with a result or with an error, no official client is left coming back for ever.

All endings and all clients at once, each with a session of its own: what is counted are the requests of the half minute
after its last call.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.serving import serving

pytestmark = pytest.mark.interop

DRIVERS = Path(__file__).parent / "drivers"
NODE = Path(__file__).parent / "node"
SECONDS = 30
CLIENTS: dict[str, Sequence[str]] = {
    "python": (sys.executable, str(DRIVERS / "reconnects.py")),
    "sdk": ("node", str(DRIVERS / "reconnects.mjs")),
    "client": ("node", str(DRIVERS / "reconnects.mjs")),
}

LOG = '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}\n'
FAILURE = '{"jsonrpc":"2.0","id":$ID,"error":{"code":-1,"message":"no"}}\n'
ANY = "result or error"
RESULT = '{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}\n'


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"tool": tool, "arguments": arguments}


@dataclass(frozen=True)
class Ending:
    """How a stream ends.

    Attributes:
        calls: What the client calls, one after the other.
        outcome: Of the last call; where it may be either: the Python client asks for the tools behind it, in vain.
        most: Requests of the half minute after it that are not too many: a look whether there is more; where the
            session is over, what a client tries before it believes that.
    """

    calls: tuple[dict[str, Any], ...]
    outcome: str
    most: int = 1


ENDINGS: dict[str, Ending] = {
    "no stream at all": Ending((call("write", text=RESULT),), "result"),
    "a result after silence": Ending((call("write", text=RESULT, seconds=0.3),), "result"),
    "a result after a message": Ending((call("write", text=LOG + RESULT),), "result"),
    "an error after a message": Ending((call("write", text=LOG + FAILURE),), "error"),
    "an error after silence": Ending((call("write", text=FAILURE, seconds=0.3),), "error"),
    "an answer that can't be used": Ending(
        (call("write", text=LOG + '{"jsonrpc":"2.0","id":$ID,"result":\n'),), "error"
    ),
    "a time-out": Ending((call("hold"),), "error"),
    "the child exits in the call": Ending((call("exit", say=LOG),), "error", 5),
    "the child exits after the call": Ending((call("exit", say=RESULT),), ANY, 5),
    "a call after the session's end": Ending((call("exit", say=RESULT), call("write", text=RESULT)), "error", 5),
}


def test_no_official_client_is_left_coming_back_for_ever() -> None:
    assert (NODE / "node_modules").is_dir(), "run: make interop-setup"
    flags = ("--commit-after", "0.05s", "--call-timeout", "3s")
    polling = ("--close-stream-after", "0.1s", "--reconnect-delay", "0.2s")
    with ExitStack() as stack:
        urls = {
            "": stack.enter_context(serving(*flags)).url,
            "closed in between: ": stack.enter_context(serving(*flags, *polling)).url,
        }
        pool = stack.enter_context(ThreadPoolExecutor())
        runs = {
            (how, client): pool.submit(play, client, argv, url)
            for how, url in urls.items()
            for client, argv in CLIENTS.items()
        }
        played = {f"{how}{client}": run.result() for (how, client), run in runs.items()}

    faults = [
        f"{where}, {name}: {seen}"
        for where, endings in played.items()
        for name, seen in endings.items()
        if seen["outcome"] not in ENDINGS[name].outcome or len(seen["requests"]) > ENDINGS[name].most
    ]
    assert not faults, "\n".join(faults)
    assert all(endings.keys() == ENDINGS.keys() for endings in played.values())


def play(client: str, argv: Sequence[str], url: str) -> dict[str, Any]:
    """Let one client live through all endings."""
    endings = [{"name": name, "calls": ending.calls} for name, ending in ENDINGS.items()]
    job = {"url": url, "package": client, "seconds": SECONDS, "endings": endings}
    done = subprocess.run(argv, input=json.dumps(job), capture_output=True, text=True, timeout=SECONDS + 60)
    assert done.returncode == 0, done.stderr
    played: dict[str, Any] = json.loads(done.stdout)
    return played

"""Fifty clients of the three official packages on one process: each sees what it alone would see.

The packages number requests and progress alike, so that all ids and tokens are those of others, too.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.daemon import running_daemon
from tests.support.mcp import children_of

pytestmark = pytest.mark.interop

DRIVERS = Path(__file__).parent / "drivers"
NODE = Path(__file__).parent / "node"
CLIENTS: dict[str, Sequence[str]] = {
    "python": (sys.executable, str(DRIVERS / "sharing.py")),
    "sdk": ("node", str(DRIVERS / "sharing.mjs")),
    "client": ("node", str(DRIVERS / "sharing.mjs")),
}
COUNT = 50


def test_fifty_official_clients_on_one_process_see_only_what_is_theirs() -> None:
    assert (NODE / "node_modules").is_dir(), "run: make interop-setup"
    with running_daemon("--isolation", "shared", "--demo") as daemon, ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(play, package, argv, daemon.url, list(range(COUNT))[index :: len(CLIENTS)])
            for index, (package, argv) in enumerate(CLIENTS.items())
        ]
        seen: dict[int, Any] = {int(number): each for run in runs for number, each in run.result().items()}
        children = children_of(daemon.pid)
        health = httpx.get(f"{daemon.base_url}/health", trust_env=False).json()

    assert sorted(seen) == list(range(COUNT))
    assert len(children) == 1
    assert health["counts"].get("bad_line.not_json") is None
    for number, each in seen.items():
        steps = 2 + number
        assert (each["echo"], each["slow"], each["cancelled"]) == (f"client {number}", f"{steps} steps done", True)
        assert set(each["totals"]) == {steps}  # progress of no other call
        assert set(each["logs"]) <= ({f"client {number}"} if number % 2 else set())  # at its own level
        assert bool(each["updates"]) == bool(number % 2)  # only who has subscribed


def play(package: str, argv: Sequence[str], url: str, numbers: list[int]) -> dict[str, Any]:
    """Let clients of one package play."""
    job = json.dumps({"url": url, "package": package, "numbers": numbers})
    done = subprocess.run(argv, input=job, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    played: dict[str, Any] = json.loads(done.stdout)
    return played

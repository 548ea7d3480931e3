"""A stdio MCP server that takes more than it should, within bounds. Standard library only.

Tools (`tools/call`; arguments in brackets, `?` marks those that may be left out):
    echo [anything]               the arguments
    pid                           its process id
    eat [stray?]                  takes memory without end (GIB at most), 4 MiB at a time; never answers. With `stray` a
                                  process does it that has left the group, and whose parent is gone
    share [bytes, count]          takes so much, then starts so many processes that share it; their ids
    limits                        descriptors that it may have, and CPUs that it may run on
    breed [count]                 starts a process outside the group that starts another one whenever it is told to
                                  end, so many in all; its id
"""

import json
import os
import resource
import signal
import sys
import time
from typing import Any

GIB = 1 << 30
STEP = 4 << 20


def main() -> None:
    """Read and answer until stdin ends."""
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        answer: dict[str, Any]
        if message["method"] == "initialize":
            version = message["params"]["protocolVersion"]
            info = {"name": "greedy", "version": "1"}
            answer = {"result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}}
        elif message["method"] == "tools/call":
            answer = {"result": call(message["params"]["name"], message["params"].get("arguments") or {})}
        else:
            answer = {"error": {"code": -32601, "message": "Method not found"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Do what the tool of this name does."""
    if name == "pid":
        return {"pid": os.getpid()}
    if name == "eat":
        if arguments.get("stray"):
            start_orphan(eat)
            signal.pause()
        eat()
    if name == "share":
        taken = b"x" * arguments["bytes"]
        return {"pids": [start(wait_for_ever) for _ in range(arguments["count"])], "bytes": len(taken)}
    if name == "limits":
        return {"files": resource.getrlimit(resource.RLIMIT_NOFILE), "cpus": len(os.sched_getaffinity(0))}
    if name == "breed":
        return {"pid": breed(arguments["count"])}
    return {"echo": arguments}


def eat() -> None:
    """Take memory, a hundred megabytes a second; a gigabyte at most."""
    taken: list[bytes] = []
    while len(taken) * STEP < GIB:
        taken.append(b"x" * STEP)
        time.sleep(0.04)
    wait_for_ever()


def wait_for_ever() -> None:
    """Hold what is held."""
    while True:
        signal.pause()


def start(what: Any) -> int:
    """Start a process that does this."""
    pid = os.fork()
    if not pid:
        what()
        os._exit(0)
    return pid


def start_orphan(what: Any) -> None:
    """Start one in a session of its own, whose parent is gone."""

    def leave() -> None:
        os.setsid()
        start(what)

    os.waitpid(start(leave), 0)


def breed(count: int) -> int:
    """Start a process that is replaced whenever it is told to end."""

    def live() -> None:
        def replace(*_: Any) -> None:
            if count:
                breed(count - 1)
            os._exit(0)

        signal.signal(signal.SIGTERM, replace)
        os.setsid()
        wait_for_ever()

    return start(live)


if __name__ == "__main__":
    main()

"""The processes around a daemon that must not outlive it."""

import os
from pathlib import Path

from tests.support.children import is_alive
from tests.support.mcp import Client


async def fork_family(client: Client, pid: int) -> list[int]:
    """Grandchildren of every kind: in the child's group and outside, each gentle and deaf to SIGTERM."""
    family: list[int] = []
    for stray in (False, True):
        for stubborn in (False, True):
            pids = (await client.result("fork", "fork", count=2, stubborn=stubborn, stray=stray))["pids"]
            assert {os.getpgid(each) == pid for each in pids} == {not stray}
            family += pids
    assert all(map(is_alive, family))
    return family


def guardian_of(pid: int) -> int:
    """The process that waits for the daemon's death: the one that reads the other end of a pipe of its."""
    pipes = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != pid:
            try:
                is_guardian = b"guardian.py" in (entry / "cmdline").read_bytes()
                if is_guardian and os.readlink(entry / "fd" / "0") in pipes:
                    found.append(int(entry.name))
            except OSError:
                continue
    (guardian,) = found
    return guardian

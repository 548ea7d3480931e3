"""What ends the children when the daemon is killed in a way that it can't notice?

A process of its own, started by the daemon with a pipe as stdin and nothing but the standard library. It is told of
every process group that begins and ends. When the pipe closes without a goodbye, the daemon is dead: whatever is
registered, and whatever carries the daemon's marker in its environment, is ended within a few seconds.

Run as a script, so that it imports none of the package. Lines on its stdin: `m MARKER`, `+ PGID`, `- PGID`, `bye`.
With `--detach` it leaves itself to PID 1 and writes its process id to stdout: whoever looks at the daemon's children
shall find servers there and nothing else.
"""

import os
import signal
import sys
import time

TERM_GRACE_SECONDS = 1.0
GIVE_UP_SECONDS = 5.0


def main() -> None:
    """Read until the end of stdin, then end what is left, unless there was a goodbye."""
    if "--detach" in sys.argv:
        pid = os.fork()
        if pid:
            os.write(1, b"%d\n" % pid)
            os._exit(0)
        os.close(1)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # it goes when the daemon goes, not before
    groups: set[int] = set()
    marker = b""
    for line in sys.stdin.buffer:
        verb, _, value = line.strip().partition(b" ")
        if verb == b"m":
            marker = value
        elif verb == b"+":
            groups.add(int(value))
        elif verb == b"-":
            groups.discard(int(value))
        elif verb == b"bye":
            return
    end(groups, marker)


def end(groups: set[int], marker: bytes) -> None:
    """SIGTERM, a moment, then SIGKILL until nothing is left or the time is up."""
    started = time.monotonic()
    signum = signal.SIGTERM
    while time.monotonic() - started < GIVE_UP_SECONDS:
        left, strays = living(groups, marker)
        if not left and not strays:
            return
        for group in left:
            _signal_group(group, signum)
        for pid in strays:
            _signal(pid, signum)
        if time.monotonic() - started >= TERM_GRACE_SECONDS:
            signum = signal.SIGKILL
        time.sleep(0.05)


def living(groups: set[int], marker: bytes) -> tuple[set[int], set[int]]:
    """The groups with a living member, and the processes whose environment has the marker in it."""
    if not os.path.isdir("/proc/self"):  # not Linux: only the groups can be known
        return {group for group in groups if _signal_group(group, 0)}, set()
    left: set[int] = set()
    strays: set[int] = set()
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, _, group, *_ = file.read().rpartition(b")")[2].split()
            with open(f"/proc/{name}/environ", "rb") as file:
                environ = file.read()
        except (OSError, ValueError):
            continue
        if state in (b"Z", b"X"):
            continue
        if int(group) in groups:
            left.add(int(group))
        if marker and marker in environ:
            strays.add(int(name))
    return left, strays


def _signal_group(group: int, signum: int) -> bool:
    try:
        os.killpg(group, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal(pid: int, signum: int) -> None:
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return


if __name__ == "__main__":
    main()

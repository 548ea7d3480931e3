"""How many calls a second do these sessions get, one in flight on each?"""

import selectors
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.client import Lane
from benchmarks.messages import WrongAnswer, call, check_text, new_tag

LOAD_SECONDS = 120.0


class Caller:
    """One session that echoes a token after the other."""

    def __init__(self, lane: Lane, *, write: Callable[[int, str, str], bytes] = call) -> None:
        self.lane = lane
        self._write = write
        self._tag = new_tag()
        self._id = 0
        self._text = ""

    def send(self) -> None:
        """Begin the next call."""
        self._id += 1
        self._text = f"{self._tag}-{self._id}"
        self.lane.send(self._write(self._id, "echo", self._text))

    def receive(self) -> bool:
        """Read; whether the answer is there, and checked."""
        reply = self.lane.receive()
        if reply is None:
            return False
        check_text(reply, self._id, self._text)
        return True


@dataclass(frozen=True)
class Load:
    """What a burst of calls took.

    Attributes:
        seconds: From the first request to the last answer.
        client_busy: Share of that time in which this client computed. Near 1, it was the limit.
    """

    seconds: float
    client_busy: float


def run_calls(callers: Sequence[Caller], calls: int) -> Load:
    """Make this many calls in all; whoever has its answer sends the next.

    Raises:
        WrongAnswer: If one is not answered rightly, or all together take longer than `LOAD_SECONDS`.
    """
    with selectors.DefaultSelector() as selector:
        for caller in callers:
            selector.register(caller.lane.fileno(), selectors.EVENT_READ, caller)
        began, cpu = time.perf_counter(), time.process_time()
        to_send = calls
        to_come = calls
        for caller in callers[:calls]:
            caller.send()
            to_send -= 1
        while to_come:
            if time.perf_counter() - began > LOAD_SECONDS:
                raise WrongAnswer(f"{to_come} of {calls} calls were not answered in time")
            for key, _ in selector.select(1.0):
                caller = key.data
                if caller.receive():
                    to_come -= 1
                    if to_send:
                        to_send -= 1
                        caller.send()
        seconds = time.perf_counter() - began
        return Load(seconds, (time.process_time() - cpu) / seconds)

"""What one process that sessions share is told and asked, from its start to its end, without a process."""

import json
from types import SimpleNamespace
from typing import Any

from proxy.observe import Counts
from proxy.sessions.era import ServerEra
from proxy.sessions.limits import SessionLimits
from proxy.sessions.shared.child import SharedProcess
from tests.support.fake_link import FakeLink


async def test_a_start_that_takes_long_is_no_idleness() -> None:
    now = [100.0]
    process = SharedProcess(
        may_ask=False,
        newest_version=None,
        limits=SessionLimits(idle_timeout_seconds=5),
        counts=Counts(),
        era=ServerEra("auto"),
        clock=lambda: now[0],
        on_ended=lambda _: None,
    )
    fake: Any = SimpleNamespace(link=FakeLink(), pid=1, fault=None, stderr_tail=[])
    process.attach(fake)
    now[0] += 60
    result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
    process.hub.received([json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()])

    process.check(now[0] + 4.9)
    assert (process.settled.is_set(), process.ended.is_set()) == (True, False)
    process.check(now[0] + 5.1)
    assert process.end_reason == "idle"

"""A process whose start takes longer than the drain: its client is told, and it is ended as soon as it is there."""

import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest

from proxy import Bridge, Settings
from proxy.child import spawn
from proxy.child.spawn import Spawned
from proxy.child.spec import ChildSpec
from tests.support.asgi import PROGRAM, Response
from tests.support.children import is_alive
from tests.support.mcp import ACCEPT, encode, hello
from tests.support.modern import headers_of, tool

pytestmark = pytest.mark.processes

MESSAGES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "legacy": (hello(1), {"accept": ACCEPT, "content-type": "application/json"}),
    "modern": (tool(1, "echo"), headers_of(tool(1, "echo"))),
}


@pytest.mark.parametrize("era", MESSAGES)
async def test_a_start_that_outlasts_the_drain_is_503_and_leaves_nothing(
    era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go_on = threading.Event(), threading.Event()
    start, started = spawn._start, list[Spawned]()

    def start_late(spec: ChildSpec) -> Spawned:
        begun.set()
        assert may_go_on.wait(10)
        started.append(start(spec))
        return started[0]

    monkeypatch.setattr(spawn, "_start", start_late)
    message, headers = MESSAGES[era]
    response = Response("POST", headers, encode(message))
    bridge = Bridge(Settings(argv=("python3", "-I", "-S", PROGRAM), drain_timeout_seconds=0))
    with anyio.fail_after(20):
        async with bridge.run(), anyio.create_task_group() as tasks:
            tasks.start_soon(response.serve, bridge.asgi)
            assert await anyio.to_thread.run_sync(begun.wait, 10)
            async with anyio.create_task_group() as drain:
                drain.start_soon(bridge.drain)
                await anyio.wait_all_tasks_blocked()
                assert bridge.places.taken == 1
                may_go_on.set()

            assert bridge.places.taken == 0
            assert not is_alive(started[0].process.pid)
            await response.until_over()

    assert (response.status, response.json["id"], response.json["error"]["code"]) == (503, 1, -32603)
    assert "retry-after" in response.headers

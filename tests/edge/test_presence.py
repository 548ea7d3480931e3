"""Held requests are watched by one timer and one group of tasks: a fault of one must not reach the others."""

import anyio
import pytest
from starlette.types import Message

from proxy.edge.presence import Presence


class Client:
    """One held request."""

    def __init__(self) -> None:
        self.left = anyio.Event()
        self.is_gone = anyio.Event()
        self.has_begun = anyio.Event()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    def hold(self, presence: Presence) -> None:
        presence.hold(self.receive, commit_after_seconds=0.01, on_commit=self.has_begun.set, on_gone=self.is_gone.set)


class Unlucky(Client):
    """One whose every step fails."""

    async def receive(self) -> Message:
        raise OSError("a bug of the server's")

    def hold(self, presence: Presence) -> None:
        def fail() -> None:
            raise RuntimeError("a bug of ours")

        presence.hold(self.receive, commit_after_seconds=0.01, on_commit=fail, on_gone=fail)


async def test_a_fault_in_one_held_request_is_logged_and_the_others_are_watched_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    presence, other = Presence(lambda: None), Client()
    async with anyio.create_task_group() as tasks:
        presence.started(tasks)
        Unlucky().hold(presence)
        other.hold(presence)

        with anyio.fail_after(5):
            await other.has_begun.wait()
            other.left.set()
            await other.is_gone.wait()

        later = Client()
        later.hold(presence)
        with anyio.fail_after(5):
            await later.has_begun.wait()
        presence.stopped()
        tasks.cancel_scope.cancel()

    logged = {record.message for record in caplog.records}
    assert logged == {"response not begun", "watching a connection failed", "end of a connection not taken"}


async def test_a_fault_of_the_tick_does_not_stop_it() -> None:
    ticks: list[int] = []

    def fail() -> None:
        ticks.append(1)
        raise RuntimeError("a bug of ours")

    presence, client = Presence(fail), Client()
    async with anyio.create_task_group() as tasks:
        presence.started(tasks)
        client.hold(presence)
        with anyio.fail_after(5):
            while len(ticks) < 3:  # noqa: ASYNC110 (it tells nobody)
                await anyio.sleep(0.01)
            await client.has_begun.wait()
        presence.stopped()
        tasks.cancel_scope.cancel()

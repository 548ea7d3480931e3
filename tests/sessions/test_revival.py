"""What becomes of requests while a session has no child that is ready."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from msgspec import Raw

from proxy.child.link import ChildLink, Line
from proxy.errors import ChildRestarting, ProxyError
from proxy.observe import Counts
from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.messages import Request
from proxy.sessions.era import ServerEra
from proxy.sessions.exits import Exits
from proxy.sessions.limits import SessionLimits
from proxy.sessions.session import Session
from proxy.sessions.stream import Failure, Stream
from tests.support.fake_link import FakeLink

PATIENCE_SECONDS = 10.0
LARGE = "x" * 100_000
"""More than is held of what wants no answer."""


class ChildPipes(FakeLink, ChildLink):
    """The pipes of one child."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = anyio.Event()
        self.deliver: Callable[[list[Line]], None] = lambda _: None

    def deliver_to(self, on_lines: Callable[[list[Line]], None]) -> None:
        self.deliver = on_lines

    async def sent(self) -> None:
        await self.taken.wait()

    def says(self, **members: Any) -> None:
        self.deliver([json.dumps({"jsonrpc": "2.0", **members}).encode()])


class FakeChild:
    """A child of which a test says what it does."""

    pid = 1
    fault: ProxyError | None = None

    def __init__(self) -> None:
        self.link = ChildPipes()
        self.stderr_tail: list[str] = []


def request(method: str, **params: Any) -> Request:
    text = json.dumps({"jsonrpc": "2.0", "id": method, "method": method, "params": params})
    message = parse_client_message(text.encode())
    assert isinstance(message, Request)
    return message


async def opened() -> tuple[Session, FakeChild]:
    """A session that goes on with another child when this one is gone."""
    session = Session(
        limits=SessionLimits(stream_backlog_bytes=200_000),
        counts=Counts(),
        era=ServerEra("legacy"),
        exits=Exits("respawn"),
    )
    child = FakeChild()
    session.attach(child)
    await session.intake.begin([request("initialize")], stream_of(session))
    shake_hands(child)
    session.initialized("2025-11-25")
    return session, child


def stream_of(session: Session) -> Stream:
    return session.exchange.streams.new(Raw(b"1"))


def shake_hands(child: FakeChild) -> None:
    initialize = child.link.messages[0]
    assert initialize["method"] == "initialize"
    child.link.says(id=initialize["id"], result={"protocolVersion": "2025-11-25", "capabilities": {}})


def calls_of(child: FakeChild) -> list[Any]:
    return [message for message in child.link.messages if message["method"] == "tools/call"]


@pytest.mark.parametrize("text", ["", LARGE])
async def test_a_call_that_waits_for_a_child_to_read_waits_for_the_next_one_when_it_dies(text: str) -> None:
    session, child = await opened()
    child.link.pending = 1_000_000
    stream, second, third = stream_of(session), FakeChild(), FakeChild()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.intake.begin, [request("tools/call", name="echo", text=text)], stream)
            await anyio.wait_all_tasks_blocked()
            child.link.taken.set()  # nothing that waits for it is told that it was for want of a child
            session.child_gone(-9)
            await anyio.wait_all_tasks_blocked()
            assert session.exchange.calls_in_flight == 0
            session.attach(second)
            session.child_gone(-9)  # before it has shaken hands
            session.attach(third)
            shake_hands(third)

    assert [len(calls_of(each)) for each in (child, second, third)] == [0, 0, 1]
    third.link.says(id=calls_of(third)[0]["id"], result={})
    assert stream.has_ended
    assert session.intake.has_place


@pytest.mark.parametrize("text", ["", LARGE])
async def test_a_request_without_a_child_that_is_ready_is_answered_and_never_done(text: str) -> None:
    session, _ = await opened()
    session.child_gone(-9)
    stream, second = stream_of(session), FakeChild()
    session.intake._places.acquire_nowait()

    session.exchange.begin(request("tools/call", name="echo", text=text), stream)

    _, items = stream.take()
    assert isinstance(items[-1], Failure)
    assert isinstance(items[-1].error, ChildRestarting)
    assert session.exchange.calls_in_flight == 0
    session.attach(second)
    shake_hands(second)
    assert calls_of(second) == []

"""By which way a session reaches its child: with real children of every era."""

import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import Raw

from proxy.child import spawn
from proxy.child.spec import ChildSpec
from proxy.errors import ChildExited, ChildRestarting, ChildStartFailed, SessionNotFound
from proxy.observe import Counts
from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.messages import Notification, Request
from proxy.sessions import backoff
from proxy.sessions.era import ChildEra, ServerEra
from proxy.sessions.limits import SessionLimits
from proxy.sessions.manager import SessionManager
from proxy.sessions.places import Places
from proxy.sessions.session import Session
from proxy.sessions.stream import Ask, Failure, Stream

pytestmark = pytest.mark.processes

PROGRAM = Path(__file__).parents[1] / "programs" / "modern.py"
PATIENCE_SECONDS = 10.0

Json = dict[str, Any]

IDS = count(1)

MUTE = "import sys\nsys.stdin.read()\n"
"""Reads, and says nothing."""

REFUSES = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": json.loads(sys.argv[1])}), flush=True)
"""
"""Answers everything with one error."""


def program(*modes: str) -> tuple[str, ...]:
    """The test server of both eras."""
    return (sys.executable, "-I", "-S", str(PROGRAM), *modes)


def script(source: str, *args: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", source, *args)


class Server:
    """A manager of sessions, the command of whose children can be changed."""

    def __init__(self, argv: tuple[str, ...], era: ChildEra, limits: Json) -> None:
        self.argv = argv
        self.spec = ChildSpec(argv=argv, env=dict(os.environ), stdin_grace_seconds=0.3, term_grace_seconds=0.3)
        self.era = ServerEra(era)
        self.places = Places(max_children=8)
        self.manager = SessionManager(
            spec=self.spec,
            limits=SessionLimits(**limits),
            counts=Counts(),
            max_sessions=8,
            places=self.places,
            era=self.era,
        )

    def becomes(self, argv: tuple[str, ...]) -> None:
        """From now on children are started from this."""
        object.__setattr__(self.spec, "argv", argv)

    async def open(self, version: str = "2025-11-25") -> tuple[Session, Json]:
        """A session whose `initialize` was answered, and the answer. Published if that is a result."""
        session = await self.manager.open()
        capabilities: Json = {"elicitation": {}, "sampling": {}, "roots": {}}
        params = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "c", "version": "1"}}
        stream = await begin(session, "initialize", params)
        answer = await answer_on(stream)
        if "result" in answer:
            self.manager.publish(session, answer["result"]["protocolVersion"])
            tell(session, "notifications/initialized")
        return session, answer

    async def opened(self) -> Session:
        session, answer = await self.open()
        assert "result" in answer, answer
        return session


@asynccontextmanager
async def running(argv: tuple[str, ...], *, era: ChildEra = "auto", **limits: Any) -> AsyncIterator[Server]:
    """A manager whose children run `argv`; no process and no descriptor may be left when it has ended."""
    server = Server(argv, era, limits)
    fds = len(os.listdir("/proc/self/fd"))
    async with server.manager.run():
        yield server
    assert server.places.taken == 0
    assert server.places.house.pids() == set()
    assert len(os.listdir("/proc/self/fd")) <= fds + 4  # the loop's own, opened once for its thread


async def begin(session: Session, method: str, params: Any = None) -> Stream:
    """Send a request; its stream."""
    text = json.dumps({"jsonrpc": "2.0", "id": next(IDS), "method": method, "params": params or {}})
    message = parse_client_message(text.encode())
    assert isinstance(message, Request)
    stream = session.exchange.streams.new(Raw(b"1"))
    await session.intake.begin([message], stream)
    return stream


def tell(session: Session, method: str) -> None:
    message = parse_client_message(json.dumps({"jsonrpc": "2.0", "method": method}).encode())
    assert isinstance(message, Notification)
    session.exchange.notify(message)


async def answer_on(stream: Stream) -> Json:
    """Wait for the answer on a stream. Raises the error if it is a failure."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while not stream.has_ended:
            await stream.wait()
            if not stream.has_ended:
                stream.take()
    _, items = stream.take()
    if isinstance(items[-1], Failure):
        raise items[-1].error
    assert isinstance(items[-1], bytes)
    answer: Json = json.loads(items[-1])
    return answer


async def call(session: Session, tool: str, **arguments: Any) -> Json:
    """Call a tool; what it puts out."""
    answer = await answer_on(await begin(session, "tools/call", {"name": tool, "arguments": arguments}))
    found: Json = answer["result"]["structuredContent"]
    return found


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 (what is looked at tells nobody)
            await anyio.sleep(0.01)


def starts(tmp_path: Path) -> int:
    """How many children were started."""
    path = tmp_path / "starts"
    return len(path.read_text().splitlines()) if path.exists() else 0


# ---- finding out


async def test_a_server_without_a_handshake_is_served_by_the_process_that_refused_it(tmp_path: Path) -> None:
    """SC-10, SC-17: the era is found on the child that will be used, and no second one is started."""
    async with running(program("modern-only", f"starts-file={tmp_path}/starts")) as server:
        session, answer = await server.open()

        assert answer["result"]["protocolVersion"] == "2025-11-25"
        assert session.path.child_era == "modern"
        assert starts(tmp_path) == 1
        assert await call(session, "echo", a=1) == {"echo": {"a": 1}}
        assert (await call(session, "faults")) == {"faults": []}
        assert (server.era.speaks_modern, server.era.speaks_legacy) == (True, False)
        assert server.manager.roster.paths == [{"client": "legacy", "child": "modern", "sessions": 1}]


async def test_what_was_found_out_is_remembered_of_the_server() -> None:
    async with running(program("modern-only")) as server:
        await server.opened()
        session = await server.opened()

        lines = (await call(session, "seen"))["lines"]
        assert json.loads(lines[0])["method"] == "server/discover"


@pytest.mark.parametrize("mode", ["dual", "dual-ts", "legacy-only", "legacy-silent", "legacy-exits"])
async def test_a_server_with_a_handshake_gets_one_and_nothing_else_first(mode: str, tmp_path: Path) -> None:
    """SC-03, SC-17: some servers exit on anything that comes before."""
    async with running(program(mode, f"starts-file={tmp_path}/starts")) as server:
        session = await server.opened()

        assert session.path.child_era == "legacy"
        assert (await call(session, "client"))["era"] == "legacy"
        assert starts(tmp_path) == 1
        assert server.era.speaks_legacy is True
        assert server.manager.roster.paths == [{"client": "legacy", "child": "legacy", "sessions": 1}]


async def test_a_server_that_is_said_to_be_modern_is_never_asked_for_a_handshake() -> None:
    async with running(program("dual"), era="modern") as server:
        session = await server.opened()

        assert session.path.child_era == "modern"
        assert (await call(session, "client"))["era"] == "modern"
        lines = (await call(session, "seen"))["lines"]
        assert [line for line in lines if '"initialize"' in line] == []


async def test_a_server_that_is_said_to_be_legacy_is_taken_at_its_word() -> None:
    async with running(program("modern-only"), era="legacy") as server:
        _, answer = await server.open()

        assert answer["error"]["code"] == -32022
        assert server.era.speaks_legacy is True


@pytest.mark.parametrize("code", [-32602, -32000])
async def test_a_refusal_for_another_reason_is_the_clients(code: int) -> None:
    error = {"code": code, "message": "No API key", "data": {"a": 1}}
    async with running(script(REFUSES, json.dumps(error))) as server:
        _, answer = await server.open()

        assert answer["error"] == error
        assert (server.era.speaks_modern, server.era.speaks_legacy) == (None, None)


async def test_a_server_that_refuses_both_is_asked_once_for_each() -> None:
    error = {"code": -32022, "message": "Unsupported", "data": {"supported": ["2027-01-01"]}}
    async with running(script(REFUSES, json.dumps(error))) as server:
        _, answer = await server.open()

        assert answer["error"]["code"] == -32602
        assert answer["error"]["data"] == {"supported": ["2027-01-01"], "requested": "2025-11-25"}
        assert server.era.speaks_modern is None


async def test_a_server_that_has_become_another_is_found_out_again() -> None:
    """The verdict is checked again when it turns out wrong, on the same process."""
    async with running(program("modern-only")) as server:
        await server.opened()
        server.becomes(program("legacy-only"))

        session = await server.opened()
        assert session.path.child_era == "legacy"
        assert (server.era.speaks_modern, server.era.speaks_legacy) == (False, True)

        server.becomes(program("modern-only"))
        session = await server.opened()
        assert session.path.child_era == "modern"


async def test_a_verdict_that_leads_to_no_start_is_forgotten() -> None:
    """A server that exits, or says nothing, on the first message of an era is asked for the other one next time."""
    async with running(program("modern-only")) as server:
        await server.opened()
        server.becomes(program("legacy-exits"))

        with pytest.raises(ChildStartFailed):
            await server.open()

        assert (await server.opened()).path.child_era == "legacy"


# ---- children that die


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that died is replaced at once."""
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.0)


@pytest.mark.usefixtures("no_wait")
async def test_a_session_outlives_its_modern_child() -> None:
    """SC-11, SC-13. What was with the child fails at once."""
    async with running(program("modern-only")) as server:
        session = await server.opened()
        first = session.pid
        held = await begin(session, "tools/call", {"name": "hold"})

        with pytest.raises(ChildExited, match="code 3"):
            await call(session, "exit", code=3)
        with pytest.raises(ChildExited):
            await answer_on(held)

        assert not session.has_ended
        assert await call(session, "echo", a=1) == {"echo": {"a": 1}}
        assert session.pid != first
        assert server.places.house.pids() == {session.pid}
        assert (await call(session, "faults")) == {"faults": []}
        assert session.exchange.calls_in_flight == 0


@pytest.mark.usefixtures("no_wait")
async def test_a_new_child_is_listened_to_before_anything_is_asked_of_it() -> None:
    """SC-09."""
    async with running(program("modern-only")) as server:
        session = await server.opened()
        await answer_on(await begin(session, "resources/subscribe", {"uri": "note://1"}))

        with pytest.raises(ChildExited):
            await call(session, "exit")

        (listen,) = (await call(session, "open"))["listens"]
        assert listen["resourceSubscriptions"] == ["note://1"]


@pytest.mark.usefixtures("no_wait")
async def test_a_child_that_closes_its_output_and_lives_is_replaced_too(caplog: pytest.LogCaptureFixture) -> None:
    async with running(program("modern-only")) as server:
        session = await server.opened()
        first = session.pid
        source = "import os, sys, time\nos.close(1)\ntime.sleep(60)\n"
        server.becomes(script(source))
        with pytest.raises(ChildExited):
            await call(session, "exit")
        await until(lambda: session.pid != first)
        second = session.pid
        server.becomes(program("modern-only"))

        await until(lambda: session.pid != second)
        assert await call(session, "echo", a=1) == {"echo": {"a": 1}}
    gone = [record for record in caplog.records if "child of an open session is gone" in record.getMessage()]
    assert len(gone) == 2


@pytest.mark.usefixtures("no_wait")
async def test_a_call_that_waits_for_a_child_outwaits_one_that_dies_at_once(tmp_path: Path) -> None:
    async with running(program("modern-only"), place_timeout_seconds=60.0) as server:
        session = await server.opened()
        server.becomes(program("modern-only", "exit-on-discover=1", f"starts-file={tmp_path}/starts"))
        with pytest.raises(ChildExited):
            await call(session, "exit")
        answers: list[Json] = []

        async def echo() -> None:
            answers.append(await call(session, "echo", a=1))

        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(echo)
                before = starts(tmp_path)
                await until(lambda: starts(tmp_path) >= before + 2)
                server.becomes(program("modern-only"))

        assert answers == [{"echo": {"a": 1}}]


@pytest.mark.usefixtures("no_wait")
async def test_a_child_that_can_not_be_started_is_tried_again() -> None:
    async with running(program("modern-only")) as server:
        session = await server.opened()
        server.becomes(("/nowhere/at-all",))
        with pytest.raises(ChildExited):
            await call(session, "exit")
        await until(lambda: server.places.house.pids() == set())
        server.becomes(program("modern-only"))

        assert await call(session, "echo", a=1) == {"echo": {"a": 1}}


async def test_calls_wait_for_a_new_child_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 600.0)
    monkeypatch.setattr(backoff, "LAST_SECONDS", 600.0)
    async with running(program("modern-only"), place_timeout_seconds=0.2) as server:
        session = await server.opened()
        with pytest.raises(ChildExited):
            await call(session, "exit")

        with pytest.raises(ChildRestarting):
            await call(session, "echo")
        assert (await answer_on(await begin(session, "ping")))["result"] == {}
        assert session.exchange.calls_in_flight == 0


@pytest.mark.usefixtures("no_wait")
async def test_a_new_child_that_says_nothing_is_replaced() -> None:
    async with running(program("modern-only"), start_timeout_seconds=0.3) as server:
        session = await server.opened()
        server.becomes(script(MUTE))
        with pytest.raises(ChildExited):
            await call(session, "exit")
        await until(lambda: session.pid is not None and session.pid in server.places.house.pids())
        mute = session.pid
        server.becomes(program("modern-only"))

        await until(lambda: session.pid != mute)
        assert await call(session, "echo", a=1) == {"echo": {"a": 1}}


@pytest.mark.usefixtures("no_wait")
async def test_a_new_child_that_speaks_another_revision_ends_the_session() -> None:
    """Its client starts over, and the next session finds out what the server is now."""
    async with running(program("modern-only")) as server:
        session = await server.opened()
        server.becomes(program("legacy-only"))
        with pytest.raises(ChildExited):
            await call(session, "exit")

        with anyio.fail_after(PATIENCE_SECONDS):
            await session.ended.wait()
        assert (await server.opened()).path.child_era == "legacy"


async def test_a_session_can_end_while_it_has_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 600.0)
    monkeypatch.setattr(backoff, "LAST_SECONDS", 600.0)
    async with running(program("modern-only")) as server:
        session = await server.opened()
        with pytest.raises(ChildExited):
            await call(session, "exit")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(refused, session)
            await until(lambda: session.exchange._queued != {})
            server.manager.roster.end(session, "test")

        await until(lambda: server.manager.roster.child_count == 0)


async def refused(session: Session) -> None:
    """A call that waits for a child of a session that ends is told so at once."""
    with anyio.fail_after(PATIENCE_SECONDS / 2), pytest.raises(SessionNotFound):
        await call(session, "echo")


@pytest.mark.usefixtures("no_wait")
async def test_a_session_can_end_while_its_next_child_is_being_started(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(program("modern-only")) as server:
        session = await server.opened()
        start, is_starting, may_start = spawn._start, threading.Event(), threading.Event()

        def slowly(child: ChildSpec) -> Any:
            is_starting.set()
            may_start.wait(PATIENCE_SECONDS)
            return start(child)

        monkeypatch.setattr(spawn, "_start", slowly)
        with pytest.raises(ChildExited):
            await call(session, "exit")
        await until(is_starting.is_set)

        server.manager.roster.end(session, "test")
        may_start.set()

        await until(lambda: server.manager.roster.child_count == 0)


async def test_a_session_with_a_legacy_child_still_ends_with_it() -> None:
    async with running(program("legacy-only")) as server:
        session = await server.opened()
        assert session.pid is not None

        os.kill(session.pid, signal.SIGKILL)

        with anyio.fail_after(PATIENCE_SECONDS):
            await session.ended.wait()
        assert session.end_reason == "child exited"


# ---- questions


async def test_a_server_that_wants_to_be_asked_again_is() -> None:
    """Spec: 2026-07-28 basic/patterns/mrtr, load shedding."""
    async with running(program("modern-only")) as server:
        session = await server.opened()

        assert await call(session, "state-only", times=3) == {"rounds": [{}, {}, {}]}


async def test_a_question_is_asked_on_the_stream_of_its_call() -> None:
    """HL-09. Two calls are open, and each is asked what it has to be asked."""
    async with running(program("modern-only")) as server:
        session = await server.opened()
        held = await begin(session, "tools/call", {"name": "hold"})
        streams = [
            await begin(session, "tools/call", {"name": "ask-elicit", "arguments": {"message": text}})
            for text in ("one", "two")
        ]
        for text, stream in zip(("one", "two"), streams, strict=True):
            with anyio.fail_after(PATIENCE_SECONDS):
                await stream.wait()
            _, (question,) = stream.take()
            assert isinstance(question, Ask)
            assert json.loads(question.message)["params"]["message"] == text
        assert held.items == []

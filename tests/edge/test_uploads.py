"""Which bodies are read, and what becomes of those that are too large, too slow, or too many at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from proxy.edge import uploads as uploads_module
from proxy.edge.uploads import ClientGone, Uploads
from proxy.errors import BodyStalled, BodyTooLarge, ProxyError, TooManyUploads
from proxy.observe import Counts
from tests.support.asgi import Response, embedded, headers_of
from tests.support.mcp import PATIENCE_SECONDS, call, encode, request


def made(**limits: Any) -> Uploads:
    usual = {"max_body_bytes": 10, "max_size_bytes": 1000, "stall_timeout_seconds": 60.0, "min_rate_bytes": 1}
    return Uploads(**{**usual, **limits}, counts=Counts())


@asynccontextmanager
async def watched(**limits: Any) -> AsyncIterator[tuple[Uploads, TaskGroup]]:
    """Uploads that are looked at often, and a group for what happens beside them."""
    uploads = made(**limits)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(uploads.watch)
        yield uploads, tasks
        tasks.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads_module, "CHECK_SECONDS", 0.01)


class Parts:
    """An ASGI `receive` that gives a body in parts, and counts what was asked for."""

    def __init__(self, *parts: bytes, disconnect: bool = False) -> None:
        self._messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": index < len(parts) - 1 or disconnect}
            for index, part in enumerate(parts)
        ]
        if disconnect:
            self._messages.append({"type": "http.disconnect"})
        self.taken = 0

    async def __call__(self) -> dict[str, Any]:
        self.taken += 1
        return self._messages.pop(0)


class Sender:
    """A client that sends a body as it is told, and what became of it."""

    def __init__(self, uploads: Uploads, tasks: TaskGroup) -> None:
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._uploads = uploads
        self.taken = 0
        self.body: bytes | None = None
        self.error: ProxyError | None = None
        tasks.start_soon(self._run)

    async def sends(self, part: bytes, *, ends: bool = False) -> None:
        """Send a part; waits until it was taken and the next is waited for, or the body is done with."""
        self._messages.put_nowait({"type": "http.request", "body": part, "more_body": not ends})
        await anyio.wait_all_tasks_blocked()

    async def until(self, is_so: Callable[[], Any]) -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            while not is_so():  # noqa: ASYNC110 (that is what this is for)
                await anyio.sleep(0.005)

    async def _run(self) -> None:
        try:
            self.body = await self._uploads.read(self._messages.get, {})
        except ProxyError as error:
            self.error = error


# ---- size


@pytest.mark.parametrize("parts", [[b"0123456789"], [b"01234", b"56789"], [b"", b"0123456789", b""]])
async def test_a_body_of_just_the_limit_is_read(parts: list[bytes]) -> None:
    uploads = made()

    assert await uploads.read(Parts(*parts), {}) == b"0123456789"
    assert uploads.size_bytes == 0


@pytest.mark.parametrize("parts", [[b"01234567890"], [b"0123456789", b"0", b"x"], [b"01234567890", b"x"]])
async def test_a_body_over_the_limit_is_refused_while_it_arrives(parts: list[bytes]) -> None:
    receive, uploads = Parts(*parts), made()

    with pytest.raises(BodyTooLarge):
        await uploads.read(receive, {b"content-length": b"5"})

    assert receive.taken <= 2
    assert uploads.size_bytes == 0


@pytest.mark.parametrize("length", [b"11", b"99999999999999999999999999"])
async def test_a_body_that_is_said_to_be_too_large_is_not_read(length: bytes) -> None:
    receive = Parts(b"x")

    with pytest.raises(BodyTooLarge):
        await made().read(receive, {b"content-length": length})

    assert receive.taken == 0


@pytest.mark.parametrize("parts", [[], [b"01"]])
async def test_a_client_that_leaves_in_mid_body_is_noticed(parts: list[bytes]) -> None:
    uploads = made()

    with pytest.raises(ClientGone):
        await uploads.read(Parts(*parts, disconnect=True), {})

    assert uploads.size_bytes == 0


# ---- time


@pytest.mark.parametrize("parts", [[], [b"01"], [b""]])
async def test_a_body_that_stalls_is_given_up(parts: list[bytes]) -> None:
    async with watched(stall_timeout_seconds=0.05) as (uploads, tasks):
        sender = Sender(uploads, tasks)
        for part in parts:
            await sender.sends(part)

        await sender.until(lambda: sender.error)
        assert isinstance(sender.error, BodyStalled)
        assert uploads.size_bytes == 0


async def test_a_body_that_comes_slowly_and_steadily_is_read() -> None:
    """It takes several times as long as it may stall."""
    async with watched(stall_timeout_seconds=0.3, min_rate_bytes=1) as (uploads, tasks):
        sender = Sender(uploads, tasks)
        for part in (b"%d" % number for number in range(9)):
            await sender.sends(part)
            await anyio.sleep(0.1)
        await sender.sends(b"9", ends=True)

        await sender.until(lambda: sender.body or sender.error)
        assert sender.body == b"0123456789"


async def test_a_body_that_trickles_is_given_up() -> None:
    """Something comes all the time, and it would take for ever."""
    async with watched(max_body_bytes=1000, stall_timeout_seconds=0.2, min_rate_bytes=1000) as (uploads, tasks):
        sender = Sender(uploads, tasks)

        with anyio.fail_after(PATIENCE_SECONDS):
            while sender.error is None:
                await sender.sends(b"x")
                await anyio.sleep(0.02)
        assert isinstance(sender.error, BodyStalled)


async def test_a_cancellation_by_the_server_is_none_of_ours() -> None:
    uploads = made()
    async with anyio.create_task_group() as tasks:
        sender = Sender(uploads, tasks)
        await sender.sends(b"01")
        tasks.cancel_scope.cancel()

    assert (sender.body, sender.error, uploads.size_bytes) == (None, None, 0)


# ---- all together


async def test_bodies_that_move_keep_the_room_they_have() -> None:
    async with watched(max_size_bytes=16) as (uploads, tasks):
        first, second = Sender(uploads, tasks), Sender(uploads, tasks)
        await first.sends(b"01234567")
        await second.sends(b"01234567")
        third = Sender(uploads, tasks)
        await third.sends(b"0")

        assert isinstance(third.error, TooManyUploads)
        await first.sends(b"89", ends=True)
        assert first.body == b"0123456789"  # its last part need not be kept
        fourth = Sender(uploads, tasks)
        await fourth.sends(b"01234567")
        assert (second.error, fourth.error, uploads.size_bytes) == (None, None, 16)
        for each in (second, fourth):
            await each.sends(b"", ends=True)
        assert (second.body, uploads.size_bytes) == (b"01234567", 0)


async def test_bodies_that_stand_still_make_room_for_one_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a few clients that send nothing would keep all others out."""
    monkeypatch.setattr(uploads_module, "_IDLE_SECONDS", 0.05)
    async with watched(max_size_bytes=20) as (uploads, tasks):
        stalled = [Sender(uploads, tasks), Sender(uploads, tasks)]
        for each in stalled:
            await each.sends(b"0123456789")
            await anyio.sleep(0.1)
        moves = Sender(uploads, tasks)
        await moves.sends(b"01234")
        await stalled[0].until(lambda: stalled[0].error)

        assert isinstance(stalled[0].error, TooManyUploads)
        assert (stalled[1].error, moves.error, uploads.size_bytes) == (None, None, 15)
        await moves.sends(b"56789", ends=True)
        assert moves.body == b"0123456789"


async def test_what_comes_in_one_piece_needs_no_room() -> None:
    async with watched(max_size_bytes=10) as (uploads, tasks):
        full = Sender(uploads, tasks)
        await full.sends(b"0123456789")

        assert await uploads.read(Parts(b"0123456789"), {}) == b"0123456789"


# ---- what clients of an embedded bridge get


@pytest.mark.processes
async def test_every_refusal_has_a_status_and_says_that_the_connection_ends() -> None:
    limits = {"max_body_bytes": 1024, "max_uploads_size_bytes": 1024, "upload_stall_timeout_seconds": 5.0}
    async with embedded(**limits) as (app, client), anyio.create_task_group() as tasks:
        waiting = Response("POST", headers_of(client), b"x" * 600, ends=False)
        tasks.start_soon(waiting.serve, app)
        await waiting.until_read()
        crowded = Response("POST", headers_of(client), b"x" * 600, ends=False)
        large = Response("POST", headers_of(client), b"x" * 1025)
        for each in (crowded, large):
            await each.serve(app)
        await waiting.until_over()

        assert [each.status for each in (waiting, crowded, large)] == [408, 503, 413]
        assert {each.headers["connection"] for each in (waiting, crowded, large)} == {"close"}
        assert crowded.headers["retry-after"].isdigit()
        assert await client.answer(request(7, "ping")) == {"jsonrpc": "2.0", "id": 7, "result": {}}


@pytest.mark.processes
async def test_a_call_whose_body_comes_bit_by_bit_is_served() -> None:
    async with embedded() as (app, client):
        parts = [bytes([byte]) for byte in encode(call(1, "echo", text="x"))]
        response = Response("POST", headers_of(client), *parts)
        await response.serve(app)

        assert (response.status, b'{"text":"x"}' in response.body.replace(b" ", b"")) == (200, True)


async def test_a_fault_of_the_watch_does_not_stop_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It shares a task group with everything else."""
    looks: list[float] = []

    def fail(now: float) -> None:
        looks.append(now)
        raise RuntimeError("a bug")

    async with watched() as (uploads, _):
        monkeypatch.setattr(uploads, "_check", fail)
        with anyio.fail_after(5):
            while len(looks) < 2:  # noqa: ASYNC110 (it tells nobody)
                await anyio.sleep(0.01)

    assert "uploads not looked at" in caplog.text

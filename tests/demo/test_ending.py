"""How the demo server starts and ends."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from anyio.abc import Process

from tests.demo.raw import PATIENCE_SECONDS, RawClient, call, open_demo, request

IMPORTED_LATE = ("asyncio", "anyio", "starlette", "pydantic", "msgspec", "uvicorn")


@asynccontextmanager
async def _open_with_own_stdout() -> AsyncIterator[tuple[Process, int]]:
    """Start the demo server with a pipe as stdout that nobody reads behind our back, and give its end."""
    stdout, other_end = os.pipe()
    try:
        process = await anyio.open_process([sys.executable, "-m", "proxy.demo"], stdout=other_end)
    finally:
        os.close(other_end)
    async with process:
        try:
            yield process, stdout
        finally:
            if process.returncode is None:
                process.kill()
            with suppress(OSError):  # The test may have closed it.
                os.close(stdout)


async def _write(process: Process, message: dict[str, Any]) -> None:
    assert process.stdin is not None
    with anyio.fail_after(PATIENCE_SECONDS):
        await process.stdin.send(json.dumps(message).encode() + b"\n")


async def _keep_busy(demo: RawClient) -> None:
    """Have one call that waits for time and one that waits for the client."""
    await demo.initialize("2025-11-25", {"sampling": {}})
    await demo.write(call(1, "slow", steps=1000, seconds=60), call(2, "sample", prompt="Hi"))
    assert (await demo.read())["method"] == "sampling/createMessage"


async def test_it_ends_on_eof_with_calls_running() -> None:
    """Spec: 2025-11-25 basic/lifecycle, Shutdown, stdio."""
    async with open_demo() as demo:
        await _keep_busy(demo)

        await demo.end_stdin()

        assert await demo.read_to_end() == (b"", "", 0)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_quietly_on_a_signal_with_calls_running(signum: signal.Signals) -> None:
    """Spec: 2025-11-25 basic/lifecycle, Shutdown, stdio."""
    async with open_demo() as demo:
        await _keep_busy(demo)

        demo.process.send_signal(signum)

        assert await demo.read_to_end() == (b"", "", 0)


async def test_it_ends_quietly_on_sigterm_while_the_client_does_not_read() -> None:
    """Ours: a full pipe must not make it deaf."""
    async with _open_with_own_stdout() as (process, stdout):
        # The answer repeats the name, which is more than a pipe takes.
        await _write(process, request(1, "x" * 2_000_000))
        with anyio.fail_after(PATIENCE_SECONDS):
            await anyio.wait_readable(stdout)

        process.terminate()

        with anyio.fail_after(PATIENCE_SECONDS):
            assert await process.wait() == 0


async def test_it_ends_quietly_when_nobody_reads_its_stdout_any_more() -> None:
    """Ours."""
    async with _open_with_own_stdout() as (process, stdout):
        os.close(stdout)

        await _write(process, request(1, "ping"))

        assert process.stderr is not None
        with anyio.fail_after(PATIENCE_SECONDS):
            with pytest.raises(anyio.EndOfStream):
                await process.stderr.receive()
            assert await process.wait() == 0


async def test_all_that_was_asked_before_eof_is_answered() -> None:
    """Ours: so it can be tried with a pipe in a shell."""
    async with open_demo() as demo:
        await demo.initialize("2025-11-25")

        await demo.write(*(call(number, "echo", text="x") for number in range(50)))
        await demo.end_stdin()

        rest, log, status = await demo.read_to_end()
        assert (rest.count(b"\n"), log, status) == (50, "", 0)


async def test_it_imports_nothing_slow() -> None:
    """Ours: it starts in milliseconds because of what it does not import."""
    code = "import sys, proxy.demo.__main__; sys.stdout.write(' '.join(sys.modules))"

    with anyio.fail_after(PATIENCE_SECONDS):
        done = await anyio.run_process([sys.executable, "-c", code])

    assert not set(IMPORTED_LATE) & set(done.stdout.decode().split())

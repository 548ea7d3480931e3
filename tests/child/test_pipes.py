"""Reading and writing a pipe without waiting, with real pipes."""

import os
import tracemalloc

import anyio

from proxy.child.pipes import PIPE_BYTES, PipeReader, PipeWriter


async def test_what_the_pipe_does_not_take_is_written_later_whole_and_in_order() -> None:
    read_fd, write_fd = os.pipe()
    writer = PipeWriter(write_fd, on_broken=lambda: None)
    sent = [b"%d" % i + b"x" * 50_000 + b"\n" for i in range(20)]
    for message in sent:
        writer.write(message)
    assert writer.pending_bytes > 0

    got: list[bytes] = []
    reader = PipeReader(read_fd, on_data=got.append, on_eof=lambda: None)
    with anyio.fail_after(5):
        await writer.emptied()
    reader.drain()

    assert b"".join(got) == b"".join(sent)
    assert writer.pending_bytes == 0
    assert writer.stuck_seconds() == 0
    writer.close()
    reader.close()


async def test_short_and_long_lines_stay_in_order() -> None:
    read_fd, write_fd = os.pipe()
    writer = PipeWriter(write_fd, on_broken=lambda: None)
    lengths = [PIPE_BYTES, 1, 70_000, 2, 3, 65_535, 4, 65_536, 5, *range(200, 1200), 100_000, 6]
    sent = [b"%d:" % number + b"x" * length + b"\n" for number, length in enumerate(lengths)]
    for line in sent:
        writer.write(line)
    assert writer.pending_bytes > 0

    got: list[bytes] = []
    reader = PipeReader(read_fd, on_data=got.append, on_eof=lambda: None)
    with anyio.fail_after(5):
        await writer.emptied()
    reader.drain()

    assert b"".join(got) == b"".join(sent)
    writer.close()
    reader.close()


async def test_many_short_lines_that_wait_take_little_more_than_their_bytes() -> None:
    read_fd, write_fd = os.pipe()
    writer = PipeWriter(write_fd, on_broken=lambda: None)
    writer.write(b"x" * PIPE_BYTES)
    tracemalloc.start()
    try:
        for number in range(100_000):
            writer.write(b"%039d\n" % number)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert writer.pending_bytes >= 4_000_000
    assert used < 1.5 * 4_000_000
    writer.close()
    os.close(read_fd)


async def test_a_reader_that_is_gone_breaks_the_pipe_once() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    broken: list[bool] = []
    writer = PipeWriter(write_fd, on_broken=lambda: broken.append(True))

    writer.write(b"one\n")
    writer.write(b"two\n")

    assert broken == [True]
    assert not writer.is_open


async def test_a_reader_that_closes_is_noticed_without_a_write() -> None:
    """What it was sent before, it may never have read."""
    read_fd, write_fd = os.pipe()
    broken = anyio.Event()
    writer = PipeWriter(write_fd, on_broken=broken.set)
    writer.write(b"one\n")

    os.close(read_fd)
    with anyio.fail_after(5):
        await broken.wait()

    assert not writer.is_open


async def test_a_wait_for_an_empty_pipe_ends_when_it_is_closed_or_cancelled() -> None:
    read_fd, write_fd = os.pipe()
    writer = PipeWriter(write_fd, on_broken=lambda: None)
    writer.write(b"x" * 4 * PIPE_BYTES)

    with anyio.move_on_after(0.01) as scope:
        await writer.emptied()
    assert scope.cancelled_caught

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.emptied)
        await anyio.wait_all_tasks_blocked()
        writer.close()

    assert writer.pending_bytes == 0
    os.close(read_fd)


async def test_a_paused_reader_leaves_the_bytes_in_the_pipe() -> None:
    read_fd, write_fd = os.pipe()
    got: list[bytes] = []
    reader = PipeReader(read_fd, on_data=got.append, on_eof=lambda: None)
    reader.pause()

    os.write(write_fd, b"later")
    await anyio.wait_all_tasks_blocked()
    assert got == []
    reader.drain()

    assert got == [b"later"]
    reader.close()
    os.close(write_fd)


async def test_the_end_of_the_file_is_told_once_after_the_last_bytes() -> None:
    read_fd, write_fd = os.pipe()
    events: list[bytes | str] = []
    ended = anyio.Event()

    def on_eof() -> None:
        events.append("eof")
        ended.set()

    reader = PipeReader(read_fd, on_data=events.append, on_eof=on_eof)

    os.write(write_fd, b"last")
    os.close(write_fd)
    with anyio.fail_after(5):
        await ended.wait()
    reader.close()

    assert events == [b"last", "eof"]


async def test_draining_a_pipe_whose_writer_never_stops_is_bounded() -> None:
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    total = 0

    def refill(data: bytes) -> None:
        nonlocal total
        total += len(data)
        try:
            os.write(write_fd, b"x" * 65536)
        except BlockingIOError:
            return

    reader = PipeReader(read_fd, on_data=refill, on_eof=lambda: None)
    os.write(write_fd, b"x" * 65536)
    reader.drain()

    assert 2 * PIPE_BYTES <= total < 2 * PIPE_BYTES + 65536 * 2
    reader.close()
    os.close(write_fd)

"""A change of the file is noticed however it comes, once, and not before it is complete."""

import os
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
import watchfiles

from proxy.config import watch
from proxy.config.watch import changes, stamp_of


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_MS", 50)
    monkeypatch.setattr(watch, "COMPLETE_MS", 200)
    monkeypatch.setattr(watch, "COMPARE_MS", 500)


def mounted(folder: Path) -> Path:
    """A file as a ConfigMap is mounted: a link to a link to a folder."""
    version(folder, "..v1", "one")
    (folder / "..data").symlink_to("..v1")
    (folder / "c.json").symlink_to("..data/c.json")
    return folder / "c.json"


def version(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir()
    (folder / name / "c.json").write_text(text)


def swap(path: Path, nth: int) -> None:
    """As the kubelet does it."""
    folder = path.parent
    version(folder, f"..v{nth}", f"version {nth}")
    (folder / "..new").symlink_to(f"..v{nth}")
    os.replace(folder / "..new", folder / "..data")


def rename(path: Path, nth: int) -> None:
    (path.parent / "new").write_text(f"version {nth}")
    os.replace(path.parent / "new", path)


def write(path: Path, nth: int) -> None:
    path.write_text(f"version {nth}")


def remove(path: Path, nth: int) -> None:
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("change", [write, rename, swap, remove])
async def test_a_change_is_noticed_however_it_comes(
    tmp_path: Path, change: Callable[[Path, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "COMPARE_MS", 60_000)
    path = mounted(tmp_path)

    async def go_on_changing() -> None:
        for nth in range(2, 1000):  # nothing tells when it is looked at for the first time
            await anyio.sleep(2 * watch.COMPLETE_MS / 1000)
            change(path, nth)

    async with aclosing(changes(path, stamp_of(path))) as seen, anyio.create_task_group() as tasks:
        tasks.start_soon(go_on_changing)
        with anyio.fail_after(10):
            await anext(seen)
        tasks.cancel_scope.cancel()


async def test_a_change_before_it_is_looked_at_is_noticed_too(tmp_path: Path) -> None:
    path = mounted(tmp_path)
    known = stamp_of(path)
    swap(path, 2)

    async with aclosing(changes(path, known)) as seen:
        with anyio.fail_after(10):
            await anext(seen)


async def test_a_file_that_is_being_written_is_told_of_once_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "COMPLETE_MS", 1500)
    path = tmp_path / "c.json"
    path.write_text("one")

    async def write() -> None:
        with path.open("w") as file:
            for _ in range(20):  # never resting for as long as one that is complete
                file.write("x")
                file.flush()
                await anyio.sleep(0.02)

    async with aclosing(changes(path, stamp_of(path))) as seen, anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        with anyio.fail_after(10):
            await anext(seen)

        assert path.read_text() == "x" * 20


async def test_one_that_was_away_is_told_of_when_it_goes_and_when_it_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text("one")
    async with aclosing(changes(path, stamp_of(path))) as seen:
        path.unlink()
        with anyio.fail_after(10):
            await anext(seen)
        path.write_text("one again")
        with anyio.fail_after(10):
            await anext(seen)


async def test_a_watch_that_fails_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shares a task group with everything that the daemon does."""
    path = tmp_path / "c.json"
    path.write_text("one")
    faults: list[Exception] = [PermissionError(), RuntimeError()]
    real = watchfiles.awatch

    def fail_at_first(*args: Any, **kwargs: Any) -> Any:
        if faults:
            raise faults.pop()
        return real(*args, **kwargs)

    monkeypatch.setattr(watchfiles, "awatch", fail_at_first)
    known = stamp_of(path)
    async with aclosing(changes(path, known)) as seen:
        path.write_text("two!")
        with anyio.fail_after(10):
            await anext(seen)
        path.write_text("three")
        with anyio.fail_after(10):
            await anext(seen)

    assert faults == []

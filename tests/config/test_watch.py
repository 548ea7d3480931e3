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


def swap(path: Path) -> None:
    """As the kubelet does it."""
    folder = path.parent
    version(folder, "..v2", "two")
    (folder / "..new").symlink_to("..v2")
    os.replace(folder / "..new", folder / "..data")
    (folder / "..v1" / "c.json").unlink()
    (folder / "..v1").rmdir()


def rename(path: Path) -> None:
    (path.parent / "new").write_text("one")
    os.replace(path.parent / "new", path)


@pytest.mark.parametrize(
    "change",
    [lambda path: path.write_text("two!"), rename, swap, lambda path: path.unlink()],
    ids=["written", "renamed", "swapped", "gone"],
)
async def test_a_change_is_noticed_however_it_comes(tmp_path: Path, change: Callable[[Path], object]) -> None:
    path = mounted(tmp_path)
    seen = changes(path, stamp_of(path))
    change(path)

    with anyio.fail_after(10):
        await anext(seen)
    await seen.aclose()


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

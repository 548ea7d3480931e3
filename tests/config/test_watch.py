"""A change of the file is noticed however it comes, once, and not before it is complete."""

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from proxy.config import watch
from proxy.config.watch import News, changes, stamp_of


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.05)


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


@pytest.mark.parametrize(
    ("looks", "news"),
    [
        ("aaa", "..."),
        ("bbb", ".!."),
        ("bcdd", "...!"),  # a file that is being written
        ("baa", "..."),
        ("bbaa", ".!.!"),
        ("b b b", "....."),  # a gap, between two versions of an editor
        ("  bb", ".!.!"),  # it was away for long
    ],
)
def test_a_version_is_news_once_when_it_is_complete(looks: str, news: str) -> None:
    found = News((ord("a"),))

    assert "".join("!" if found.is_in((ord(look),) if look != " " else None) else "." for look in looks) == news

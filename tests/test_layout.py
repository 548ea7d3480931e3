"""Who may import whom? The picture in ARCHITECTURE.md, checked against the package.

cli, server ─► edge ─► sessions ─► child ─► protocol ─► errors; `settings` stops at the composition root.
"""

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "proxy"

LEAVES = {"errors", "observe"}

BELOW: dict[str, set[str]] = {
    "protocol": {"errors"},
    "child": {"protocol", *LEAVES},
    "sessions": {"child", "protocol", "version", *LEAVES},
    "edge": {"sessions", "child", "protocol", "version", *LEAVES},
    "demo": {"version"},
    "errors": set(),
    "observe": set(),
    "version": set(),
    "units": set(),
    "logs": {"units"},
    "config": {"settings", "sources", "units"},
    "shapes": {"units"},
    "settings": {"shapes", "sources"},
    "sources": {"foreign_flags", "shapes", "units", "settings", "config"},
    "foreign_flags": set(),
    "descriptors": set(),
    "memory": set(),
    "http1": {"edge", *LEAVES},
    "listener": {"http1", *LEAVES},
    "announce": {"edge", "child"},
    "server": {
        "announce",
        "descriptors",
        "memory",
        "http1",
        "listener",
        "edge",
        "config",
        "sessions",
        "child",
        "settings",
        "logs",
        *LEAVES,
    },
    "cli": {"server", "settings", "sources", "logs", "units", "version"},
    "__main__": {"cli"},
    "__init__": {"edge", "settings", "version"},
}
"""Room or module -> the others that it may import. One that is not here has no place in the picture yet."""

ALSO: dict[str, set[str]] = {
    "edge/bridge.py": {"settings", "config"},
    "edge/served.py": {"settings"},
    "edge/limits.py": {"settings"},
}
"""The composition root builds everything below from the settings."""

ONLY_IN: dict[str, str] = {
    "starlette": "edge/*",
    "sse_starlette": "edge/sse.py",
    "uvicorn": "server.py http1.py",
    "uvloop": "server.py",
    "prometheus_client": "edge/middleware/metrics.py",
    "pydantic_settings": "settings.py",
    "subprocess": "child/*",
}
"""Library -> the only files that may import it."""

IMPURE = {
    *("anyio", "asyncio", "concurrent", "datetime", "io", "logging", "os", "pathlib", "random", "secrets", "select"),
    *(
        "selectors",
        "signal",
        "socket",
        "ssl",
        "starlette",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "uuid",
    ),
}
"""What `protocol` never touches: the event loop, the clock, the log, the system."""


class Import(NamedTuple):
    """One import of one file."""

    file: str
    name: str

    @property
    def library(self) -> str:
        return self.name.partition(".")[0]

    @property
    def room(self) -> str:
        """The room or module of ours that is imported; empty if it is none of ours."""
        return (self.name.split(".") + ["__init__"])[1] if self.library == "proxy" else ""


def imports(package: Path) -> Iterator[Import]:
    """Every import in every file, those inside of functions and of `TYPE_CHECKING` too."""
    for path in sorted(package.rglob("*.py")):
        file = path.relative_to(package).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(file, alias.name)
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                for alias in node.names:  # `from proxy import errors` names a module, too
                    yield Import(file, f"{base}.{alias.name}" if base == "proxy" else base)


def room_of(file: str) -> str:
    """The room of a file; for a module beside the rooms, its own name."""
    return file.partition("/")[0].removesuffix(".py")


def is_there(each: Import) -> bool:
    """Whether a library that only some files may import is imported by one of them."""
    return any(fnmatchcase(each.file, pattern) for pattern in ONLY_IN[each.library].split())


def faults(package: Path) -> list[str]:
    """Everything in this package that is not as it is drawn."""
    found = [f"{room} has no place" for room in sorted({room_of(file) for file in files(package)} - BELOW.keys())]
    for each in imports(package):
        room = room_of(each.file)
        allowed = BELOW.get(room, set()) | ALSO.get(each.file, set()) | {room}
        is_a_fault = (
            each.name.startswith(".")
            or (each.room and each.room not in allowed)
            or (each.library in ONLY_IN and not is_there(each))
            or (room == "protocol" and each.library in IMPURE)
        )
        if is_a_fault:
            found.append(f"{each.file} imports {each.name}")
    return found


def files(package: Path) -> list[str]:
    return sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))


def test_every_import_goes_the_way_it_is_drawn() -> None:
    assert faults(PACKAGE) == []


def test_sse_starlette_is_imported_in_exactly_one_file() -> None:
    assert {each.file for each in imports(PACKAGE) if each.library == "sse_starlette"} == {"edge/sse.py"}


def test_uvicorn_is_imported_where_the_daemon_is_and_nowhere_else() -> None:
    assert {each.file for each in imports(PACKAGE) if each.library == "uvicorn"} == {"server.py", "http1.py"}


def test_the_rooms_are_there() -> None:
    """An empty or moved package would pass everything above."""
    assert {"protocol", "child", "sessions", "edge", "demo"} <= {room_of(file) for file in files(PACKAGE)}
    assert len(list(imports(PACKAGE))) > 200


# ---- the test of the test

ALLOWED: list[tuple[str, str]] = [
    ("protocol/ids.py", "import json"),
    ("protocol/messages.py", "from proxy.errors import NotJson"),
    ("protocol/messages.py", "from proxy.protocol.ids import decode_id"),
    ("sessions/session.py", "import asyncio"),
    ("edge/sse.py", "from sse_starlette import EventSourceResponse"),
    ("edge/middleware/origin.py", "from starlette.types import ASGIApp"),
    ("edge/answers.py", "from proxy import errors"),
    ("edge/bridge.py", "from proxy.settings import Settings"),
    ("server.py", "import uvicorn"),
    ("demo/server.py", "from proxy.version import __version__"),
    ("__init__.py", "from proxy.version import __version__"),
]

VIOLATIONS: list[tuple[str, str]] = [
    ("protocol/ids.py", "import anyio"),
    ("protocol/ids.py", "import asyncio"),
    ("protocol/ids.py", "import starlette.types"),
    ("protocol/ids.py", "import logging"),
    ("protocol/ids.py", "from time import monotonic"),
    ("protocol/ids.py", "import json, os"),
    ("protocol/ids.py", "import os.path"),
    ("protocol/ids.py", "def now():\n    import time\n    return time.time()"),
    ("protocol/ids.py", "from proxy.observe import Counts"),
    ("protocol/ids.py", "from proxy.child.link import Link"),
    ("protocol/ids.py", "from .jsontext import encode"),
    ("protocol/ids.py", "from . import jsontext"),
    ("child/link.py", "from proxy.sessions.session import Session"),
    ("child/link.py", "import proxy.sessions.session as session"),
    ("child/link.py", "from proxy import sessions"),
    ("child/link.py", "from proxy import Bridge"),
    ("child/link.py", "import proxy"),
    ("child/link.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from proxy.edge.bridge import Bridge"),
    ("child/spec.py", "from proxy.settings import Settings"),
    ("sessions/session.py", "from proxy.settings import Settings"),
    ("sessions/session.py", "from proxy.edge.answers import send_json"),
    ("sessions/session.py", "from starlette.types import Send"),
    ("sessions/session.py", "import subprocess"),
    ("edge/endpoint.py", "from proxy.settings import Settings"),
    ("edge/endpoint.py", "from sse_starlette import EventSourceResponse"),
    ("edge/middleware/origin.py", "import sse_starlette.sse"),
    ("edge/bridge.py", "import uvicorn"),
    ("edge/bridge.py", "from proxy.server import serve"),
    ("edge/bridge.py", "from proxy.demo.server import DemoServer"),
    ("demo/server.py", "from proxy.protocol.versions import LEGACY_VERSIONS"),
    ("demo/server.py", "from proxy.errors import ProxyError"),
    ("errors.py", "from proxy.protocol.ids import Id"),
    ("observe.py", "from proxy.errors import ProxyError"),
    ("cli.py", "import uvicorn"),
    ("utils.py", ""),
    ("helpers/things.py", "import json"),
]


def fake(root: Path, file: str, text: str) -> Path:
    """A package of just this file."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    return root


@pytest.mark.parametrize(("file", "text"), ALLOWED)
def test_an_import_downwards_is_no_fault(tmp_path: Path, file: str, text: str) -> None:
    assert faults(fake(tmp_path, file, text)) == []


@pytest.mark.parametrize(("file", "text"), VIOLATIONS)
def test_an_import_against_the_picture_is_found(tmp_path: Path, file: str, text: str) -> None:
    (fault,) = faults(fake(tmp_path, file, text))

    assert room_of(file) in fault

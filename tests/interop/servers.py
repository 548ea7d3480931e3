"""The published servers: what to run, with which environment, on what ground."""

import base64
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.interop.scenarios import everything, fetch, filesystem, git, memory, time
from tests.interop.steps import Scenario

HERE = Path(__file__).parent
NODE_MODULES = HERE / "node" / "node_modules"
SERVERS_PYTHON = HERE.parent.parent / ".venv-servers" / "bin" / "python"

FIXED_GIT = {
    "GIT_AUTHOR_NAME": "Ada Lovelace",
    "GIT_AUTHOR_EMAIL": "ada@example.invalid",
    "GIT_AUTHOR_DATE": "2030-02-03T04:05:06+0000",
    "GIT_COMMITTER_NAME": "Ada Lovelace",
    "GIT_COMMITTER_EMAIL": "ada@example.invalid",
    "GIT_COMMITTER_DATE": "2030-02-03T04:05:06+0000",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
"""Makes commit hashes the same in every run."""


def _no_ground(work: Path) -> None:
    pass


@dataclass(frozen=True)
class Server:
    scenario: Scenario
    argv: Sequence[str]
    """``<work>`` stands for the directory of this run."""
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], None] = _no_ground

    def argv_in(self, work: Path) -> list[str]:
        return [part.replace("<work>", str(work)) for part in self.argv]

    def environment_in(self, work: Path) -> dict[str, str]:
        return {name: value.replace("<work>", str(work)) for name, value in self.environment.items()}


def node_server(package: str, *arguments: str) -> list[str]:
    script = NODE_MODULES / "@modelcontextprotocol" / package / "dist" / "index.js"
    return ["node", str(script), *arguments]


def python_server(module: str, *arguments: str) -> list[str]:
    return [str(SERVERS_PYTHON), "-m", module, *arguments]


def make_directories(work: Path) -> None:
    inside, also = work / "inside", work / "also"
    inside.mkdir()
    also.mkdir()
    (inside / "pixel.png").write_bytes(base64.b64decode(filesystem.PIXEL))
    (inside / "blob.bin").write_bytes(bytes(range(256)))
    (also / "locked.txt").write_text("open now")


def make_repository(work: Path) -> None:
    repo = work / "repo"
    repo.mkdir()

    def run(*arguments: str) -> None:
        environment = {"PATH": os.environ["PATH"], **FIXED_GIT}
        subprocess.run(["git", *arguments], cwd=repo, env=environment, check=True, capture_output=True)

    run("init", "--initial-branch=main")
    (repo / "readme.md").write_text("a line\nan old line\n")
    run("add", "readme.md")
    run("commit", "--message", "First")
    (repo / "readme.md").write_text("a line\nchanged line\n")
    (repo / "new file.txt").write_text("untracked\n")


SERVERS: dict[str, Server] = {
    "everything": Server(
        everything.SCENARIO, node_server("server-everything"), {"INTEROP_GREETING": "hello, child = yes"}
    ),
    "filesystem": Server(
        filesystem.SCENARIO, node_server("server-filesystem", "<work>/also"), prepare=make_directories
    ),
    "memory": Server(memory.SCENARIO, node_server("server-memory"), {"MEMORY_FILE_PATH": "<work>/memory.jsonl"}),
    "fetch": Server(
        fetch.SCENARIO,
        python_server("mcp_server_fetch", "--allow-private-ips"),
        # With Node on its PATH it would run "npm install" in its own package at the first page of HTML.
        {"PATH": "<work>"},
    ),
    "git": Server(
        git.SCENARIO,
        python_server("mcp_server_git", "--repository", "<work>/repo"),
        FIXED_GIT,
        prepare=make_repository,
    ),
    "time": Server(time.SCENARIO, python_server("mcp_server_time", "--local-timezone", "Europe/Zurich")),
}


def missing_packages() -> list[str]:
    """What the tests need and is not installed."""
    clients = [NODE_MODULES / "@modelcontextprotocol" / name for name in ("sdk", "client")]
    missing = [path.name for path in (*clients, SERVERS_PYTHON) if not path.exists()]
    return missing + [program for program in ("node", "git") if shutil.which(program) is None]

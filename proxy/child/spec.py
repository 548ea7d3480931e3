"""What exactly do we run?"""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from proxy.child.limits import ChildLimits

# The official SDKs' list; then what locale, temporary files, proxies, certificates and the package runners need.
INHERITED = (
    *("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"),
    *("LANG", "LC_*", "TZ", "TMPDIR", "XDG_*"),
    *(
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    ),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    *("npm_config_*", "NPM_CONFIG_*", "UV_*"),
)
"""Names and patterns of the variables that every child gets."""

OWN_PREFIX = "MCP_PROXY_"
"""Our own settings, tokens among them; no pattern passes these on."""

MARKER = "MCP_PROXY_CHILD_OF"
"""Carries the random marker of the bridge; by it a child's descendants are known wherever they went."""


@dataclass(frozen=True)
class ChildSpec:
    """How to start one child and how long to wait for its end."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: str | None = None
    max_line_bytes: int = 64 * 1024 * 1024
    stdin_grace_seconds: float = 2.0
    term_grace_seconds: float = 2.0
    limits: ChildLimits = ChildLimits()
    server: str | None = None
    """What the server is called, in the log."""

    @property
    def named(self) -> dict[str, str]:
        """Whose it is, for a line of the log."""
        return {"server": self.server} if self.server is not None else {}


class ProgramNotFound(Exception):
    """The command's program does not exist. The message is for the operator: it says what was looked for and where."""


def child_environment(
    environ: Mapping[str, str], *, extra: Mapping[str, str], pass_env: Sequence[str], marker: str
) -> dict[str, str]:
    """The environment of a child: a short list of what we have, what the operator passes on, what he sets.

    Args:
        environ: The environment that we were started with.
        extra: Set for the child, whatever `environ` says.
        pass_env: More names and patterns to pass on; `*` is everything but our own settings.
        marker: The bridge's random marker.
    """
    patterns = (*INHERITED, *pass_env)
    env = {
        name: value
        for name, value in environ.items()
        if not name.startswith(OWN_PREFIX)
        and not value.startswith("()")  # a shell function, as the SDKs: nothing a program needs
        and any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    # `npx pkg` would ask whether to install, on a terminal that nobody looks at.
    env.setdefault("npm_config_yes", "true")
    return {**env, **extra, MARKER: marker}


COME_WITH = {
    **dict.fromkeys(("uv", "uvx"), "uv: pip install uv"),
    **dict.fromkeys(("npx", "npm", "node"), "Node.js"),
    **dict.fromkeys(("bunx", "bun"), "Bun"),
    **dict.fromkeys(("docker",), "Docker"),
}
"""The programs that most servers are started by, and what brings them."""


def _hint(name: str) -> str:
    """What to do about the commonest mistakes."""
    if name in COME_WITH:
        return f"; it comes with {COME_WITH[name]}"
    if name.startswith("~"):
        return "; no shell is used, write the folder out"
    return "; in a config file the words behind the program stand in args" if " " in name else ""


def find_program(argv: Sequence[str], *, env: Mapping[str, str], cwd: str | None) -> str:
    """Where the program of a command is.

    Raises:
        ProgramNotFound: If there is no such program, or it may not be executed.
    """
    program = argv[0]
    if variable := re.match(r"[A-Za-z_][A-Za-z0-9_]*=", program):  # what follows may be a secret
        raise ProgramNotFound(f"a command can't begin with a variable, {variable[0]}...; --env or env sets it")
    if cwd is not None and not Path(cwd).is_dir():
        raise ProgramNotFound(f"there is no folder {cwd!r} to run it in{_hint(cwd) if cwd[0] == '~' else ''}")
    if os.sep in program:
        path = Path(cwd or ".") / program
        if shutil.which(str(path)) is None:
            what = "is not executable" if path.is_file() else "is a folder" if path.is_dir() else "does not exist"
            raise ProgramNotFound(f"{program!r} {what} (looked at {path.absolute()}){_hint(program)}")
        return str(path)
    search = env.get("PATH", os.defpath)
    found = shutil.which(program, path=search)
    if found is None:
        raise ProgramNotFound(f"there is no program {program!r} (looked in PATH: {search}){_hint(program)}")
    return found

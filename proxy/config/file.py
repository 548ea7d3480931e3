"""What does a config file say?

The form is that of Claude Desktop, Cursor, VS Code and others: `mcpServers` (or `servers`), for each a `command`,
`args`, `env`. Ours stands beside: settings of the daemon on the top level, those of one server under `mcp_proxy` in
its entry.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.config.keys import ENTRY, entry_hint, override_hint, server_names, top_hint, top_names
from proxy.config.text import NotParsed, Object, parse
from proxy.config.variables import ReferenceUnknown, VariableMissing, expand

MAX_FILE_BYTES = 4 * 1024 * 1024
"""Largest config file. Ours: a thousand servers fit in."""

_SERVERS = ("mcpServers", "servers")
_KIND = ("type", "transport", "transportType")
_STDIO = frozenset({"stdio", "local"})
_REMOTE = frozenset({"http", "sse", "streamablehttp", "ws", "websocket", "remote"})
_URL = ("url", "serverUrl", "httpUrl")
_MILLISECONDS_FROM = 1000
"""A `timeout` of so much or more is in milliseconds: some clients write them, some write seconds."""
_SECONDS_ALL_THE_SAME = frozenset({1800, 3600})
"""Half an hour and an hour, which the menus of clients offer that write seconds."""

_SECONDS_ELSEWHERE = 3600
"""What clients allow that write seconds: up to here it could be either."""


class ConfigError(Exception):
    """A file that can't be used; the message is for the operator and names file, server and key."""


@dataclass(frozen=True)
class ServerEntry:
    """One server of a file.

    Attributes:
        name: Its key.
        argv: Its command and arguments.
        env: What is set for it.
        cwd: Its folder; None for ours.
        call_timeout_seconds: Its `timeout`; None if it has none.
        overrides: Settings of its own, values as they are written.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: str | None
    call_timeout_seconds: float | None
    overrides: Mapping[str, Any]


@dataclass(frozen=True)
class ConfigFile:
    """A file that was read.

    Attributes:
        path: Where it is.
        top: Settings of the daemon, values as they are written.
        servers: Those that are to be served here.
        not_served: Names of the others.
        warnings: What was left out, a sentence each.
    """

    path: Path
    top: Mapping[str, Any]
    servers: Sequence[ServerEntry]
    not_served: Sequence[str]
    warnings: Sequence[str]


def read_config(path: Path, environ: Mapping[str, str]) -> ConfigFile:
    """Read a config file.

    Raises:
        ConfigError: If it can't be read, is no JSON (comments allowed), or says something that can't be.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise ConfigError(f"{path}: is no file that can be read again, as a reload does")
        data = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{path}: can't be read: {exc.strerror}") from exc
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_FILE_BYTES} bytes")
    try:
        return _Reader(path, environ).file(parse(data))
    except NotParsed as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None


class _Reader:
    """Reads what was parsed, and says of each fault where it stands."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self._warnings: list[str] = []

    def file(self, parsed: Any) -> ConfigFile:
        if not isinstance(parsed, Object):
            raise ConfigError(f'{self._path}: must be an object: {{"mcpServers": {{...}}}}')
        self._once(parsed, "", "")
        given = [key for key in _SERVERS if key in parsed]
        if len(given) > 1:
            raise ConfigError(f"{self._path}: has both mcpServers and servers; put all into one of them")
        if not given:
            raise ConfigError(
                f'{self._path}: has no mcpServers; it must be {{"mcpServers": {{"NAME": {{"command": "...", '
                '"args": ["..."]}}}'
            )
        entries = parsed[given[0]]
        if not isinstance(entries, Object):
            raise ConfigError(f'{self._path}: {given[0]} must be an object: {{"NAME": {{"command": "..."}}}}')
        if entries.twice is not None:
            raise self._fault(entries.twice, "", "stands there twice")
        servers = [server for name, entry in entries.items() if (server := self._server(name, entry)) is not None]
        rest = {key: value for key, value in parsed.items() if key not in (*_SERVERS, "$schema")}
        for key in rest:
            if key not in top_names():
                self._warnings.append(f"{self._path}: {key} is no setting and left out{top_hint(key)}")
        not_served = [name for name in entries if name not in {server.name for server in servers}]
        return ConfigFile(self._path, self._settings(rest, top_names(), "", ""), servers, not_served, self._warnings)

    def _server(self, name: str, entry: Any) -> ServerEntry | None:
        if not isinstance(entry, Object):
            raise self._fault(name, "", 'must be an object: {"command": "...", "args": ["..."]}')
        self._once(entry, name, "")
        if self._is(entry, name, "disabled", default=False) or not self._is(entry, name, "enabled", default=True):
            return None
        if self._is_remote(entry, name):
            self._warnings.append(f"{self._path}: server {name!r} is a remote server; it is not served here")
            return None
        unknown = [key for key in entry if key not in ENTRY]
        if "command" not in entry:
            also = f"; {unknown[0]} is not known here" if unknown else ""
            raise self._fault(name, "command", f"is missing{also}")
        for key in unknown:
            hint = entry_hint(key)
            self._warnings.append(f"{self._path}: server {name!r}: {key} is not known here and left out{hint}")
        return ServerEntry(
            name=name,
            argv=(self._command(entry, name), *self._texts(entry, name, "args")),
            env=self._env(entry, name),
            cwd=self._text(entry["cwd"], name, "cwd") if entry.get("cwd") is not None else None,
            call_timeout_seconds=self._timeout(entry, name),
            overrides=self._overrides(entry, name),
        )

    # ---- one key

    def _is(self, entry: Object, name: str, key: str, *, default: bool) -> bool:
        value = entry.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._fault(name, key, "must be true or false")
        return default if value is None else value

    def _is_remote(self, entry: Object, name: str) -> bool:
        key = next((key for key in _KIND if entry.get(key) is not None), None)
        if key is None:
            return "command" not in entry and any(url in entry for url in _URL)
        kind = entry[key].lower().replace("-", "").replace("_", "") if isinstance(entry[key], str) else ""
        if kind not in _STDIO | _REMOTE:
            raise self._fault(name, key, "must be stdio, or that of a remote server: http, sse, ws")
        return kind in _REMOTE

    def _command(self, entry: Object, name: str) -> str:
        command = self._text(entry["command"], name, "command")
        if not command.strip():
            raise self._fault(name, "command", "must be a text that is not empty")
        return command

    def _texts(self, entry: Object, name: str, key: str) -> list[str]:
        value = entry.get(key)
        if value is not None and not isinstance(value, list):
            raise self._fault(name, key, "must be a list of texts")
        return [self._text(each, name, f"{key}[{at}]") for at, each in enumerate(value or ())]

    def _env(self, entry: Object, name: str) -> dict[str, str]:
        pairs = self._object(entry, name, "env")
        env = {}
        for key, value in pairs.items():
            if not key or "=" in key or "\0" in key:
                raise self._fault(name, "env", f"{key.partition('=')[0]!r}: a name can't be empty or have = in it")
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            env[key] = self._text(str(value) if is_number else value, name, f"env.{key}")
        return env

    def _timeout(self, entry: Object, name: str) -> float | None:
        value = entry.get("timeout")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise self._fault(name, "timeout", "must be a number of seconds, more than 0")
        if value < _MILLISECONDS_FROM or value in _SECONDS_ALL_THE_SAME:
            return float(value)
        if value <= _SECONDS_ELSEWHERE:
            self._warnings.append(
                f"{self._path}: server {name!r}: timeout {value:g} is read as milliseconds; "
                "call_timeout under mcp_proxy says it exactly"
            )
        return value / 1000

    def _overrides(self, entry: Object, name: str) -> dict[str, Any]:
        given = self._object(entry, name, "mcp_proxy")
        self._warnings += [
            f"{self._path}: server {name!r}: mcp_proxy.{key} is no setting of a server and left out{override_hint(key)}"
            for key in given
            if key not in server_names()
        ]
        return self._settings(given, server_names(), name, "mcp_proxy.")

    # ---- what all of them need

    def _settings(self, given: Mapping[str, Any], names: Mapping[str, str], name: str, prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in given.items():
            if (setting := names.get(key)) is None:
                continue
            if setting in found:
                raise self._fault(name, prefix + key, "stands there twice, with its unit and without")
            found[setting] = self._expanded(value, name, prefix + key)
        return found

    def _object(self, entry: Object, name: str, key: str) -> Object:
        value = entry.get(key)
        if value is None:
            return Object()
        if not isinstance(value, Object):
            raise self._fault(name, key, "must be an object")
        self._once(value, name, f"{key}.")
        return value

    def _once(self, value: Object, name: str, prefix: str) -> None:
        if value.twice is not None:
            raise self._fault(name, prefix + value.twice, "stands there twice")

    def _text(self, value: Any, name: str, key: str) -> str:
        """A text that a process can be given, its variables expanded."""
        if not isinstance(value, str):
            raise self._fault(name, key, "must be a text, in quotation marks")
        text: str = self._expanded(value, name, key)
        try:
            if b"\0" not in os.fsencode(text):
                return text
        except UnicodeEncodeError:
            pass
        raise self._fault(name, key, "has a character in it that no process can be given")

    def _expanded(self, value: Any, name: str, key: str) -> Any:
        try:
            if isinstance(value, str):
                return expand(value, self._environ)
        except VariableMissing as missing:
            what = f"refers to the variable {missing.name}, which is not set; ${{{missing.name}:-}} would do without"
            raise self._fault(name, key, what) from missing
        except ReferenceUnknown as unknown:
            known = "known are ${VAR}, ${VAR:-default} and ${env:VAR}; $${ stands for ${"
            raise self._fault(name, key, f"has {unknown.head}...}} in it; {known}") from unknown
        if isinstance(value, list):
            return [self._expanded(each, name, f"{key}[{at}]") for at, each in enumerate(value)]
        if isinstance(value, dict):
            return {inner: self._expanded(each, name, f"{key}.{inner}") for inner, each in value.items()}
        return value

    def _fault(self, name: str, key: str, what: str) -> ConfigError:
        where = [f"server {name!r}"] if name else []
        return ConfigError(f"{self._path}: {', '.join([*where, key] if key else where)}: {what}")

"""What does a config file say?

The form is that of Claude Desktop, Cursor, VS Code and others: `mcpServers` (or `servers`), for each a `command`,
`args`, `env`. Ours stands beside: settings of the daemon on the top level, those of one server under `mcp_proxy` in
its entry.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.config.text import NotParsed, Object, parse
from proxy.config.variables import VariableMissing, expand

MAX_FILE_BYTES = 4 * 1024 * 1024
"""Largest config file. Ours: a thousand servers fit in."""

_SERVERS = ("mcpServers", "servers")
_ENTRY = frozenset({"command", "args", "env", "cwd", "disabled", "enabled", "timeout", "type", "mcp_proxy"})
_REMOTE = frozenset({"http", "sse", "streamable-http", "streamableHttp", "streamable_http", "ws", "websocket"})
_MILLISECONDS_FROM = 1000
"""A `timeout` of so much or more is in milliseconds: some clients write them, some write seconds."""


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
        overrides: Settings of its own, as they are written.
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
        top: Settings of the daemon, as they are written.
        servers: Those that are to be served here.
        warnings: What was left out, a sentence each.
    """

    path: Path
    top: Mapping[str, Any]
    servers: Sequence[ServerEntry]
    warnings: Sequence[str]


def read_config(path: Path, environ: Mapping[str, str]) -> ConfigFile:
    """Read a config file.

    Raises:
        ConfigError: If it can't be read, is no JSON (comments allowed), or says something that can't be.
    """
    try:
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
            raise ConfigError(f"{self._path}: must be an object with mcpServers in it")
        self._once(parsed, "", "")
        given = [key for key in _SERVERS if key in parsed]
        if len(given) > 1:
            raise ConfigError(f"{self._path}: has both mcpServers and servers")
        if not given:
            raise ConfigError(f"{self._path}: has no mcpServers")
        entries = parsed[given[0]]
        if not isinstance(entries, Object):
            raise ConfigError(f"{self._path}: {given[0]} must be an object")
        if entries.twice is not None:
            raise self._fault(entries.twice, "", "stands there twice")
        servers = [server for name, entry in entries.items() if (server := self._server(name, entry)) is not None]
        top = {
            key: self._expanded(value, "", key) for key, value in parsed.items() if key not in (*_SERVERS, "$schema")
        }
        return ConfigFile(self._path, top, servers, self._warnings)

    def _server(self, name: str, entry: Any) -> ServerEntry | None:
        if not isinstance(entry, Object):
            raise self._fault(name, "", "must be an object")
        self._once(entry, name, "")
        self._warnings += [
            f"{self._path}: server {name!r}: {key} is not known here and left out"
            for key in entry
            if key not in _ENTRY and key != "url"
        ]
        if self._is(entry, name, "disabled", default=False) or not self._is(entry, name, "enabled", default=True):
            return None
        kind = entry.get("type", "stdio")
        if (isinstance(kind, str) and kind in _REMOTE) or ("url" in entry and "command" not in entry):
            self._warn(name, "is a remote server; it is not served here")
            return None
        for key in ("env", "mcp_proxy"):
            if isinstance(entry.get(key), Object):
                self._once(entry[key], name, f"{key}.")
        entry = {key: self._expanded(value, name, key) for key, value in entry.items() if key in _ENTRY}
        if kind != "stdio":
            raise self._fault(name, "type", "must be stdio, or that of a remote server")
        return ServerEntry(
            name=name,
            argv=(self._text(entry, name, "command"), *self._texts(entry, name, "args")),
            env=self._pairs(entry, name),
            cwd=self._text(entry, name, "cwd") if entry.get("cwd") is not None else None,
            call_timeout_seconds=self._timeout(entry, name),
            overrides=self._object(entry, name, "mcp_proxy"),
        )

    def _expanded(self, value: Any, name: str, key: str) -> Any:
        try:
            if isinstance(value, str):
                return expand(value, self._environ)
            if isinstance(value, list):
                return [self._expanded(each, name, key) for each in value]
            if isinstance(value, dict):
                return {inner: self._expanded(each, name, f"{key}.{inner}") for inner, each in value.items()}
        except VariableMissing as missing:
            raise self._fault(
                name,
                key,
                f"refers to the variable {missing.name}, which is not set; ${{{missing.name}:-}} would do without",
            ) from missing
        return value

    def _is(self, entry: Mapping[str, Any], name: str, key: str, *, default: bool) -> bool:
        value = entry.get(key, default)
        if not isinstance(value, bool):
            raise self._fault(name, key, "must be true or false")
        return value

    def _text(self, entry: Mapping[str, Any], name: str, key: str) -> str:
        value = entry.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self._fault(name, key, "must be a text that is not empty" if key in entry else "is missing")
        return value

    def _texts(self, entry: Mapping[str, Any], name: str, key: str) -> list[str]:
        value = entry.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self._fault(name, key, "must be a list of texts")
        return value

    def _pairs(self, entry: Mapping[str, Any], name: str) -> dict[str, str]:
        pairs = self._object(entry, name, "env")
        for key, value in pairs.items():
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise self._fault(name, f"env.{key}", "must be a text")
        return {key: str(value) for key, value in pairs.items()}

    def _object(self, entry: Mapping[str, Any], name: str, key: str) -> dict[str, Any]:
        value = entry.get(key, {})
        if not isinstance(value, dict):
            raise self._fault(name, key, "must be an object")
        return value

    def _timeout(self, entry: Mapping[str, Any], name: str) -> float | None:
        value = entry.get("timeout")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise self._fault(name, "timeout", "must be a number of seconds, more than 0")
        return value / 1000 if value >= _MILLISECONDS_FROM else float(value)

    def _once(self, value: Object, name: str, prefix: str) -> None:
        if value.twice is not None:
            raise self._fault(name, prefix + value.twice, "stands there twice")

    def _fault(self, name: str, key: str, what: str) -> ConfigError:
        where = [f"server {name!r}"] if name else []
        return ConfigError(f"{self._path}: {', '.join([*where, key] if key else where)}: {what}")

    def _warn(self, name: str, what: str) -> None:
        self._warnings.append(f"{self._path}: server {name!r} {what}")

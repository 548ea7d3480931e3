"""Which servers are there, and with which settings each?"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from proxy.config import ineffective
from proxy.config.file import ConfigError, ConfigFile, ServerEntry
from proxy.config.keys import PER_SERVER
from proxy.config.shell import advice, shell_syntax
from proxy.settings import Settings
from proxy.sources import allowed, option_name

_OF_ALL = {"max_children"}
"""Settings of a server that hold all servers together, too."""

_OF_A_SERVER = frozenset({"command", "argv", "demo", "env", "cwd", "max_json_depth", "ping_interval_seconds"})
"""What else makes a server what it is; all that is left belongs to the listener, the daemon and its logs."""

_NAMES_SERVERS = frozenset({"config", "named_server", "default_server", "server_name"})
"""What says which servers there are."""

_NOT_INHERITED = {"command", "argv", "demo", "config", "named_server", "default_server", "server_name", "watch"}


@dataclass(frozen=True)
class Servers:
    """All servers of a bridge.

    Attributes:
        by_name: The settings of each.
        default: Which one is served at the path, too; None for none of them.
        warnings: What was left out, or has no effect, a sentence each.
    """

    by_name: Mapping[str, Settings]
    default: str | None
    warnings: Sequence[str]


def with_file(settings: Settings, file: ConfigFile | None) -> Settings:
    """These settings, and for those that nobody has given what the file says of the daemon.

    Raises:
        ConfigError: If something that it says is not allowed.
    """
    added = {field: file.top[field] for field in file.top.keys() - settings.model_fields_set} if file else {}
    if file is None or not added:
        return settings
    given = {field: getattr(settings, field) for field in settings.model_fields_set}
    try:
        return Settings(**{**given, **added})
    except ValidationError as exc:
        raise ConfigError(f"{file.path}: {_fault(exc, added.keys())}") from None


def servers_of(settings: Settings, file: ConfigFile | None) -> Servers:
    """The servers that these settings and their file name.

    Raises:
        ConfigError: If two have one name, a setting of one is not allowed, or the default is none of them.
    """
    found: dict[str, Settings] = {}
    warnings = list(file.warnings) if file is not None else []
    if settings.has_own_server:
        found[settings.server_name] = settings
        warnings += _means_a_shell(settings, "--command") if settings.command else ()
    for name, command in settings.named_server.items():
        where = f"--named-server {name}"
        _add(found, name, _derived(settings, name, {"command": command}, where=where), where=where)
        warnings += _means_a_shell(found[name], where)
    for entry in file.servers if file is not None else ():
        assert file is not None  # it has entries
        where = f"{file.path}: server {entry.name!r}"
        own = {**_own(settings, entry), **entry.overrides}
        _add(found, entry.name, _derived(settings, entry.name, own, where=where), where=where)
        warnings += _means_a_shell(found[entry.name], where, in_file=True)
    if not found:
        raise ConfigError(f"{file.path if file else '--config'}: {_why_none(file)}")
    warnings += ineffective.warnings(found, settings)
    return Servers(found, _default(settings, found), warnings)


def _means_a_shell(settings: Settings, where: str, *, in_file: bool = False) -> list[str]:
    found = shell_syntax(settings.server_argv)
    if found is None:
        return []
    return [f"{where}: no shell is used, {found} stays as it is; {advice(found, in_file=in_file)}"]


def _why_none(file: ConfigFile | None) -> str:
    left_out = f"; {', '.join(map(repr, file.not_served))}: disabled or remote" if file and file.not_served else ""
    return f"names no server that is to be served here{left_out}"


def is_same_server(one: Settings, other: Settings) -> bool:
    """Whether a server with these settings need not be started anew to have the others."""
    return all(getattr(one, field) == getattr(other, field) for field in PER_SERVER | _OF_A_SERVER)


def needs_restart(one: Settings, other: Settings) -> list[str]:
    """Settings of the daemon in which these two differ: they are looked at when it starts, and not again."""
    fields = Settings.model_fields.keys() - ((PER_SERVER - _OF_ALL) | _OF_A_SERVER | _NAMES_SERVERS)
    return sorted(option_name(field) for field in fields if getattr(one, field) != getattr(other, field))


def _own(settings: Settings, entry: ServerEntry) -> dict[str, Any]:
    own: dict[str, Any] = {"argv": entry.argv, "env": {**settings.env, **entry.env}}
    if entry.cwd is not None:
        own["cwd"] = entry.cwd
    if entry.call_timeout_seconds is not None:
        own["call_timeout_seconds"] = entry.call_timeout_seconds
    return own


def _derived(settings: Settings, name: str, own: Mapping[str, Any], *, where: str) -> Settings:
    inherited = settings.model_dump(exclude=_NOT_INHERITED)
    try:
        return Settings(**{**inherited, "server_name": name, **own})
    except ValidationError as exc:
        raise ConfigError(f"{where}: {_fault(exc, PER_SERVER, prefix='mcp_proxy.')}") from None


def _fault(exc: ValidationError, ours: Container[str], *, prefix: str = "") -> str:
    fault = exc.errors(include_url=False, include_input=False)[0]
    field = str(fault["loc"][0]) if fault["loc"] else ""
    if field in ours:
        return f"{prefix}{option_name(field)}: not allowed; it must be {allowed(field)}"
    if field == "server_name":
        return f"this name is not allowed; it must be {allowed(field)}"
    return fault["msg"].removeprefix("Value error, ")


def _add(found: dict[str, Settings], name: str, settings: Settings, *, where: str) -> None:
    if name in found:
        raise ConfigError(f"{where}: another server is called so, too; give one of them another name")
    found[name] = settings


def _default(settings: Settings, found: Mapping[str, Settings]) -> str | None:
    if settings.default_server is not None:
        if settings.default_server not in found:
            there_are = ", ".join(sorted(found))
            raise ConfigError(f"--default-server {settings.default_server}: there is no such server, but {there_are}")
        return settings.default_server
    if settings.has_own_server:
        return settings.server_name
    return next(iter(found)) if len(found) == 1 else None

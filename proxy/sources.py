"""How do flags and variables become settings?

pydantic-settings' own command line and environment sources are not used: their lists split `a,b` and strip quotes,
which an `--env NAME=a,"b"` does not survive, and an alias for a container's `SERVER_COMMAND` would also claim a bare
`COMMAND`.
"""

import argparse
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from proxy.foreign_flags import FOREIGN_FLAGS
from proxy.settings import Settings, SettingsError
from proxy.shapes import Shape
from proxy.units import format_duration, format_size

PREFIX = "MCP_PROXY_"
MARKER = "MCP_PROXY_CHILD_OF"
"""Set by a bridge for its children, and so found by a bridge that is one."""

CONTAINER_NAMES = {
    "SERVER_COMMAND": "command",
    "SERVER_NAME": "server_name",
    "SESSION_TIMEOUT": "idle_timeout_seconds",
    "MCP_PROTOCOL_VERSION": "protocol_version",
    "MCP_BIND_HOST": "host",
    "MCP_PORT": "port",
}
"""Names that images of MCP servers are commonly told by."""

_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://")
_SERVICE_LINK_NAME = re.compile(r"SERVICE_HOST|SERVICE_PORT\w*|PORT_[0-9]+_(TCP|UDP|SCTP)\w*")
"""What Kubernetes sets in every pod beside a service called `mcp-proxy`, or `mcp`. None of it is meant for us."""

_CONTAINER_PREFIXES = ("SERVER", "SESSION", "MCP")

NOT_FLAGS = frozenset({"argv"})
NAMED = frozenset({"named_server"})
"""Flags with two words: a name and a command."""
LISTS = frozenset({"allowed_origin", "allowed_host", "pass_env", "strip_capability", "allow_tool", "deny_tool"})
SECRET = frozenset({"env"})

AnySettings = TypeVar("AnySettings", bound=Settings)


def option_name(field: str) -> str:
    """The name of a setting outside the code: without its unit."""
    return re.sub(r"_(seconds|bytes)$", "", field)


def flag(field: str) -> str:
    """`idle_timeout_seconds` is `--idle-timeout`."""
    return "--" + option_name(field).replace("_", "-")


def variable(field: str) -> str:
    """`idle_timeout_seconds` is `MCP_PROXY_IDLE_TIMEOUT`."""
    return PREFIX + option_name(field).upper()


def flag_fields() -> Iterator[tuple[str, FieldInfo]]:
    """The settings that are flags and variables, in order."""
    return ((name, info) for name, info in Settings.model_fields.items() if name not in NOT_FLAGS)


def load(cls: type[AnySettings], argv: Sequence[str], environ: Mapping[str, str]) -> AnySettings:
    """See `Settings.load`."""
    flags = _from_flags(argv)
    ours = {name: variable(name) for name, _ in flag_fields()}
    values, origins = _from_file(flags.get("config") or environ.get(variable("config"), "").strip(), environ)
    for source, field in [*CONTAINER_NAMES.items(), *((source, field) for field, source in ours.items())]:
        # An empty variable is how compose files and charts say "not set".
        if environ.get(source, "").strip() and not (field == "port" and _SERVICE_LINK.match(environ[source])):
            values[field], origins[field] = _from_text(field, environ[source], source), source
    if not {"command", "argv", "demo"}.isdisjoint(flags):  # a server on the command line takes the place of another
        for field in ("command", "demo"):
            values.pop(field, None)
    values |= flags
    origins |= {field: flag(field) for field in flags}
    try:
        return cls(**values)
    except ValidationError as exc:
        raise SettingsError(_faults(exc, values, origins)) from None


def unknown_variables(environ: Mapping[str, str]) -> list[tuple[str, str | None]]:
    """`MCP_PROXY_*` variables that no setting claims, each with the name that was probably meant.

    Among the others there are those of everybody: one that is nearly a container name, which is not given, is one.
    """
    known = {variable(name).removeprefix(PREFIX): variable(name) for name, _ in flag_fields()}
    found: list[tuple[str, str | None]] = []
    for name in sorted(environ):
        if name.startswith(PREFIX):
            word = name.removeprefix(PREFIX)
            if word not in known and name != MARKER and not _SERVICE_LINK_NAME.fullmatch(word):
                found.append((name, known.get(next(iter(get_close_matches(word, known, n=1)), ""))))
        elif name.startswith(_CONTAINER_PREFIXES) and name not in CONTAINER_NAMES:
            near = get_close_matches(name, CONTAINER_NAMES, n=1, cutoff=0.8)
            found += [(name, meant) for meant in near if meant not in environ]
    return found


def allowed(field: str) -> str:
    """What a setting may be, in words."""
    info = Settings.model_fields[field]
    if choices(field):
        return "one of " + ", ".join(choices(field))
    shape = next((item for item in info.metadata if isinstance(item, Shape)), None)
    if field in SECRET:
        return "NAME=VALUE"
    if field in NAMED:
        return "a name and a command"
    if info.annotation is bool:
        return "true or false"
    text = shape.noun if shape else "text"
    low = next((item.ge for item in info.metadata if isinstance(item, Ge)), None)
    above = next((item.gt for item in info.metadata if isinstance(item, Gt)), None)
    high = next((item.le for item in info.metadata if isinstance(item, Le)), None)
    if low is not None:
        text += f", at least {_show(field, low)}"
    if above is not None:
        text += f", more than {_show(field, above)}"
    if high is not None:
        text += f", at most {_show(field, high)}"
    return text


def choices(field: str) -> tuple[str, ...]:
    """What a setting may be, if that can be listed; else empty."""
    return _choices(Settings.model_fields[field].annotation)


def default(field: str) -> str:
    """A setting's default in words, empty if there is none."""
    value = Settings.model_fields[field].get_default(call_default_factory=True)
    if value is None:
        return "none" if allowed(field).endswith("or none") else ""
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value in ((), {}) else _show(field, value)


def _show(field: str, value: Any) -> str:
    if field.endswith("_seconds"):
        return format_duration(float(value))
    return format_size(int(value)) if field.endswith("_bytes") else str(value)


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((found for part in get_args(annotation) if (found := _choices(part))), ())


# ---- the command line


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError([message.removeprefix("argument ").replace("2 arguments", "a name and a command")])


def _from_flags(argv: Sequence[str]) -> dict[str, Any]:
    words = list(argv)
    server: list[str] | None = None
    if "--" in words:
        cut = words.index("--")
        words, server = words[:cut], words[cut + 1 :]
    parser = _Parser(add_help=False, allow_abbrev=False)
    for field, info in flag_fields():
        if info.annotation is bool:
            is_on = info.default is True
            how: Any = argparse.BooleanOptionalAction if is_on else "store_true"
            parser.add_argument(flag(field), dest=field, action=how, default=None)
        elif field in NAMED:
            parser.add_argument(flag(field), dest=field, action="append", nargs=2, default=None)
        else:
            action = "append" if field in LISTS | SECRET else "store"
            parser.add_argument(flag(field), dest=field, action=action, default=None)
    given, unknown = parser.parse_known_args(words)
    if unknown:
        raise SettingsError([_unknown(unknown[0], may_be_secret=given.env is not None)])
    values = {field: value for field, value in vars(given).items() if value is not None}
    if values.get("config") == "":
        raise SettingsError(["--config: names no file"])
    for field in NAMED & values.keys():
        names = [name for name, _ in values[field]]
        if len(set(names)) < len(names):
            raise SettingsError([f"{flag(field)}: one name is given twice"])
        values[field] = dict(values[field])
    if "env" in values:
        values["env"] = _pairs(values["env"], "--env")
    if server is not None:
        if not server:
            raise SettingsError(["-- is followed by nothing: put the server's command there"])
        values["argv"] = tuple(server)
    return values


class _InFile(str):
    """Where in a config file a setting stands."""


def _from_file(path: str, environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings that stand beside the servers in a config file, and where they stand."""
    if not path:
        return {}, {}
    from proxy.config.file import ConfigError, read_config

    try:
        values = dict(read_config(Path(path), environ).top)
    except ConfigError as exc:
        raise SettingsError([str(exc)]) from exc
    return values, {field: _InFile(f"{path}: {option_name(field)}") for field in values}


def _unknown(word: str, *, may_be_secret: bool) -> str:
    if not word.startswith("-"):
        # Behind `--env TOKEN=a b` without quotes it is the rest of the secret.
        shown = "word, not shown beside --env" if may_be_secret else repr(word)
        if word.startswith(("http://", "https://")) and not may_be_secret:
            return "unexpected URL: this puts a stdio server behind one; that server's command goes behind --"
        if word.endswith(".json"):
            return f"unexpected {shown}: a config file goes behind --config"
        return f"unexpected {shown}: the server's command goes behind -- or into --command"
    name = word.partition("=")[0]
    if name in FOREIGN_FLAGS:
        return f"there is no flag {name}: {FOREIGN_FLAGS[name]}"
    near = get_close_matches(name, [flag(field) for field, _ in flag_fields()], n=1)
    return f"there is no flag {name}" + (f"; did you mean {near[0]}?" if near else "; see --help")


# ---- variables


def _from_text(field: str, text: str, source: str) -> Any:
    """A variable's value in the shape its field has."""
    if field in SECRET | NAMED:
        if text.lstrip().startswith("{"):
            try:
                return json.loads(text)
            except ValueError:
                raise SettingsError([f"{source}: is not allowed: it is no JSON object"]) from None
        return _pairs(_shell_words(text, source), source)
    if field in LISTS:
        if text.lstrip().startswith("["):
            try:
                return json.loads(text)
            except ValueError:
                raise SettingsError([f"{source}: {text!r} is not allowed: it is no JSON list"]) from None
        return tuple(word for word in re.split(r"[\s,]+", text) if word)
    return text


def _shell_words(text: str, source: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise SettingsError([f"{source}: is not allowed: a quotation mark is missing"]) from None


def _pairs(entries: Sequence[str], source: str) -> dict[str, str]:
    """NAME=VALUE entries; a faulty one is not shown, it may be a secret."""
    pairs: dict[str, str] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals or not name:
            raise SettingsError([f"{source}: an entry is not allowed: NAME=VALUE"])
        pairs[name] = value
    return pairs


# ---- what is wrong


def _faults(exc: ValidationError, values: Mapping[str, Any], origins: Mapping[str, str]) -> list[str]:
    faults = []
    for fault in exc.errors(include_url=False, include_input=False):
        reason = fault["msg"].removeprefix("Value error, ")
        field = str(fault["loc"][0]) if fault["loc"] else ""
        if not field:
            faults.append(reason)
        elif field in SECRET:
            faults.append(f"{origins[field]}: an entry is not allowed: NAME=VALUE")
        elif field == "command":  # it may hold a secret, too
            faults.append(f"{origins.get(field, flag(field))}: this command is not allowed: {reason}")
        else:
            why = allowed(field) if field != "path" else reason
            # What stands in a file may have come from any variable.
            shown = "this" if isinstance(origins.get(field), _InFile) else repr(values.get(field))
            faults.append(f"{origins.get(field, flag(field))}: {shown} is not allowed: {why}")
    return faults

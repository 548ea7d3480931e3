"""Which servers there are, and with which settings each."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.config.file import ConfigError, read_config
from proxy.config.keys import PER_SERVER
from proxy.config.servers import Servers, is_same_server, needs_restart, servers_of, with_file
from proxy.settings import Settings, SettingsError
from proxy.sources import choices, option_name


def servers(tmp_path: Path, file: dict[str, Any] | None, *argv: str) -> Servers:
    path = tmp_path / "servers.json"
    words = list(argv)
    if file is not None:
        path.write_text(json.dumps(file))
        words = ["--config", str(path), *argv]
    settings = Settings.load(words, {})
    return servers_of(settings, read_config(settings.config, {}) if settings.config else None)


def entry(**more: Any) -> dict[str, Any]:
    return {"command": "x", **more}


def test_one_server_of_the_command_line_is_the_default(tmp_path: Path) -> None:
    found = servers(tmp_path, None, "--command", "a b", "--server-name", "mine")

    assert (list(found.by_name), found.default) == (["mine"], "mine")


def test_each_server_has_the_settings_of_the_daemon_but_for_its_own(tmp_path: Path) -> None:
    file = {
        "idle_timeout": "10m",
        "max_sessions": 7,
        "mcpServers": {
            "a": entry(mcp_proxy={"idle_timeout": "5m", "max_sessions": 2}),
            "b": entry(args=["y"], timeout=3),
        },
    }
    found = servers(tmp_path, file, "--idle-timeout", "1m")

    a, b = found.by_name["a"], found.by_name["b"]
    assert (a.idle_timeout_seconds, a.max_sessions, a.server_argv) == (300, 2, ("x",))
    assert (b.idle_timeout_seconds, b.max_sessions, b.server_argv) == (60, 7, ("x", "y"))  # a flag wins over the file
    assert (a.call_timeout_seconds, b.call_timeout_seconds) == (None, 3)


def test_named_servers_stand_beside_those_of_the_file(tmp_path: Path) -> None:
    found = servers(
        tmp_path, {"mcpServers": {"a": entry()}}, "--named-server", "b", "uvx 'b c'", "--default-server", "b"
    )

    assert (sorted(found.by_name), found.default) == (["a", "b"], "b")
    assert found.by_name["b"].server_argv == ("uvx", "b c")


def test_the_folder_and_the_environment_of_the_daemon_are_those_of_a_server_that_has_none(tmp_path: Path) -> None:
    file = {"mcpServers": {"a": entry(env={"A": "2"}), "b": entry(cwd="/tmp")}}
    found = servers(tmp_path, file, "--cwd", "/usr", "--env", "A=1", "--env", "B=1", "--named-server", "c", "x")

    assert [str(found.by_name[name].cwd) for name in "abc"] == ["/usr", "/tmp", "/usr"]
    assert [found.by_name[name].env for name in "ac"] == [{"A": "2", "B": "1"}, {"A": "1", "B": "1"}]


@pytest.mark.parametrize(("names", "default"), [(["a"], "a"), (["a", "b"], None)])
def test_only_a_lonely_server_is_the_default_by_itself(tmp_path: Path, names: list[str], default: str | None) -> None:
    assert servers(tmp_path, {"mcpServers": {name: entry() for name in names}}).default == default


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("colour", "mcp_proxy.colour is no setting of a server and left out"),
        ("port", "mcp_proxy.port is no setting of a server and left out; it is one of the daemon and stands beside"),
        ("deny_tols", "mcp_proxy.deny_tols is no setting of a server and left out; did you mean deny_tool?"),
        ("idle-timeout", "left out; did you mean idle_timeout?"),
        ("poolSize", "left out; did you mean pool_size?"),
        ("env", "left out; it stands beside mcp_proxy, in the entry itself"),
    ],
)
def test_a_key_under_mcp_proxy_that_is_none_of_a_server_is_named_with_what_to_do(
    tmp_path: Path, key: str, said: str
) -> None:
    (warning,) = servers(tmp_path, {"mcpServers": {"a": entry(mcp_proxy={key: 1})}}).warnings

    assert f"servers.json: server 'a': mcp_proxy.{key} is no setting of a server and left out" in warning
    assert said in warning


@pytest.mark.parametrize("field", sorted(PER_SERVER))
def test_every_setting_of_a_server_can_stand_under_mcp_proxy(tmp_path: Path, field: str) -> None:
    info = Settings.model_fields[field]
    other: Any = {"child_era": "modern", "protocol_version": "2025-06-18", "on_child_exit": "respawn"}.get(field)
    if other is None:
        given = info.get_default(call_default_factory=True)
        words = choices(field)
        other = words[1] if words else ["x"] if given == () else not given if isinstance(given, bool) else "17"
    if field.endswith("_bytes"):
        other = "33MiB"
    found = servers(tmp_path, {"mcpServers": {"a": entry(mcp_proxy={option_name(field): other}), "b": entry()}})

    assert [each for each in found.warnings if "has no effect" not in each] == []
    assert getattr(found.by_name["a"], field) != getattr(found.by_name["b"], field)
    assert not is_same_server(found.by_name["a"], Settings(**{**found.by_name["b"].model_dump(), "server_name": "a"}))


@pytest.mark.parametrize(
    ("file", "argv", "said"),
    [
        ({"mcpServers": {}}, [], "names no server that is to be served here$"),
        (
            {"mcpServers": {"a": {"url": "u"}, "b": entry(disabled=True)}},
            [],
            "names no server that is to be served here; 'a', 'b': disabled or remote",
        ),
        ({"mcpServers": {"a/../b": entry()}}, [], "server 'a/../b': this name is not allowed; it must be at most 128"),
        (
            {"mcpServers": {"a": entry(mcp_proxy={"isolation": "request", "modern_isolation": "shared"})}},
            [],
            "servers.json: server 'a': --isolation request gives every call a process",
        ),
        (
            {"mcpServers": {"a": entry(mcp_proxy={"max_sessions": 0})}},
            [],
            "server 'a': mcp_proxy.max_sessions: not allowed; it must be a whole number",
        ),
        (
            {"mcpServers": {"a": entry()}},
            ["--default-server", "b"],
            "--default-server b: there is no such server, but a",
        ),
        ({"mcpServers": {"a": entry()}}, ["--named-server", "a", "x"], "server 'a': another server is called so, too"),
        (
            {"mcpServers": {"default": entry()}},
            ["--command", "x"],
            "server 'default': another server is called so, too",
        ),
    ],
)
def test_what_can_not_be_is_refused(tmp_path: Path, file: dict[str, Any], argv: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(").replace("..", r"\.\.")):
        servers(tmp_path, file, *argv)


def test_a_setting_in_the_file_that_can_not_be_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        servers(tmp_path, {"port": 70_000, "mcpServers": {"a": entry()}})

    assert "servers.json: port: this is not allowed: a whole number" in caught.value.faults[0]
    assert "70000" not in caught.value.faults[0]  # it may be the value of a variable


def test_a_server_is_the_same_whatever_becomes_of_the_listener(tmp_path: Path) -> None:
    one = servers(tmp_path, {"mcpServers": {"a": entry()}}).by_name["a"]
    other = servers(tmp_path, {"port": 1, "log_level": "debug", "mcpServers": {"a": entry()}}).by_name["a"]
    changed = servers(tmp_path, {"mcpServers": {"a": entry(env={"A": "1"})}}).by_name["a"]
    slower = servers(tmp_path, {"idle_timeout": "1m", "mcpServers": {"a": entry()}}).by_name["a"]

    assert is_same_server(one, other)
    assert not is_same_server(one, changed)
    assert not is_same_server(one, slower)


def test_what_a_reload_does_not_take_over_is_named() -> None:
    one = Settings(named_server={"a": "x"})
    other = Settings(
        named_server={"a": "y", "b": "z"},
        default_server="b",
        port=1,
        max_children=5,
        allowed_host=("h",),
        idle_timeout_seconds=5,  # this and what follows is of servers
        env={"A": "b"},
        allow_tool=("x",),
    )

    assert needs_restart(one, one) == []
    assert needs_restart(one, other) == ["allowed_host", "max_children", "port"]


def test_code_that_names_a_file_gets_its_settings_but_for_those_it_gives_itself(tmp_path: Path) -> None:
    path = tmp_path / "servers.json"
    path.write_text(json.dumps({"idle_timeout": "5m", "max_sessions": 7, "mcpServers": {"a": entry()}}))
    given = Settings(config=path, max_sessions=256)
    file = read_config(path, {})

    settings = with_file(given, file)
    assert (settings.idle_timeout_seconds, settings.max_sessions, settings.config) == (300, 256, path)
    assert with_file(Settings(demo=True), None) == Settings(demo=True)
    path.write_text(json.dumps({"idle_timeout": "soon", "mcpServers": {"a": entry()}}))
    with pytest.raises(ConfigError, match=r"servers.json: idle_timeout: not allowed; it must be a duration"):
        with_file(given, read_config(path, {}))

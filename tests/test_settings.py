"""What can be configured, where it comes from, and what is refused."""

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.settings import Settings, SettingsError
from proxy.sources import allowed, default, flag, flag_fields, unknown_variables, variable
from proxy.units import format_duration, format_size, parse_duration, parse_size

DEMO = ["--demo"]


def load(*argv: str, **environ: str) -> Settings:
    return Settings.load(argv, environ)


SWITCHES = ("demo", "legacy_sse", "recover_sessions", "required", "reuse_children", "shared_server_requests", "watch")
"""Flags without a value."""


def refused(*argv: str, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(*argv, **environ)
    return "\n".join(caught.value.faults)


# ---- where a setting comes from


def test_code_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_PROXY_PORT", "1")
    monkeypatch.setenv("PORT", "2")
    monkeypatch.setenv("COMMAND", "x")

    assert Settings(demo=True).port == 3000


def test_a_flag_wins_over_a_variable_and_that_over_a_container_name() -> None:
    environ = {"MCP_PROXY_PORT": "2", "MCP_PORT": "1"}

    assert load(*DEMO, MCP_PORT="1").port == 1
    assert load(*DEMO, **environ).port == 2
    assert load(*DEMO, "--port", "3", **environ).port == 3


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("SERVER_COMMAND", "my server", "server_argv", ("my", "server")),
        ("SERVER_NAME", "fetch", "server_name", "fetch"),
        ("SESSION_TIMEOUT", "300", "idle_timeout_seconds", 300.0),
        ("MCP_PROTOCOL_VERSION", "2025-06-18", "protocol_version", "2025-06-18"),
        ("MCP_BIND_HOST", "0.0.0.0", "host", "0.0.0.0"),
        ("MCP_PORT", "8080", "port", 8080),
    ],
)
def test_containers_are_told_by_the_usual_names(name: str, value: str, field: str, expected: Any) -> None:
    command = {} if name == "SERVER_COMMAND" else {"SERVER_COMMAND": "x"}

    assert getattr(load(**{**command, name: value}), field) == expected


def test_a_bare_name_is_no_setting() -> None:
    """A field alias would turn these into settings."""
    environ = dict.fromkeys(("PORT", "COMMAND", "HOST", "ENV", "ARGV", "DEMO", "PATH"), "7")

    assert load(*DEMO, **environ) == Settings(demo=True)


def test_an_empty_variable_is_not_set() -> None:
    assert load(*DEMO, MCP_PROXY_PORT="", MCP_PROXY_CALL_TIMEOUT=" ").port == 3000


NOT_NONE = {"child_memory_bytes": "64MiB", "child_open_files": "64", "child_cpu": "0.5", "child_max_calls": "7"}
"""Something that a limit may be which has no default, and is no duration."""


@pytest.mark.parametrize("field", [name for name, _ in flag_fields() if name not in ("config", "named_server")])
def test_every_field_is_a_flag_and_a_variable(field: str) -> None:
    value = {
        "command": "x",
        **dict.fromkeys(SWITCHES, "true"),
        "cwd": "/",
        "env": "A=1",
        "path": "/x",
        "protocol_version": "2025-06-18",
    }
    text = value.get(field) or default(field).replace("none", NOT_NONE.get(field, "30s")) or "x"
    base = {} if field in ("command", "demo") else {"SERVER_COMMAND": "x"}
    words = [flag(field)] if field in SWITCHES else [flag(field), text]

    assert getattr(load(*words, **base), field) == getattr(load(**base, **{variable(field): text}), field)


def test_a_config_file_and_named_servers_are_flags_and_variables(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text('{"mcpServers": {"a": {"command": "x"}}}')

    assert load("--config", str(file)).config == load(MCP_PROXY_CONFIG=str(file)).config == file
    by_flag = load("--named-server", "a", "x y", "--named-server", "b", "z")
    assert by_flag.named_server == load(MCP_PROXY_NAMED_SERVER="'a=x y' b=z").named_server == {"a": "x y", "b": "z"}
    assert "one name is given twice" in refused("--named-server", "a", "x", "--named-server", "a", "y")


@pytest.mark.parametrize("field", ["port", "idle_timeout_seconds", "max_body_bytes"])
def test_a_unit_is_in_the_code_only(field: str) -> None:
    assert "seconds" not in flag(field) + variable(field)
    assert "bytes" not in flag(field) + variable(field)


# ---- the server


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--command", "a 'b c' \"d\" $HOME `x` | y"], ("a", "b c", "d", "$HOME", "`x`", "|", "y")),
        (["--command=uvx mcp-server-fetch"], ("uvx", "mcp-server-fetch")),
        (["--", "a", "b,c", '"d"', "--port", "--"], ("a", "b,c", '"d"', "--port", "--")),
        (["--port", "1", "--", "a"], ("a",)),
        (["--demo"], (sys.executable, "-m", "proxy.demo")),
    ],
)
def test_the_servers_command_is_taken_word_by_word(words: list[str], expected: tuple[str, ...]) -> None:
    assert load(*words).server_argv == expected


@pytest.mark.parametrize("words", [["--demo"], ["--", "mine"], ["--command", "mine"]])
def test_a_server_on_the_command_line_takes_the_place_of_that_of_a_variable(words: list[str]) -> None:
    assert load(*words, SERVER_COMMAND="theirs", MCP_PROXY_COMMAND="theirs") == load(*words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no server to run. Give one: --command"),
        (["servers.json"], "unexpected 'servers.json': a config file goes behind --config"),
        (["--config", ""], "--config: names no file"),
        (["--named-server", "a=b"], "--named-server: expected a name and a command"),
        (["--"], "followed by nothing"),
        (["--demo", "--", "x"], "only one of"),
        (["--command", "x", "--demo"], "only one of"),
        (["--command", ""], "an empty command"),
        (["--command", "'x"], "No closing quotation"),
        (["uvx", "mcp-server-fetch"], "unexpected 'uvx': the server's command goes behind --"),
    ],
)
def test_a_command_that_can_not_be_is_refused(words: list[str], says: str) -> None:
    assert says in refused(*words)


def test_the_environment_of_the_server_is_kept_as_it_is_written() -> None:
    assert load(*DEMO, "--env", "A=1,2", "--env", 'B="x" =y', "--env", "C=").env == {"A": "1,2", "B": '"x" =y', "C": ""}
    assert load(*DEMO, MCP_PROXY_ENV="A=1 'B=x y'").env == {"A": "1", "B": "x y"}
    assert load(*DEMO, MCP_PROXY_ENV='{"A": "x y"}').env == {"A": "x y"}


@pytest.mark.parametrize("text", ["a,b", "a b", " a , b ", '["a", "b"]'])
def test_lists_in_variables_are_written_in_any_usual_way(text: str) -> None:
    assert load(*DEMO, MCP_PROXY_ALLOWED_ORIGIN=text).allowed_origin == ("a", "b")


def test_lists_on_the_command_line_are_repeated_flags() -> None:
    assert load(*DEMO, "--pass-env", "A*", "--pass-env", "B").pass_env == ("A*", "B")


# ---- what is refused


BOUNDS = [
    ("port", "-1", "65536"),
    ("max_connections", "15", "1000001"),
    ("max_header_bytes", "4095", "2MiB"),
    ("header_timeout_seconds", "0", "61m"),
    ("keep_alive_timeout_seconds", "0", "25h"),
    ("max_reused_children", "0", "100001"),
    ("max_sessions", "0", "100001"),
    ("max_children", "0", "100001"),
    ("idle_timeout_seconds", "0", None),
    ("unused_timeout_seconds", "0", None),
    ("session_age_seconds", "0", None),
    ("place_timeout_seconds", None, "601"),
    ("modern_commit_after_seconds", "9ms", "3601"),
    ("lease_wait_seconds", None, "601"),
    ("continuation_timeout_seconds", "0", "25h"),
    ("max_continuations", "0", "100001"),
    ("max_listens", "0", "100001"),
    ("probe_timeout_seconds", "0", "61m"),
    ("call_timeout_seconds", "0", None),
    ("call_timeout_total_seconds", "0", None),
    ("commit_after_seconds", "9ms", "3601"),
    ("max_calls_per_child", "0", "100001"),
    ("server_request_timeout_seconds", "0", "25h"),
    ("max_respawns", "0", "1001"),
    ("max_recoverable_sessions", "0", "100001"),
    ("recovery_age_seconds", "0", "31d"),
    ("max_failed_starts", "0", "1001"),
    ("child_memory_bytes", "7MiB", "2000000GiB"),
    ("child_open_files", "15", "1000000001"),
    ("child_cpu", "0.001", "1000001"),
    ("child_max_age_seconds", "0", None),
    ("child_max_calls", "0", "1000000001"),
    ("start_timeout_seconds", "0", "61m"),
    ("pool_size", None, "1001"),
    ("pool_max_age_seconds", "0", None),
    ("stdin_grace_seconds", None, "61"),
    ("term_grace_seconds", None, "61"),
    ("stdin_stall_timeout_seconds", "0", "61m"),
    ("max_line_bytes", "1023", "2GiB"),
    ("max_body_bytes", "1023", "2GiB"),
    ("max_uploads_size_bytes", "1023", "1025GiB"),
    ("upload_stall_timeout_seconds", "0", "61m"),
    ("min_upload_rate_bytes", "0", "2MiB"),
    ("max_json_depth", "7", "801"),
    ("max_get_streams", "0", "1001"),
    ("stream_backlog_bytes", "63KiB", "2GiB"),
    ("slow_reader_timeout_seconds", "0", "61m"),
    ("replay_events", "0", "1000001"),
    ("replay_size_bytes", "1023", "2GiB"),
    ("replay_age_seconds", "0", "25h"),
    ("reconnect_delay_seconds", None, "61m"),
    ("close_stream_after_seconds", "0", None),
    ("waiting_messages", "0", "100001"),
    ("waiting_size_bytes", "1023", "2GiB"),
    ("ping_interval_seconds", "99ms", "61m"),
    ("dead_peer_timeout_seconds", "0", "61m"),
    ("drain_timeout_seconds", None, "61m"),
]


def test_every_limit_is_in_the_table() -> None:
    limits = {name for name, info in flag_fields() if name.endswith(("_seconds", "_bytes")) or "max_" in name}

    others = {"port", "waiting_messages", "replay_events", "pool_size", "child_open_files", "child_cpu"}
    assert limits | others == {field for field, *_ in BOUNDS}


@pytest.mark.parametrize(("field", "below", "above"), BOUNDS)
def test_every_bound_of_every_limit_is_refused_with_what_is_allowed(
    field: str, below: str | None, above: str | None
) -> None:
    for value in filter(None, (below, above, "many", "1e3", "nan", "inf")):
        said = refused(*DEMO, flag(field) + "=" + value)
        assert said == f"{flag(field)}: {value!r} is not allowed: {allowed(field)}"
        assert refused(*DEMO, **{variable(field): value}).startswith(f"{variable(field)}: ")


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        (["port"], ["0", "65535"]),
        (["max_sessions", "max_children", "max_calls_per_child", "waiting_messages"], ["1", "100000"]),
        (["max_json_depth"], ["8", "800"]),
        (["max_get_streams"], ["1", "1000"]),
        (["pool_size"], ["0", "1000"]),
        (["pool_max_age_seconds"], ["1ms", "365d"]),
        (["max_body_bytes", "max_line_bytes", "waiting_size_bytes"], ["1024", "1GiB"]),
        (["max_connections"], ["16", "1000000"]),
        (["max_header_bytes"], ["4KiB", "1MiB"]),
        (["header_timeout_seconds"], ["1ms", "1h"]),
        (["keep_alive_timeout_seconds"], ["1ms", "24h"]),
        (["max_uploads_size_bytes"], ["1024", "1024GiB"]),
        (["min_upload_rate_bytes"], ["1", "1MiB"]),
        (["stream_backlog_bytes"], ["64KiB", "1GiB"]),
        (["place_timeout_seconds"], ["0", "10m"]),
        (["commit_after_seconds", "modern_commit_after_seconds"], ["10ms", "1h"]),
        (["lease_wait_seconds"], ["0", "10m"]),
        (["continuation_timeout_seconds"], ["1ms", "24h"]),
        (["max_continuations", "max_listens"], ["1", "100000"]),
        (["probe_timeout_seconds"], ["1ms", "1h"]),
        (["ping_interval_seconds"], ["100ms", "1h"]),
        (["server_request_timeout_seconds"], ["1ms", "24h"]),
        (["start_timeout_seconds", "stdin_stall_timeout_seconds", "upload_stall_timeout_seconds"], ["1ms", "1h"]),
        (["slow_reader_timeout_seconds"], ["1ms", "30s"]),
        (["dead_peer_timeout_seconds"], ["45s", "1h"]),
        (["stdin_grace_seconds", "term_grace_seconds"], ["0", "60s"]),
        (["drain_timeout_seconds"], ["0", "1h"]),
        (["idle_timeout_seconds", "unused_timeout_seconds", "session_age_seconds"], ["1ms", "365d"]),
        (["call_timeout_seconds", "call_timeout_total_seconds"], ["1ms", "365d"]),
    ],
)
def test_a_limit_may_be_as_low_and_as_high_as_is_said(fields: list[str], values: list[str]) -> None:
    for field in fields:
        for value in values:
            assert getattr(load(*DEMO, flag(field), value), field) is not None


def test_the_defaults_are_those_of_the_manual() -> None:
    """Every one: a default that changes is a change that operators read about."""
    assert Settings(demo=True).model_dump() == {
        **{"command": None, "argv": (), "demo": True, "server_name": "default", "cwd": None, "env": {}},
        **{"pass_env": (), "protocol_version": None, "host": "127.0.0.1", "port": 3000, "path": "/mcp"},
        **{"child_era": "auto", "allowed_origin": (), "allowed_host": (), "log_level": "info", "log_format": "text"},
        **{"max_connections": 4096, "max_header_bytes": 65536, "header_timeout_seconds": 30},
        **{"keep_alive_timeout_seconds": 75},
        **{"required": True, "isolation": "session", "shared_server_requests": False},
        **{"reuse_children": False, "max_reused_children": 16},
        **{"on_child_exit": "end", "max_respawns": 5, "max_failed_starts": 5},
        **{"recover_sessions": False, "max_recoverable_sessions": 1024, "recovery_age_seconds": 86400},
        **{"strip_capability": (), "allow_tool": (), "deny_tool": ()},
        **{"child_memory_bytes": None, "child_open_files": None, "child_cpu": None},
        **{"child_max_age_seconds": None, "child_max_calls": None},
        **{"max_sessions": 256, "max_children": 256, "max_calls_per_child": 128, "max_get_streams": 4},
        **{"max_json_depth": 256, "waiting_messages": 256, "waiting_size_bytes": 1 << 20},
        **{"max_body_bytes": 16 << 20, "max_line_bytes": 64 << 20, "stream_backlog_bytes": 8 << 20},
        **{"max_uploads_size_bytes": 128 << 20, "upload_stall_timeout_seconds": 30, "min_upload_rate_bytes": 256},
        **{"idle_timeout_seconds": 1800, "unused_timeout_seconds": 60, "session_age_seconds": None},
        **{"call_timeout_seconds": None, "call_timeout_total_seconds": None, "place_timeout_seconds": 10},
        **{"start_timeout_seconds": 60, "drain_timeout_seconds": 10, "stdin_stall_timeout_seconds": 30},
        **{"stdin_grace_seconds": 2, "term_grace_seconds": 2, "slow_reader_timeout_seconds": 30},
        **{"ping_interval_seconds": 15, "commit_after_seconds": 5, "server_request_timeout_seconds": 50},
        **{"legacy_sse": False, "modern_isolation": "auto", "modern_commit_after_seconds": 15, "lease_wait_seconds": 2},
        **{"continuation_timeout_seconds": 600, "max_continuations": 128, "max_listens": 1024},
        **{"probe_timeout_seconds": 10, "config": None, "named_server": {}, "default_server": None, "watch": False},
        **{"pool_size": 0, "pool_max_age_seconds": 3600},
        **{"dead_peer_timeout_seconds": 45, "replay_events": 1000, "replay_size_bytes": 1 << 20},
        **{"replay_age_seconds": 300, "reconnect_delay_seconds": 1, "close_stream_after_seconds": None},
    }


def test_what_is_allowed_is_said_in_words() -> None:
    assert allowed("port") == "a whole number, at least 0, at most 65535"
    assert allowed("log_format") == "one of text, json"
    assert allowed("child_era") == "one of auto, modern, legacy"
    assert "2025-11-25" in allowed("protocol_version")
    assert "at most 1GiB" in allowed("max_body_bytes")


@pytest.mark.parametrize("value", ["none", "off", "Never"])
def test_a_limit_that_may_be_absent_can_be_switched_off(value: str) -> None:
    assert load(*DEMO, "--idle-timeout", value).idle_timeout_seconds is None
    assert "not allowed" in refused(*DEMO, "--start-timeout", value)


@pytest.mark.parametrize("path", ["mcp", "/a b", "/a?b", "/{x}", "//x", "/health", "/servers", "", "/a/../b", "/."])
def test_a_path_that_can_not_be_served_is_refused(path: str) -> None:
    assert refused(*DEMO, f"--path={path}").startswith("--path: ")


def test_a_path_ends_without_a_slash() -> None:
    assert (load(*DEMO, "--path", "/a/b/").path, load(*DEMO, "--path", "/").path) == ("/a/b", "/")


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/a", "a/", "a//b", " a", "x" * 129, "a\nb", "a\u202eb"])
def test_a_server_name_that_does_not_fit_into_a_path_is_refused(name: str) -> None:
    assert refused(*DEMO, f"--server-name={name}").startswith("--server-name: ")


@pytest.mark.parametrize("name", ["My notes (v2)", "github.com/o/r", "@org/x", "...", "日本", "50%?#", "x" * 128])
def test_a_server_may_be_called_as_clients_call_theirs(name: str) -> None:
    assert load(*DEMO, f"--server-name={name}").server_name == name


@pytest.mark.parametrize("name", ["health", "healthz", "readyz", "metrics"])
def test_a_server_is_never_served_where_nobody_checks_the_origin(name: str) -> None:
    assert "this path is taken" in refused(*DEMO, "--path", "/", "--server-name", name)
    assert "this path is taken" in refused(*DEMO, "--path", "/", "--server-name", "sse", "--legacy-sse")

    assert load(*DEMO, "--server-name", name).server_name == name


@pytest.mark.parametrize("isolation", ["session", "shared", "request"])
def test_the_operator_says_who_shares_a_process(isolation: str) -> None:
    assert load(*DEMO, "--isolation", isolation).isolation == isolation


def test_a_process_for_each_call_is_for_clients_of_both_eras() -> None:
    both = (*DEMO, "--isolation", "request", "--modern-isolation")

    assert "--modern-isolation shared can't be" in refused(*both, "shared")
    assert load(*both, "request").modern_isolation == "request"


def test_a_dead_peer_is_given_more_time_than_a_slow_reader() -> None:
    """TCP_USER_TIMEOUT ends live peers that don't read, too."""
    assert "at least 15s more" in refused(*DEMO, "--slow-reader-timeout", "31s")

    assert load(*DEMO, "--slow-reader-timeout", "31s", "--dead-peer-timeout", "46s").dead_peer_timeout_seconds == 46


@pytest.mark.parametrize("entry", ["tok-secret", "=tok-secret"])
def test_a_secret_is_not_repeated_in_a_refusal(entry: str) -> None:
    assert "secret" not in refused(*DEMO, "--env", entry)
    assert "secret" not in refused(*DEMO, MCP_PROXY_ENV=entry)
    assert "secret" not in refused("--command", f"server '{entry}")
    assert "secret" not in refused(*DEMO, "--env", "TOKEN=a", entry)  # the rest of a value without quotes
    assert "secret" not in repr(load(*DEMO, "--env", f"A{entry}=tok-secret").env is None)


def test_secrets_are_not_in_the_settings_text() -> None:
    assert "secret" not in repr(Settings(demo=True, env={"TOKEN": "secret"}))


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("--prt", "there is no flag --prt; did you mean --port?"),
        ("--idle-timeout-seconds=5", "did you mean --idle-timeout?"),
        ("--xyzzy", "see --help"),
        ("--stateless", "there is no flag --stateless: --isolation request serves without sessions"),
        ("http://localhost/mcp", "unexpected URL: this puts a stdio server behind one"),
    ],
)
def test_an_unknown_flag_is_named_with_the_nearest(word: str, says: str) -> None:
    assert says in refused(*DEMO, word)


def test_a_flag_without_its_value_is_named_first() -> None:
    assert refused(*DEMO, "--port") == "--port: expected one argument"


def test_every_fault_is_named_at_once() -> None:
    faults = refused(*DEMO, "--port=x", "--max-sessions=0").splitlines()

    assert [fault.split(":")[0] for fault in faults] == ["--port", "--max-sessions"]


def test_misspelt_variables_are_named_and_others_are_left_alone() -> None:
    environ = {"MCP_PROXY_MAX_SESIONS": "7", "MCP_PROXY_XYZZY": "1", "MCP_PROXY_PORT": "1", "PORT": "1"}

    assert unknown_variables({**environ, "MCP_PROXY_CHILD_OF": "m"}) == [
        ("MCP_PROXY_MAX_SESIONS", "MCP_PROXY_MAX_SESSIONS"),
        ("MCP_PROXY_XYZZY", None),
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SERVER_COMAND", "SERVER_COMMAND"),
        ("SERVER_CMD", "SERVER_COMMAND"),
        ("SERVERNAME", "SERVER_NAME"),
        ("SESSION_TIMEOUTS", "SESSION_TIMEOUT"),
        ("MCP_PROTOCOL_VERSIN", "MCP_PROTOCOL_VERSION"),
        ("MCP_BINDHOST", "MCP_BIND_HOST"),
        ("MCP_PROT", "MCP_PORT"),
    ],
)
def test_misspelt_container_names_are_named_with_the_right_one(name: str, meant: str) -> None:
    assert unknown_variables({name: "x"}) == [(name, meant)]
    assert unknown_variables({name: "x", meant: "y"}) == []  # somebody else's


@pytest.mark.parametrize(
    "name", ["SERVER_SOFTWARE", "SESSION_MANAGER", "SERVER_PORT", "MCP_PORT_3000_TCP", "DB_SERVER_NAME", "PORT"]
)
def test_variables_of_others_are_left_alone(name: str) -> None:
    assert unknown_variables({name: "x"}) == []


def test_what_kubernetes_says_of_a_service_of_our_name_is_not_meant_for_us() -> None:
    """In every pod beside a service `mcp-proxy` or `mcp`; the daemon would not start there."""
    links = {
        "MCP_PROXY_PORT": "tcp://10.96.0.7:3000",
        "MCP_PORT": "tcp://10.96.0.8:80",
        "MCP_PROXY_PORT_3000_TCP": "tcp://10.96.0.7:3000",
        "MCP_PROXY_PORT_3000_TCP_ADDR": "10.96.0.7",
        "MCP_PROXY_PORT_3000_TCP_PORT": "3000",
        "MCP_PROXY_PORT_3000_TCP_PROTO": "tcp",
        "MCP_PROXY_SERVICE_HOST": "10.96.0.7",
        "MCP_PROXY_SERVICE_PORT": "3000",
        "MCP_PROXY_SERVICE_PORT_HTTP": "3000",
    }

    assert load(*DEMO, **links) == Settings(demo=True)
    assert load(*DEMO, **{**links, "MCP_PORT": "8080"}).port == 8080
    assert unknown_variables(links) == []


def test_code_is_told_too() -> None:
    for wrong in ({"port": 99999}, {"prt": 1}, {"demo": False}, {"command": "x"}):
        with pytest.raises(ValidationError):
            Settings(**{"demo": True, **wrong})  # type: ignore[arg-type]  # wrong on purpose


# ---- units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("30s", 30), ("500ms", 0.5), ("5m", 300), ("2h", 7200), ("1d", 86400), ("1.5 m", 90), (" 3S ", 3)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("1024", 1024), ("64KiB", 65536), ("16 MiB", 16 << 20), ("1gib", 1 << 30), ("10MB", 10_000_000), ("0.5KiB", 512)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "s", "-1", "1 x", "1e3", "0x10", "1_000", "１"])
def test_what_is_neither(text: str) -> None:
    for parse in (parse_duration, parse_size):
        with pytest.raises(ValueError, match="not a number"):
            parse(text)


@pytest.mark.parametrize("seconds", [0.5, 2, 60, 90, 1800, 7200, 86400])
def test_a_duration_reads_back_as_it_was_written(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("size", [5, 1024, 1500, 64 << 20, 1 << 30])
def test_a_size_reads_back_as_it_was_written(size: int) -> None:
    assert parse_size(format_size(size)) == size

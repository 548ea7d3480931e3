"""What the command does before it serves: each as a process, as a user meets it."""

import os
import signal
import subprocess
import sys

import pytest

from proxy.cli import GROUPS, help_text, main
from proxy.sources import flag, flag_fields
from proxy.version import __version__


def mcp_proxy(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MCP_PROXY_")}
    return subprocess.run(
        [sys.executable, "-m", "proxy", *words],
        capture_output=True,
        text=True,
        timeout=30,
        env={**inherited, **environ},
    )


def test_the_version_goes_to_stdout() -> None:
    done = mcp_proxy("--version")

    assert (done.returncode, done.stdout, done.stderr) == (0, f"mcp-proxy {__version__}\n", "")


def test_the_help_teaches_with_examples_and_names_every_flag_with_its_default() -> None:
    done = mcp_proxy("--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert 'mcp-proxy --command "uvx mcp-server-fetch"' in done.stdout
    assert "[30m]" in done.stdout
    assert "Exit codes" in done.stdout
    assert [field for field, _ in flag_fields() if f"  {flag(field)}" not in done.stdout] == []


def test_the_help_fits_a_terminal_and_has_every_setting_once() -> None:
    shown = [field for fields in GROUPS.values() for field in fields]

    assert sorted(shown) == sorted(field for field, _ in flag_fields())
    assert max(map(len, help_text().splitlines())) <= 100


def test_the_help_lists_the_choices_where_there_are_few() -> None:
    text = " ".join(help_text().split())

    assert "One of debug, info, warning, error. [info]" in text
    assert "One of 2024-11-05, 2025-03-26, 2025-06-18, 2025-11-25, 2026-07-28." in text
    assert "--max-calls-per-child N" in text


def test_the_help_explains_its_units_and_breaks_no_flag() -> None:
    assert "DURATION is 30 or 30s, 500ms, 5m, 2h, 1d; SIZE is 65536 or 64KiB, 16MiB, 1GiB" in help_text()
    assert [line for line in help_text().splitlines() if line.endswith("-")] == []


def test_the_help_of_the_child_is_the_childs() -> None:
    assert mcp_proxy("--port", "x", "--", "server", "--help").returncode == 2


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_asking_is_quick(word: str) -> None:
    code = f"import sys; sys.argv[1:] = ['{word}']; from proxy.cli import main; main()"
    check = "; print([m for m in ('uvicorn', 'starlette', 'sse_starlette') if m in sys.modules], file=sys.stderr)"

    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, timeout=30)

    assert done.stderr == "[]\n"


def test_a_setting_that_can_not_be_is_refused_with_what_is_allowed() -> None:
    done = mcp_proxy("--demo", "--port", "99999")

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(
        "mcp-proxy: --port: '99999' is not allowed: a whole number, at least 0, at most 65535\n"
    )


def test_a_misspelt_variable_is_named() -> None:
    done = mcp_proxy("--demo", "--port", "x", MCP_PROXY_MAX_SESIONS="7")

    assert "no setting is called MCP_PROXY_MAX_SESIONS; did you mean MCP_PROXY_MAX_SESSIONS?" in done.stderr


def test_windows_is_refused_in_one_line() -> None:
    code = "import sys; sys.platform = 'win32'; from proxy.cli import main; sys.exit(main(['--demo']))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)

    assert (done.returncode, done.stderr) == (1, "mcp-proxy: Windows is not supported; use WSL or a container\n")


def test_an_interrupt_before_serving_prints_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: object) -> list[tuple[str, str | None]]:
        signal.raise_signal(signal.SIGINT)
        return []

    monkeypatch.setattr("proxy.sources.unknown_variables", interrupt)

    assert main(["--demo"]) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [["--", "no-such-program", "x"], ["--command", "no-such-program x"]])
def test_a_command_that_does_not_exist_ends_the_start_saying_where_it_was_looked_for(words: list[str]) -> None:
    done = mcp_proxy(*words, PATH="/somewhere:/else")

    assert done.returncode == 1
    assert "no program 'no-such-program' (looked in PATH: /somewhere:/else)" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--command", "cd /tmp && x"], "warning: --command: no shell is used, && stays as it is; sh -c '...' runs"),
        (["--command", "TOKEN=secret no-such-program"], "can't begin with a variable, TOKEN=...; --env or env sets it"),
        (["--command", "~/x"], "no shell is used, write the folder out"),
        (
            ["--named-server", "a", "no-such", "--named-server", "b", "nor-this"],
            "server 'b' can't be started: there is",
        ),
    ],
)
def test_what_may_be_the_cause_is_told_when_no_server_can_be_started(words: list[str], said: str) -> None:
    done = mcp_proxy(*words, PATH="/nowhere")

    assert done.returncode == 1
    assert said in done.stderr and "secret" not in done.stderr


def test_an_address_that_is_taken_ends_the_start() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = mcp_proxy("--demo", "--port", str(port))

    assert done.returncode == 1
    assert f"can't listen on 127.0.0.1:{port}: Address already in use" in done.stderr

"""What a child is given, and where its program is looked for."""

from pathlib import Path

import pytest

from proxy.child.spec import MARKER, ProgramNotFound, child_environment, find_program


def environment(
    environ: dict[str, str], *, extra: dict[str, str] | None = None, pass_env: tuple[str, ...] = ()
) -> dict[str, str]:
    return child_environment(environ, extra=extra or {}, pass_env=pass_env, marker="m")


def test_a_child_gets_the_short_list_and_nothing_else() -> None:
    given = environment(
        {
            "HOME": "/h",
            "PATH": "/p",
            "LC_ALL": "C",
            "https_proxy": "x",
            "npm_config_cache": "c",
            "UV_CACHE_DIR": "u",
            "AWS_SECRET_ACCESS_KEY": "s",
            "MCP_PROXY_PORT": "1",
        }
    )

    assert given == {
        "HOME": "/h",
        "PATH": "/p",
        "LC_ALL": "C",
        "https_proxy": "x",
        "npm_config_cache": "c",
        "UV_CACHE_DIR": "u",
        "npm_config_yes": "true",
        MARKER: "m",
    }


def test_patterns_pass_more_on_but_never_our_own_settings() -> None:
    environ = {"AWS_REGION": "r", "OTHER": "o", "MCP_PROXY_TOKEN": "t"}

    assert environment(environ, pass_env=("AWS_*",)).keys() == {"AWS_REGION", "npm_config_yes", MARKER}
    assert environment(environ, pass_env=("*",)).keys() == {"AWS_REGION", "OTHER", "npm_config_yes", MARKER}


def test_what_the_operator_sets_wins() -> None:
    given = environment({"HOME": "/h", "npm_config_yes": "false"}, extra={"HOME": "/x", "MCP_PROXY_X": "1"})

    assert (given["HOME"], given["MCP_PROXY_X"], given["npm_config_yes"]) == ("/x", "1", "false")


def test_shell_functions_are_not_passed_on() -> None:
    assert "HOME" not in environment({"HOME": "() { :; }"})


def test_a_program_is_found_on_the_childs_own_path(tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    assert find_program(["server", "x"], env={"PATH": str(tmp_path)}, cwd=None) == str(program)
    assert find_program(["./server"], env={}, cwd=str(tmp_path)) == str(program)


def test_a_program_that_is_not_there_is_named_with_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ProgramNotFound, match=rf"no program 'nope' \(looked in PATH: {tmp_path}\)"):
        find_program(["nope"], env={"PATH": str(tmp_path)}, cwd=None)
    with pytest.raises(ProgramNotFound, match=rf"'./nope' does not exist \(looked at {tmp_path}/nope\)"):
        find_program(["./nope"], env={}, cwd=str(tmp_path))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProgramNotFound, match="no folder"):
        find_program(["sh"], env={"PATH": "/bin"}, cwd=str(tmp_path / "nope"))


def test_a_file_that_may_not_be_executed_is_named_as_that(tmp_path: Path) -> None:
    (tmp_path / "server").write_text("")

    with pytest.raises(ProgramNotFound, match="is not executable"):
        find_program(["./server"], env={}, cwd=str(tmp_path))

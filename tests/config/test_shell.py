"""Commands that mean a shell are warned of, and no others."""

import pytest

from proxy.config.servers import servers_of
from proxy.config.shell import advice, shell_syntax
from proxy.settings import Settings


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("a | b", "|"),
        ("cd /x && a", "&&"),
        ("a; b", ";"),
        ("a ; b", ";"),
        ("a &", "&"),
        ("a 2>/dev/null", "2>"),
        ("a >> log", ">>"),
        ("a >log", ">"),
        ("a < in", "<"),
        ("TOKEN=secret a", "TOKEN=..."),
        ("a $HOME/x", "$HOME"),
        ("a ${HOME}/x", "${HOME}"),
        ("a $(cat secret)", "$(...)"),
        ("a --x=$(cat secret)", "$(...)"),
        ("a `secret`", "`...`"),
        ("~/bin/a", "~"),
        ("uvx mcp-server-fetch --x=1 A=b http://h/?a=1&b=2 '<div>' -> '^a|b$' 'c~' '$1' 'a;b'", None),
        ("sh -c 'a | b'", None),
        ("/bin/bash -c '$HOME/a && b' $X", None),
        ("npx -y @modelcontextprotocol/server-everything stdio", None),
    ],
)
def test_what_only_a_shell_would_understand_is_found_and_no_secret_shown(command: str, found: str | None) -> None:
    warnings = servers_of(Settings(command=command), None).warnings

    if found is None:
        assert warnings == []
    else:
        (warning,) = warnings
        assert warning.startswith(f"--command: no shell is used, {found} stays as it is; ")
        assert "secret" not in warning


def test_each_is_told_what_to_do() -> None:
    assert advice("|", in_file=False) == "sh -c '...' runs a command in a shell"
    assert advice("TOKEN=...", in_file=False) == "--env sets variables"
    assert advice("$HOME", in_file=True) == "${HOME} would be replaced"
    assert advice("$(...)", in_file=True) == "sh -c '...' runs a command in a shell"


def test_words_behind_two_dashes_have_been_seen_by_a_shell() -> None:
    assert servers_of(Settings(argv=("a", "|", "b")), None).warnings == []
    assert shell_syntax(("a", "|", "b")) == "|"

"""What an operator is told of a server that was never ready."""

import pytest

from proxy.sessions.hints import missing_package_hint

NPM = [
    "npm error code E404",
    "npm error 404 Not Found - GET - Not found",
    "npm error 404  '@modelcontextprotocol/server-fetch@*' is not in this registry.",
]
NPM_11 = [
    "npm error code E404",
    "npm error 404 Not Found - GET - Not found",
    "npm error 404  The requested resource '@modelcontextprotocol/server-fetch@*' could not be found or you do not "
    "have permission to access it.",
]
UV = [
    "  × No solution found when resolving tool dependencies:",
    "  ╰─▶ Because no-such-server-xyz was not found in the package registry and you",
]
UV_VERSION = ["  ╰─▶ Because there is no version of mcp-server-fetch==99 and you require", "we can conclude that"]


@pytest.mark.parametrize(
    ("stderr", "says"),
    [
        (NPM, "the npm registry has no package '@modelcontextprotocol/server-fetch'"),
        (NPM_11, "the npm registry has no package '@modelcontextprotocol/server-fetch'"),
        (NPM, "uvx mcp-server-fetch"),
        (UV, "the Python package index has no package 'no-such-server-xyz'"),
    ],
)
def test_a_package_that_does_not_exist_is_named(stderr: list[str], says: str) -> None:
    assert says in (missing_package_hint(stderr) or "")


@pytest.mark.parametrize("stderr", [[], ["Traceback", "ValueError: 404"], UV_VERSION])
def test_other_failures_are_not_taken_for_that(stderr: list[str]) -> None:
    assert missing_package_hint(stderr) is None

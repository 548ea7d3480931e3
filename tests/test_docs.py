"""What the documents say of flags, files and targets is true."""

import re
from pathlib import Path

import pytest

from proxy.sources import CONTAINER_NAMES, flag, flag_fields, variable

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.md", "ERAS.md", "ISOLATION.md", "CHANGELOG.md", "CONTRIBUTING.md", "ARCHITECTURE.md"]
OTHERS = {"--no-required", "--help", "--version", "--rm", "--init"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_flag_and_variable_that_is_named_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    flags = {flag(field) for field, _ in flag_fields()} | OTHERS
    variables = {variable(field) for field, _ in flag_fields()} | {"MCP_PROXY_CHILD_OF"}

    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) - flags == set()
    assert set(re.findall(r"MCP_PROXY_[A-Z_]*[A-Z]", text)) - variables == set()


def test_the_readme_opens_with_the_two_commands_and_names_the_container_variables() -> None:
    text = (ROOT / "README.md").read_text()

    assert text.index("    make run") < text.index("    make test") < 600
    assert [name for name in CONTAINER_NAMES if name not in text] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_and_target_that_is_named_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    paths = re.findall(r"`((?:examples|tests|proxy)/[\w./-]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert set(re.findall(r"(?:^|`| {4})make ([a-z-]+)", text, re.MULTILINE)) - targets == set()

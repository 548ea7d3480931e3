"""What is read from a config file, what is left out, and what is refused with file, server and key."""

import os
import time
from pathlib import Path

import pytest

from proxy.config.file import ConfigError, read_config
from proxy.config.variables import ReferenceUnknown, VariableMissing, expand

ENVIRON = {"TOKEN": "abc", "EMPTY": "", "NAME": "${TOKEN}"}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "servers.json"
    path.write_text(text, encoding="utf-8")
    return path


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(written(tmp_path, text), ENVIRON)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain $TOKEN ${ }", "plain $TOKEN ${ }"),
        ("a ${TOKEN} b ${env:TOKEN}", "a abc b abc"),
        ("${NONE:-x y}${EMPTY:-z}${EMPTY}", "x yz"),
        ("${NONE:-}", ""),
        ("${NAME}", "${TOKEN}"),  # what was put in is not looked at again
        ("${NONE:-${TOKEN}}|${NONE:-${ALSO:-x}y}", "abc|xy"),
        ("${TOKEN:-${NONE}}", "abc"),  # a default that is not needed may refer to anything
        ('${NONE:-{"a": {}}}', '{"a": {}}'),
        ("$${TOKEN} $$TOKEN $$${TOKEN}", "${TOKEN} $$TOKEN $${TOKEN}"),
        ("${TOKEN ${} ${1} ${a.b} ${NONE:-{ $", "${TOKEN ${} ${1} ${a.b} ${NONE:-{ $"),
        ("${env:NONE:-a}${TOKEN}", "aabc"),
    ],
)
def test_variables_are_expanded_once(text: str, expanded: str) -> None:
    assert expand(text, ENVIRON) == expanded


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(VariableMissing) as caught:
        expand("${NONE}", ENVIRON)
    assert caught.value.name == "NONE"


@pytest.mark.parametrize("text", ["${input:secret}", "x ${input-secret}", "${input:?secret}", "${A:-}${input:=secret}"])
def test_what_looks_like_a_reference_and_is_none_is_refused_without_what_may_be_secret(text: str) -> None:
    with pytest.raises(ReferenceUnknown) as caught:
        expand(text, ENVIRON)
    assert caught.value.head.startswith("${input") and "secret" not in caught.value.head


def test_the_form_of_the_clients_is_read_with_comments(tmp_path: Path) -> None:
    text = """{
      // ours
      "idle_timeout": "10m",
      "mcpServers": {
        "one": {"command": "uvx", "args": ["server", "${TOKEN}"], "env": {"A": "${env:TOKEN}", "N": 1}, "cwd": "/tmp",
                "timeout": 30, "type": "stdio", "mcp_proxy": {"max_sessions": 3},},
        "two": {"command": "x", "timeout": 60000},
        "off": {"command": "x", "disabled": true},
        "off-too": {"command": "x", "enabled": false},
      },
    }"""
    file = read_config(written(tmp_path, text), ENVIRON)

    one, two = file.servers
    assert (one.name, one.argv, dict(one.env), one.cwd) == (
        "one",
        ("uvx", "server", "abc"),
        {"A": "abc", "N": "1"},
        "/tmp",
    )
    assert (one.call_timeout_seconds, two.call_timeout_seconds) == (30, 60)
    assert one.overrides == {"max_sessions": 3}
    assert (dict(file.top), list(file.warnings)) == ({"idle_timeout_seconds": "10m"}, [])
    assert "N" not in repr(one)  # what is set for a server may be secret


def test_the_key_of_vs_code_is_read_too(tmp_path: Path) -> None:
    file = read_config(written(tmp_path, '{"servers": {"a": {"command": "x"}}, "inputs": []}'), ENVIRON)

    assert [server.name for server in file.servers] == ["a"]


@pytest.mark.parametrize(
    "entry",
    [
        '{"url": "https://x", "headers": {"A": "b"}}',
        '{"serverUrl": "https://x/sse"}',
        '{"httpUrl": "https://x", "trust": true}',
        *(
            f'{{"{key}": "{kind}", "url": "u"}}'
            for key in ("type", "transport", "transportType")
            for kind in ("http", "sse", "streamable-http", "streamableHttp", "STREAMABLE_HTTP", "ws", "remote")
        ),
    ],
)
def test_remote_servers_are_named_and_left_out(tmp_path: Path, entry: str) -> None:
    file = read_config(written(tmp_path, '{"mcpServers": {"far": ' + entry + ', "a": {"command": "x"}}}'), ENVIRON)

    assert [server.name for server in file.servers] == ["a"]
    assert [warning.rpartition(": server ")[2] for warning in file.warnings] == [
        "'far' is a remote server; it is not served here"
    ]


@pytest.mark.parametrize(
    ("more", "argv"),
    [
        ('"type": "STDIO"', ("x",)),
        ('"type": "local"', ("x",)),
        ('"transport": "stdio"', ("x",)),
        ('"transportType": "stdio"', ("x",)),
        (
            '"type": null, "args": null, "env": null, "cwd": null, "timeout": null, "disabled": null, "enabled": null',
            ("x",),
        ),
        ('"mcp_proxy": null, "args": []', ("x",)),
    ],
)
def test_what_clients_write_for_a_server_of_stdio_is_read_without_a_word(
    tmp_path: Path, more: str, argv: tuple[str, ...]
) -> None:
    file = read_config(written(tmp_path, '{"mcpServers": {"a": {"command": "x", ' + more + "}}}"), ENVIRON)

    assert ([server.argv for server in file.servers], list(file.warnings)) == ([argv], [])


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("trust", "trust is not known here and left out"),
        ("arg", "arg is not known here and left out; did you mean args?"),
        ("isolation", "isolation is not known here and left out; did you mean isolation, under mcp_proxy?"),
        ("envFile", "envFile is not known here and left out; no such file is read; put its variables under env"),
        ("disabledTools", "disabledTools is not known here and left out; deny_tool under mcp_proxy hides tools"),
        ("url", "url is not known here and left out"),
    ],
)
def test_an_unknown_key_of_an_entry_is_named_with_what_to_do(tmp_path: Path, key: str, said: str) -> None:
    text = '{"mcpServers": {"a": {"command": "x", "' + key + '": "${NONE}"}}}'

    assert read_config(written(tmp_path, text), ENVIRON).warnings == [f"{tmp_path}/servers.json: server 'a': {said}"]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("preferences", "preferences is no setting and left out"),
        ("idle_timout", "idle_timout is no setting and left out; did you mean idle_timeout?"),
        ("env", "env is no setting and left out; it belongs into the entry of a server"),
        (
            "mcp_proxy",
            "mcp_proxy is no setting and left out; settings of the daemon stand beside mcpServers",
        ),
    ],
)
def test_an_unknown_key_beside_the_servers_may_refer_to_anything(tmp_path: Path, key: str, said: str) -> None:
    text = '{"' + key + '": {"a": "${NONE} ${input:x}"}, "mcpServers": {"a": {"command": "x"}}}'

    assert read_config(written(tmp_path, text), ENVIRON).warnings == [f"{tmp_path}/servers.json: {said}"]


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [(0.5, 0.5), (60, 60), (999, 999), (1000, 1), (30_000, 30), (600_000, 600), (1800, 1800), (3600, 3600)],
)
def test_a_timeout_is_what_the_clients_mean_by_it(tmp_path: Path, timeout: float, seconds: float) -> None:
    text = f'{{"mcpServers": {{"a": {{"command": "x", "timeout": {timeout}}}}}}}'

    file = read_config(written(tmp_path, text), ENVIRON)
    (server,) = file.servers
    assert server.call_timeout_seconds == seconds
    assert any("is read as milliseconds" in each for each in file.warnings) == (timeout == 1000)


def test_what_is_not_served_may_refer_to_anything(tmp_path: Path) -> None:
    off = '"off": {"command": "${NONE}", "disabled": true}, "far": {"url": "https://x", "headers": {"a": "${NONE}"}}'
    file = read_config(written(tmp_path, '{"mcpServers": {' + off + ', "a": {"command": "x"}}}'), ENVIRON)

    assert [server.name for server in file.servers] == ["a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"mcpServers": {"a": {"command": "x", "type": []}}}', "server 'a', type: must be stdio"),
        (" // secret", "is empty"),
        ('{"a": \n secret}', "is no JSON: line 2, column 2: Expecting value"),
        ('{"a": 1, /* secret \r\n */ "b" 2}', "is no JSON: line 2, column 9: Expecting ':' delimiter"),
        ('{"a": "secret', "is no JSON: line 1, column 7: Unterminated string"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"a": ' + "1" * 5000 + "}", "it has a number with too many digits"),
        ("[]", 'must be an object: {"mcpServers": {...}}'),
        ("{}", "has no mcpServers; it must be {"),
        ('{"mcp_servers": {}}', "has no mcpServers; it must be {"),
        ('{"mcpServers": {}, "servers": {}}', "has both mcpServers and servers"),
        ('{"mcpServers": []}', "mcpServers must be an object"),
        ('{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}', "server 'a': stands there twice"),
        (
            '{"mcpServers": {"a": {"command": "x", "env": {"B": "secret", "B": "y"}}}}',
            "server 'a', env.B: stands there twice",
        ),
        ('{"mcpServers": {"a": {"command": "x", "command": "y"}}}', "server 'a', command: stands there twice"),
        ('{"port": 1, "port": 2, "mcpServers": {}}', "port: stands there twice"),
        ('{"mcpServers": {"a": 1}}', "server 'a': must be an object"),
        ('{"mcpServers": {"a": {}}}', "server 'a', command: is missing"),
        ('{"mcpServers": {"a": {"command": " "}}}', "server 'a', command: must be a text that is not empty"),
        ('{"mcpServers": {"a": {"command": "x", "args": "y"}}}', "server 'a', args: must be a list of texts"),
        ('{"mcpServers": {"a": {"command": "x", "args": ["y", 1]}}}', "server 'a', args[1]: must be a text, in"),
        ('{"mcpServers": {"a": {"command": ["x"]}}}', "server 'a', command: must be a text, in quotation marks"),
        ('{"mcpServers": {"a": {"comand": "x"}}}', "server 'a', command: is missing; comand is not known here"),
        ('{"mcpServers": {"a": {"command": "x", "args": ["\\u0000"]}}}', "server 'a', args[0]: has a character"),
        ('{"mcpServers": {"a": {"command": "x", "cwd": "\\ud800"}}}', "server 'a', cwd: has a character in it"),
        ('{"mcpServers": {"a": {"command": "x", "env": {"B": true}}}}', "server 'a', env.B: must be a text, in"),
        ('{"mcpServers": {"a": {"command": "x", "env": {"B=secret": ""}}}}', "server 'a', env: 'B': a name can't"),
        ('{"mcpServers": {"a": {"command": "x", "timeout": 1e999}}}', "server 'a', timeout: must be a number"),
        (
            '{"mcpServers": {"a": {"command": "x", "env": {"B": "${input:secret}"}}}}',
            "server 'a', env.B: has ${input:...} in it; known are ${VAR}, ${VAR:-default} and ${env:VAR}; $${ stands",
        ),
        (
            '{"mcpServers": {"a": {"command": "x", "mcp_proxy": {"pool_max_age": 1, "pool_max_age_seconds": 2}}}}',
            "server 'a', mcp_proxy.pool_max_age_seconds: stands there twice, with its unit and without",
        ),
        ('{"mcpServers": {"a": {"command": "x", "env": []}}}', "server 'a', env: must be an object"),
        ('{"mcpServers": {"a": {"command": "x", "env": {"B": null}}}}', "server 'a', env.B: must be a text"),
        ('{"mcpServers": {"a": {"command": "x", "disabled": 1}}}', "server 'a', disabled: must be true or false"),
        ('{"mcpServers": {"a": {"command": "x", "timeout": 0}}}', "server 'a', timeout: must be a number of seconds"),
        ('{"mcpServers": {"a": {"command": "x", "type": "tcp"}}}', "server 'a', type: must be stdio"),
        (
            '{"mcpServers": {"a": {"command": "x", "args": ["${NONE}"]}}}',
            "server 'a', args[0]: refers to the variable NONE",
        ),
        (
            '{"mcpServers": {"a": {"command": "x", "env": {"B": "${NONE}"}}}}',
            "server 'a', env.B: refers to the variable",
        ),
        ('{"port": "${NONE}", "mcpServers": {}}', "port: refers to the variable NONE"),
    ],
)
def test_what_can_not_be_is_refused_with_file_server_and_key(tmp_path: Path, text: str, said: str) -> None:
    message = refused(tmp_path, text)

    assert message.startswith(str(tmp_path / "servers.json")) and said in message
    assert "secret" not in message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_what_editors_and_clients_write_is_read(tmp_path: Path, encoding: str) -> None:
    text = """{/* * / */ "mcpServers":\r\n {"a": {"command": "x", // ",
      "args": ["http://h//\\"/*", "ä, ]", "// }",], "env": {"A": "[1,]",},},},
    }  // }"""
    (tmp_path / "c.json").write_bytes(text.encode(encoding))

    (server,) = read_config(tmp_path / "c.json", {}).servers
    assert server.argv == ("x", 'http://h//"/*', "ä, ]", "// }")
    assert server.env == {"A": "[1,]"}


def test_a_thousand_servers_with_comments_are_read_in_no_time(tmp_path: Path) -> None:
    """A reload may not hold everybody's calls up; a JSON5 parser in Python took 4 s."""
    entries = ",".join(f'\n// {n}\n"s{n}": {{"command": "x", "args": ["a", "b"],}}' for n in range(1000))
    path = written(tmp_path, '{"mcpServers": {' + entries + "}}")
    before = time.process_time()

    assert len(read_config(path, {}).servers) == 1000
    assert time.process_time() - before < 1


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_config(tmp_path / "none.json", ENVIRON)
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        read_config(tmp_path, ENVIRON)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is no file that can be read again"):
        read_config(tmp_path / "pipe", ENVIRON)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe{")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_config(tmp_path / "bytes", ENVIRON)
    (tmp_path / "huge").write_bytes(b" " * (4 * 1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="is larger than"):
        read_config(tmp_path / "huge", ENVIRON)

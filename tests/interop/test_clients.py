"""The official clients see through the proxy what they see over plain stdio.

Each test plays one scenario twice with the same client, against the same published server: over plain
stdio, and through the proxy. First the plain transcript must carry all the evidence that the scenario
demands, so that two failures never count as equal; then both transcripts must be the same.
"""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.interop.servers import HERE, SERVERS, Server, missing_packages
from tests.interop.site import running_site
from tests.interop.steps import CLIENTS, Client, Json, Scenario, call
from tests.interop.transcripts import (
    Run,
    comparable,
    differences,
    problems_of,
    uncovered,
    unused_rules,
)
from tests.support.daemon import running_daemon

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    missing = missing_packages()
    assert not missing, f"not installed: {', '.join(missing)}; run: make interop-setup"


@pytest.fixture(autouse=True)
def _canary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret around us, which no child may see."""
    monkeypatch.setenv("INTEROP_CANARY_TOKEN", "secret")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", SERVERS)
def test_a_client_sees_the_same_as_over_plain_stdio(client: Client, name: str, tmp_path: Path) -> None:
    server = SERVERS[name]

    with ExitStack() as stack:
        plain = start_plain(stack, client, server, tmp_path / "plain")
        proxied = start_proxied(stack, client, server, tmp_path / "proxy")
        over_stdio, through_proxy = plain.finish(), proxied.finish()

    assert problems_of(plain.scenario, over_stdio) == []
    assert uncovered(client, plain.scenario, over_stdio) == set()
    assert unused_rules(plain.scenario, over_stdio) == []
    found = differences(comparable(plain.scenario, over_stdio), comparable(plain.scenario, through_proxy))
    assert not found, "\n".join([*found, f"faults of the proxied client: {through_proxy['faults']}"])


def start_plain(stack: ExitStack, client: Client, server: Server, work: Path) -> Run:
    substitutions = make_ground(stack, server, work)
    command, *arguments = server.argv_in(work)
    connect = {"stdio": {"command": command, "args": arguments, "env": server.environment_in(work)}}
    return Run.start(stack, client, server.scenario, connect, substitutions)


def start_proxied(stack: ExitStack, client: Client, server: Server, work: Path, *more: str) -> Run:
    substitutions = make_ground(stack, server, work)
    flags = [part for name, value in server.environment_in(work).items() for part in ("--env", f"{name}={value}")]
    daemon = stack.enter_context(running_daemon(*more, *flags, "--", *server.argv_in(work)))
    return Run.start(stack, client, server.scenario, {"url": daemon.url}, substitutions)


def make_ground(stack: ExitStack, server: Server, work: Path) -> dict[str, str]:
    work.mkdir()
    server.prepare(work)
    site = stack.enter_context(running_site())
    return {"<work>": str(work), "<site>": site.origin}


@pytest.mark.parametrize("folder", ["node", "conformance", "conformance-old"])
def test_the_lock_names_no_address(folder: str) -> None:
    """Ours: whoever installs decides from where; npm install --omit-lockfile-registry-resolved."""
    text = (HERE / folder / "package-lock.json").read_text()
    packages = json.loads(text)["packages"]

    assert "://" not in text
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert all("integrity" in package for name, package in packages.items() if name)


# The comparison itself, on transcripts made by hand.

ECHO = Scenario(steps=[call("echo", {"message": "hi"}, says="hi", expect={"notifications/message": 1})])


def transcript(text: str = "hi", **changes: Any) -> Json:
    content: Json = {"content": [{"type": "text", "text": text}], **changes}
    return {
        "server": {"protocolVersion": "2025-11-25"},
        "steps": [{"name": "call echo", "result": content}],
        "inbound": {"notifications/message": [{"data": "logged"}]},
        "faults": [],
    }


def test_a_complete_transcript_has_no_problems() -> None:
    assert problems_of(ECHO, transcript()) == []


@pytest.mark.parametrize(
    ("poor", "complaint"),
    [
        (transcript("hello"), "does not say 'hi'"),
        (transcript(isError=True), "ended with tool error, not result"),
        ({**transcript(), "server": {"protocolVersion": "2026-07-28"}}, "the client speaks 2026-07-28"),
        ({**transcript(), "inbound": {}}, "from the server came {}"),
        ({**transcript(), "inbound": {"notifications/message": [{}, {}]}}, "from the server came"),
    ],
)
def test_a_transcript_without_its_evidence_is_refused(poor: Json, complaint: str) -> None:
    [problem] = problems_of(ECHO, poor)

    assert complaint in problem


def test_a_changed_result_and_a_lost_notification_are_differences() -> None:
    plain, proxied = comparable(ECHO, transcript()), comparable(ECHO, transcript("high"))
    proxied["inbound"] = {}

    assert [line.split(":")[0] for line in differences(plain, proxied)] == [
        "call echo",
        "notifications/message (1 plain, 0 proxied)",
    ]

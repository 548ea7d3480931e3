"""The official clients see through the proxy what they see over plain stdio, whatever eras they and the servers speak.

As in test_clients.py, but with scenarios whose words both eras have: a client that asks for 2026-07-28 first may speak
one era over stdio and the other one with the proxy.
"""

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.scenarios import eras
from tests.interop.servers import HERE, SERVERS, Server, missing_packages
from tests.interop.steps import ALL_CLIENTS, Client
from tests.interop.test_clients import make_ground
from tests.interop.transcripts import (
    LEGACY,
    Run,
    comparable,
    differences,
    problems_of,
    uncovered,
    unused_rules,
)
from tests.support.daemon import running_daemon

pytestmark = pytest.mark.interop

MODERN = "2026-07-28"
SDK_SERVER = (sys.executable, str(HERE.parent / "programs" / "sdk_server.py"))


@dataclass(frozen=True)
class Pairing:
    """A server, and the clients that meet it.

    Attributes:
        clients: Who plays through the proxy, and who plays over plain stdio to compare.
        plain_version: What the latter comes to speak with the server if it asks for 2026-07-28 first.
        flags: Of the proxy.
        proxied_arguments: For the server behind the proxy only.
        log_level: Of what the client wants to hear.
    """

    server: Server
    clients: Mapping[Client, Client]
    plain_version: str
    flags: tuple[str, ...] = ()
    proxied_arguments: tuple[str, ...] = ()
    log_level: str | None = None


def each(*clients: Client) -> dict[Client, Client]:
    """Clients that are compared with themselves."""
    return {client: client for client in clients}


PAIRINGS = {
    "everything": Pairing(
        Server(eras.EVERYTHING, SERVERS["everything"].argv, SERVERS["everything"].environment),
        each("typescript 2", *eras.MODERN_CLIENTS),
        plain_version=LEGACY,
    ),
    "filesystem": Pairing(
        Server(eras.FILESYSTEM, SERVERS["filesystem"].argv, prepare=SERVERS["filesystem"].prepare),
        each("typescript 2", *eras.MODERN_CLIENTS),
        plain_version=LEGACY,
    ),
    "sdk": Pairing(Server(eras.SDK, SDK_SERVER), each(*ALL_CLIENTS), plain_version=MODERN, log_level="info"),
    "sdk, its 2026-07-28 side": Pairing(
        Server(eras.ACROSS, SDK_SERVER),
        each(*eras.LEGACY_CLIENTS),
        plain_version=LEGACY,
        flags=("--child-era", "modern"),
        log_level="info",
    ),
    "sdk, its handshake side": Pairing(
        Server(eras.CLASSIC, SDK_SERVER),
        {"python auto": "python", "typescript 2 auto": "typescript 2"},
        plain_version=LEGACY,
        flags=("--child-era", "legacy"),
        log_level="info",
    ),
    "sdk, 2026-07-28 only": Pairing(
        Server(eras.MODERN_SDK, SDK_SERVER),
        each(*eras.LEGACY_CLIENTS),
        plain_version=LEGACY,
        proxied_arguments=("--modern-only",),
        log_level="info",
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    missing = missing_packages()
    assert not missing, f"not installed: {', '.join(missing)}; run: make interop-setup"


CASES = [(name, client) for name, pairing in PAIRINGS.items() for client in pairing.clients]


@pytest.mark.parametrize(("name", "client"), CASES)
def test_a_client_sees_the_same_in_whatever_era(name: str, client: Client, tmp_path: Path) -> None:
    pairing = PAIRINGS[name]
    server, plain_client = pairing.server, pairing.clients[client]

    with ExitStack() as stack:
        work = tmp_path / "plain"
        places = make_ground(stack, server, work)
        command, *arguments = server.argv_in(work)
        stdio = {"stdio": {"command": command, "args": arguments, "env": server.environment_in(work)}}
        plain = Run.start(stack, plain_client, server.scenario, stdio, places, log_level=pairing.log_level)

        work = tmp_path / "proxy"
        places = make_ground(stack, server, work)
        flags = [part for variable in server.environment_in(work).items() for part in ("--env", "=".join(variable))]
        argv = [*server.argv_in(work), *pairing.proxied_arguments]
        daemon = stack.enter_context(running_daemon(*flags, *pairing.flags, "--", *argv))
        url = {"url": daemon.url}
        proxied = Run.start(stack, client, server.scenario, url, places, log_level=pairing.log_level)
        over_stdio, through_proxy = plain.finish(), proxied.finish()

    expected = pairing.plain_version if plain_client in eras.MODERN_CLIENTS else LEGACY
    problems = problems_of(plain.scenario, over_stdio, expected_version=expected)
    assert not problems, "\n".join(problems)
    assert uncovered(plain_client, plain.scenario, over_stdio) == set()
    assert unused_rules(plain.scenario, over_stdio) == []
    found = differences(comparable(plain.scenario, over_stdio), comparable(plain.scenario, through_proxy))
    assert not found, "\n".join([*found, f"faults of the proxied client: {through_proxy['faults']}"])
    assert through_proxy["server"]["protocolVersion"] == (MODERN if client in eras.MODERN_CLIENTS else LEGACY)


def test_only_what_one_era_says_is_left_out() -> None:
    modern = {
        "result": {
            "resultType": "complete",
            "ttlMs": 0,
            "cacheScope": "private",
            "content": [{"type": "text", "text": "hi", "_meta": {"own": 1}}],
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "x"}},
        }
    }
    legacy = {"result": {"content": [{"type": "text", "text": "hi", "_meta": {"own": 1}}]}}

    assert eras.the_same(modern) == eras.the_same(legacy) == legacy
    assert eras.the_same({"params": {"mode": "form", "_meta": {"progressToken": 0}}}) == {"params": {}}
    assert eras.the_same({"params": {"mode": "url", "elicitationId": "1"}}) == {"params": {"mode": "url"}}

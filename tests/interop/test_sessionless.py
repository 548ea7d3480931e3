"""The official clients go on without a session, and see what they see over plain stdio as far as none is needed."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.interop.servers import HERE, Server, missing_packages
from tests.interop.steps import LOG, Client, Json, Scenario, Step, call, listing
from tests.interop.test_clients import start_plain, start_proxied
from tests.interop.transcripts import comparable, differences, problems_of

pytestmark = pytest.mark.interop

OF_A_SESSION = frozenset({"logging", "tasks", "subscribe", "listChanged"})


def without_sessions(value: Json) -> Json:
    """The same but for the capabilities that only a session has."""

    def kept(part: Any) -> Any:
        if isinstance(part, list):
            return [kept(each) for each in part]
        if isinstance(part, dict):
            return {name: kept(each) for name, each in part.items() if name not in OF_A_SESSION}
        return part

    seen: Json = kept(value)
    return seen


SERVER = Server(
    Scenario(
        steps=[
            listing("list_tools", "count_forever"),
            call("add", {"a": 1, "b": 2}, says='"sum": 3'),
            call("count", {"steps": 3}, says="counted to 3", progress=3),
            call("log", {"words": "hello"}, says="logged", expect={LOG: 1}),
            Step("ping"),
        ],
        view=without_sessions,
    ),
    (sys.executable, str(HERE.parent / "programs" / "sdk_server.py")),
)


@pytest.mark.parametrize("client", ["python", "typescript"])
def test_a_client_sees_the_same_without_a_session(client: Client, tmp_path: Path) -> None:
    missing = missing_packages()
    assert not missing, f"not installed: {', '.join(missing)}; run: make interop-setup"

    with ExitStack() as stack:
        plain = start_plain(stack, client, SERVER, tmp_path / "plain")
        proxied = start_proxied(stack, client, SERVER, tmp_path / "proxy", "--isolation", "request")
        over_stdio, through_proxy = plain.finish(), proxied.finish()

    assert problems_of(plain.scenario, over_stdio) == []
    found = differences(comparable(plain.scenario, over_stdio), comparable(plain.scenario, through_proxy))
    assert not found, "\n".join([*found, f"faults of the proxied client: {through_proxy['faults']}"])

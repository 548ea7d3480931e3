"""Real servers of the handshake era, asked in the words of 2026-07-28 through `AsModern`."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from proxy.child.link import Line
from proxy.child.process import open_child
from proxy.child.spec import ChildSpec
from proxy.observe import Counts
from proxy.protocol.jsontext import parse_members
from proxy.sessions.modern.as_modern import AsModern
from proxy.sessions.modern.as_modern_port import AsModernLimits
from tests.sessions.modern.bridge import ACCEPT, EVERYTHING, PREFIX, SAMPLED, SUBSCRIPTION, Json

pytestmark = pytest.mark.processes

PROGRAMS = Path(__file__).parents[2] / "programs"
LIGHT = (sys.executable, "-I", "-S", str(PROGRAMS / "modern.py"), "legacy-only")
SDK = (sys.executable, str(PROGRAMS / "conformance_server.py"))
"""On the official SDK; the handshake decides that it is a legacy one."""

PATIENCE_SECONDS = 20.0
ANSWERS: Json = {
    "elicitation/create": ACCEPT,
    "sampling/createMessage": SAMPLED,
    "roots/list": {"roots": [{"uri": "file:///x"}]},
}


class Client:
    """Whoever stands above; every wait is bounded."""

    def __init__(self, capabilities: Json, **limits: Any) -> None:
        loop = asyncio.get_running_loop()
        self.counts = Counts()
        self.events: list[str] = []
        self.said: list[Json] = []
        self.rounds: list[list[str]] = []
        """What was asked in each round."""
        self._changed = anyio.Event()
        self._next_id = 0
        self.modern = AsModern(
            capabilities=parse_members(json.dumps(capabilities).encode()),
            client_info=None,
            on_lines=self._up,
            on_ready=lambda: self._happened("ready"),
            on_refused=lambda code, message, supported: self._happened(f"refused {code}"),
            on_free=lambda: self._happened("free"),
            on_stuck=lambda: self._happened("stuck"),
            clock=loop.time,
            later=loop.call_later,
            counts=self.counts,
            tag="test",
            limits=AsModernLimits(**limits),
        )

    def _up(self, lines: list[Line]) -> None:
        for line in lines:
            assert isinstance(line, bytes)
            self.said.append(json.loads(line))
        self._wake()

    def _happened(self, event: str) -> None:
        self.events.append(event)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Any) -> Any:
        """Wait until this is true, and give it back."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while not (found := condition()):
                changed = self._changed
                with anyio.move_on_after(0.05):
                    await changed.wait()
                self.modern.check(asyncio.get_running_loop().time())
        return found

    async def event(self, name: str, times: int = 1) -> None:
        await self.until(lambda: self.events.count(name) >= times)

    def send(self, method: str, params: Json | None = None, **meta: Any) -> int:
        self._next_id += 1
        envelope: Json = {f"{PREFIX}protocolVersion": "2026-07-28", f"{PREFIX}clientCapabilities": {}, **meta}
        message = {"jsonrpc": "2.0", "id": self._next_id, "method": method}
        self.modern.send(json.dumps({**message, "params": {**(params or {}), "_meta": envelope}}).encode())
        return self._next_id

    async def answer(self, request_id: int) -> Json:
        answers: list[Json] = await self.until(lambda: [line for line in self.said if line.get("id") == request_id])
        (only,) = answers
        return only

    async def ask(self, method: str, params: Json | None = None, **meta: Any) -> Json:
        """Send a request, answer all that is asked, and give back the last result or error."""
        answer = await self.answer(self.send(method, params, **meta))
        while answer.get("result", {}).get("resultType") == "input_required":
            requests = answer["result"]["inputRequests"]
            self.rounds.append([request["method"] for request in requests.values()])
            answers = {
                key: {"action": "accept"} if request["params"].get("mode") == "url" else ANSWERS[request["method"]]
                for key, request in requests.items()
            }
            retry = {"requestState": answer["result"]["requestState"], "inputResponses": answers}
            answer = await self.answer(self.send(method, {**(params or {}), **retry}, **meta))
        return answer

    async def call(self, name: str, arguments: Json | None = None, **meta: Any) -> Any:
        """Call a tool of the light server; what its result holds."""
        answer = await self.ask("tools/call", {"name": name, "arguments": arguments or {}}, **meta)
        return json.loads(answer["result"]["content"][0]["text"])

    def cancel(self, request_id: int) -> None:
        told: Json = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}
        self.modern.send(json.dumps(told).encode())


@asynccontextmanager
async def bridged(*argv: str, capabilities: Json | None = None, **limits: Any) -> AsyncIterator[Client]:
    """A server, and a client of the other era."""
    client = Client(EVERYTHING if capabilities is None else capabilities, **limits)
    spec = ChildSpec(argv=argv, env=dict(os.environ))
    async with open_child(spec, on_lines=client.modern.received, on_gone=lambda code: client.modern.close()) as child:
        client.modern.attach(child.link)
        await client.event("ready")
        yield client
        client.modern.close()


async def faultless(client: Client) -> None:
    """The light server has seen nothing that its protocol forbids, and nothing is left anywhere."""
    assert (await client.call("faults"))["faults"] == []
    await client.until(lambda: not client.modern.is_leased)
    assert client.modern.open_count == 0


async def test_a_server_of_the_handshake_era_serves_a_client_of_the_new_one() -> None:
    async with bridged(*LIGHT) as client:
        discovered = await client.ask("server/discover")
        tools = await client.ask("tools/list")
        missing = await client.ask("resources/read", {"uri": "note://none"})

        assert discovered["result"]["supportedVersions"] == ["2026-07-28"]
        assert "echo" in [tool["name"] for tool in tools["result"]["tools"]]
        assert missing["error"]["code"] == -32602
        assert (await client.call("echo", {"n": 2**70}))["echo"] == {"n": 2**70}
        told = await client.call("client")
        assert told["era"] == "legacy"
        assert told["capabilities"] == {**EVERYTHING, "roots": {"listChanged": False}}
        await faultless(client)


@pytest.mark.parametrize(
    ("tool", "arguments", "rounds"),
    [
        ("ask-elicit", {}, [["elicitation/create"]]),
        ("ask-sample", {}, [["sampling/createMessage"]]),
        ("ask-roots", {}, [["roots/list"]]),
        ("ask-both", {}, [["elicitation/create", "sampling/createMessage"]]),
        ("ask-n", {"rounds": 5}, [["elicitation/create"]] * 5),
        ("ask-url", {"key": "k"}, [["elicitation/create"]]),
        ("url-required", {"key": "k"}, [["elicitation/create"]] * 2),
    ],
)
async def test_whatever_a_tool_asks_is_asked_and_answered(tool: str, arguments: Json, rounds: list[list[str]]) -> None:
    async with bridged(*LIGHT, debounce_seconds=0.05) as client:
        told = await client.call(tool, arguments)

        assert client.rounds == rounds
        assert len(told["rounds"]) == len(rounds) - (tool == "url-required")
        await faultless(client)


async def test_roots_that_the_server_wants_at_its_start_come_with_the_first_call() -> None:
    async with bridged(*LIGHT, "early-roots") as client:
        await client.until(lambda: client.modern.open_count)
        told = await client.call("client")

        assert client.rounds == [["roots/list"]]
        assert told["roots"] == ANSWERS["roots/list"]
        await faultless(client)


async def test_a_question_that_the_server_takes_back_leaves_the_answer_for_the_retry() -> None:
    async with bridged(*LIGHT) as client:
        asked = await client.answer(client.send("tools/call", {"name": "ask-elicit", "arguments": {"take_back": 0.1}}))
        await client.until(lambda: client.modern.open_count == 0)

        state = asked["result"]["requestState"]
        answer = await client.answer(client.send("tools/call", {"name": "ask-elicit", "requestState": state}))

        assert json.loads(answer["result"]["content"][0]["text"]) == {"taken_back": True}
        await faultless(client)


@pytest.mark.parametrize("tool", ["hold", "late"])
async def test_a_cancelled_call_is_over_whether_or_not_the_server_still_answers_it(tool: str) -> None:
    async with bridged(*LIGHT, settle_seconds=0.1) as client:
        client.cancel(client.send("tools/call", {"name": tool, "arguments": {"key": "k"}}))
        await client.event("free")

        assert client.said == []
        (told,) = (await client.call("told"))["told"]
        assert told["known"] is True
        await faultless(client)


async def test_an_abandoned_question_is_refused_and_its_call_is_over() -> None:
    async with bridged(*LIGHT, settle_seconds=0.1) as client:
        asked = await client.answer(client.send("tools/call", {"name": "ask-both", "arguments": {}}))
        client.modern.abandon(asked["result"]["requestState"])
        await client.event("free")

        left = await client.call("open")
        assert not left["questions"]
        await faultless(client)


async def test_updates_and_changes_reach_a_listen() -> None:
    async with bridged(*LIGHT) as client:
        wanted = {"toolsListChanged": True, "resourceSubscriptions": ["note://1"]}
        listen_id = client.send("subscriptions/listen", {"notifications": wanted})
        acknowledged = await client.until(lambda: client.said[:1])
        assert acknowledged[0]["params"]["notifications"] == wanted

        await client.call("add-tool", {"name": "new"})
        await client.call("touch", {"uri": "note://1"})
        await client.call("touch", {"uri": "note://2"})
        heard = [line for line in client.said if "method" in line]

        assert [line["method"] for line in heard[1:]] == [
            "notifications/tools/list_changed",
            "notifications/resources/updated",
        ]
        assert {line["params"]["_meta"][SUBSCRIPTION] for line in heard} == {listen_id}
        client.cancel(listen_id)
        await client.until(lambda: client.modern.open_count == 0)
        assert not (await client.call("open"))["subscribed"]
        await faultless(client)


async def test_logs_come_as_severe_as_they_are_wanted() -> None:
    async with bridged(*LIGHT) as client:
        level = {f"{PREFIX}logLevel": "warning"}
        await client.call("log", {"level": "info", "text": "no"}, **level)
        await client.call("log", {"level": "error", "text": "yes"}, **level)
        await client.call("log", {"level": "error", "text": "no"})

        assert [line["params"]["level"] for line in client.said if "method" in line] == ["error"]


async def test_a_server_on_the_official_sdk_asks_and_is_cancelled_and_goes_on() -> None:
    """Servers on it answer a cancelled request with nothing."""
    async with bridged(*SDK, debounce_seconds=0.05, settle_seconds=0.2) as client:
        call = {"name": "test_elicitation", "arguments": {"message": "Your name?"}}
        answer = await client.ask("tools/call", call)
        assert "Ada" in answer["result"]["content"][0]["text"]
        assert client.rounds == [["elicitation/create"]]

        asked = await client.answer(client.send("tools/call", call))
        client.modern.abandon(asked["result"]["requestState"])
        await client.event("free", 2)
        answer = await client.ask("tools/call", {"name": "test_sampling", "arguments": {"prompt": "Say hi"}})

        assert "hi" in answer["result"]["content"][0]["text"]
        await client.until(lambda: client.modern.open_count == 0)

"""A client of revision 2026-07-28 that says exactly what a test wants, right or wrong."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx

from tests.support.mcp import ACCEPT, PATIENCE_SECONDS, Events

PREFIX = "io.modelcontextprotocol/"
VERSION = "2026-07-28"
SUBSCRIPTION = f"{PREFIX}subscriptionId"
NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
ALL: dict[str, Any] = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {}}

Json = dict[str, Any]


def envelope(capabilities: Json | None = None, **more: Any) -> Json:
    """What a request says of itself in `_meta`."""
    return {
        f"{PREFIX}protocolVersion": VERSION,
        f"{PREFIX}clientCapabilities": capabilities or {},
        f"{PREFIX}clientInfo": {"name": "test", "version": "1"},
        **more,
    }


def modern(
    id_: int | str, method: str, params: Json | None = None, *, capabilities: Json | None = None, **meta: Any
) -> Json:
    """A request with its envelope; `meta` goes into `_meta` as it is."""
    return {
        "jsonrpc": "2.0",
        "id": id_,
        "method": method,
        "params": {**(params or {}), "_meta": envelope(capabilities, **meta)},
    }


def tool(
    id_: int | str, name: str, /, *, capabilities: Json | None = None, meta: Json | None = None, **arguments: Any
) -> Json:
    """A call of a tool."""
    params = {"name": name, "arguments": arguments}
    return modern(id_, "tools/call", params, capabilities=capabilities, **(meta or {}))


def retry(message: Json, id_: int | str, result: Json, answers: Json | None) -> Json:
    """The same request once more, with answers to what `result` asks."""
    params = {**message["params"]}
    if "requestState" in result:
        params["requestState"] = result["requestState"]
    if answers is not None:
        params["inputResponses"] = answers
    return {**message, "id": id_, "params": params}


def headers_of(message: Json) -> dict[str, str]:
    """The headers that go with a request."""
    headers = {
        "accept": ACCEPT,
        "content-type": "application/json",
        "mcp-protocol-version": VERSION,
        "mcp-method": message.get("method", ""),
    }
    name = message.get("params", {}).get(NAMED_BY.get(message.get("method", ""), "taskId"))
    return {**headers, "mcp-name": name} if isinstance(name, str) else headers


class ModernClient:
    """Posts requests, each with the headers it should have unless a test says otherwise."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self.http = http
        self.url = url

    async def post(self, message: Json | bytes, headers: dict[str, str | None] | None = None) -> httpx.Response:
        """Post it and read the whole response."""
        with anyio.fail_after(PATIENCE_SECONDS):
            return await self.http.send(self._request(message, headers))

    async def answer(self, message: Json) -> Json:
        """The message that answers it, from JSON or at the end of a stream."""
        return (await self.messages(message))[-1]

    async def messages(self, message: Json) -> list[Json]:
        """All messages of its response, the answer last."""
        response = await self.post(message)
        if response.headers["content-type"].startswith("application/json"):
            return [response.json()]
        lines = response.text.split("\r\n")
        return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]

    async def result(self, message: Json) -> Json:
        """The result of a request that must have one."""
        answer = await self.answer(message)
        assert "result" in answer, answer
        result: Json = answer["result"]
        return result

    async def call(self, id_: int | str, name: str, /, *, capabilities: Json | None = None, **arguments: Any) -> Json:
        """The structured content of a tool's result."""
        result = await self.result(tool(id_, name, capabilities=capabilities, **arguments))
        content: Json = result["structuredContent"]
        return content

    @asynccontextmanager
    async def stream(self, message: Json, headers: dict[str, str | None] | None = None) -> AsyncIterator[Events]:
        """Post it and read the response as it comes; closed on the way out."""
        with anyio.fail_after(PATIENCE_SECONDS):
            response = await self.http.send(self._request(message, headers), stream=True)
        try:
            yield Events(response)
        finally:
            await response.aclose()

    @asynccontextmanager
    async def listening(self, id_: int | str, **notifications: Any) -> AsyncIterator[Events]:
        """A subscription that is acknowledged; the acknowledgement has been read."""
        async with self.stream(modern(id_, "subscriptions/listen", {"notifications": notifications})) as events:
            acknowledged = await events.next()
            assert acknowledged["method"] == "notifications/subscriptions/acknowledged", acknowledged
            assert acknowledged["params"]["_meta"][SUBSCRIPTION] == id_
            yield events

    def _request(self, message: Json | bytes, headers: dict[str, str | None] | None) -> httpx.Request:
        usual = headers_of(message) if isinstance(message, dict) else headers_of({})
        merged = {name: value for name, value in {**usual, **(headers or {})}.items() if value is not None}
        content = message if isinstance(message, bytes) else json.dumps(message).encode()
        return self.http.build_request("POST", self.url, content=content, headers=merged)


@asynccontextmanager
async def modern_client(url: str) -> AsyncIterator[ModernClient]:
    """A client whose connections are closed on the way out."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits, trust_env=False, verify=False) as http:
        for name in ("accept", "accept-encoding", "user-agent"):
            del http.headers[name]
        yield ModernClient(http, url)

"""A client that says exactly what a test tells it to, and shows exactly what came back. Every wait is bounded."""

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
from anyio.abc import TaskGroup

from tests.support.children import is_alive

PATIENCE_SECONDS = 20.0
ACCEPT = "application/json, text/event-stream"

Message = dict[str, Any]
Body = bytes | Message | list[Message]
Headers = Mapping[str, str | None]
"""Headers beside the usual ones; None leaves a usual one out."""


def request(id_: int | str, method: str, params: Any = None) -> Message:
    """A request."""
    return {**notification(method, params), "id": id_}


def notification(method: str, params: Any = None) -> Message:
    """A notification."""
    message = {"jsonrpc": "2.0", "method": method}
    return message if params is None else {**message, "params": params}


def call(id_: int | str, tool: str, *, token: int | str | None = None, **arguments: Any) -> Message:
    """A `tools/call` request."""
    params: Message = {"name": tool, "arguments": arguments}
    if token is not None:
        params["_meta"] = {"progressToken": token}
    return request(id_, "tools/call", params)


def hello(id_: int | str = "init", *, version: str = "2025-11-25", **modes: str) -> Message:
    """An `initialize` request of a client that can be asked anything. `modes` are for the child of the tests."""
    capabilities = {"sampling": {}, "elicitation": {}, "roots": {"listChanged": True}}
    info = {"name": "raw", "version": "1"}
    params: Message = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": info}
    if modes:
        params["_meta"] = {"modes": {name.replace("_", "-"): value for name, value in modes.items()}}
    return request(id_, "initialize", params)


def encode(body: Body) -> bytes:
    """A body as it is sent."""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


class Events:
    """A response that is read while it arrives.

    Attributes:
        response: Status and headers.
        raw: The data of each event read so far, as the bytes that came.
        last_id: The id of the last event, to come back with.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.raw: list[bytes] = []
        self.last_id = ""
        self._chunks = response.aiter_raw()
        self._rest = b""

    @property
    def kind(self) -> str:
        """The media type, without parameters."""
        return kind_of(self.response)

    async def next(self, *, seconds: float = PATIENCE_SECONDS) -> Message:
        """The next message. Raises EndOfStream after the last."""
        with anyio.fail_after(seconds):
            while True:
                event = await self._event()
                self.last_id = _id_of(event) or self.last_id
                data = _data_of(event)
                if data:  # neither a comment nor a priming event
                    self.raw.append(data)
                    return _object(data)

    async def primed(self) -> bytes:
        """The first event of a response: an id, a retry, and no data."""
        with anyio.fail_after(PATIENCE_SECONDS):
            event = await self._event()
        self.last_id = _id_of(event)
        return event

    async def comment(self) -> bytes:
        """The next comment. Messages before it are lost."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while True:
                event = await self._event()
                if event.startswith(b": ping"):
                    return event

    async def read_to_end(self) -> list[Message]:
        """All messages that are left; waits for the end of the response."""
        messages = []
        while True:
            try:
                messages.append(await self.next())
            except anyio.EndOfStream:
                return messages

    async def body(self) -> bytes:
        """The whole body of a response that is no stream."""
        with anyio.fail_after(PATIENCE_SECONDS):
            return b"".join([chunk async for chunk in self._chunks])

    async def _event(self) -> bytes:
        while b"\r\n\r\n" not in self._rest:
            try:
                self._rest += await anext(self._chunks)
            except (StopAsyncIteration, httpx.RemoteProtocolError) as exc:
                raise anyio.EndOfStream from exc
        event, _, self._rest = self._rest.partition(b"\r\n\r\n")
        return event


class Later:
    """The answer to a request that is being waited for elsewhere."""

    def __init__(self) -> None:
        self._arrived = anyio.Event()
        self._response: httpx.Response | None = None

    @property
    def has_arrived(self) -> bool:
        return self._response is not None

    async def response(self) -> httpx.Response:
        """Wait for it."""
        with anyio.fail_after(PATIENCE_SECONDS):
            await self._arrived.wait()
        assert self._response is not None
        return self._response

    async def run(self, client: "Client", body: Body) -> None:
        """POST the request."""
        self._response = await client.post(body)
        self._arrived.set()


class Client:
    """One client: a session once `open` has shaken hands, before that nobody.

    Attributes:
        url: The endpoint.
        session_id: Sent with every request if there is one.
        version: Sent as `MCP-Protocol-Version` if there is one.
    """

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self.http = http
        self.url = url
        self.session_id: str | None = None
        self.version: str | None = None

    async def open(self, *, version: str = "2025-11-25", initialized: bool = True) -> "Client":
        """Shake hands; a session must come of it. Returns itself."""
        response = await self.post(hello(version=version))
        assert response.status_code == 200, response.text
        self.session_id = response.headers["mcp-session-id"]
        self.version = response.json()["result"]["protocolVersion"]
        if initialized:
            accepted = await self.post(notification("notifications/initialized"))
            assert (accepted.status_code, accepted.content) == (202, b"")
        return self

    async def another(self) -> "Client":
        """Another session at the same endpoint."""
        return await Client(self.http, self.url).open()

    async def post(
        self, body: Body, headers: Headers | None = None, *, seconds: float = PATIENCE_SECONDS
    ) -> httpx.Response:
        """POST a body and read the whole answer."""
        with anyio.fail_after(seconds):
            return await self.http.post(self.url, content=encode(body), headers=self._headers(headers))

    async def answer(self, body: Body, *, seconds: float = PATIENCE_SECONDS) -> Message:
        """POST a request; the object of its `application/json` answer with status 200."""
        response = await self.post(body, seconds=seconds)
        assert (response.status_code, kind_of(response)) == (200, "application/json"), response.text
        return _object(response.content)

    async def result(self, id_: int | str, tool: str, **arguments: Any) -> Message:
        """Call a tool; its result."""
        answer = await self.answer(call(id_, tool, **arguments))
        assert answer.keys() == {"jsonrpc", "id", "result"}, answer
        assert (answer["id"], type(answer["id"])) == (id_, type(id_))
        return _as_object(answer["result"])

    async def seen(self) -> list[bytes]:
        """The lines that the child has read, without this question."""
        result = await self.result("seen?", "seen")
        lines = [line.encode("latin-1") for line in result["lines"]]
        return [line for line in lines if b'"name":"seen"' not in line and b'"name": "seen"' not in line]

    async def pid(self) -> int:
        """The child's process id."""
        pid = (await self.result("pid?", "pid"))["pid"]
        assert isinstance(pid, int)
        return pid

    @asynccontextmanager
    async def stream(self, body: Body, headers: Headers | None = None) -> AsyncIterator[Events]:
        """POST a body; the answer is read as it arrives. Waits for the headers."""
        async with self._open("POST", self._headers(headers), encode(body)) as events:
            yield events

    @asynccontextmanager
    async def listen(self, headers: Headers | None = None) -> AsyncIterator[Events]:
        """Open a GET stream, or see it refused."""
        wanted = self._headers({"accept": "text/event-stream", "content-type": None, **(headers or {})})
        async with self._open("GET", wanted) as events:
            yield events

    async def delete(self, headers: Headers | None = None) -> httpx.Response:
        """End the session."""
        with anyio.fail_after(PATIENCE_SECONDS):
            wanted = self._headers({"content-type": None, **(headers or {})})
            return await self.http.delete(self.url, headers=wanted)

    def begin(self, tasks: TaskGroup, body: Body) -> Later:
        """POST a request in a task of its own."""
        later = Later()
        tasks.start_soon(later.run, self, body)
        return later

    async def hold(self, tasks: TaskGroup, *bodies: Body) -> list[Later]:
        """Begin calls of the tool `hold`; waits until the child has them all."""
        before = await self._holds()
        laters = [self.begin(tasks, body) for body in bodies]

        async def are_held() -> bool:
            return await self._holds() == before + len(bodies)

        await until(are_held, f"{len(bodies)} calls at the child")
        return laters

    async def _holds(self) -> int:
        return sum(b'"hold"' in line for line in await self.seen())

    @asynccontextmanager
    async def _open(self, method: str, headers: dict[str, str], body: bytes | None = None) -> AsyncIterator[Events]:
        sent = self.http.build_request(method, self.url, content=body, headers=headers)
        with anyio.fail_after(PATIENCE_SECONDS):
            response = await self.http.send(sent, stream=True)
        try:
            yield Events(response)
        finally:
            await response.aclose()

    def _headers(self, more: Headers | None) -> dict[str, str]:
        headers = {"accept": ACCEPT, "content-type": "application/json"}
        if self.session_id is not None:
            headers["mcp-session-id"] = self.session_id
        if self.version is not None:
            headers["mcp-protocol-version"] = self.version
        merged: Headers = {**headers, **(more or {})}
        return {name: value for name, value in merged.items() if value is not None}


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """A client without a session; its connections are closed on the way out."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits, trust_env=False, verify=False) as http:
        for name in ("accept", "accept-encoding", "user-agent"):
            del http.headers[name]  # what a test does not say is not sent
        yield Client(http, url)


@asynccontextmanager
async def open_session(url: str, *, version: str = "2025-11-25") -> AsyncIterator[Client]:
    """A client with a session; its connections are closed on the way out, the session is left as it is."""
    async with connected(url) as client:
        yield await client.open(version=version)


async def speak(base_url: str, *pieces: bytes) -> bytes:
    """Write bytes to the server's socket, and read until it closes the connection or has answered once."""
    host, _, port = base_url.removeprefix("http://").partition(":")
    with anyio.fail_after(PATIENCE_SECONDS):
        async with await anyio.connect_tcp(host, int(port)) as socket:
            for piece in pieces:
                await socket.send(piece)
            answer = b""
            while not _is_whole(answer):
                try:
                    answer += await socket.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    break
            return answer


async def until(is_so: Callable[[], Any], what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something that has no event of its own is so."""
    try:
        with anyio.fail_after(seconds):
            while not await is_so():  # noqa: ASYNC110 (that is what this is for)
                await anyio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it never came to this: {what}") from None


async def until_gone(*pids: int) -> None:
    """Wait until none of these processes exists."""

    async def are_gone() -> bool:
        return not any(map(is_alive, pids))

    await until(are_gone, f"processes {pids} are gone")


async def health(client: Client) -> Message:
    """What `/health` says."""
    with anyio.fail_after(PATIENCE_SECONDS):
        response = await client.http.get(str(httpx.URL(client.url).join("/health")))
    assert response.status_code == 200
    return _object(response.content)


async def until_counts(client: Client, *, sessions: int, children: int) -> None:
    """Wait until there are exactly so many sessions and children."""
    shown: Message = {}

    async def is_so() -> bool:
        shown.update(await health(client))
        return (shown["sessions"], shown["children"]) == (sessions, children)

    try:
        await until(is_so, "")
    except AssertionError:
        raise AssertionError(f"never {sessions} sessions, {children} children; at last {shown}") from None


async def until_empty(client: Client) -> None:
    """Wait until no session and no child is left."""
    await until_counts(client, sessions=0, children=0)


def children_of(pid: int) -> list[int]:
    """The processes that this one has started and not reaped, a daemon's guardian left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                is_guardian = b"guardian" in (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(fields[1]) == pid and not is_guardian:
                found.append(int(entry.name))
    return found


def end_processes(*pids: int) -> None:
    """SIGKILL what a failed test has left behind."""
    for pid in pids:
        if is_alive(pid):
            os.kill(pid, 9)


def error_of(response: httpx.Response) -> tuple[int, int, Any]:
    """HTTP status, JSON-RPC code and id of a refusal; its body must be a JSON-RPC error object with a message."""
    assert kind_of(response) == "application/json", response.text
    body = _object(response.content)
    assert body.keys() == {"jsonrpc", "id", "error"} and body["jsonrpc"] == "2.0", body
    assert isinstance(body["error"]["message"], str) and body["error"]["message"]
    return response.status_code, body["error"]["code"], body["id"]


def kind_of(response: httpx.Response) -> str:
    """The media type of a response, without parameters."""
    return str(response.headers.get("content-type", "")).partition(";")[0]


def _object(data: bytes) -> Message:
    return _as_object(json.loads(data))


def _as_object(value: Any) -> Message:
    assert isinstance(value, dict), value
    return value


def _id_of(event: bytes) -> str:
    """The id of one event; empty if it has none."""
    ids = [line.removeprefix(b"id: ") for line in event.split(b"\r\n") if line.startswith(b"id: ")]
    return ids[0].decode() if ids else ""


def _data_of(event: bytes) -> bytes | None:
    """The data of one event; None for a comment."""
    lines = [line for line in event.split(b"\r\n") if not line.startswith(b":")]
    data = [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data:") and line != b"data: "]
    assert len(data) <= 1, event  # one message, one line
    return data[0] if data else None


def _is_whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n") if found else []:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(body) >= int(value)
    return False

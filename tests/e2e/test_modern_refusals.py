"""What a request of 2026-07-28 that is wrong gets, and which fault is told of one that is wrong twice."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import anyio
import pytest

from tests.e2e.serving import serving_modern
from tests.support.daemon import Daemon
from tests.support.mcp import until
from tests.support.modern import PREFIX, VERSION, envelope, modern, modern_client, tool
from tests.support.raw_http import Fields, fields_of, posted

Json = dict[str, Any]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving_modern("--max-json-depth", "64", "--max-body", "1MiB") as daemon:
        yield daemon


class Post:
    """A request that is right, until something is changed."""

    def __init__(self) -> None:
        self.message: Any = tool("id", "headers", region="eu")
        self.fields: Fields = [*fields_of(self.message), ("Mcp-Param-Region", "eu")]
        self.wrap: Callable[[bytes], bytes] = lambda body: body

    @property
    def body(self) -> bytes:
        return self.wrap(json.dumps(self.message).encode())

    def drop(self, name: str) -> None:
        self.fields = [field for field in self.fields if field[0].lower() != name.lower()]

    def put(self, name: str, value: str) -> None:
        self.drop(name)
        self.fields.append((name, value))

    def repeat(self, name: str, value: str) -> None:
        self.drop(name)
        self.fields += [(name, value)] * 2

    def meta(self, **members: Any) -> None:
        """Change what the envelope says; None leaves it out."""
        meta = self.message["params"]["_meta"] if isinstance(self.message, dict) else {}
        for name, value in members.items():
            meta.pop(PREFIX + name, None)
            if value is not None:
                meta[PREFIX + name] = value

    def speak(self, version: str) -> None:
        """Speak another revision, in the body and in the header."""
        self.meta(protocolVersion=version)
        self.put("mcp-protocol-version", version)


class Rung(NamedTuple):
    """A fault, and what it gets."""

    change: Callable[[Post], None]
    status: int
    code: int
    knows_id: bool = True


LADDER: dict[str, Rung] = {
    "a foreign Host": Rung(lambda post: post.put("Host", "evil.example.com"), 421, -32600, False),
    "a foreign Origin": Rung(lambda post: post.put("Origin", "https://evil.example.com"), 403, -32600, False),
    "another media type": Rung(lambda post: post.put("Content-Type", "text/plain"), 415, -32600),
    "an answer nobody reads": Rung(lambda post: post.put("Accept", "application/json"), 406, -32600),
    "no JSON": Rung(lambda post: setattr(post, "wrap", lambda body: body[:-1]), 400, -32700, False),
    "no JSON-RPC": Rung(lambda post: post.message.update(jsonrpc="1.0"), 400, -32600),
    "a repeated method": Rung(lambda post: post.repeat("mcp-method", "tools/call"), 400, -32020),
    "a repeated revision": Rung(lambda post: post.repeat("mcp-protocol-version", VERSION), 400, -32020),
    "no capabilities": Rung(lambda post: post.meta(clientCapabilities=None), 400, -32602),
    "a revision that is none": Rung(lambda post: post.meta(protocolVersion=7), 400, -32602),
    "no revision in the header": Rung(lambda post: post.drop("mcp-protocol-version"), 400, -32020),
    "an unknown revision": Rung(lambda post: post.speak("v999.0.0"), 400, -32022),
    "another method in the header": Rung(lambda post: post.put("mcp-method", "tools/list"), 400, -32020),
    "another name in the header": Rung(lambda post: post.put("mcp-name", "other"), 400, -32020),
    "another argument in the header": Rung(lambda post: post.put("mcp-param-region", "us"), 400, -32020),
}
"""Spec: 2026-07-28 basic/transports/streamable-http; the order of D.0.1."""

NAMES = list(LADDER)


@pytest.mark.parametrize("name", NAMES)
async def test_a_fault_gets_its_status_its_code_and_the_id(daemon: Daemon, name: str) -> None:
    """HM-01, HM-08 to HM-15, HM-17."""
    rung, post = LADDER[name], Post()
    rung.change(post)

    answer = await posted(daemon.base_url, post.body, post.fields)

    assert (answer.status, answer.body["error"]["code"]) == (rung.status, rung.code), answer
    assert answer.body["id"] == ("id" if rung.knows_id else None)
    assert answer.headers["content-type"] == "application/json"
    assert "mcp-session-id" not in answer.headers
    assert "programs" not in answer.body["error"]["message"]


async def test_without_a_fault_it_is_served(daemon: Daemon) -> None:
    post = Post()
    post.fields += [("Mcp-Session-Id", "a"), ("Mcp-Session-Id", "b"), ("Last-Event-ID", "1-1")]

    answer = await posted(daemon.base_url, post.body, post.fields)

    assert (answer.status, answer.body["result"]["structuredContent"]) == (200, {"headers": {"region": "eu"}})


PAIRS = [(first, second) for at, first in enumerate(NAMES) for second in NAMES[at + 1 :]]


async def test_of_two_faults_the_first_on_the_ladder_is_told(daemon: Daemon) -> None:
    for first, second in PAIRS:
        post = Post()
        LADDER[second].change(post)
        LADDER[first].change(post)

        answer = await posted(daemon.base_url, post.body, post.fields)

        rung = LADDER[first]
        assert (answer.status, answer.body["error"]["code"]) == (rung.status, rung.code), (first, second, answer)


async def test_the_revisions_that_are_spoken_are_named_to_one_who_asks_for_another(daemon: Daemon) -> None:
    """HM-13: what is named is what `server/discover` names."""
    async with modern_client(daemon.url) as client:
        offered = (await client.result(modern(1, "server/discover")))["supportedVersions"]
        meta: Json = {f"{PREFIX}protocolVersion": "v999.0.0"}
        message = modern(2, "server/discover", **meta)
        response = await client.post(message, {"mcp-protocol-version": "v999.0.0"})

    assert response.status_code == 400
    assert response.json()["error"]["data"] == {"supported": offered, "requested": "v999.0.0"}


# ---- bodies

BODIES: list[tuple[bytes, int, int, Any]] = [
    (b"", 400, -32700, None),
    (b"{", 400, -32700, None),
    (b"\xff", 400, -32700, None),
    (b'{"jsonrpc":"2.0","id":1,"method":"x","params":NaN}', 400, -32700, None),
    (b"7", 400, -32600, None),
    (b"null", 400, -32600, None),
    (b"{}", 400, -32600, None),
    (b'{"id":1,"method":"x"}', 400, -32600, 1),
    (b'{"jsonrpc":"2.0","id":1}', 400, -32600, 1),
    (b'{"jsonrpc":"2.0","id":null,"method":"x"}', 400, -32600, None),
    (b'{"jsonrpc":"2.0","id":true,"method":"x"}', 400, -32600, None),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"x"}', 400, -32600, None),
    (b'{"jsonrpc":"2.0","id":{},"method":"x"}', 400, -32600, None),
    (b'{"jsonrpc":"2.0","id":1,"method":7}', 400, -32600, 1),
    (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}', 400, -32600, None),
    (b'{"jsonrpc":"2.0","id":1,"method":"x","Method":"y"}', 400, -32600, 1),
    (b'{"jsonrpc":"2.0","id":1,"method":"x","params":"y"}', 400, -32600, 1),
    (b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{},"_META":{}}}', 400, -32600, 1),
    (b'{"jsonrpc":"2.0","id":1,"method":"x","params":' + b"[" * 100 + b"]" * 100 + b"}", 400, -32600, 1),
    # HM-08: no envelope, but a header that says that there is one
    (b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}', 400, -32602, 1),
    (b'{"jsonrpc":"2.0","id":"1","method":"tools/list","params":{}}', 400, -32602, "1"),
    (b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}', 400, -32602, 0),
    # this revision has no batches, and its servers ask nothing
    (b"[]", 400, -32600, None),
    (b'[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]', 400, -32600, None),
    (b'{"jsonrpc":"2.0","id":1,"result":{}}', 400, -32600, None),
    (b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}', 400, -32600, None),
]


@pytest.mark.parametrize(("body", "status", "code", "id_"), BODIES, ids=range(len(BODIES)))
async def test_a_body_that_is_no_request(daemon: Daemon, body: bytes, status: int, code: int, id_: Any) -> None:
    """HM-17; B.5."""
    async with modern_client(daemon.url) as client:
        response = await client.post(body, {"mcp-method": "tools/list"})

    answer = response.json()
    assert (response.status_code, answer["error"]["code"], answer["id"]) == (status, code, id_), answer
    assert type(answer["id"]) is type(id_)


@pytest.mark.parametrize("header", [VERSION, "2025-11-25", None])
async def test_a_batch_with_an_enveloped_request_is_refused_whatever_the_header_says(
    daemon: Daemon, header: str | None
) -> None:
    """D.0.1 step 6."""
    batch = json.dumps([tool(1, "echo"), {"jsonrpc": "2.0", "id": 2, "method": "ping"}]).encode()
    async with modern_client(daemon.url) as client:
        response = await client.post(batch, {"mcp-protocol-version": header})

    assert (response.status_code, response.json()["error"]["code"]) == (400, -32600)


async def test_a_body_over_the_limit_is_refused(daemon: Daemon) -> None:
    async with modern_client(daemon.url) as client:
        response = await client.post(tool(1, "echo", text="x" * (1 << 20)))

    assert response.status_code == 413


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (None, 200),
        ("*/*", 200),
        ("application/*, text/*", 200),
        ("text/event-stream;q=0.5, application/json;q=0.9", 200),
        ("application/json", 406),
        ("text/event-stream", 406),
        ("application/json, text/event-stream;q=0", 406),
        ("", 406),
    ],
)
async def test_both_kinds_of_answer_must_be_acceptable(daemon: Daemon, accept: str | None, status: int) -> None:
    """HM-34: also for a subscription, which is a stream always."""
    async with modern_client(daemon.url) as client:
        response = await client.post(tool(1, "echo"), {"accept": accept})
        listen = await client.post(modern(1, "subscriptions/listen", {"notifications": {}}), {"accept": "a/b"})

    assert response.status_code == status
    assert listen.status_code == 406


# ---- notifications


def notification(method: str, **params: Any) -> Json:
    return {"jsonrpc": "2.0", "method": method, "params": params}


NOTIFICATIONS: list[tuple[Json, dict[str, str | None], int]] = [
    (notification("notifications/cancelled", requestId=1, _meta=envelope()), {}, 202),
    (notification("notifications/cancelled", requestId=1), {}, 202),
    (notification("notifications/nobody/knows", _meta=envelope()), {"mcp-protocol-version": None}, 202),
    (notification("notifications/x", _meta=envelope()), {"mcp-method": None, "mcp-name": None}, 202),
    (notification("notifications/x", _meta={f"{PREFIX}protocolVersion": "v999.0.0"}), {}, 400),
    (notification("notifications/x", _meta={f"{PREFIX}protocolVersion": "\ud800"}), {}, 400),
    (notification("notifications/x", _meta={f"{PREFIX}protocolVersion": 7}), {}, 202),
]


@pytest.mark.parametrize(("message", "headers", "status"), NOTIFICATIONS, ids=range(len(NOTIFICATIONS)))
async def test_a_notification_is_accepted_and_dropped_or_refused(
    daemon: Daemon, message: Json, headers: dict[str, str | None], status: int
) -> None:
    """HM-03, D.0.1 step 9."""
    async with modern_client(daemon.url) as client:
        before = (await client.call(0, "seen"))["lines"]
        response = await client.post(message, headers)
        after = (await client.call(0, "seen"))["lines"]

    assert response.status_code == status
    assert [line for line in after[len(before) :] if '"seen"' not in line] == []
    if status == 202:
        assert response.content == b""
    else:
        assert response.json()["error"]["code"] == -32022
        assert response.json()["id"] is None


async def test_a_posted_cancellation_touches_nobodys_call(daemon: Daemon) -> None:
    """HM-33: ids are the clients' own choice."""
    answers: list[Json] = []
    async with modern_client(daemon.url) as client, anyio.create_task_group() as tasks:

        async def hold() -> None:
            answers.append(await client.call(7, "hold", key="mine"))

        async def is_held() -> bool:
            return len((await client.call(1, "open"))["calls"]) == 1

        tasks.start_soon(hold)
        await until(is_held, "the call at the child")
        for request_id in (7, "7", *range(1, 400)):
            message = notification("notifications/cancelled", requestId=request_id, _meta=envelope())
            assert (await client.post(message)).status_code == 202
        assert (await client.call(1, "release", key="mine")) == {"count": 1}

    assert answers == [{"released": "mine"}]


# ---- other methods


@pytest.mark.parametrize(
    ("method", "version", "status", "allow"),
    [
        ("GET", VERSION, 405, "POST"),
        ("DELETE", VERSION, 405, "POST"),
        ("PUT", VERSION, 405, "GET, POST, DELETE, OPTIONS"),
        ("GET", None, 400, None),
        ("DELETE", "2025-11-25", 400, None),
    ],
)
async def test_what_is_no_post(
    daemon: Daemon, method: str, version: str | None, status: int, allow: str | None
) -> None:
    """HM-02."""
    headers = {"accept": "text/event-stream", **({"mcp-protocol-version": version} if version else {})}
    async with modern_client(daemon.url) as client:
        response = await client.http.request(method, client.url, headers={**headers, "last-event-id": "1-1"})

    assert (response.status_code, response.headers.get("allow")) == (status, allow)

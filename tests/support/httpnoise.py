"""What can a client send? Strategies of requests, right and wrong in any of their parts, for fuzzing."""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.protocol.texts import near_json, objects
from tests.support.mcp import call, hello, notification, request
from tests.support.modern import modern, tool

SESSIONS = 3
"""How many sessions a request may name."""

METHODS = [*["POST"] * 20, *["GET"] * 4, "DELETE", "OPTIONS", "HEAD", "PUT", "PATCH", "TRACE", "QUERY", "CONNECT"]
TARGETS = [
    *["/mcp"] * 40,
    *("/mcp/", "/servers/default/mcp", "/mcp/default", "/mcp?x=1", "/mcp/x"),
    *("/health", "/healthz", "/readyz", "/", "*", "//mcp", "/mcp//", "/%6dcp", "/mcp%00", "/mcp%ff", "/..%2fmcp"),
    *("/sse", "/messages/", "/messages/?session_id=x", "/.well-known/oauth-protected-resource", "/metrics"),
    *("http://localhost/mcp", "http://evil.example/mcp", "localhost:80", "/" + "a" * 3000),
]
HEADERS: dict[str, list[bytes]] = {
    "Accept": [b"*/*", b"application/json", b"text/event-stream", b"*/*;q=0", b"", b"a" * 2000, b",;,", b"\xff"],
    "Content-Type": [b"text/plain", b"application/json;charset=utf-16", b"application/json" * 100, b"", b"\xff"],
    "Content-Encoding": [b"gzip", b"identity"],
    "MCP-Protocol-Version": [b"2024-11-05", b"2025-03-26", b"2025-11-25", b"2026-07-28", b"1", b"", b"\xff" * 2000],
    "Mcp-Session-Id": [b"", b"x", b"x" * 2000, b"\xff", b"../..", b"a,b"],
    "Last-Event-ID": [b"1-0", b"1-1", b"2-0", b"0", b"99-99", b"1-" + b"9" * 500, b"-", b"\xff", b""],
    "Mcp-Method": [b"tools/call", b"tools/list", b"server/discover", b"", b"\xff", b"=?base64?eA==?="],
    "Mcp-Name": [b"echo", b"sleep", b"", b"\xff", b"=?base64?!?=", b"=?base64?ZWNobw==?="],
    "Mcp-Param-X": [b"1", b"", b"\xff", b"=?base64?\xff?="],
    "Origin": [b"http://localhost", b"http://localhost:1", b"null", b"http://evil.example", b"http://[", b"\xff", b""],
    "Access-Control-Request-Method": [b"POST", b"x", b""],
    "Access-Control-Request-Headers": [b"mcp-session-id", b"\xff", b"a" * 2000, b","],
    "Host": [b"localhost", b"evil.example", b"[", b"", b"\xff"],
    "Connection": [b"close", b"keep-alive", b"upgrade", b"x"],
    "Upgrade": [b"h2c", b"websocket", b"x"],
    "Expect": [b"100-continue", b"x"],
    "Forwarded": [b"for=1.2.3.4", b"\xff"],
    "X-Forwarded-For": [b"1.2.3.4", b","],
    "traceparent": [b"00-" + b"1" * 32 + b"-" + b"1" * 16 + b"-01", b"x"],
    "X\xff": [b"x"],
    "X Y": [b"x"],
    "": [b"x"],
    "X-A": [b"a\r\n b", b"a\rb", b"a\nb", b"\0", b"\x7f"],
}
RAW = {"X\xff", "X Y", "", "X-A"}
"""Headers that are no headers: what they come with is refused, or not read to its end."""

BAD_FRAMING: list[bytes] = [
    b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: x\r\n",
]

KINDS = ["echo", "progress", "ask", "list", "other", "told", "answer", "hello", "modern", "tool"]

_ids: st.SearchStrategy[int | str] = st.one_of(
    st.integers(-(2**70), 2**70), st.text(max_size=5), st.sampled_from(["", "a\r\nb", "\u2028", 0])
)
_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
_meta = st.dictionaries(st.sampled_from(["progressToken", "x", "io.modelcontextprotocol/x"]), _json, max_size=2)
_versions = st.sampled_from(["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28", "x"])
_names = st.sampled_from(["tools/list", "ping", "no/such", "logging/setLevel", "server/discover", "", "initialize"])


@st.composite
def _messages(draw: st.DrawFn) -> Any:
    """A message that a client might send."""
    id_ = draw(_ids)
    kind = draw(st.sampled_from(KINDS))
    if kind == "echo":
        return call(id_, "echo", token=draw(st.none() | st.integers(0, 3) | st.text(max_size=3)), x=draw(_json))
    if kind == "progress":
        return call(id_, "progress", token=draw(st.integers(0, 3)), count=draw(st.integers(0, 5)))
    if kind == "ask":
        return call(id_, "ask", id=1, method="roots/list", cancel=True)
    if kind == "list":
        return request(id_, draw(_names), draw(st.none() | _json))
    if kind == "told":
        names = ["notifications/initialized", "notifications/cancelled", "notifications/progress", "x", ""]
        told = {"requestId": draw(_ids), "progressToken": draw(_ids), "progress": 1}
        return notification(draw(st.sampled_from(names)), told)
    if kind == "answer":
        return {"jsonrpc": "2.0", "id": draw(_ids), draw(st.sampled_from(["result", "error"])): draw(_json)}
    if kind == "hello":
        return hello(id_, version=draw(_versions))
    if kind == "modern":
        return modern(id_, draw(_names), {"x": draw(_json)}, **draw(_meta))
    if kind == "tool":
        return tool(id_, draw(st.sampled_from(["echo", "x"])), x=draw(_json))
    return {**request(id_, draw(_names)), draw(st.sampled_from(["params", "result", "ID", "x"])): draw(_json)}


_texts = st.one_of(
    _messages().map(lambda message: json.dumps(message).encode()),
    _messages().map(lambda message: json.dumps(message, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.lists(_messages(), max_size=4).map(lambda messages: json.dumps(messages).encode()),
)


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """A text of which some bytes are lost, doubled or others."""
    text = draw(_texts)
    for _ in range(draw(st.integers(1, 3))):
        at, size = draw(st.integers(0, len(text))), draw(st.integers(0, 4))
        instead = draw(st.sampled_from([b"", text[at : at + 8] * 2, b"\0", b"\xff", b'"', b"[", b"}"]))
        text = text[:at] + instead + text[at + size :]
    return text


_bodies = st.one_of(
    *[_texts] * 6,
    _damaged(),
    near_json(),
    objects.map(lambda written: written.text),
    st.binary(max_size=200),
    st.sampled_from([b"", b"[" * 3000, b'{"a":' * 3000, b'"' + b"x" * 70_000, b" " * 70_000]),
)


@dataclass(frozen=True)
class Sent:
    """One request as bytes.

    Attributes:
        pieces: What is sent, one after the other; `SESSION` is to be replaced by the id of a session.
        session: Which session that is.
        is_whole: Whether it is a request from which nothing is missing, which must be answered.
        has_body: Whether the answer has its body.
    """

    pieces: tuple[bytes, ...]
    session: int
    is_whole: bool
    has_body: bool


SESSION = b"@SESSION@"


@st.composite
def _heads(draw: st.DrawFn) -> tuple[str, list[str], bytes]:
    """The method, the names of the unusual headers, and the head so far."""
    method, version = draw(st.sampled_from(METHODS)), draw(st.sampled_from([*["HTTP/1.1"] * 9, "HTTP/1.0"]))
    names = draw(st.just([]) | st.lists(st.sampled_from(sorted(HEADERS)), max_size=3))
    usual = {"Host": b"localhost", "Accept": b"*/*", "Content-Type": b"application/json", "Mcp-Session-Id": SESSION}
    left_out = draw(st.sampled_from([*([None] * 20), *usual]))
    headers = [
        (name, value)
        for name, value in usual.items()
        if name != left_out and (name not in names or draw(st.integers(0, 3)) == 0)
    ]
    headers += [(name, draw(st.sampled_from(HEADERS[name]))) for name in names]
    lines = [f"{method} {draw(st.sampled_from(TARGETS))} {version}".encode()]
    lines += [name.encode("latin-1") + b": " + value for name, value in headers]
    return method, names, b"\r\n".join(lines) + b"\r\n"


@st.composite
def _framed(draw: st.DrawFn) -> tuple[bytes, bool]:
    """The end of a head and a body, and whether it ends where it says."""
    body = draw(_bodies)
    framing = draw(st.sampled_from([*["length"] * 12, *["chunked"] * 4, "bad", "short", "long", "none"]))
    if framing == "chunked":
        step = draw(st.integers(1, 5000))
        chunks = [body[at : at + step] for at in range(0, len(body), step)]
        written = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        return b"Transfer-Encoding: chunked\r\n\r\n" + written + b"0\r\n\r\n", True
    if framing == "bad":
        return draw(st.sampled_from(BAD_FRAMING)) + b"\r\n" + body, False
    if framing == "none":
        return b"\r\n" + body, False
    length = {"length": len(body), "short": len(body) // 2, "long": len(body) + 3}[framing]
    return b"Content-Length: %d\r\n\r\n" % length + body, framing == "length"


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    """A request, mostly a good one with something odd in it."""
    method, names, head = draw(_heads())
    rest, is_framed = draw(_framed())
    data = head + rest
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
    return Sent(
        pieces=tuple(data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)),
        session=draw(st.integers(0, SESSIONS - 1)),
        is_whole=is_framed and RAW.isdisjoint(names),
        has_body=method != "HEAD",
    )

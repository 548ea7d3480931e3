"""The least that an HTTP answer costs here: one Starlette route on uvicorn with uvloop and httptools.

    python -m benchmarks.floor PORT

It answers `initialize` and echo calls from memory: no child, no session, no JSON library. No MCP server, only the
shape of one.
"""

import re
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

HEADERS = {"mcp-session-id": "floor"}
_ID = re.compile(rb'"id":([0-9]+)')
_TEXT = b'"text":'
_HELLO = b'{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"floor","version":"1"}}'


def answer(body: bytes) -> bytes | None:
    """The answer to one message, which has to be compact JSON; None to a notification."""
    match = _ID.search(body, 0, 200)
    if match is None:
        return None
    start = body.find(_TEXT)
    if start < 0:
        return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (match[1], _HELLO)
    start += len(_TEXT)
    text = body[start : body.index(b'"', start + 1) + 1]
    return b'{"jsonrpc":"2.0","id":%b,"result":{"content":[{"type":"text","text":%b}],"isError":false}}' % (
        match[1],
        text,
    )


async def endpoint(request: Request) -> Response:
    """The one route."""
    reply = answer(await request.body())
    if reply is None:
        return Response(status_code=202, headers=HEADERS)
    return Response(reply, media_type="application/json", headers=HEADERS)


def main() -> None:
    """Serve until SIGTERM."""
    uvicorn.run(
        Starlette(routes=[Route("/mcp", endpoint, methods=["POST", "DELETE"])]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    main()

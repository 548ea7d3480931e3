"""Clients that are gone: their connections end at every moment, with a goodbye, with a reset, and without a word."""

import socket
import struct

import anyio

from tests.faults.raw import cut_off
from tests.soak.peer import NO_SESSION, RESULT, Peer
from tests.soak.stage import Stage
from tests.support.mcp import Message, call, encode, hello


async def cut_while_sending(stage: Stage) -> None:
    """Half a request is no request: the child never sees it."""
    peer = stage.peer()
    if await peer.open():
        for _ in range(stage.rng.randint(1, 5)):
            request = post(
                stage, peer, call(peer.new_id(), "echo", tag=peer.tag, text="x" * stage.rng.choice((1, 70_000)))
            )
            await cut(stage, request[: stage.rng.randrange(len(request))])
        await peer.echo()
        await peer.part()


async def cut_while_waiting(stage: Stage) -> None:
    """The call goes on; nothing of it disturbs the next one."""
    peer = stage.peer()
    if await peer.open():
        for _ in range(stage.rng.randint(1, 5)):
            tool, arguments = stage.rng.choice(
                (("sleep", {"seconds": 0.2}), ("blob", {"size": 100_000}), ("echo", {}), ("progress", {"count": 50}))
            )
            request = call(peer.new_id(), tool, token=peer.new_token(), tag=peer.tag, **arguments)
            await cut(stage, post(stage, peer, request), seconds=stage.rng.random() * 0.4)
        await peer.echo()
        await peer.child_saw_only_its_own()
        await peer.part()


async def cut_while_reading(stage: Stage) -> None:
    """In the middle of a body or of a stream."""
    peer = stage.peer()
    if await peer.open():
        for _ in range(stage.rng.randint(1, 4)):
            tool, arguments = stage.rng.choice((("blob", {"size": 1_000_000}), ("progress", {"count": 5000})))
            request = call(peer.new_id(), tool, token=peer.new_token(), tag=peer.tag, **arguments)
            await cut(stage, post(stage, peer, request), read=stage.rng.choice((1, 100, 5000, 100_000)))
        await peer.echo()
        await peer.part()


async def cut_initialize(stage: Stage) -> None:
    """Nobody knows the session: it ends by itself."""
    peer = stage.peer()
    request = post(stage, peer, hello(0))
    sent = stage.rng.choice((len(request), stage.rng.randrange(len(request))))
    await cut(stage, request[:sent], seconds=stage.rng.random() * 0.05)


async def cut_listeners(stage: Stage) -> None:
    """GET streams whose clients go: the places are free again."""
    peer = stage.peer()
    if await peer.open():
        for _ in range(stage.rng.randint(3, 10)):
            await cut(
                stage, head(stage, peer, "GET", 0), read=stage.rng.choice((0, 1)), seconds=stage.rng.random() * 0.1
            )
            await anyio.sleep(0.05)
        async with peer.client.listen() as events:
            peer.note(f"GET {events.response.status_code}")
        await peer.echo()
        await peer.part()


async def machine_gone(stage: Stage) -> None:
    """No goodbye, no reset, no acknowledgement: the connection is found dead, then the session is idle and ends."""
    peer = stage.peer()
    if await peer.open():
        connection = await _connect(stage)
        try:
            request = stage.rng.choice(
                (
                    head(stage, peer, "GET", 0),
                    post(stage, peer, call(peer.new_id(), "sleep", tag=peer.tag, seconds=2.0)),
                )
            )
            await connection.send(request)
            await anyio.sleep(stage.rng.random())
            raw: socket.socket = connection.extra(anyio.abc.SocketAttribute.raw_socket)
            cut_off(raw)
            await anyio.sleep(30)
        finally:
            await connection.aclose()
        await peer.ask("echo", legal=(NO_SESSION, RESULT))


# ---- by hand


def head(stage: Stage, peer: Peer, method: str, length: int) -> bytes:
    """The head of a request of this peer."""
    lines = [f"{method} /mcp HTTP/1.1", f"host: 127.0.0.1:{stage.site.port}"]
    if method == "GET":
        lines.append("accept: text/event-stream")
    else:
        lines += ["accept: application/json, text/event-stream", "content-type: application/json"]
        lines.append(f"content-length: {length}")
    if peer.client.session_id is not None:
        lines += [f"mcp-session-id: {peer.client.session_id}", f"mcp-protocol-version: {peer.client.version}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def post(stage: Stage, peer: Peer, message: Message) -> bytes:
    """A whole request."""
    body = encode(message)
    return head(stage, peer, "POST", len(body)) + body


async def _connect(stage: Stage) -> anyio.abc.SocketStream:
    with anyio.fail_after(10):
        return await anyio.connect_tcp("127.0.0.1", stage.site.port)


async def cut(stage: Stage, data: bytes, *, read: int = 0, seconds: float = 0.0) -> None:
    """Send this, read so many bytes, wait, and be gone: with a goodbye or with a reset."""
    connection = await _connect(stage)
    try:
        with anyio.fail_after(10):
            await connection.send(data)
            while read > 0:
                read -= len(await connection.receive(min(read, 65536)))
        await anyio.sleep(seconds)
        if stage.rng.random() < 0.5:
            raw: socket.socket = connection.extra(anyio.abc.SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        pass  # the daemon was first
    finally:
        await connection.aclose()

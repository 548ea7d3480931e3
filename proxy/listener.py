"""Who gets in?

Connections are accepted by a loop of our own. The event loops' own ones accept whatever comes; out of descriptors,
asyncio's logs ten thousand lines a second, and uvloop's hangs up on everybody.
"""

import asyncio
import contextlib
import errno
import heapq
import logging
import math
import socket
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Protocol

import anyio

from proxy.errors import ProxyError, TooManyConnections
from proxy.http1 import Http1Protocol
from proxy.observe import Counts

logger = logging.getLogger(__name__)

BACKLOG = 2048
TCP_PROBE_SECONDS = 15
UNSENT_BYTES = 128 * 1024
"""What the kernel keeps of a response beyond what is on its way. Left alone it keeps up to 4 MB: memory, and so coarse
a view of the client that one which reads 40 KB a second would seem not to read for half a minute."""

CHECK_SECONDS = 0.5
"""How often connections are looked at; each of their time-outs may be late by this."""

MAX_REFUSED = 32
"""Connections over the limit that are told so at once; more are closed without a word."""

_SETTLED_SECONDS = 1.0
"""Since when a connection must have had nothing to do to make room for a new one, which may say something at once."""

_RETRY_SECONDS = 0.1
_WARN_SECONDS = 10.0
_PORT_TRIES = 10

_Address = tuple[socket.AddressFamily, tuple[Any, ...]]


class MakeProtocol(Protocol):
    """Makes the protocol of a new connection, one that refuses it if there is an error."""

    def __call__(self, refusal: ProxyError | None) -> Http1Protocol: ...


def listen(host: str, port: int, *, dead_peer_seconds: float) -> list[socket.socket]:
    """Listening sockets on every address of a name, whose connections notice a peer that is gone, and one that is slow.

    Keep-alive finds one that is silent, TCP_USER_TIMEOUT one that takes nothing; accepted sockets inherit both, and the
    bound on what waits in the kernel. With port 0 all get the same free one.

    Raises:
        OSError: If an address can't be had, or the name has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    for _ in range(_PORT_TRIES):
        try:
            return _listen_on_all(addresses, dead_peer_seconds)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or port != 0 or len(addresses) == 1:
                raise
            last = exc  # the port that was free on one is taken on another
    raise last


def _listen_on_all(addresses: Sequence[_Address], dead_peer_seconds: float) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    missing: OSError | None = None
    is_alone = len({family for family, _ in addresses}) == 1
    with contextlib.ExitStack() as opened:
        for family, (name, port, *rest) in addresses:
            address = (name, port or (listeners[0].getsockname()[1] if listeners else 0), *rest)
            try:
                listener = _listen_on(family, address, dead_peer_seconds, is_alone=is_alone)
            except OSError as exc:
                # IPv6 known by name and switched off, say. Not so a port that another process has on one address of
                # several: clients that use the name would reach that.
                if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = exc
            else:
                listeners.append(opened.enter_context(listener))
        if missing is not None and not listeners:
            raise missing
        opened.pop_all()
    return listeners


def _listen_on(
    family: socket.AddressFamily, address: tuple[Any, ...], dead_peer_seconds: float, *, is_alone: bool
) -> socket.socket:
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
        if family == socket.AF_INET6 and not is_alone:  # the other family has a listener of its own
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _bound_peers(listener, dead_peer_seconds)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        opened.pop_all()
    return listener


def _bound_peers(listener: socket.socket, dead_peer_seconds: float) -> None:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    probes = min(127, max(1, int(dead_peer_seconds // TCP_PROBE_SECONDS) - 1))  # 127 is the kernel's most
    for name, value in (
        ("TCP_KEEPIDLE", TCP_PROBE_SECONDS),
        ("TCP_KEEPINTVL", TCP_PROBE_SECONDS),
        ("TCP_KEEPCNT", probes),
        ("TCP_USER_TIMEOUT", int(dead_peer_seconds * 1000)),
        ("TCP_NOTSENT_LOWAT", UNSENT_BYTES),
    ):
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Door:
    """Lets connections in, and looks after those that are.

    Args:
        connections: Those that are open, kept by the server.
        make: Makes the protocol of a new one.
        max_connections: How many may be open.
        counts: What was refused.
    """

    def __init__(
        self, connections: Collection[Any], make: MakeProtocol, *, max_connections: int, counts: Counts
    ) -> None:
        self._connections: Collection[Http1Protocol] = connections
        self._make = make
        self._max_connections = max_connections
        self._counts = counts
        self._warned_at = -math.inf

    async def run(self, listeners: list[socket.socket]) -> None:
        """Let in whoever connects to one of these, for ever. Returns only by cancellation."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._check_for_ever)
            for listener in listeners:
                tasks.start_soon(self._accept_for_ever, listener)

    async def _check_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await anyio.sleep(CHECK_SECONDS)
            now = loop.time()
            for connection in list(self._connections):
                connection.check(now)

    async def _accept_for_ever(self, listener: socket.socket) -> None:
        while True:
            await anyio.wait_readable(listener)
            try:
                await self._accept_all(listener)
            except BlockingIOError:
                continue
            except OSError as exc:  # those that wait go on waiting, until something is closed
                self._warn("connections not accepted", error=errno.errorcode.get(exc.errno or 0, "unknown"))
                self._counts.add("refused.accept_failed")
                self._make_room()
                await anyio.sleep(_RETRY_SECONDS)

    async def _accept_all(self, listener: socket.socket) -> None:
        """Raises OSError when there is none left (BlockingIOError), or none can be had."""
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = listener.accept()
            refusal = self._refusal()
            if refusal is not None and len(self._connections) >= self._max_connections + MAX_REFUSED:
                connection.close()
                continue
            try:
                await loop.connect_accepted_socket(partial(self._make, refusal), connection)
            except BaseException:
                connection.close()
                raise

    def _refusal(self) -> ProxyError | None:
        """What the next connection is answered; None if it is served."""
        if len(self._connections) < self._max_connections or self._make_room():
            return None
        self._warn("too many connections: refused", connections=len(self._connections))
        return TooManyConnections()

    def _make_room(self) -> bool:
        """Close some of those that have had nothing to do for longest. False if there are none."""
        settled = asyncio.get_running_loop().time() - _SETTLED_SECONDS
        idle = [each for each in self._connections if each.may_go and each.worth[1] < settled]
        # Several at once: while new ones keep coming, looking through all of them for each would cost too much.
        for connection in heapq.nsmallest(len(self._connections) // 64 + 1, idle, key=lambda each: each.worth):
            self._counts.add("closed.idle_connection")
            connection.make_way()
        return bool(idle)

    def _warn(self, message: str, **fields: object) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._warned_at >= _WARN_SECONDS:
            self._warned_at = now
            logger.warning("%s; more within 10 s are only counted", message, extra=fields)

"""What does the daemon's listener promise about the connections that it accepts?"""

import socket
import sys

import pytest

from proxy.server import UNSENT_BYTES, listen


@pytest.mark.skipif(sys.platform != "linux", reason="Linux names these options so and lets them be inherited")
def test_connections_inherit_what_finds_dead_and_slow_peers() -> None:
    """Design part 4: presence, slow readers."""
    with listen("127.0.0.1", 0, dead_peer_seconds=45) as listener, socket.socket() as client:
        client.connect(listener.getsockname())
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 45_000
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT_BYTES

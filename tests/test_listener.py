"""Where does the daemon listen, and what does it promise about the connections that it accepts?"""

import contextlib
import errno
import socket
import sys
from collections.abc import Callable, Iterator

import pytest

from proxy.listener import UNSENT_BYTES, listen

V4, V6 = (socket.AF_INET, ("127.0.0.1",)), (socket.AF_INET6, ("::1",))
NOT_HERE = (socket.AF_INET6, ("2001:db8::1",))  # for documentation: nobody has it

Found = tuple[socket.AddressFamily, tuple[str]]


@contextlib.contextmanager
def listening(host: str, port: int = 0) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(each) for each in listen(host, port, dead_peer_seconds=45)]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the name `here` have these addresses."""
    real = socket.getaddrinfo

    def install(*found: Found) -> None:
        def getaddrinfo(host: str, port: int, *args: int, **kwargs: int) -> list[object]:
            if host != "here":
                return list(real(host, port, *args, **kwargs))
            rest = {socket.AF_INET: (), socket.AF_INET6: (0, 0)}
            return [(family, socket.SOCK_STREAM, 6, "", (name, port, *rest[family])) for family, (name,) in found]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return install


@pytest.mark.skipif(sys.platform != "linux", reason="Linux names these options so and lets them be inherited")
def test_connections_inherit_what_finds_dead_and_slow_peers() -> None:
    """Design part 4: presence, slow readers."""
    with listening("127.0.0.1") as (listener,), socket.socket() as client:
        client.connect(listener.getsockname())
        listener.setblocking(True)
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 45_000
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT_BYTES


def test_every_address_of_a_name_is_listened_on_at_one_port(resolve: Callable[..., None]) -> None:
    """A client that looks `localhost` up may begin with either."""
    resolve(V4, V6, V4)
    with listening("here") as listeners:
        names = [listener.getsockname() for listener in listeners]
        assert [name[0] for name in names] == ["127.0.0.1", "::1"]
        assert names[0][1] == names[1][1] > 0
        for name in names:
            socket.create_connection(name[:2], timeout=5).close()


def test_an_address_that_is_not_here_is_left_out_if_there_is_another(resolve: Callable[..., None]) -> None:
    """IPv6 that is known by name and switched off."""
    resolve(NOT_HERE, V4)
    with listening("here") as (listener,):
        assert listener.getsockname()[0] == "127.0.0.1"
    resolve(NOT_HERE)
    with pytest.raises(OSError, match="assign"), listening("here"):
        pass


def test_a_port_that_is_taken_on_one_address_is_not_listened_on_at_all(resolve: Callable[..., None]) -> None:
    """Some clients would reach the other process."""
    with listening("::1") as (other,):
        port = other.getsockname()[1]
        resolve(V4, V6)
        with pytest.raises(OSError) as caught, listening("here", port):
            pass
        assert caught.value.errno == errno.EADDRINUSE
        with listening("127.0.0.1", port):  # it was given back
            pass


def test_any_address_is_of_both_families_where_it_is_alone() -> None:
    with listening("::") as (listener,):
        assert listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=5).close()


def test_a_name_without_an_address_is_an_error() -> None:
    with pytest.raises(OSError), listening("no.such.name.invalid"):
        pass

"""What is remembered of a session for a child in the place of another, and how much at most."""

import json
import tracemalloc
from typing import Any

from proxy.protocol.client_messages import parse_client_message
from proxy.protocol.messages import Notification, Request
from proxy.sessions import told as told_module
from proxy.sessions.told import Told


def request(method: str, **params: Any) -> Request:
    message = parse_client_message(
        json.dumps({"jsonrpc": "2.0", "id": "x", "method": method, "params": params}).encode()
    )
    assert isinstance(message, Request)
    return message


class Session:
    """Tells, and has it answered."""

    def __init__(self, **initialize: Any) -> None:
        self.told = Told()
        self.next = 0
        self.tell(request("initialize", **initialize))

    def tell(self, message: Request, *, is_agreed: bool = True) -> None:
        self.next += 1
        self.told.begun(self.next, message)
        self.told.settled(self.next, is_agreed=is_agreed)

    def knows_all(self) -> bool:
        return self.told.is_complete

    def subscribe(self, uri: str, *, is_agreed: bool = True) -> None:
        self.tell(request("resources/subscribe", uri=uri), is_agreed=is_agreed)


def test_only_what_the_child_has_agreed_to_is_remembered() -> None:
    session = Session()
    session.subscribe("x://1")
    session.subscribe("x://2", is_agreed=False)
    session.tell(request("resources/unsubscribe", uri="x://1"), is_agreed=False)
    session.tell(request("logging/setLevel", level="info"))
    session.tell(request("logging/setLevel", level="loud"), is_agreed=False)
    session.tell(request("tools/call", name="echo"))

    wanted = session.told.wanted()
    assert session.told.uris == ("x://1",)
    assert [each.method for each in wanted.subscriptions] == ["resources/subscribe"]
    assert wanted.level is not None
    assert b"info" in wanted.level.encode(id=1)


def test_the_end_of_the_handshake_is_remembered() -> None:
    session = Session()
    assert session.told.wanted().initialized is False

    message = parse_client_message(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
    assert isinstance(message, Notification)
    session.told.notified(message)

    assert session.told.wanted().initialized is True


def test_nothing_is_known_before_initialize_is_answered() -> None:
    told = Told()
    told.begun(1, request("initialize"))
    assert not told.is_complete

    told.settled(1, is_agreed=True)
    assert told.is_complete


def test_too_many_subscriptions_are_not_known_and_it_says_so() -> None:
    session = Session()
    for number in range(told_module.MAX_SUBSCRIPTIONS):
        session.subscribe(f"x://{number}")
    session.subscribe("x://0")  # which is one of them
    assert session.knows_all()

    session.subscribe("x://one-more")

    assert not session.knows_all()
    assert session.told.uris == ()


def test_too_much_is_not_known_and_it_says_so() -> None:
    session = Session()
    large = "x" * (told_module.MAX_KEPT_BYTES * 2 // 5)
    for _ in range(3):  # what is let go of makes room
        session.subscribe(large)
        session.tell(request("resources/unsubscribe", uri=large))
    session.subscribe(large)
    session.subscribe("y" + large)
    assert session.knows_all()

    session.subscribe("z" + large)

    assert not session.knows_all()


def test_a_refused_request_makes_room_for_others() -> None:
    session = Session()
    for _ in range(3):
        session.subscribe("x" * (told_module.MAX_KEPT_BYTES - 1000), is_agreed=False)

    assert session.knows_all()


def test_what_is_kept_takes_no_more_than_is_counted() -> None:
    """Blanks around the members, and members that mean nothing, would cost more than all that counts."""
    session = Session()
    blanks, nothings = b" " * 1_000_000, b"".join(b'"%d":0,' % number for number in range(10_000))
    tracemalloc.start()
    try:
        for number in range(20):
            text = b'{"jsonrpc":"2.0",%b%b"id":7,"method":"resources/subscribe","params":{"uri":"x://%d"}}'
            message = parse_client_message(text % (blanks, nothings, number))
            assert isinstance(message, Request)
            session.tell(message)
            del message
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(session.told.wanted().subscriptions) == 20
    assert used < 100_000

"""Who shares a process with whom."""

import pytest

from proxy.edge.isolation import EVERYBODY, STRANGER, Isolation, ModernIsolation

FORWARDED = [b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"via", b"x-real-ip", b"cf-connecting-ip"]


@pytest.mark.parametrize("name", FORWARDED)
def test_a_request_that_was_passed_on_comes_from_a_stranger(name: bytes) -> None:
    isolation = Isolation("auto", is_local=True)

    assert isolation.principal({b"host": b"x"}) == EVERYBODY
    assert isolation.principal({b"host": b"x", name: b"1"}) == STRANGER


@pytest.mark.parametrize(
    ("mode", "is_local", "shares"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("shared", True, True),
        ("shared", False, True),
        ("request", True, False),
        ("request", False, False),
    ],
)
def test_who_shares_is_what_was_said(mode: ModernIsolation, is_local: bool, shares: bool) -> None:
    isolation = Isolation(mode, is_local=is_local)

    assert isolation.shares is shares
    assert isolation.principal({}) == (EVERYBODY if shares else STRANGER)


def test_what_is_shared_by_request_is_shared_with_those_who_come_by_a_proxy_too() -> None:
    assert Isolation("shared", is_local=False).principal({b"x-forwarded-for": b"1"}) == EVERYBODY

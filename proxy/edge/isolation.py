"""Whose request is this, and with whom may it share a process?

Revision 2026-07-28 has no session that would tell clients apart, and most stdio servers keep state for one user.
"""

from collections.abc import Mapping
from typing import Literal

from proxy.sessions.modern.call import Principal

ModernIsolation = Literal["auto", "shared", "request"]

_FORWARDING = (
    *(b"forwarded", b"x-forwarded-", b"via", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"cf-connecting-ip"),
    *(b"x-envoy-", b"x-original-", b"fly-client-ip"),
)
"""How the headers begin by which a proxy says that a request is not its own."""

EVERYBODY = Principal("everybody", "everybody")
STRANGER = Principal("stranger", None)


class Isolation:
    """Decides who shares children.

    Args:
        mode: `shared` lets everybody, `request` nobody; `auto` lets those who can only be the user of this machine.
        is_local: Whether our own listener is bound to loopback.
    """

    def __init__(self, mode: ModernIsolation, *, is_local: bool) -> None:
        self._mode = mode
        self._is_local = is_local

    @property
    def shares(self) -> bool:
        """Whether a client that comes to us directly shares children."""
        return self._mode == "shared" or (self._mode == "auto" and self._is_local)

    def principal(self, headers: Mapping[bytes, bytes]) -> Principal:
        """Whose request it is. One that was forwarded to us comes from anywhere."""
        if not self.shares:
            return STRANGER
        if self._mode == "auto":
            for name in headers:
                if name.startswith(_FORWARDING):
                    return STRANGER
        return EVERYBODY

"""What does a client hear whose server has shaken hands already, and with somebody else?

Spec: 2025-11-25 basic/lifecycle, Version Negotiation.
"""

import msgspec
from msgspec import Raw

from proxy.protocol.handshake import Server, read_server
from proxy.protocol.ids import text_at
from proxy.protocol.jsontext import Members, as_object, encode
from proxy.protocol.messages import Request
from proxy.protocol.versions import LEGACY_VERSIONS

EVERY_CAPABILITY: Members = {
    "sampling": Raw(b'{"context":{},"tools":{}}'),
    "elicitation": Raw(b'{"form":{},"url":{}}'),
    "roots": Raw(b"{}"),
}
"""What a client can be asked: all of it. Its roots are its own, so no change of them is announced."""


class KeptHandshake(msgspec.Struct, frozen=True):
    """The answer of a server to `initialize`.

    Attributes:
        answer: `result` or `error`, as the server wrote it.
        server: What the result says; None if it is an error, or no object.
    """

    answer: Members
    server: Server | None

    def answer_for(self, initialize: Request) -> Members:
        """The same for another client: of a result only `protocolVersion` changes, to what both speak."""
        result, server = as_object(self.answer.get("result")), self.server
        if result is None or server is None:
            return self.answer
        version = agreed_version(initialize, server.version)
        if version == text_at(result, "protocolVersion"):
            return self.answer
        return {"result": Raw(encode({**result, "protocolVersion": version}))}


def keep_handshake(members: Members) -> KeptHandshake:
    """What can be answered to later clients, of the members of the answer to the first `initialize`."""
    answer: Members = {name: members[name].copy() for name in ("result", "error") if name in members}
    return KeptHandshake(answer, read_server(answer.get("result")))


def agreed_version(initialize: Request, spoken: str) -> str:
    """The revision that a client and a server of the handshake era have in common: the older of the two.

    A client that asks for one that is unknown here is offered what the server speaks. Dates compare as text.
    """
    asked = text_at(_params(initialize), "protocolVersion")
    return min(asked, spoken) if asked in LEGACY_VERSIONS else spoken


def capabilities_of(initialize: Request) -> Members:
    """What the client that says this can be asked, and more."""
    return as_object(_params(initialize).get("capabilities")) or {}


def _params(initialize: Request) -> Members:
    return as_object(initialize.members.get("params")) or {}

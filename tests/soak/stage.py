"""What does a scenario have to play with?"""

from dataclasses import dataclass, field
from itertools import count
from random import Random

import httpx

from tests.soak.ledger import Ledger
from tests.soak.peer import Peer
from tests.support.mcp import Client


@dataclass
class Site:
    """One daemon and the ways to it.

    Attributes:
        url: The endpoint.
        port: Where it listens.
        http: Connections like anybody's.
        narrow: Connections whose reader takes a few kilobytes at a time.
        pids: The processes that its children are known to be, for the end.
    """

    url: str
    port: int
    http: httpx.AsyncClient
    narrow: httpx.AsyncClient
    pids: set[int] = field(default_factory=set)
    numbers: "count[int]" = field(default_factory=count)


@dataclass(frozen=True)
class Stage:
    """One play of one scenario."""

    site: Site
    ledger: Ledger
    rng: Random
    scenario: str

    def peer(self, *, is_narrow: bool = False) -> Peer:
        """A client that nobody has seen before."""
        http = self.site.narrow if is_narrow else self.site.http
        tag = f"peer-{next(self.site.numbers):07d}"
        return Peer(Client(http, self.site.url), self.ledger, self.rng, tag, self.scenario)

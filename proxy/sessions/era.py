"""Which eras does a server speak, and how is that known?

Two facts, kept apart: a server may speak the handshake revisions, 2026-07-28, or both. The era of one process is
another question: its first messages settle that.
"""

import logging
from typing import Any, Literal, NamedTuple

logger = logging.getLogger(__name__)

ChildEra = Literal["auto", "modern", "legacy"]
"""What an operator says of a server: `auto` leaves it to be found out."""


class Fact(NamedTuple):
    """Something that is known of a server."""

    is_so: bool
    how: str


class ServerEra:
    """What is known of the eras of one server. Shared by all that start children of it.

    Args:
        configured: `modern` and `legacy` settle both facts for good, and nothing that is learned changes them.
    """

    def __init__(self, configured: ChildEra) -> None:
        self.configured = configured
        self._modern: Fact | None = None
        self._legacy: Fact | None = None
        if configured != "auto":
            how = "configured"
            self._modern, self._legacy = Fact(configured == "modern", how), Fact(configured == "legacy", how)

    @property
    def speaks_modern(self) -> bool | None:
        """Whether it speaks 2026-07-28 and later; None if that is not known."""
        return self._modern.is_so if self._modern else None

    @property
    def speaks_legacy(self) -> bool | None:
        """Whether it speaks a revision with a handshake; None if that is not known."""
        return self._legacy.is_so if self._legacy else None

    def learned_modern(self, yes: bool, how: str) -> None:
        """A child has shown whether its server speaks the modern era. What is learned last holds.

        Args:
            yes: Whether it does.
            how: By what it has shown that, in a few words, for an operator.
        """
        self._modern = self._learned("modern", self._modern, Fact(yes, how))

    def learned_legacy(self, yes: bool, how: str) -> None:
        """A child has shown whether its server speaks the handshake revisions. As `learned_modern`."""
        self._legacy = self._learned("legacy", self._legacy, Fact(yes, how))

    def forget(self) -> None:
        """What was learned has led nowhere: find out again."""
        if self.configured == "auto" and (self._modern or self._legacy):
            logger.warning("what is known of the eras of the server is forgotten")
            self._modern = self._legacy = None

    def report(self) -> dict[str, Any]:
        """What `/health` shows."""
        return {
            "configured": self.configured,
            "modern": _shown(self._modern),
            "legacy": _shown(self._legacy),
        }

    def _learned(self, era: str, before: Fact | None, now: Fact) -> Fact:
        if self.configured != "auto" and before is not None:
            return before
        if before is not None and before.is_so == now.is_so:
            return before
        logger.log(
            logging.INFO if before is None else logging.WARNING,  # it has changed its mind, or was misjudged
            "server speaks the %s era" if now.is_so else "server does not speak the %s era",
            era,
            extra={"how": now.how},
        )
        return now


def _shown(fact: Fact | None) -> dict[str, Any]:
    return {"spoken": None, "how": "not known yet"} if fact is None else {"spoken": fact.is_so, "how": fact.how}

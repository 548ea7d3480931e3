"""Whose time is up, and who could make room?"""

import asyncio
import logging

import anyio

from proxy.protocol.lifecycle import State
from proxy.sessions.roster import Roster
from proxy.sessions.session import Session

logger = logging.getLogger(__name__)

CHECK_SECONDS = 0.1
"""How often time-outs are looked at; each may be late by this."""

EVICTABLE_AFTER_SECONDS = 5.0
"""A session that saw only `initialize` makes room for a new one once it is this old."""


async def check_for_ever(roster: Roster) -> None:
    """End each session whose time is up; rests while there is none."""
    while True:
        await roster.somebody()
        await anyio.sleep(CHECK_SECONDS)
        now = asyncio.get_running_loop().time()
        for session in list(roster.published.values()):
            try:
                session.check(now)
            except Exception:
                logger.exception("check failed", extra={"session": session.tag})
                session.end("bridge fault")


def evictable(roster: Roster) -> Session | None:
    """The oldest session that saw only `initialize`, if it is old enough."""
    now = asyncio.get_running_loop().time()
    return next((session for session in roster.published.values() if _is_evictable(session, now)), None)


def _is_evictable(session: Session, now: float) -> bool:
    return session.state is State.UNUSED and session.idle_seconds(now) > EVICTABLE_AFTER_SECONDS

"""Children that have served a call wait for another, few of them, and not for ever."""

import asyncio

import pytest

from proxy.errors import ProxyError
from proxy.sessions.kept import Kept
from proxy.sessions.places import Places


class Child:
    """What is kept."""

    def __init__(self, *, calls: int = 1, age: float = 0.0) -> None:
        self.calls = calls
        self.created_at = asyncio.get_running_loop().time() - age
        self.reason = ""

    @property
    def has_ended(self) -> bool:
        return bool(self.reason)

    def end(self, reason: str, error: ProxyError) -> None:
        self.reason = reason


def places() -> Places:
    return Places(max_children=9)


async def test_the_one_that_has_waited_for_the_shortest_time_is_next_and_only_for_its_kind() -> None:
    kept, first, last, other = Kept(places(), max_children=9), Child(), Child(), Child()

    assert all(kept.keep(key, each) for key, each in (("a", first), ("a", last), ("b", other)))
    assert len(kept) == 3 and first in kept

    assert [kept.take("a"), kept.take("a"), kept.take("a")] == [last, first, None]
    assert first not in kept and len(kept) == 1


async def test_one_that_has_ended_is_nobodys() -> None:
    kept, child = Kept(places(), max_children=9), Child()
    kept.keep("a", child)
    child.end("idle", ProxyError())

    assert kept.take("a") is None
    assert len(kept) == 0 and not kept.make_room()
    assert not kept.keep("a", child)


async def test_over_the_limit_the_oldest_ends() -> None:
    kept, children = Kept(places(), max_children=2), [Child() for _ in range(3)]

    assert all(kept.keep("a", each) for each in children)

    assert [each.has_ended for each in children] == [True, False, False]


async def test_none_is_kept_where_that_is_not_wanted() -> None:
    kept = Kept(places())

    assert not kept.is_wanted and not kept.keep("a", Child())


@pytest.mark.parametrize(
    ("calls", "age", "is_kept"), [(1, 0.0, True), (3, 0.0, False), (1, 61.0, False), (2, 59.0, True)]
)
async def test_one_that_is_worn_or_old_is_not_kept(calls: int, age: float, is_kept: bool) -> None:
    kept = Kept(places(), max_children=9, max_calls=3, max_age_seconds=60.0)

    assert kept.keep("a", Child(calls=calls, age=age)) is is_kept


async def test_those_that_wait_make_room_while_they_are_offered() -> None:
    there, child = places(), Child()
    kept = Kept(there, max_children=9)
    with kept.run():
        kept.keep("a", child)

        assert there.has_spare and kept.make_room()

    assert child.reason == "its place is needed"
    assert not there.spares

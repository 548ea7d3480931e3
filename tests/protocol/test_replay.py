"""Which events come after `Last-Event-ID`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.protocol.replay import Replay, event_id, parse_event_id
from tests.protocol.texts import bounded


def replay(max_events: int = 10, max_bytes: int = 1000, max_age_seconds: float = 60.0) -> Replay[str]:
    return Replay(max_events=max_events, max_bytes=max_bytes, max_age_seconds=max_age_seconds, size_of=len)


@given(st.integers(1, 10**17), st.integers(0, 10**17))
@bounded
def test_an_event_id_is_read_as_it_was_written(stream: int, place: int) -> None:
    assert parse_event_id(event_id(stream, place).decode()) == (stream, place)


@pytest.mark.parametrize(
    "text", ["", "1", "-1", "1-", "0-1", "01-1", "1-01", "1-1-1", "a-1", "1_0-1", "１-1", "1-" + "9" * 30]
)
def test_what_is_not_ours_is_no_event_id(text: str) -> None:
    assert parse_event_id(text) is None


def test_what_followed_on_a_stream_is_found_and_nothing_of_another() -> None:
    """Spec: 2025-11-25 basic/transports, Resumability 3: MUST NOT replay another stream's messages. HL-21."""
    kept = replay()
    for place in (1, 2, 3):
        kept.add(1, place, [f"a{place}"], 0.0)
        kept.add(2, place, [f"b{place}"], 0.0)

    assert kept.after(1, 1) == ["a2", "a3"]
    assert kept.after(2, 0) == ["b1", "b2", "b3"]
    assert kept.after(1, 3) == []
    assert kept.after(3, 0) == []


def test_the_oldest_make_room_and_the_gap_is_known() -> None:
    kept = replay(max_events=2)

    assert [kept.add(1, place, [str(place)], 0.0) for place in (1, 2, 3)] == [0, 0, 1]

    assert kept.after(1, 0) == ["2", "3"]
    assert [kept.has_gap(1, place) for place in (0, 1, 2)] == [True, False, False]
    assert not kept.has_gap(2, 0)


def test_a_flood_leaves_its_end() -> None:
    kept = replay(max_events=3)
    kept.add(2, 1, ["older"], 0.0)

    assert kept.add(1, 1, [str(place) for place in range(1, 101)], 0.0) == 98

    assert (kept.after(1, 0), kept.after(2, 0)) == (["98", "99", "100"], [])
    assert [kept.has_gap(1, place) for place in (96, 97)] == [True, False]
    assert kept.has_gap(2, 0)


def test_the_newest_is_kept_whatever_its_size() -> None:
    kept = replay(max_bytes=100)
    kept.add(1, 1, ["x" * 50], 0.0)

    assert kept.add(1, 2, ["x" * 5000], 0.0) == 1
    assert len(kept.after(1, 0)) == 1
    assert kept.add(1, 3, ["x" * 50], 0.0) == 1
    assert kept.size_bytes == 50


def test_what_is_too_old_goes() -> None:
    kept = replay(max_age_seconds=60)
    kept.add(1, 1, ["old"], 0.0)
    kept.add(1, 2, ["new"], 50.0)

    assert kept.expire(61.0) == 1
    assert kept.after(1, 0) == ["new"]
    assert kept.has_gap(1, 0)


def test_a_stream_is_forgotten() -> None:
    kept = replay()
    kept.add(1, 1, ["first", "second"], 0.0)
    kept.add(2, 1, ["third"], 0.0)

    kept.forget(1)

    assert (kept.after(1, 0), kept.after(2, 0), len(kept), kept.size_bytes) == ([], ["third"], 1, 5)


EVENTS = st.tuples(st.integers(1, 3), st.lists(st.integers(0, 400), max_size=9), st.integers(0, 3))


@given(st.lists(EVENTS, max_size=40))
@bounded
def test_it_never_holds_more_than_it_may(events: list[tuple[int, list[int], int]]) -> None:
    kept = replay(max_events=5, max_bytes=500, max_age_seconds=5)
    places = dict.fromkeys((1, 2, 3), 0)
    now = 0.0
    for stream, sizes, later in events:
        now += later
        kept.add(stream, places[stream] + 1, ["x" * size for size in sizes], now)
        places[stream] += len(sizes)
        kept.expire(now)

        assert len(kept) <= 5
        assert kept.size_bytes <= 500 or len(kept) == 1
        for each, last in places.items():
            found = kept.after(each, 0)
            assert kept.has_gap(each, 0) is (last > len(found))
            assert all(kept.after(each, last - left) == found[-left:] for left in range(1, len(found) + 1))

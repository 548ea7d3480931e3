"""What a pool decides: each clause of each rule, from numbers alone."""

import pytest

from proxy.sessions.warm.plan import (
    LATE_PROOFS,
    LONGEST_LOOK_SECONDS,
    LOOK_AGAIN_SECONDS,
    Plan,
    Room,
    Waiting,
    choose,
    choose_for_eviction,
    plan_refill,
    shares,
    worth_waiting_for,
)
from proxy.sessions.warm.slots import SLOT_SECONDS, Slots

WIDE = Room(places=100, slots=100)
KNOWN = {"a": 1.0, "b": 1.0}


def a(number: int, **what: float | bool) -> Waiting:
    return Waiting(number, "a", **what)  # type: ignore[arg-type]  # of whichever field


def b(number: int, **what: float | bool) -> Waiting:
    return Waiting(number, "b", **what)  # type: ignore[arg-type]  # of whichever field


def plan(children: list[Waiting], *, size: int = 3, room: Room = WIDE, known: dict[str, float] | None = None) -> Plan:
    """Of a pool that wants one kind."""
    known = KNOWN if known is None else known
    return plan_refill(children, size=size, wanted={"a": size}, known=known, room=room)


# ---- how many of each kind

SHARES = [
    (0, ["a"], {}),
    (3, [], {}),
    (3, ["a"], {"a": 3}),
    (4, ["a", "b"], {"a": 2, "b": 2}),
    (4, ["a", "a", "a", "b"], {"a": 3, "b": 1}),
    (10, ["a"] * 9 + ["b"], {"a": 9, "b": 1}),
    (2, ["a"] * 9 + ["b"], {"a": 1, "b": 1}),  # each was asked for, so one of each
    (1, ["a", "a", "b"], {"a": 1}),  # the one that was asked for more often
    (1, ["a", "b"], {"b": 1}),  # or later
]


@pytest.mark.parametrize(("size", "demand", "expected"), SHARES)
def test_what_was_asked_for_lately_is_kept(size: int, demand: list[str], expected: dict[str, int]) -> None:
    assert shares(size, demand) == expected


# ---- what to start

STARTS = [
    ("nothing is there", [], WIDE, 3),
    ("one is ready", [a(1)], WIDE, 2),
    ("those count that are not ready yet", [a(1, is_ready=False), a(2, is_ready=False, is_there=False)], WIDE, 1),
    ("it is full", [a(1), a(2), a(3)], WIDE, 0),
    ("few places", [], Room(places=1, slots=9), 1),
    ("no place", [], Room(places=0, slots=9), 0),
    ("fewer than none", [], Room(places=-1, slots=9), 0),
    ("few slots", [], Room(places=9, slots=2), 2),
    ("no slot", [], Room(places=9, slots=0), 0),
    ("a client waits for a start", [], Room(places=9, slots=9, clients=1), 0),
    ("starts have failed", [], Room(places=9, slots=9, wait_seconds=0.1), 0),
]


@pytest.mark.parametrize(("children", "room", "count"), [case[1:] for case in STARTS], ids=[case[0] for case in STARTS])
def test_what_is_missing_is_started_as_far_as_there_is_room(children: list[Waiting], room: Room, count: int) -> None:
    assert plan(children, room=room).start == ("a",) * count


def test_a_kind_that_has_never_proved_itself_is_tried_with_one() -> None:
    assert plan([], known={}).start == ("a",)
    assert plan([a(1, is_ready=False)], known={}).start == ()
    assert plan([a(1, is_ready=False)], known={"a": 1.0}).start == ("a", "a")


def test_the_trial_of_one_kind_holds_up_no_other() -> None:
    wanted = {"a": 2, "b": 2}

    both = plan_refill([], size=4, wanted=wanted, known={}, room=WIDE)
    other = plan_refill([a(1, is_ready=False)], size=4, wanted=wanted, known={"b": 1.0}, room=WIDE)

    assert sorted(both.start) == ["a", "b"]
    assert other.start == ("b", "b")


def test_the_kind_that_lacks_most_comes_first() -> None:
    wanted = {"a": 3, "b": 1}

    assert plan_refill([a(1)], size=4, wanted=wanted, known=KNOWN, room=Room(1, 1)).start == ("b",)
    assert plan_refill([b(1)], size=4, wanted=wanted, known=KNOWN, room=Room(1, 1)).start == ("a",)


def test_one_of_a_kind_that_is_too_many_makes_way_for_one_that_lacks() -> None:
    children = [a(1, left_seconds=30), a(2, left_seconds=20), a(3, left_seconds=40)]

    result = plan_refill(children, size=3, wanted={"a": 2, "b": 1}, known=KNOWN, room=WIDE)

    assert result.start == ("b",)
    assert result.end == (2,)


@pytest.mark.parametrize("room", [Room(0, 9), Room(9, 0), Room(9, 9, clients=1), Room(9, 9, wait_seconds=1)])
def test_none_makes_way_for_one_that_could_not_start(room: Room) -> None:
    assert plan_refill([a(1), a(2)], size=2, wanted={"a": 1, "b": 1}, known=KNOWN, room=room) == Plan(
        look_again_seconds=LOOK_AGAIN_SECONDS
    )


def test_those_that_nobody_wants_any_more_stay_until_somebody_wants_their_room() -> None:
    assert plan_refill([b(1)], size=3, wanted={"a": 2}, known=KNOWN, room=WIDE) == Plan(("a", "a"))


# ---- what to end


@pytest.mark.parametrize("is_ready", [True, False])
def test_one_that_is_too_old_is_ended_and_replaced(is_ready: bool) -> None:
    assert plan([a(1, left_seconds=0, is_ready=is_ready), a(2), a(3)]) == Plan(("a",), (1,))


def test_one_that_is_too_old_is_ended_also_when_none_can_be_started() -> None:
    result = plan([a(1, left_seconds=-1), a(2), a(3)], room=Room(0, 0))

    assert (result.start, result.end) == ((), (1,))


# ---- when to look again

LOOKS = [
    ("full: when the first gets too old", [a(1, left_seconds=9), a(2), a(3)], WIDE, 9),
    ("full, and that is long", [a(1), a(2), a(3)], WIDE, LONGEST_LOOK_SECONDS),
    ("not full", [a(1)], Room(0, 9), LOOK_AGAIN_SECONDS),
    ("not full, after failures", [], Room(9, 9, wait_seconds=7.5), 7.5),
    ("not full, after one failure", [], Room(9, 9, wait_seconds=0.1), LOOK_AGAIN_SECONDS),
    ("full when all that is started now is there", [], WIDE, LONGEST_LOOK_SECONDS),
]


@pytest.mark.parametrize(("children", "room", "seconds"), [case[1:] for case in LOOKS], ids=[case[0] for case in LOOKS])
def test_it_looks_again_when_time_alone_may_have_changed_something(
    children: list[Waiting], room: Room, seconds: float
) -> None:
    assert plan(children, room=room).look_again_seconds == seconds


# ---- whom to hand out

CHOICES = [
    ("the oldest that is ready", [a(1, age_seconds=2), a(2, age_seconds=3)], 2),
    ("ready before one that is older", [a(1), a(2, age_seconds=1.5, is_ready=False)], 1),
    ("none of another kind", [b(1)], None),
    ("none that is too old", [a(1, left_seconds=0)], None),
    ("none that has no process yet", [a(1, is_ready=False, is_there=False)], None),
    ("none that is dead", [a(1, is_there=False)], None),
    ("one that proves itself: it was first", [a(1, age_seconds=0.2, is_ready=False)], 1),
    ("the oldest of those", [a(1, age_seconds=0.2, is_ready=False), a(2, age_seconds=0.4, is_ready=False)], 2),
    ("none that takes too long", [a(1, age_seconds=LATE_PROOFS + 0.1, is_ready=False)], None),
    (
        "a younger one beside one that takes too long",
        [a(1, age_seconds=LATE_PROOFS + 0.1, is_ready=False), a(2, age_seconds=1, is_ready=False)],
        2,
    ),
    ("nothing", [], None),
]


@pytest.mark.parametrize(("children", "expected"), [case[1:] for case in CHOICES], ids=[case[0] for case in CHOICES])
def test_who_is_handed_out(children: list[Waiting], expected: int | None) -> None:
    assert choose(children, "a", known=KNOWN) == expected


def test_one_of_a_kind_that_has_never_proved_itself_is_handed_out_only_if_none_can_be_started() -> None:
    children = [a(1, is_ready=False), b(2), a(3, is_ready=False, is_there=False)]

    assert choose(children, "a", known={}) is None
    assert choose(children, "a", known={}, is_last_chance=True) == 1
    assert choose([], "a", known=KNOWN, is_last_chance=True) is None


def test_if_none_can_be_started_one_that_takes_too_long_is_better_than_none() -> None:
    assert choose([a(1, age_seconds=50, is_ready=False)], "a", known=KNOWN, is_last_chance=True) == 1


WORTH_WAITING = [
    ("none", [], 0),
    ("those that are ready are taken", [a(1)], 0),
    ("being proved, or started", [a(1, is_ready=False), a(2, is_ready=False, is_there=False)], 2),
    ("of another kind", [b(1, is_ready=False)], 0),
    ("stuck", [a(1, is_ready=False, age_seconds=50)], 0),
    ("too old", [a(1, is_ready=False, left_seconds=-1)], 0),
]


@pytest.mark.parametrize(
    ("children", "expected"), [case[1:] for case in WORTH_WAITING], ids=[case[0] for case in WORTH_WAITING]
)
def test_how_many_are_worth_waiting_for(children: list[Waiting], expected: int) -> None:
    assert worth_waiting_for(children, "a", known=KNOWN) == expected
    assert worth_waiting_for(children, "a", known={}) == 0


EVICTIONS = [
    ("the youngest that is not ready", [a(1), a(2, is_ready=False, age_seconds=2), b(3, is_ready=False)], 3),
    ("the youngest of those that are", [a(1, age_seconds=3), b(2, age_seconds=2)], 2),
    ("nothing", [], None),
]


@pytest.mark.parametrize(("children", "expected"), [case[1:] for case in EVICTIONS])
def test_who_makes_room(children: list[Waiting], expected: int | None) -> None:
    assert choose_for_eviction(children) == expected


# ---- slots


def test_slots_are_taken_given_back_and_run_out_of_time() -> None:
    slots = Slots(2)
    slots.take("one", 0.0)
    slots.take("two", 1.0)

    assert slots.free(1.0) == 0
    assert slots.free(SLOT_SECONDS) == 1  # the first waits for a network
    slots.give_back("two")
    assert slots.free(1.0) == 1
    slots.give_back("two")
    assert slots.free(1.0) == 1


def test_there_is_a_slot_for_each_processor_and_at_least_one() -> None:
    assert Slots().free(0.0) >= 1
    assert Slots(0).free(0.0) >= 1

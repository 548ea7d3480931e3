"""How many processes may each server of a bridge have, and who gets the next place?"""

import anyio
import pytest

from proxy.child.process import open_child
from proxy.sessions.house import Holding, House, claims_of, free_places, has_turn, sure_places
from proxy.sessions.places import TALLIED, Places
from tests.support.children import spec


@pytest.mark.parametrize(
    ("total", "servers", "sure"),
    [(256, 1, 32), (256, 2, 16), (256, 100, 1), (16, 2, 1), (4, 2, 1), (3, 2, 0), (1, 2, 0), (300, 200, 0)],
)
def test_each_server_is_sure_of_its_part_of_an_eighth_and_of_one_where_there_are_two_for_each(
    total: int, servers: int, sure: int
) -> None:
    assert sure_places(total, servers) == sure


FREE: dict[str, tuple[Holding, list[Holding], dict[str, int], int]] = {
    "alone, all": (Holding(3, 8), [], {"total": 8, "taken": 3}, 5),
    "alone, its own limit": (Holding(3, 4), [], {"total": 8, "taken": 3}, 1),
    "over its own limit, after a reload": (Holding(5, 4), [], {"total": 8, "taken": 5}, 0),
    "one is kept for the other": (Holding(3, 4), [Holding(0, 4)], {"total": 4, "taken": 3}, 0),
    "the other has what is sure": (Holding(2, 4), [Holding(1, 4)], {"total": 4, "taken": 3}, 1),
    "nothing is kept for one that may have none": (Holding(3, 4), [Holding(0, 0)], {"total": 4, "taken": 3}, 1),
    "the kept one is there for whom it is kept": (Holding(0, 4), [Holding(3, 4)], {"total": 4, "taken": 3}, 1),
    "too few for all: first come": (Holding(0, 1), [Holding(0, 1)], {"total": 1, "taken": 0}, 1),
    "an eighth of many": (Holding(200, 256), [Holding(0, 256)], {"total": 256, "taken": 200}, 40),
    "full": (Holding(0, 4), [Holding(4, 4)], {"total": 4, "taken": 4}, 0),
}


@pytest.mark.parametrize("case", FREE)
def test_a_server_may_start_what_is_free_and_not_kept_for_others(case: str) -> None:
    own, others, whole, free = FREE[case]

    assert free_places(own, claims_of([own, *others], total=whole["total"]), **whole) == free


@pytest.mark.parametrize(
    ("own", "other", "turn"),
    [
        (Holding(3, 8), Holding(1, 8, wanted=1), False),  # it waits, and has fewer
        (Holding(3, 8), Holding(1, 8), True),  # it does not wait
        (Holding(1, 8), Holding(3, 8, wanted=9), True),  # it has more, however many wait
        (Holding(2, 8), Holding(2, 8, wanted=1), True),  # who comes first
    ],
)
def test_a_place_goes_to_the_waiting_server_that_has_the_fewest(own: Holding, other: Holding, turn: bool) -> None:
    assert has_turn(own, claims_of([own, other], total=8)) is turn


class Children:
    """Spares of one server, or idle children, for the places to end."""

    def __init__(self, places: Places, count: int) -> None:
        self.places, self.count = places, count
        for _ in range(count):
            places.take()
        places.spares.append(self)

    def make_room(self) -> bool:
        if self.count:
            self.count -= 1
            self.places.give_back()
            return True
        return False

    def __len__(self) -> int:
        return self.count


def housed(total: int, *limits: int) -> list[Places]:
    house = House(max_children=total)
    servers = [Places(max_children=limit, house=house) for limit in limits]
    house.tenants += servers
    return servers


@pytest.mark.parametrize(
    ("limits", "counts", "left"),
    [
        ((8, 8), (0, 8), (0, 7)),  # another's goes, for there is nothing of one's own
        ((8, 8), (3, 5), (2, 5)),  # one's own first
        ((2, 8), (2, 3), (1, 3)),  # at one's own limit another's would be of no use
        ((8, 8, 8), (0, 1, 7), (0, 1, 6)),  # of those with the most
        ((8, 8, 8, 8), (0, 1, 1, 0), (0, 1, 1, 0)),  # of none that would only get it back
    ],
)
async def test_who_needs_a_place_has_one_process_end_whose_place_is_of_use(
    limits: tuple[int, ...], counts: tuple[int, ...], left: tuple[int, ...]
) -> None:
    servers = housed(8, *limits)
    spares = [Children(places, count) for places, count in zip(servers, counts, strict=True)]

    with servers[0].wish() as wish:
        granted = wish.make_room()

    assert tuple(len(each) for each in spares) == left
    assert granted is (left != counts)


async def test_who_could_not_use_a_place_holds_up_nobody() -> None:
    """As one whose server has as many sessions as it may."""
    one, other = housed(4, 4, 4)
    for _ in range(2):
        one.take()
    with other.wish() as wish:
        wish.make_room()
        history = [one.has_room]

        wish.rest()
        history.append(one.has_room)

    assert history == [False, True]


async def test_a_server_that_begins_nothing_more_needs_no_place() -> None:
    one, other = housed(4, 4, 4)
    for _ in range(3):
        one.take()
    history = [one.has_room]

    other.close()
    history.append(one.has_room)

    assert history == [False, True]


class Looked(Places):
    """Places that count how often anybody looks at what they have."""

    looks = 0

    @property
    def holding(self) -> Holding:
        Looked.looks += 1
        return super().holding


async def test_to_ask_for_each_of_many_servers_whether_there_is_room_takes_no_look_at_all_for_each() -> None:
    """As `/readyz` does, and as every pool does whenever a process has begun or ended."""
    house = House(max_children=64)
    servers = [Looked(max_children=8, house=house) for _ in range(200)]
    house.tenants += servers
    history = []
    for _ in range(2):
        servers[0].take()
        Looked.looks = 0
        history.append({(each.has_room, each.has_spare, each.wanted) for each in servers})
        assert Looked.looks < 10 * len(servers)

    assert history == [{(True, False, 0)}] * 2


async def test_what_changes_for_one_server_the_others_notice() -> None:
    one, other = housed(2, 2, 2)
    history = []
    with other.wish() as wish:
        one.take()
        history.append((one.has_room, one.wanted))
        wish.make_room()
        history.append((one.has_room, one.wanted))
        wish.rest()
        history.append((one.has_room, one.wanted))
        wish.make_room()
        other.take()
        history.append((one.has_room, one.wanted))
    other.give_back()
    history.append((one.has_room, one.wanted))

    assert history == [(True, 0), (False, 1), (True, 0), (False, 1), (True, 0)]


ENDS = {
    "exited": "",
    "crashed": "raise SystemExit(3)",
    "killed": "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)",
    None: "import sys; print(1, flush=True); sys.stdin.read()",
}


@pytest.mark.parametrize("how", ENDS)
async def test_it_is_counted_how_each_process_has_ended(how: str | None) -> None:
    places = Places(max_children=1)
    seen = anyio.Event()  # it has said something, or is gone
    server = spec(ENDS[how], stdin_grace_seconds=2.0 if how is None else 0.05, term_grace_seconds=0.05)
    async with open_child(server, on_lines=lambda _: seen.set(), on_gone=lambda _: seen.set()) as child:
        places.started(child)
        with anyio.fail_after(10):
            await seen.wait()
    places.ended(child)

    report = places.report()
    assert {name for name in TALLIED if report[name]} == {"started"} | ({how} if how else set())

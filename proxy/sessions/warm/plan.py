"""Which children should be started before anybody asks, which thrown away, and which one is handed out?

Decides only, from numbers: no process, no loop, no clock. `pool` acts on it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LOOK_AGAIN_SECONDS = 1.0
"""When something is missing that could not be started now. Whatever makes it possible is told of, too."""
LONGEST_LOOK_SECONDS = 60.0
LATE_PROOFS = 2.0
"""A child that has taken so many times as long for its proof as the last one did may be stuck: a new one is quicker."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A child that was started ahead and is nobody's yet.

    Attributes:
        number: Names it in a plan.
        kind: Whom it is for.
        age_seconds: Since its start was begun.
        left_seconds: Until it is too old; negative when it is.
        is_there: Whether its process has been started.
        is_ready: Whether it has proved itself.
    """

    number: int
    kind: str
    age_seconds: float = 0.0
    left_seconds: float = 3600.0
    is_there: bool = True
    is_ready: bool = True


@dataclass(frozen=True, slots=True)
class Room:
    """What a refill may use just now.

    Attributes:
        places: Processes that may be started, as far as their number goes; 0 while somebody waits for a place.
        slots: Starts that may go on beside those that do.
        clients: Those who wait for a child that is being started for them.
        wait_seconds: How long the next start has to wait after failures.
    """

    places: int
    slots: int
    clients: int = 0
    wait_seconds: float = 0.0

    @property
    def for_starts(self) -> int:
        """A refill beside starts that somebody waits for would slow them down: it waits for an idle moment."""
        return 0 if self.clients or self.wait_seconds > 0 else max(0, min(self.places, self.slots))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now."""

    start: tuple[str, ...] = ()
    """The kind of each child to start."""
    end: tuple[int, ...] = ()
    """Those that nobody will get."""
    look_again_seconds: float = LONGEST_LOOK_SECONDS
    """When time alone may ask for something else."""


def shares(size: int, demand: Sequence[str]) -> dict[str, int]:
    """How many of each kind to keep: as they were asked for lately, each of them at least once if there is room.

    Args:
        size: How many in all.
        demand: The kinds that were asked for, the latest last.
    """
    counts = Counter(demand)
    latest = {kind: place for place, kind in enumerate(demand)}
    kinds = sorted(counts, key=lambda kind: (counts[kind], latest[kind]), reverse=True)[:size]
    result = dict.fromkeys(kinds, 1)
    for _ in range(size - len(kinds) if kinds else 0):
        most = max(kinds, key=lambda kind: counts[kind] / (result[kind] + 1))
        result[most] += 1
    return result


def plan_refill(
    children: Sequence[Waiting], *, size: int, wanted: Mapping[str, int], known: Mapping[str, float], room: Room
) -> Plan:
    """Say what the pool needs.

    Args:
        children: What it has.
        size: How many it may have, of all kinds.
        wanted: How many of each kind it should have; no more than `size` in all.
        known: How long the last proof of a kind took. A kind that has never proved itself is tried with one child
            first: its server may be broken, and several that download the same package at once get in each other's way.
        room: What it may use.
    """
    old = [child.number for child in children if child.left_seconds <= 0]
    kept = [child for child in children if child.left_seconds > 0]
    have = Counter(child.kind for child in kept)
    untried = {kind for kind in wanted if kind not in known and not any(_is_trial(child, kind) for child in kept)}
    start: list[str] = []
    surplus: list[int] = []
    for _ in range(room.for_starts):
        missing = [
            kind
            for kind, number in wanted.items()
            if have[kind] < number and (kind in known or (kind in untried and kind not in start))
        ]
        if not missing:
            break
        if len(kept) + len(start) - len(surplus) >= size:
            spare = _spare(kept, have, wanted, surplus)
            if spare is None:
                break
            have[spare.kind] -= 1
            surplus.append(spare.number)
        kind = min(missing, key=lambda each: have[each] / wanted[each])
        have[kind] += 1
        start.append(kind)
    is_full = all(have[kind] >= number for kind, number in wanted.items())
    return Plan(tuple(start), (*old, *surplus), _look_again(kept, is_full, room.wait_seconds))


def _is_trial(child: Waiting, kind: str) -> bool:
    return child.kind == kind and not child.is_ready


def _spare(
    kept: Sequence[Waiting], have: Mapping[str, int], wanted: Mapping[str, int], gone: Sequence[int]
) -> Waiting | None:
    """One of a kind of which there are more than wanted: the one that will be too old first."""
    spare = [child for child in kept if child.number not in gone and have[child.kind] > wanted.get(child.kind, 0)]
    return min(spare, key=lambda child: child.left_seconds, default=None)


def _look_again(kept: Sequence[Waiting], is_full: bool, wait_seconds: float) -> float:
    next_old = min((child.left_seconds for child in kept), default=LONGEST_LOOK_SECONDS)
    soon = LONGEST_LOOK_SECONDS if is_full else max(wait_seconds, LOOK_AGAIN_SECONDS)
    return min(next_old, soon, LONGEST_LOOK_SECONDS)


def choose(
    children: Sequence[Waiting], kind: str, *, known: Mapping[str, float], is_last_chance: bool = False
) -> int | None:
    """The child for a client that has just come; None if a new one is better.

    The oldest that is ready. If none is, one that is still proving itself: it was started before any that could be
    started now, so it is no slower, unless it is stuck, or nothing of its kind has ever proved itself.

    Args:
        children: What there is.
        kind: Whom it is for.
        known: How long the last proof of a kind took.
        is_last_chance: Whether no new one can be started.
    """
    fit = [child for child in _usable(children, kind) if child.is_there]
    ready = [child for child in fit if child.is_ready] or [child for child in fit if _is_promising(child, known)]
    if not ready and is_last_chance:
        ready = fit
    return max(ready, key=lambda child: child.age_seconds).number if ready else None


def worth_waiting_for(children: Sequence[Waiting], kind: str, *, known: Mapping[str, float]) -> int:
    """How many are still proving themselves, and will most likely be ready before one that is started now."""
    return sum(not child.is_ready and _is_promising(child, known) for child in _usable(children, kind))


def _usable(children: Sequence[Waiting], kind: str) -> list[Waiting]:
    return [child for child in children if child.kind == kind and child.left_seconds > 0]


def _is_promising(child: Waiting, known: Mapping[str, float]) -> bool:
    return child.kind in known and child.age_seconds <= LATE_PROOFS * known[child.kind]


def choose_for_eviction(children: Sequence[Waiting]) -> int | None:
    """The child that makes room for one that somebody needs: what was spent on it is least."""
    youngest = sorted(children, key=lambda child: (child.is_ready, child.age_seconds))
    return youngest[0].number if youngest else None

"""Does a large payload hold up the event loop, and with it everybody else?

The bridge runs beside a ticker on the same loop. What is compared is CPU time between two ticks, not lateness: on a
busy machine everything is late.
"""

from collections.abc import Iterator

import pytest

from benchmarks.client import Lane, exchange
from benchmarks.messages import call, check_text
from benchmarks.systems import TICKING, Running, started

pytestmark = pytest.mark.alone

MIB = 1 << 20
STALL_MS = 50
TRIES = 5
"""Of which the best counts: a stall of our own making is in each of them."""

TEXTS = {"ASCII": "x" * 10 * MIB, "other letters": "\u00e9\u20ac\N{GRINNING FACE}" * (10 * MIB // 9)}


@pytest.fixture(scope="module")
def system() -> Iterator[tuple[Running, Lane]]:
    with started((TICKING,)) as (system,), system.sessions(1) as (lane,):
        yield system, lane


@pytest.mark.parametrize("letters", TEXTS)
@pytest.mark.parametrize("way", ["result", "argument and result"])
def test_no_payload_of_10_mib_holds_up_the_loop(system: tuple[Running, Lane], way: str, letters: str) -> None:
    running, lane = system
    text = TEXTS[letters]
    unit, count = (text, None) if way == "argument and result" else (text[:30_000], len(text) // 30_000)
    tool = "echo" if count is None else "blob"
    stalls = []
    for number in range(TRIES):
        running.stalls()
        reply = exchange(lane, call(number, tool, unit, count=count))
        check_text(reply, number, unit * (count or 1))
        stalls.append(running.stalls()["cpu_ms"])

    assert min(stalls) < STALL_MS, stalls

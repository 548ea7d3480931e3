"""How many connections are let in where descriptors are short? Each in a process of its own: limits are for ever."""

import subprocess
import sys

import pytest

from proxy.descriptors import OWN, PER_CHILD

PROGRAM = """
import resource, sys
from proxy.descriptors import connections_within_limits
soft, hard, wanted, max_children = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(connections_within_limits(wanted, max_children=max_children), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def within(soft: int, hard: int, wanted: int, max_children: int) -> tuple[int, int, str]:
    """The connections that are let in, the limit afterwards, and what was logged."""
    arguments = [str(number) for number in (soft, hard, wanted, max_children)]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    connections, limit = map(int, done.stdout.split())
    return connections, limit, done.stderr


NEEDED = 1000 + PER_CHILD * 20 + OWN


@pytest.mark.parametrize(("soft", "after"), [(256, NEEDED), (NEEDED, NEEDED), (NEEDED + 50, NEEDED + 50)])
def test_the_limit_is_raised_as_far_as_is_needed(soft: int, after: int) -> None:
    assert within(soft, NEEDED + 100, 1000, 20) == (1000, after, "")


def test_what_children_may_need_is_kept_for_them() -> None:
    connections, limit, said = within(256, 600, 1000, 20)

    assert (connections, limit) == (600 - OWN - PER_CHILD * 20, 600)
    assert "few descriptors" in said


def test_children_keep_no_more_than_half() -> None:
    connections, _, said = within(256, 256, 1000, 1000)

    assert connections == (256 - OWN) // 2
    assert "few descriptors" in said


def test_some_connections_are_always_let_in() -> None:
    assert within(64, 64, 1000, 256)[0] == 8

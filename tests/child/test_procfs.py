"""What /proc says of processes."""

import os
import subprocess
import sys

import pytest

from proxy.child.procfs import Stat, living_groups, parse_stat

pytestmark = pytest.mark.processes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7 (sh) S 1 7 " + "0 " * 16 + "99 0", Stat(7, "S", 1, 7, 99)),
        ("8 (a) Z 9 (b) R 2 3 " + "0 " * 16 + "99 0", Stat(8, "R", 2, 3, 99)),
        ("9 ((()) Z 2 3 " + "0 " * 16 + "99 0", Stat(9, "Z", 2, 3, 99)),
    ],
)
def test_a_stat_line_is_read_whatever_the_program_is_called(text: str, expected: Stat) -> None:
    assert parse_stat(text) == expected


def test_a_zombie_is_not_alive() -> None:
    assert not Stat(9, "Z", 2, 3, 99).is_alive
    assert Stat(9, "S", 2, 3, 99).is_alive


def test_a_group_lives_until_its_last_member_is_dead_reaped_or_not() -> None:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    )
    assert living_groups([process.pid, os.getpgrp()]) == {process.pid: True, os.getpgrp(): True}
    assert process.stdin is not None
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not reaped

    assert living_groups([process.pid]) == {process.pid: False}
    process.wait()

"""What the kernel is told of a child's limits, and what an operator is told of the means."""

import json
import os
import resource
import sys

import anyio
import pytest

from proxy.child import limits as limits_module
from proxy.child.limits import ChildLimits
from tests.support.children import running_child

TELLS = """
import json, os, resource, sys
sys.stdin.readline()
print(json.dumps([resource.getrlimit(resource.RLIMIT_NOFILE), len(os.sched_getaffinity(0))]), flush=True)
sys.stdin.read()
"""

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="prlimit(2) and affinity are Linux's"),
]


async def told(limits: ChildLimits) -> tuple[list[int], int]:
    async with running_child(TELLS, limits=limits) as (child, heard):
        child.link.send(b"go")
        await heard.until(lines=1)
        assert isinstance(heard.lines[0], bytes)
        files, cpus = json.loads(heard.lines[0])
        return files, cpus


async def test_a_child_has_the_descriptors_and_cpus_that_it_is_given() -> None:
    assert await told(ChildLimits(open_files=77, cpus=0.5)) == ([77, 77], 1)


async def test_without_limits_a_child_has_what_we_have() -> None:
    files, cpus = await told(ChildLimits())
    assert tuple(files) == resource.getrlimit(resource.RLIMIT_NOFILE)
    assert cpus == len(os.sched_getaffinity(0))


async def test_a_limit_that_can_not_be_set_does_not_keep_the_child_from_starting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(resource, "prlimit", refuse)
    with anyio.fail_after(20):
        await told(ChildLimits(open_files=77))
    assert "limit of a child not set" in caplog.text


def test_children_in_turn_get_other_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 5, 7})

    assert [limits_module._cpus(1, turn) for turn in range(5)] == [{2}, {3}, {5}, {7}, {2}]
    assert [limits_module._cpus(2.5, turn) for turn in range(2)] == [{2, 3, 5}, {7, 2, 3}]
    assert limits_module._cpus(9, 1) == {2, 3, 5, 7}


def test_the_means_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 1000))

    assert ChildLimits().report() == {}
    assert ChildLimits(memory_bytes=1 << 20, open_files=500, cpus=1).report() == {
        "memory": "1 MiB in RAM, watched",
        "open_files": "RLIMIT_NOFILE of 500",
        "cpu": "affinity to 1 of 2 CPUs",
    }
    assert ChildLimits(open_files=2000, cpus=0.5).report() == {
        "open_files": "RLIMIT_NOFILE of 1000, the hard limit here",
        "cpu": "affinity to 1 of 2 CPUs; 0.5 can't be held exactly",
    }
    monkeypatch.setattr(sys, "platform", "darwin")
    assert set(ChildLimits(memory_bytes=1, open_files=1, cpus=1).report().values()) == {limits_module.NOT_HELD}

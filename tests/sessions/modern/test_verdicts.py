"""Which era a server speaks, found on the child that is used: with real children that start in milliseconds."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from proxy.errors import ChildStartFailed, ChildStartTimedOut, ProxyError
from tests.sessions.modern.servings import seen_by, serving
from tests.support.mcp import until
from tests.support.parsed import a_call

pytestmark = pytest.mark.processes

Json = dict[str, Any]
BRIEF = 0.3
"""A probe that is over soon."""


class Verdict(NamedTuple):
    """What is to come of a server."""

    speaks_modern: bool | None
    speaks_legacy: bool | None
    processes: int
    is_translated: bool
    said: list[str]
    """What the child that serves was told first."""


DISCOVER, INITIALIZE, INITIALIZED = "server/discover", "initialize", "notifications/initialized"
MODERN = Verdict(True, None, 1, False, [DISCOVER])

VERDICTS: list[tuple[str, Verdict]] = [
    ("dual", MODERN),
    ("dual-ts", MODERN),
    ("modern-only", MODERN),
    ("supported=2026-07-28,2099-01-01", MODERN),
    ("no-ttl no-result-type", MODERN),
    ("legacy-only", Verdict(False, True, 1, True, [DISCOVER, INITIALIZE, INITIALIZED])),
    ("legacy-only version=2024-11-05", Verdict(False, True, 1, True, [DISCOVER, INITIALIZE, INITIALIZED])),
    ("legacy-exits", Verdict(False, True, 2, True, [INITIALIZE, INITIALIZED])),
    ("exit-on-discover=3", Verdict(False, True, 2, True, [INITIALIZE, INITIALIZED])),
    ("exit-on-discover=0", Verdict(False, True, 2, True, [INITIALIZE, INITIALIZED])),
    ("legacy-silent", Verdict(None, True, 2, True, [INITIALIZE, INITIALIZED])),
]


@pytest.mark.parametrize(("modes", "verdict"), VERDICTS, ids=[modes for modes, _ in VERDICTS])
async def test_a_server_is_found_to_speak_what_it_speaks(tmp_path: Path, modes: str, verdict: Verdict) -> None:
    """D.0.4, SC-03, SC-10, SC-17: with no process more than that needs."""
    probe_seconds = BRIEF if "silent" in modes else 10.0
    async with serving(tmp_path, *modes.split(), probe_timeout_seconds=probe_seconds) as served:
        child = await served.pool.shared("everybody", a_call())

        assert served.verdict == (verdict.speaks_modern, verdict.speaks_legacy)
        assert len(served.started) == verdict.processes
        assert (child.translator is not None) is verdict.is_translated
        assert (await seen_by(served, child, a_call(1, "seen")))[:-1] == verdict.said
        assert (await served.tool(a_call(2, "faults")))["faults"] == []
        assert len(served.started) == verdict.processes


@pytest.mark.parametrize(
    ("modes", "era", "processes", "verdict"),
    [
        ("legacy-only", "modern", 1, (True, False)),
        ("legacy-exits", "modern", 1, (True, False)),
        ("modern-only", "legacy", 1, (False, True)),
        ("supported=2099-01-01", "auto", 1, (None, None)),
        ("supported=2099-01-01", "modern", 1, (True, False)),
    ],
)
async def test_a_server_that_does_not_speak_what_it_must_does_not_start(
    tmp_path: Path, modes: str, era: Any, processes: int, verdict: tuple[bool | None, bool | None]
) -> None:
    """What an operator has said is not tried to be known better; -32022 never means an older server."""
    async with serving(tmp_path, modes, era=era) as served:
        with pytest.raises(ChildStartFailed):
            await served.answer(a_call())

        assert (len(served.started), served.verdict) == (processes, verdict)
        await served.until_only(0)


async def test_configured_silence_is_a_start_that_takes_too_long(tmp_path: Path) -> None:
    async with serving(tmp_path, "legacy-silent", era="modern", start_timeout_seconds=BRIEF) as served:
        with pytest.raises(ChildStartTimedOut):
            await served.answer(a_call())

        assert len(served.started) == 1
        await served.until_only(0)


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_configured_server_of_both_eras_speaks_the_configured_one(tmp_path: Path, era: Any) -> None:
    async with serving(tmp_path, era=era) as served:
        assert (await served.tool(a_call(1, "client")))["era"] == era
        assert len(served.started) == 1


async def test_the_verdict_is_remembered(tmp_path: Path) -> None:
    """D.0.4: the next process is asked at once what the last one was."""
    async with serving(tmp_path, "legacy-only") as served:
        first = await served.pool.shared("everybody", a_call())
        first.end("test", ProxyError())
        await served.until_only(0)
        second = await served.pool.shared("everybody", a_call())

        assert second is not first
        assert (await seen_by(served, second, a_call(1, "seen")))[:-1] == [INITIALIZE, INITIALIZED]


async def test_a_remembered_verdict_that_turns_out_wrong_is_overturned(tmp_path: Path) -> None:
    async with serving(tmp_path, "modern-only") as served:
        served.era.learned_modern(False, "as it was before its update")

        assert (await served.tool(a_call(1, "client")))["era"] == "modern"
        assert served.verdict == (True, False)
        assert len(served.started) == 2  # one refused `initialize`, and can't be told anything else


async def test_so_is_one_that_a_server_is_modern(tmp_path: Path) -> None:
    async with serving(tmp_path, "legacy-only") as served:
        served.era.learned_modern(True, "as it was before")

        assert (await served.tool(a_call(1, "client")))["era"] == "legacy"
        assert (served.verdict, len(served.started)) == ((False, True), 1)


async def test_a_crash_on_discover_says_nothing_of_a_server_that_is_known(tmp_path: Path) -> None:
    async with serving(tmp_path, "exit-on-discover=1") as served:
        served.era.learned_modern(True, "answered before")

        with pytest.raises(ChildStartFailed):
            await served.answer(a_call())
        assert (served.verdict, len(served.started)) == ((True, None), 1)


MUMBLES = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "old", "version": "1"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
    elif "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": float("nan")}), flush=True)
"""


async def test_an_answer_that_nobody_can_read_is_an_answer(tmp_path: Path) -> None:
    """The process lives, and can be told something else."""
    async with serving(tmp_path, argv=(sys.executable, "-I", "-S", "-c", MUMBLES)) as served:
        assert (await served.answer(a_call()))["error"]["code"] == -32603

        assert served.verdict == (False, True)
        assert served.places.taken == 1


async def test_the_time_that_calls_have_is_not_that_of_a_start(tmp_path: Path) -> None:
    """A cold npx takes 20 s; that says nothing of its era."""
    async with serving(tmp_path, "late-discover=1.0", call_timeout_seconds=0.3) as served:
        assert await served.tool(a_call(1, "echo", n=1)) == {"echo": {"n": 1}}
        assert (served.verdict, len(served.started)) == ((True, None), 1)


# ---- silence


async def test_a_late_answer_overturns_what_silence_has_led_to(tmp_path: Path) -> None:
    """D.0.4: a second process serves in the meantime, the first one from then on."""
    async with serving(tmp_path, "late-discover=2.0", probe_timeout_seconds=BRIEF) as served:
        assert (await served.tool(a_call(1, "client")))["era"] == "legacy"
        verdicts = [served.verdict]

        async def is_overturned() -> bool:
            return served.pool.primary("everybody") is not None

        await until(is_overturned, "the first process serves")
        verdicts.append(served.verdict)
        assert verdicts == [(None, True), (True, True)]
        assert (await served.tool(a_call(2, "client")))["era"] == "modern"
        assert (await served.tool(a_call(3, "faults")))["faults"] == []
        assert len(served.started) == 2


async def test_the_silence_of_a_first_process_is_a_verdict_only_when_a_start_may_take_no_longer(tmp_path: Path) -> None:
    """A package that is being downloaded is silent, too."""
    limits: Json = {"probe_timeout_seconds": BRIEF, "start_timeout_seconds": 1.5}
    async with serving(tmp_path, "legacy-silent", **limits) as served:
        await served.answer(a_call())
        assert (served.verdict, len(served.alive)) == ((None, True), 2)

        await served.until_only(1)
        assert served.verdict == (False, True)
        assert len(served.started) == 2


async def test_while_one_is_silent_the_next_start_does_not_wait_for_it_again(tmp_path: Path) -> None:
    async with serving(tmp_path, "legacy-silent", probe_timeout_seconds=BRIEF) as served:
        await served.answer(a_call())
        await served.answer(a_call(2, capabilities={"roots": {}}))

        assert len(served.started) == 3  # the silent one, and one for each that can do something else


async def test_a_second_process_that_refuses_to_shake_hands_proves_the_first_one_right(tmp_path: Path) -> None:
    """It is a cold start of a server of 2026-07-28: no third process is needed."""
    async with serving(tmp_path, "modern-only", "late-discover=2.0", probe_timeout_seconds=BRIEF) as served:
        assert (await served.tool(a_call(1, "client")))["era"] == "modern"
        assert served.verdict == (True, False)
        assert len(served.started) == 2
        await served.until_only(1)


async def test_a_server_that_answers_nothing_at_all_does_not_start(tmp_path: Path) -> None:
    argv = ("/bin/sh", "-c", f"echo $$ >> {tmp_path}/starts; exec cat > /dev/null")
    limits: Json = {"probe_timeout_seconds": 0.1, "start_timeout_seconds": 0.3}
    async with serving(tmp_path, argv=argv, **limits) as served:
        with pytest.raises(ChildStartTimedOut):
            await served.answer(a_call())

        assert (len(served.started), served.verdict) == (2, (None, None))
        await served.until_only(0)


async def test_nobody_who_asks_starts_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        report = served.serving.report()

        assert served.started == []
        assert report == dict.fromkeys(report, 0)
        assert served.pool.primary("everybody") is None

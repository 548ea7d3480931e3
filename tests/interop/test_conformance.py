"""The official conformance suite finds no fault in servers behind the proxy, whatever eras they and the suite speak.

The suite exits with 0 although a check only warned, and calls a scenario in which nothing was checked passed.
So its results are read check by check: nothing may fail, warn or be skipped, and something must succeed, except for
what is excused here, check by check and with its reason.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import running_daemon

pytestmark = pytest.mark.interop

HERE = Path(__file__).parent
PROGRAMS = HERE.parent / "programs"

SDK = (sys.executable, str(PROGRAMS / "conformance_server.py"))
"""On the official SDK, in both eras. Its processes need a second to start."""
LEGACY = (sys.executable, "-I", "-S", str(PROGRAMS / "conformance_legacy.py"))
"""A small program that knows the handshake only, ready in milliseconds."""

RUN_SECONDS = 300
"""For all scenarios of a run, which take a few seconds on a machine that has nothing else to do."""

LATE = "The operation was aborted due to timeout"
"""What the suite says when its own clock has run out."""
MORE_TRIES = 3

NOTHING = "nothing succeeded"
"""Stands where the id of a check stands."""

Check = dict[str, Any]
Results = Mapping[str, Sequence[Check]]
"""The checks of each scenario."""


@dataclass(frozen=True)
class Excuse:
    """Why checks of a scenario fail, warn or are skipped, which can't be otherwise."""

    reason: str
    checks: frozenset[str]
    """Exactly these: one that is clean must leave the list."""


def excuse(reason: str, *checks: str) -> Excuse:
    return Excuse(reason, frozenset(checks))


@dataclass(frozen=True)
class Suite:
    """One run of a published suite."""

    folder: str
    arguments: tuple[str, ...]
    scenarios: int
    """How many the pinned version runs: fewer would be a pass for want of questions."""
    successes: int
    """Checks that succeed at least; some become mere remarks if there is nothing to check."""
    child: tuple[str, ...] = SDK
    """What runs behind the proxy."""
    flags: tuple[str, ...] = ()
    """Of the daemon."""
    excuses: Mapping[str, Excuse] = field(default_factory=dict)
    """By the scenario."""

    @property
    def revision(self) -> tuple[str, ...]:
        """What a run of a single scenario must be told, so that it speaks as in the whole run."""
        named = [value for name, value in pairwise(self.arguments) if name in ("--requirements", "--spec-version")]
        return ("--spec-version", named[0]) if named else ()

    @property
    def programs(self) -> Path:
        return HERE / self.folder / "node_modules" / ".bin"


NO_TASKS = "tasks are an extension of 2026-07-28: a server of the handshake era has none"
NO_SESSION = "it needs a session, and there is none"
NOBODY_TO_ASK = "without a session nobody could say whose the answer is, so the server is told that it can't ask"
SKIPPED = "the suite skips the only check"

SUITES = {
    "2025-11-25": Suite(
        "conformance",
        ("--requirements", "2025-11-25"),
        scenarios=33,
        successes=80,
        excuses={
            "server-sse-polling": excuse(
                "a quick call is answered as JSON, and there is nothing to poll; not scored", NOTHING
            )
        },
    ),
    "2026-07-28, child of the handshake era": Suite(
        "conformance",
        ("--requirements", "2026-07-28"),
        scenarios=50,
        successes=166,
        child=LEGACY,
        excuses={
            "tasks-capability-negotiation": excuse(
                NO_TASKS,
                "tasks-extension-advertised",
                "sep-2663-server-rejects-undeclared-client",
                "tasks-per-request-meta-opt-in",
            ),
            "tasks-dispatch-and-envelope": excuse(
                NO_TASKS,
                "tasks-server-directed-creation-no-hint",
                "sep-2663-legacy-task-param-ignored",
                "tasks-immediate-result-shortcut",
                "tasks-result-type-complete-on-non-task-responses",
                "sep-2663-durable-create-strong-consistency",
            ),
            "tasks-lifecycle": excuse(
                NO_TASKS,
                "tasks-sync-tool-call",
                "sep-2663-result-type-task-on-create",
                "sep-2663-tasks-get-status-working",
                "sep-2663-tasks-get-status-completed",
                "sep-2663-tool-error-uses-completed-status",
                "sep-2663-tasks-get-status-failed",
                "sep-2663-cancel-ack-empty-result",
                "tasks-cancel-terminal-idempotent-ack",
            ),
            "tasks-mrtr-composition": excuse(NO_TASKS, "sep-2663-mrtr-synchronous-before-task-creation"),
            "tasks-mrtr-input": excuse(
                NO_TASKS,
                "sep-2663-tasks-get-status-input-required",
                "tasks-mrtr-tasks-update-resumes",
                "tasks-mrtr-partial-fulfillment",
            ),
            "tasks-request-headers": excuse(
                NO_TASKS,
                "tasks-headers-tolerate-mcp-method-on-tools-call",
                "sep-2663-routing-headers-accepted-on-tasks-get",
                "sep-2663-server-rejects-mismatched-mcp-name-on-tasks-get",
            ),
            "tasks-request-state-removal": excuse(NO_TASKS, "tasks-request-state-removal-setup"),
            "tasks-required-task-error": excuse(NO_TASKS, "sep-2663-server-returns-missing-capability-when-required"),
            "tasks-status-notifications": excuse(SKIPPED, NOTHING, "tasks-status-notifications"),
            "tasks-wire-fields": excuse(
                NO_TASKS,
                "tasks-wire-field-renames",
                "tasks-no-early-ttl-expiry",
                "tasks-no-related-task-meta-on-inlined-result",
            ),
        },
    ),
    "2025-11-25, every call a stream": Suite(
        "conformance",
        ("--requirements", "2025-11-25"),
        scenarios=33,
        successes=82,
        child=LEGACY,
        flags=("--commit-after", "0.1s"),
    ),
    "2025-11-25, a server that speaks only 2026-07-28": Suite(
        "conformance",
        ("--requirements", "2025-11-25"),
        scenarios=33,
        successes=82,
        child=(*SDK, "--modern-only"),
        flags=("--commit-after", "0.1s", "--isolation", "shared"),
    ),
    "2025-11-25, a process for each call": Suite(
        "conformance",
        ("--requirements", "2025-11-25"),
        scenarios=33,
        successes=59,
        child=LEGACY,
        flags=("--isolation", "request"),
        excuses={
            "elicitation-sep1034-defaults": excuse(NOBODY_TO_ASK, "elicitation-sep1034-general"),
            "elicitation-sep1330-enums": excuse(NOBODY_TO_ASK, "elicitation-sep1330-general"),
            "tools-call-elicitation": excuse(NOBODY_TO_ASK, "tools-call-elicitation"),
            "tools-call-sampling": excuse(NOBODY_TO_ASK, "tools-call-sampling"),
            "logging-set-level": excuse(NO_SESSION, "logging-set-level"),
            "tools-call-with-logging": excuse(NO_SESSION, "tools-call-with-logging"),
            "resources-subscribe": excuse(NO_SESSION, "resources-subscribe"),
            "resources-unsubscribe": excuse(NO_SESSION, "resources-unsubscribe"),
            "server-session-lifecycle": excuse(NO_SESSION, NOTHING),
            "server-sse-multiple-streams": excuse(NO_SESSION, NOTHING, "server-sse-multiple-streams-session"),
            "server-sse-polling": excuse(NO_SESSION, NOTHING, "server-sse-polling-session"),
        },
    ),
    "2025-11-25, one process for all": Suite(
        "conformance",
        ("--requirements", "2025-11-25"),
        scenarios=33,
        successes=82,
        flags=("--commit-after", "0.1s", "--isolation", "shared", "--shared-server-requests"),
    ),
    "2025-06-18": Suite(
        "conformance",
        ("--suite", "all", "--spec-version", "2025-06-18"),
        scenarios=27,
        successes=56,
        child=LEGACY,
    ),
    "0.1.16": Suite(
        "conformance-old",
        ("--suite", "all"),
        scenarios=32,
        successes=43,
        child=LEGACY,
        flags=("--commit-after", "0.1s"),
    ),
    "2026-07-28, child of both eras": Suite(
        "conformance",
        ("--requirements", "2026-07-28"),
        scenarios=50,
        successes=195,
        excuses={"tasks-status-notifications": excuse(SKIPPED, NOTHING, "tasks-status-notifications")},
    ),
}


@dataclass(frozen=True)
class Run:
    """What came of a run.

    Attributes:
        results: By the suite, for each scenario.
        output: Of the suite.
        log: Of the daemon.
    """

    results: Results
    output: str
    log: str


@pytest.mark.parametrize("name", SUITES)
def test_every_scenario_of_the_official_suite_passes(name: str, tmp_path: Path) -> None:
    """Spec: as far as the suite goes."""
    suite = SUITES[name]
    run = play(suite, tmp_path / "results")

    unexcused, clean = [], []
    for scenario in sorted(run.results.keys() | suite.excuses.keys()):
        found = faults(run.results.get(scenario, ()))
        excused = suite.excuses[scenario].checks if scenario in suite.excuses else frozenset()
        unexcused += [f"{scenario}: {line}" for check, line in found.items() if check not in excused]
        clean += [f"{scenario}: {check}" for check in excused - found.keys()]

    assert not unexcused, "\n".join([*unexcused, "", "the daemon's last words:", run.log[-4000:]])
    assert len(run.results) == suite.scenarios, f"{sorted(run.results)}\n{run.output[-4000:]}"
    assert successes(run.results) >= suite.successes
    assert not clean, f"these pass now, take them off the list of excuses: {clean}"
    assert "Traceback" not in run.log, run.log


def play(suite: Suite, folder: Path) -> Run:
    """Run a suite against a daemon of its own; the results go to this folder.

    One scenario gives a server five seconds by a clock of its own, which a busy machine may need to start the slow
    child. What ran out of that is played again, alone.
    """
    folder.mkdir()
    with running_daemon(*suite.flags, "--", *suite.child) as daemon:
        output = ask_suite(suite, suite.arguments, daemon.url, folder)
        results = dict(read_results(folder))
        for nth in range(MORE_TRIES):
            late = [name for name, checks in results.items() if any(LATE in line for line in faults(checks).values())]
            for scenario in late:
                again = folder.with_name(f"{folder.name} {scenario} {nth}")
                again.mkdir()
                output += ask_suite(suite, (*suite.revision, "--scenario", scenario), daemon.url, again)
                results |= read_results(again)
    return Run(results, output, daemon.log)


def ask_suite(suite: Suite, arguments: Sequence[str], url: str, folder: Path) -> str:
    """Let a suite try a server and write its results to this folder; returns what it printed.

    Raises:
        AssertionError: If it is not installed, or does not end in time.
    """
    missing = [program for program in ("conformance", "node") if not (suite.programs / program).exists()]
    assert not missing, f"not installed in {suite.folder}: {', '.join(missing)}; run: make interop-setup"
    argv = [str(suite.programs / "conformance"), "server", "--url", url, *arguments, "--output-dir", str(folder)]
    environment = {**os.environ, "PATH": f"{suite.programs}{os.pathsep}{os.environ['PATH']}"}  # its own Node
    try:
        ended = subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_SECONDS,
        )
    except subprocess.TimeoutExpired as exc:
        said = exc.output.decode(errors="replace") if isinstance(exc.output, bytes) else exc.output
        raise AssertionError(f"the suite did not end within {RUN_SECONDS} s:\n{said}") from None
    return ended.stdout


def read_results(folder: Path) -> Results:
    """What the suite has written: one folder per scenario, named after it and the time."""
    results: dict[str, Sequence[Check]] = {}
    for file in sorted(folder.glob("*/checks.json")):
        named = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z", file.parent.name)
        assert named, f"not the name of a scenario and a time: {file.parent.name}"
        assert named[1] not in results, f"ran twice: {named[1]}"
        results[named[1]] = json.loads(file.read_text(encoding="utf-8"))
    return results


def successes(results: Results) -> int:
    return sum(check["status"] == "SUCCESS" for checks in results.values() for check in checks)


def faults(checks: Sequence[Check]) -> dict[str, str]:
    """What keeps a scenario from being clean: a line for each check that is not, by its id."""
    found: dict[str, str] = {}
    for check in checks:
        if check["status"] not in ("SUCCESS", "INFO"):
            words = check.get("errorMessage") or check.get("details")
            found[check["id"]] = f"{check['status']} {check['id']}: {words}"
    if not any(check["status"] == "SUCCESS" for check in checks):
        found[NOTHING] = f"of {len(checks)} checks none succeeded"
    return found


@pytest.mark.parametrize("folder", sorted({suite.folder for suite in SUITES.values()}))
def test_the_lock_of_a_suite_names_no_download_address(folder: str) -> None:
    """Ours: whoever installs decides from where; npm install --omit-lockfile-registry-resolved."""
    lock = json.loads((HERE / folder / "package-lock.json").read_text(encoding="utf-8"))

    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
    assert all("integrity" in package for name, package in lock["packages"].items() if name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("2025-11-25", ("--spec-version", "2025-11-25")),
        ("2026-07-28, child of both eras", ("--spec-version", "2026-07-28")),
        ("2025-06-18", ("--spec-version", "2025-06-18")),
        ("0.1.16", ()),
    ],
)
def test_a_scenario_is_played_again_in_the_revision_of_its_suite(name: str, expected: tuple[str, ...]) -> None:
    assert SUITES[name].revision == expected


# The reading of results, on results made by hand.


def write_checks(folder: Path, *statuses: str) -> None:
    checks = [{"id": f"check-{nth}", "status": status, "errorMessage": "why"} for nth, status in enumerate(statuses)]
    scenario = folder / "server-tools-list-2026-11-21T08-55-51-718Z"
    scenario.mkdir()
    (scenario / "checks.json").write_text(json.dumps(checks), encoding="utf-8")


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["SUCCESS", "INFO"], {}),
        (["SUCCESS", "FAILURE"], {"check-1": "FAILURE check-1: why"}),
        (["SUCCESS", "WARNING"], {"check-1": "WARNING check-1: why"}),
        (["SKIPPED", "SUCCESS"], {"check-0": "SKIPPED check-0: why"}),
        (["INFO"], {NOTHING: "of 1 checks none succeeded"}),
        ([], {NOTHING: "of 0 checks none succeeded"}),
    ],
)
def test_a_scenario_is_clean_if_something_succeeded_and_nothing_else_happened(
    statuses: list[str], expected: dict[str, str], tmp_path: Path
) -> None:
    write_checks(tmp_path, *statuses)
    [checks] = read_results(tmp_path).values()

    assert faults(checks) == expected

"""make soak

Variables: SOAK_MINUTES (10), SOAK_SEED (by chance, and printed), SOAK_CLIENTS (16).

Starts daemons as in `modes.py`, lets random clients play `scenarios/` against them, waits until nothing is left, and
prints a report. The exit code is 1 if anything was wrong: a wrong answer, something left, something that grew, an error
in the log. Stops by itself; ends no process but its own.
"""

import os
import sys
from random import SystemRandom

import anyio

from tests.soak.report import text_of
from tests.soak.run import Plan, soak


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


def main() -> int:
    """Run it as the environment says."""
    plan = Plan(
        seconds=float(os.environ.get("SOAK_MINUTES", "10")) * 60,
        clients=int(os.environ.get("SOAK_CLIENTS", "16")),
        seed=int(os.environ.get("SOAK_SEED") or SystemRandom().randrange(1_000_000)),
    )
    _tell(f"soak: {plan.seconds:.0f} s, {plan.clients} clients, SOAK_SEED={plan.seed}")
    reports = anyio.run(lambda: soak(plan, tell=_tell))
    sys.stdout.write("\n\n".join(map(text_of, reports)) + "\n")
    return 0 if all(report.is_good for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())

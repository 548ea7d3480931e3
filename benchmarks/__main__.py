"""Which measures are taken, and what is printed?

python -m benchmarks                     all, some minutes
python -m benchmarks --quick             all, about half a minute, less steady
python -m benchmarks serial calls        these
"""

import argparse
import sys

from benchmarks import measures
from benchmarks.measures import Plan
from benchmarks.messages import WrongAnswer
from benchmarks.pool import pool
from benchmarks.report import circumstances, table
from benchmarks.systems import StartFailed

MEASURES = {**measures.MEASURES, "pool": pool}
QUICK = Plan(rounds=3, serial_calls=300, load_calls=1500, starts=4, slow_starts=2, payloads=2, with_slow_bursts=False)


def main() -> int:
    """Take the measures and print one table; 1 if a reply was wrong, with the table of what was right."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="mcp-proxy beside direct stdio and a Starlette route: ratios, taken in one run.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds and calls")
    parser.add_argument("measure", nargs="*", help=f"{', '.join(MEASURES)}; all if none is named")
    arguments = parser.parse_args()
    names = arguments.measure or list(MEASURES)
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        parser.error(f"no such measure: {', '.join(unknown)}")
    plan = QUICK if arguments.quick else Plan()
    rows = []
    failed = False
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            rows += MEASURES[name](plan)
        except (WrongAnswer, StartFailed, OSError) as exc:
            print(f"{name}: {exc}", file=sys.stderr)
            failed = True
    print(table(rows))
    print()
    print(circumstances(plan.rounds, plan.client_busy))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

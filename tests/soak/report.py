"""What is printed at the end?"""

from collections import Counter

from tests.soak.gauges import Sample
from tests.soak.ledger import quantiles
from tests.soak.run import Report

CURVE_POINTS = 12


def text_of(report: Report) -> str:
    """The report of one daemon, for people."""
    ledger, gauges = report.ledger, report.gauges
    lines = [f"## {report.mode.name}: {'good' if report.is_good else f'{ledger.fault_count} FAULTS'}", ""]
    lines += [f"FAULT {fault}" for fault in ledger.faults]
    lines.append(f"{report.plan.seconds:.0f} s, seed {report.plan.seed}, {sum(ledger.done.values())} scenarios played:")
    lines += _wrapped(ledger.done)
    lines.append("what clients got:")
    lines += _wrapped(_by_outcome(ledger.outcomes))
    lines.append("what the daemon counted:")
    lines += _wrapped(Counter(report.counts))
    lines.append("what it warned of:")
    lines += _wrapped(ledger.warnings)
    slowest = sorted(ledger.longest.items(), key=lambda entry: -entry[1])[:6]
    lines.append(f"longest scenarios: {', '.join(f'{name} {seconds:.0f} s' for name, seconds in slowest)}")
    lines += ["", "| latency, ms | number | p50 | p99 | most |", "|---|---:|---:|---:|---:|"]
    for kind, values in sorted(ledger.latencies.items()):
        shown = " | ".join(f"{value * 1000:.1f}" for value in quantiles(values))
        lines.append(f"| {kind} | {len(values)} | {shown} |")
    lines += ["", "| at rest | memory, MB | descriptors | threads | CPU |", "|---|---:|---:|---:|---:|"]
    for name, rest in zip(("after the warm-up", "at the end")[-len(gauges.rests) :], gauges.rests, strict=True):
        lines.append(
            f"| {name} | {rest.rss_bytes / 1e6:.1f} | {rest.descriptors} | {rest.threads} | {rest.cpu_share:.0%} |"
        )
    lines += ["", "| at, s | memory, MB | descriptors | sessions | children |", "|---:|---:|---:|---:|---:|"]
    for sample in _curve(gauges.samples):
        lines.append(
            f"| {sample.at_seconds:.0f} | {sample.rss_bytes / 1e6:.1f} | {sample.descriptors} | {sample.sessions} "
            f"| {sample.children} |"
        )
    lines += ["", f"exit code {report.exit_code}, {report.log_lines} lines in the log"]
    return "\n".join(lines)


def _by_outcome(outcomes: "Counter[str]") -> "Counter[str]":
    """Without the scenarios that they belong to."""
    summed: Counter[str] = Counter()
    for name, number in outcomes.items():
        summed[name.partition(": ")[2]] += number
    return summed


def _wrapped(counts: "Counter[str]") -> list[str]:
    """All of them, some on each line, most frequent first."""
    lines, line = [], ""
    for name, number in counts.most_common():
        entry = f"{name} {number}"
        if line and len(line) + len(entry) > 110:
            lines.append(f"  {line}")
            line = ""
        line += f"{', ' if line else ''}{entry}"
    return [*lines, f"  {line or 'nothing'}"]


def _curve(samples: list[Sample]) -> list[Sample]:
    """Some of them, evenly."""
    if len(samples) <= CURVE_POINTS:
        return samples
    return [samples[round(i * (len(samples) - 1) / (CURVE_POINTS - 1))] for i in range(CURVE_POINTS)]

"""How do the figures of one run become a table of ratios?"""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import median

from benchmarks.systems import DIRECT, FLOOR, PROXY


@dataclass
class Row:
    """One figure of each system, once per round.

    Attributes:
        name: What was measured.
        unit: Of the figures.
        more_is_better: Which way the ratios point.
        aim: What we want, in words.
        figures: System to one figure per round.
    """

    name: str
    unit: str
    more_is_better: bool = False
    aim: str = ""
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, system: str, figure: float) -> None:
        """Keep the figure of one round."""
        self.figures.setdefault(system, []).append(figure)

    def middle(self, system: str) -> float | None:
        """The median over the rounds."""
        figures = self.figures.get(system)
        return median(figures) if figures else None

    def ratios(self, other: str) -> list[float]:
        """mcp-proxy's figure as a multiple of the other's, for each round.

        Both were measured within seconds of each other, so a machine that is slow for a while is so for both.
        """
        ours, theirs = self.figures.get(PROXY, []), self.figures.get(other, [])
        return [a / b for a, b in zip(ours, theirs, strict=False) if b > 0]


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        f"| measure | to {DIRECT} | to {FLOOR} | better | {PROXY} | {DIRECT} | {FLOOR} | unit | aim |",
        "|---|---:|---:|---|---:|---:|---:|---|---|",
    ]
    for row in rows:
        cells = [
            row.name,
            _times(row.ratios(DIRECT)),
            _times(row.ratios(FLOOR)),
            "more" if row.more_is_better else "less",
            *(_shown(row.middle(name)) for name in (PROXY, DIRECT, FLOOR)),
            row.unit,
            row.aim,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def circumstances(rounds: int, client_busy: float) -> str:
    """What one has to know to compare this table with another one."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "httptools", "starlette"))
    text = (
        f"Medians of {rounds} rounds, in each of which the systems were measured in turn; a ratio is the median of the "
        f"rounds' ratios, with the least and the largest of them. Python {platform.python_version()}, {packages}; "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs."
    )
    if client_busy > 0.9:
        text += f" The client was busy for {client_busy:.0%} of a load: the rates beside it are its own."
    return text


def _times(ratios: Sequence[float]) -> str:
    """The median ratio and how far the rounds were apart: a wide range says that the machine was not quiet."""
    if not ratios:
        return "–"
    return f"{_shown(median(ratios))}x ({_shown(min(ratios))} to {_shown(max(ratios))})"


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"

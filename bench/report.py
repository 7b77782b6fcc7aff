"""What a scenario hands back, and RESULTS.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.numbers import figure, percentile

_LONGEST = 20


@dataclass
class Bar:
    """`measured` against `bound`: at least it, or at most it."""

    text: str
    measured: float
    bound: float
    at_least: bool = False
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def row(self) -> list[str]:
        return [self.text, f"{figure(self.measured)}{self.unit}", "met" if self.met else "**not met**"]


@dataclass
class Table:
    head: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def lines(self) -> list[str]:
        return [_line(self.head), _line(["---"] * len(self.head)), *map(_line, self.rows)]


@dataclass
class Section:
    """`about`: what was done, in words. `data`: everything measured, for the JSON file."""

    title: str
    about: str
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> list[str]:
        lines = [f"## {self.title}", "", self.about, ""]
        for table in self.tables:
            lines += [*table.lines(), ""]
        if self.notes:
            lines += [*(f"- {note}" for note in self.notes), ""]
        return lines


def write(target: Path, intro: list[str], sections: Sequence[Section], facts: dict[str, Any]) -> None:
    """The markdown, and beside it the JSON."""
    bars = Table(["bar", "measured", ""], [bar.row() for section in sections for bar in section.bars])
    lines = ["# What Roost costs, measured", "", *intro, ""]
    if bars.rows:
        lines += ["## The bars", "", *bars.lines(), ""]
    for section in sections:
        lines += section.lines()
    target.write_text("\n".join(lines).rstrip() + "\n")
    data = {"machine": facts, "scenarios": {section.title: _slim(section.data) for section in sections}}
    target.with_suffix(".json").write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")


def _slim(data: Any) -> Any:
    """Long lists of times as their percentiles."""
    if isinstance(data, dict):
        return {name: _slim(value) for name, value in data.items()}
    if isinstance(data, list) and len(data) > _LONGEST and isinstance(data[0], int | float):
        return {"count": len(data)} | {f"p{percent}": percentile(data, percent) for percent in (1, 10, 50, 90, 99)}
    return [_slim(value) for value in data] if isinstance(data, list) else data


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

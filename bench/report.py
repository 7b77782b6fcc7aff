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


class Page:
    """RESULTS.md, with RESULTS.json beside it. A section comes in when it is whole, in the place of what was known of
    it; the others stay as they were measured."""

    def __init__(self, target: Path) -> None:
        self._target, self._data = target, target.with_suffix(".json")
        known: dict[str, Any] = json.loads(self._data.read_text()) if self._data.exists() else {}
        self._scenarios: dict[str, Any] = known.get("scenarios", {})
        self._text: dict[str, Any] = known.get("text") or _former(target)

    def put(self, section: Section, intro: list[str], facts: dict[str, Any]) -> None:
        self._scenarios[section.title] = _slim(section.data)
        self._text[section.title] = {"bars": [bar.row() for bar in section.bars], "lines": section.lines()}
        found = {"machine": facts, "scenarios": self._scenarios, "text": self._text}
        _replace(self._data, json.dumps(found, indent=1) + "\n")
        _replace(self._target, "\n".join(self._lines(intro)).rstrip() + "\n")

    def _lines(self, intro: list[str]) -> list[str]:
        lines = ["# What Roost costs, measured", "", *intro, ""]
        bars = Table(["bar", "measured", ""])
        bars.rows += [row for one in self._text.values() for row in one["bars"]]
        if bars.rows:
            lines += ["## The bars", "", *bars.lines(), ""]
        return lines + [line for one in self._text.values() for line in one["lines"]]


def _former(target: Path) -> dict[str, Any]:
    """The sections of a page whose JSON has no text yet. Their bars come back when they are measured again."""
    found: dict[str, Any] = {}
    for block in target.read_text().split("\n## ")[1:] if target.exists() else ():
        title = block.partition("\n")[0]
        if title != "The bars":
            found[title] = {"bars": [], "lines": [*f"## {block}".rstrip().split("\n"), ""]}
    return found


def _replace(target: Path, text: str) -> None:
    """At once: a run may be ended at any time."""
    new = target.with_name(target.name + ".new")
    new.write_text(text)
    new.replace(target)


def _slim(data: Any) -> Any:
    """Long lists of times as their percentiles."""
    if isinstance(data, dict):
        return {name: _slim(value) for name, value in data.items()}
    if isinstance(data, list) and len(data) > _LONGEST and isinstance(data[0], int | float):
        return {"count": len(data)} | {f"p{percent}": percentile(data, percent) for percent in (1, 10, 50, 90, 99)}
    return [_slim(value) for value in data] if isinstance(data, list) else data


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

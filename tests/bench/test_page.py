"""The page of results: a section at a time, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from bench.report import Bar, Page, Section, Table


def _section(title: str, figure: str, measured: float) -> Section:
    return Section(
        title,
        "What was done.",
        tables=[Table(["of", "ms"], [["all", figure]])],
        bars=[Bar(f"{title}: at most 1 ms", measured, 1.0, unit=" ms")],
        data={"ms": [measured] * 30},
    )


def test_a_section_takes_the_place_of_what_was_known_of_it(tmp_path: Path) -> None:
    target = tmp_path / "RESULTS.md"
    Page(target).put(_section("First", "former", 2.0), ["a run"], {"cores": 2})
    Page(target).put(_section("Second", "other", 0.5), ["a run"], {"cores": 2})
    Page(target).put(_section("First", "new", 0.25), ["another run"], {"cores": 4})
    text = target.read_text()
    assert text.startswith("# What Roost costs, measured\n\nanother run\n\n## The bars\n")
    assert text.index("| First: at most 1 ms | 0.25 ms | met |") < text.index("| Second: at most 1 ms | 0.5 ms | met |")
    assert "| all | new |" in text
    assert "| all | other |" in text
    assert "former" not in text
    known = json.loads(target.with_suffix(".json").read_text())
    assert known["machine"] == {"cores": 4}
    assert known["scenarios"]["First"]["ms"] == {
        "count": 30,
        "p1": 0.25,
        "p10": 0.25,
        "p50": 0.25,
        "p90": 0.25,
        "p99": 0.25,
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["RESULTS.json", "RESULTS.md"]


def test_a_page_of_before_keeps_its_sections(tmp_path: Path) -> None:
    target = tmp_path / "RESULTS.md"
    target.write_text(
        "# What Roost costs, measured\n\nx\n\n## The bars\n\n| b |\n\n## Old\n\nold words\n\n## First\n\nformer\n"
    )
    target.with_suffix(".json").write_text('{"machine": {}, "scenarios": {"Old": {"ms": 1}}}')
    Page(target).put(_section("First", "new", 0.25), ["a run"], {})
    text = target.read_text()
    assert "## Old\n\nold words\n" in text
    assert "former" not in text
    assert "| b |" not in text
    assert text.count("## First") == 1
    assert json.loads(target.with_suffix(".json").read_text())["scenarios"]["Old"] == {"ms": 1}

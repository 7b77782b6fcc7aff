"""What a child costs: fan-out and fan-in."""

from __future__ import annotations

from bench.contest import Contestant, contest, rounds
from bench.numbers import figure, median
from bench.report import Bar, Section, Table
from bench.settings import Settings

_BOUND = 5.0
CHILDREN, ALONE = "one parent and its children", "as many sessions of their own"

ABOUT = """\
One answer of a parent's model gives a task to each of many children at once; each child is a session that makes one \
model call, and its answer arrives in the parent's turn, which ends when all have. Models answer at once, so the CPU \
is all Roost's. Beside it the same number of sessions that a program makes and speaks to. On SQLite in WAL mode with \
synchronous=FULL."""


def run(settings: Settings) -> Section:
    section = Section("Children", ABOUT)
    sizes = [settings.pick(10, 3), settings.pick(1000, 10)]
    contestants = [
        Contestant(f"{count:,}: {name}", "bench.workers.roost_children", children=count, alone=name is ALONE)
        for count in sizes
        for name in (CHILDREN, ALONE)
    ]
    with contest(contestants) as (ready, _):
        played = rounds(ready, settings.pick(5, 1))
    table = Table(["children", "seconds to the parent's answer", "CPU ms a child", "commits"])
    for name, answers in played.items():
        numbers = [median([answer[kind] for answer in answers]) for kind in ("wall", "cpu_ms", "commits")]
        table.rows.append([name, *map(figure, numbers)])
    section.tables.append(table)
    many = played[f"{sizes[-1]:,}: {CHILDREN}"]
    text = f"CPU of a child, of {sizes[-1]:,} at once, over its model's own: at most {_BOUND:g} ms"
    section.bars.append(Bar(text, median([answer["cpu_ms"] for answer in many]), _BOUND, unit=" ms"))
    section.data = dict(played)
    return section

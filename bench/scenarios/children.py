"""What a child costs: fan-out and fan-in."""

from __future__ import annotations

from bench.contest import Contestant, Played, contest, rounds
from bench.numbers import figure, median
from bench.report import Bar, Section, Table
from bench.settings import Settings

_BOUND = 5.0
CHILDREN, ALONE, PEER = "one parent and its children", "as many sessions of their own", "LangGraph, subgraphs"

ABOUT = """\
One answer of a parent's model gives a task to each of many children at once; each child is a session that makes one \
model call, and its answer arrives in the parent's turn, which ends when all have. Models answer at once, so the CPU \
is all Roost's. The floor beside it is the same number of sessions that a program makes and speaks to. LangGraph sends \
a task to each of as many subgraphs of one node, with `AsyncSqliteSaver` and `durability="sync"`: a subgraph is a part \
of the parent's run, with checkpoints of its own, and no session that could be spoken to. On SQLite in WAL mode with \
synchronous=FULL. The ratio is of the CPU, to the parent and its children in the same round."""


def run(settings: Settings) -> Section:
    section = Section("Children", ABOUT)
    sizes = [settings.pick(10, 3), settings.pick(1000, 10)]
    contestants: list[Contestant] = []
    for count in sizes:
        contestants += [
            Contestant(f"{count:,}: {name}", "bench.workers.roost_children", children=count, alone=name is ALONE)
            for name in (CHILDREN, ALONE)
        ]
        if settings.peers:
            module = "bench.workers.peer_langgraph_children"
            contestants.append(Contestant(f"{count:,}: {PEER}", module, peer="langgraph", children=count))
    with contest(contestants) as (ready, absent):
        played = rounds(ready, settings.pick(3, 1))
    section.notes += [f"{name}: {why}" for name, why in absent.items()]
    table = Table(["children", "seconds to the parent's answer", "CPU ms a child", "against Roost's", "commits"])
    for name, answers in played.items():
        good = [answer for answer in answers if "error" not in answer]
        section.notes += [f"{name}: failed: {one['error']}" for one in answers if "error" in one]
        if good:
            wall, cpu = (median([answer[kind] for answer in good]) for kind in ("wall", "cpu_ms"))
            commits = figure(median([answer["commits"] for answer in good])) if "commits" in good[0] else "–"
            table.rows.append([name, figure(wall), figure(cpu), f"{figure(_ratio(played, name))} ×", commits])
    section.tables.append(table)
    many = played[f"{sizes[-1]:,}: {CHILDREN}"]
    text = f"CPU of a child, of {sizes[-1]:,} at once, over its model's own: at most {_BOUND:g} ms"
    section.bars.append(Bar(text, median([answer["cpu_ms"] for answer in many]), _BOUND, unit=" ms"))
    section.data = dict(played)
    return section


def _ratio(played: Played, name: str) -> float:
    own = played[f"{name.partition(':')[0]}: {CHILDREN}"]
    pairs = zip(played[name], own, strict=False)
    return median([one["cpu_ms"] / other["cpu_ms"] for one, other in pairs if "error" not in one])

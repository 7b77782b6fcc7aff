"""What the length of its past costs a session that is woken."""

from __future__ import annotations

from bench.contest import Contestant, contest, rounds
from bench.numbers import figure, median, percentile
from bench.report import Bar, Section, Table
from bench.settings import Settings

ABOUT = """\
From an input's acceptance (on disk) to the commit of the first model call's intent: notice, claim, newest snapshot, \
tail, state, turn. The past is turns of five tool calls, trimmed and with snapshots as the kernel writes them; each \
wake is of a fresh copy of the store by a kernel that has not seen the session; the pages of the file are in the \
system's cache."""


def run(settings: Settings) -> Section:
    section = Section("Waking", ABOUT)
    lengths = [10, 100, 300] if settings.quick else [10, 1_000, 100_000]
    contestants = [
        Contestant(f"{length:,} events", "bench.workers.roost_wake", events=length, wakes=settings.pick(5, 1))
        for length in lengths
    ]
    with contest(contestants) as (ready, _):
        played = rounds(ready, settings.pick(7, 1))
    table = Table(["the session has", "p50 ms", "p90 ms", "CPU ms"])
    for name, answers in played.items():
        times = [value for answer in answers for value in answer["ms"]]
        cpu = median([value for answer in answers for value in answer["cpu_ms"]])
        table.rows.append([name, *map(figure, (median(times), percentile(times, 90), cpu))])
    section.tables.append(table)
    short, _, long = ([median(answer["ms"]) for answer in answers] for answers in played.values())
    ratio = median([b / a for a, b in zip(short, long, strict=True)])
    section.bars.append(Bar("wake of 100,000 events against that of 10: at most 2 times", ratio, 2, unit=" ×"))
    section.data = dict(played)
    return section

"""What the length of its past costs a session that is written to."""

from __future__ import annotations

from bench.contest import Contestant, contest, rounds
from bench.numbers import figure, median, percentile
from bench.report import Section, Table
from bench.settings import Settings

ABOUT = "One event of about 1 KB, appended and synced, one after the other, to sessions of different lengths."


def run(settings: Settings) -> Section:
    section = Section("Appending as a session grows", ABOUT)
    lengths = [10, 100, 300] if settings.quick else [10, 1_000, 100_000]
    contestants = [
        Contestant(f"{length:,} events", "bench.workers.roost_growth", events=length, appends=settings.pick(200, 5))
        for length in lengths
    ]
    with contest(contestants) as (ready, _):
        played = rounds(ready, settings.pick(5, 1))
    table = Table(["the session has", "p50 ms", "p99 ms", "CPU µs an append"])
    for name, answers in played.items():
        times = [value for answer in answers for value in answer["ms"]]
        cpu = median([answer["cpu"] / answer["steps"] * 1e6 for answer in answers])
        table.rows.append([name, *map(figure, (median(times), percentile(times, 99), cpu))])
    section.tables.append(table)
    section.data = dict(played)
    return section

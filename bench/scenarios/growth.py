"""What the length of its past costs a session that is written to, and one that works."""

from __future__ import annotations

from bench.contest import Contestant, contest, rounds
from bench.numbers import figure, median, percentile
from bench.report import Bar, Section, Table
from bench.settings import Settings
from bench.steps import cpu

ABOUT = """\
One event of about 1 KB, appended and synced, one after the other, to sessions of different lengths. Then a whole \
turn of 101 steps by the kernel, from its message to its end, in sessions with turns of five tool calls behind them: \
waking, all events, and what compaction has to do when the model's window is full."""


def run(settings: Settings) -> Section:
    section = Section("Appending as a session grows", ABOUT)
    _appends(section, settings)
    _turns(section, settings)
    return section


def _appends(section: Section, settings: Settings) -> None:
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
        spent = median([answer["cpu"] / answer["steps"] * 1e6 for answer in answers])
        table.rows.append([name, *map(figure, (median(times), percentile(times, 99), spent))])
    section.tables.append(table)
    section.data |= played


def _turns(section: Section, settings: Settings) -> None:
    lengths = [1, 10, 20] if settings.quick else [1, 1_000, 10_000]
    calls = settings.pick(50, 3)
    contestants = [
        Contestant(f"{length:,} turns", "bench.workers.roost_long", turns=length, calls=calls) for length in lengths
    ]
    with contest(contestants) as (ready, _):
        played = rounds(ready, settings.pick(7, 1))
    table = Table(["the session has", "ms a step", "CPU µs a step"])
    for name, answers in played.items():
        wall = median([answer["wall"] / answer["steps"] * 1e3 for answer in answers])
        table.rows.append([name, figure(wall), figure(cpu(answers))])
    section.tables.append(table)
    _, full, long = ([answer["cpu"] for answer in answers] for answers in played.values())
    ratio = median([b / a for a, b in zip(full, long, strict=True)])
    text = f"CPU of a step after {lengths[2]:,} turns against that after {lengths[1]:,}: at most 1.25 times"
    section.bars.append(Bar(text, ratio, 1.25, unit=" ×"))
    section.data |= played

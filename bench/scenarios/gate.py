"""The gate: what it costs that every tool call is judged before it runs."""

from __future__ import annotations

from bench.commands import MIX
from bench.contest import Contestant, contest, rounds
from bench.numbers import figure, median, percentile
from bench.report import Bar, Section, Table
from bench.settings import Settings

ABOUT = """\
From a call's arguments to the verdict: the command's syntax tree and what it means, the real paths of what it \
touches, and all layers, with the rules that come with Roost and some of a user's and a project's. CPU of one \
process, each command {times} times in a row. The mix: {mix} commands such as coding agents write, short and long."""
_ROWS = {
    "simple": "simple: `ls -la`",
    "typical": "typical: cd, grep, a pipe, a redirection",
    "long": "long: 14 lines with loops, conditions, substitutions, nested shells",
    "mix": "the mix, mean",
    "slowest": "the mix, the slowest",
    "write": "write of a file",
}


def run(settings: Settings) -> Section:
    times = settings.pick(100, 5)
    section = Section("The gate", ABOUT.format(times=times, mix=len(MIX)))
    with contest([Contestant("gate", "bench.workers.gate")]) as (ready, _):
        played = rounds(ready, settings.pick(5, 1), times=times)["gate"]
    if "error" in played[-1]:
        raise RuntimeError(played[-1]["error"])
    table = Table(["a decision", "CPU µs"])
    for name, text in _ROWS.items():
        table.rows.append([text, figure(median([one["us"][name] for one in played]))])
    section.tables.append(table)
    middle, high = (median([percentile(one["each_us"], at) for one in played]) for at in (50, 90))
    section.notes.append(f"in the mix: p50 {figure(middle)} µs, p90 {figure(high)} µs")
    mean = median([one["us"]["mix"] for one in played])
    section.bars.append(Bar("decision on a shell command, mean of the mix: at most 300 µs CPU", mean, 300, unit=" µs"))
    section.data["gate"] = played
    return section

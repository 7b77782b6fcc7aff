"""What it costs to make a full context smaller."""

from __future__ import annotations

from bench.contest import Contestant, contest, rounds
from bench.numbers import figure, median
from bench.report import Section, Table
from bench.settings import Settings

ABOUT = """\
A context that fills its window with turns of one tool call each (outputs of about 4 KB) is brought down to half of \
it: by leaving outputs out, and by a summary by rule. Planning, the event and its meaning to the state, on one core; a \
model's summary takes as long as the model beside it."""


def run(settings: Settings) -> Section:
    section = Section("Compaction", ABOUT)
    windows = [32_000, 200_000]
    contestants = [
        Contestant(f"{tokens:,} tokens", "bench.workers.compaction", tokens=tokens, times=settings.pick(20, 2))
        for tokens in windows
    ]
    with contest(contestants) as (ready, _):
        played = rounds(ready, settings.pick(5, 1))
    table = Table(["context", "messages", "outputs left out, ms", "summary by rule, ms"])
    for name, answers in played.items():
        costs = [median([answer[kind] for answer in answers]) for kind in ("elided_ms", "plain_ms")]
        table.rows.append([name, str(answers[0]["messages"]), *map(figure, costs)])
    section.tables.append(table)
    section.data = dict(played)
    return section

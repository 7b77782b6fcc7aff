"""Who runs what next: the store itself, and DBOS Transact over the same log."""

from __future__ import annotations

from bench.contest import Contestant, contest, rounds
from bench.numbers import figure, median, percentile
from bench.pg import Server
from bench.report import Section, Table
from bench.settings import Settings
from bench.steps import cpu, failure, rate

ABOUT = """\
Turns of one step on one PostgreSQL server and one node, whose dispatcher is the store (PostgreSQL itself) or DBOS \
(a workflow a turn; it polls its queue every 0.1 s). Wake: from sending a message to a sleeping session until its \
model is called. Burst: 300 messages to as many sleeping sessions at once. Idle: CPU of the node with nothing to do."""


def run(settings: Settings) -> Section:
    section = Section("Dispatchers", ABOUT)
    wakes, burst = settings.pick(40, 2), settings.pick(300, 4)
    with Server() as server:
        contestants = [
            Contestant(name, "bench.workers.roost_dispatch", around=server.fresh(), dispatcher=kind)
            for name, kind in (("the store", "store"), ("DBOS Transact", "dbos"))
        ]
        with contest(contestants) as (ready, _):
            played = rounds(ready, settings.pick(3, 1), wakes=wakes, burst=burst)
    table = Table(["dispatcher", "wake p50 ms", "p99 ms", "turns/s in a burst", "CPU ms a turn", "idle CPU %"])
    for name, answers in played.items():
        good = [answer for answer in answers if "error" not in answer]
        late = [value for answer in good for value in answer["ms"]]
        idle = median([answer["idle"] for answer in good])
        cells = [median(late), percentile(late, 99), rate(good), cpu(good) / 1e3, idle]
        table.rows.append([name, *map(figure, cells), *failure(answers)])
    section.tables.append(table)
    section.data = dict(played)
    return section

"""Durable steps: the latency of one session, the rate of many."""

from __future__ import annotations

from typing import Any

from bench.contest import Contestant, Played, contest, rounds
from bench.numbers import figure, median, percentile
from bench.report import Bar, Section, Table
from bench.settings import Settings
from bench.steps import cpu, failure, rate, ratio

ROOST, FLOOR, LANGGRAPH = "Roost kernel", "bare group commit", "LangGraph, AsyncSqliteSaver"
BATCHED = "bare group commit, batched statements"
STORE, RUNNER = "OpenAI Agents, SQLiteSession only", "OpenAI Agents, whole Runner"

ABOUT = """\
A step is one model call or one tool call, about 1 KB, and it is on disk before the next one begins. Models and tools \
answer at once, without a network. A turn is model, tool, model … model, in a fresh session. Roost writes two events a \
step (the intent of the next step goes with the outcome of the last) and does all that a turn does: inbox, claim, \
state, policy gate, argument check, snapshot. The floor does nothing but an insert and a fenced update for each step, \
grouped by a writer thread: independent writers, of which one can be refused and the rest taken. The batched floor, \
for information, does all of a group in two statements and so takes or refuses the group whole. LangGraph saves a \
node a step with `durability="sync"`; OpenAI Agents stores an item a step without a fence or an intent. All on SQLite \
in WAL mode with synchronous=FULL."""


def run(settings: Settings) -> Section:
    section = Section("Durable steps", ABOUT)
    contestants = [
        Contestant(FLOOR, "bench.workers.floor", single=True),
        Contestant(ROOST, "bench.workers.roost_steps"),
        Contestant(BATCHED, "bench.workers.floor"),
    ]
    if settings.peers:
        contestants += [
            Contestant(LANGGRAPH, "bench.workers.peer_langgraph", peer="langgraph"),
            Contestant(STORE, "bench.workers.peer_openai_agents", peer="agents"),
            Contestant(RUNNER, "bench.workers.peer_openai_agents", peer="agents", runner=True),
        ]
    with contest(contestants) as (ready, absent):
        section.notes += [f"{name}: {why}" for name, why in absent.items()]
        one = rounds(ready, settings.pick(7, 1), sessions=1, steps=settings.pick(101, 9))
        section.tables.append(_latency(one))
        hundred = rounds(ready, settings.pick(3, 1), sessions=settings.pick(100, 3), steps=settings.pick(25, 5))
        section.tables.append(_rates("100 sessions, turns of 25 steps", hundred))
        own = [one for one in ready if one.name in (ROOST, FLOOR, BATCHED)]
        long = rounds(own, settings.pick(7, 1), sessions=settings.pick(100, 3), steps=settings.pick(99, 5))
        section.tables.append(_rates("100 sessions, turns of 99 steps", long))
        thousand = rounds(ready, settings.pick(3, 1), sessions=settings.pick(1000, 3), steps=5)
        section.tables.append(_rates("1,000 sessions, turns of 5 steps", thousand))
    section.bars = _bars(hundred, long)
    section.data = {"one": one, "hundred": hundred, "hundred_long": long, "thousand": thousand}
    return section


def _latency(played: Played) -> Table:
    table = Table(["one session, 101 steps", "p50 ms a step", "p99 ms", "CPU µs a step"])
    for name, answers in played.items():
        good = [answer for answer in answers if "error" not in answer]
        pooled = [value for answer in good for value in answer.pop("ms")]
        cells = [median(pooled), percentile(pooled, 99), cpu(good)]
        table.rows.append([name, *map(figure, cells), *failure(answers)])
    return table


def _rates(head: str, played: Played) -> Table:
    table = Table([head, "steps/s", "of the floor", "CPU µs a step", "commits a step", "appends a step"])
    for name, answers in played.items():
        good = [answer for answer in answers if "error" not in answer]
        per_step = [_per_step(good, "commits"), _per_step(good, "appends")]
        cells = [figure(rate(good)), figure(ratio(played, name, FLOOR)), figure(cpu(good))]
        table.rows.append([name, *cells, *map(figure, per_step), *failure(answers)])
    return table


def _bars(hundred: Played, long: Played) -> list[Bar]:
    bars = [
        Bar(
            "a durable step of the kernel, in rate, against the bare group commit at 100 sessions: at least 0.4",
            ratio(long, ROOST, FLOOR),
            0.4,
            at_least=True,
        )
    ]
    for peer, factor in ((LANGGRAPH, 20), (STORE, 10)):
        if any("error" not in answer for answer in hundred.get(peer, [])):
            text = f"stored steps a second against {peer} at 100 sessions: at least {factor} times"
            bars.append(Bar(text, ratio(hundred, ROOST, peer), factor, at_least=True, unit=" ×"))
    return bars


def _per_step(answers: list[dict[str, Any]], what: str) -> float:
    return median([answer[what] / answer["steps"] for answer in answers if what in answer])

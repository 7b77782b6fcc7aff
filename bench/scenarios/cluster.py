"""Durable steps on PostgreSQL: one node and several, beside what else keeps its steps there."""

from __future__ import annotations

from typing import Any

from bench.contest import Contestant, Played, contest, rounds
from bench.numbers import figure, median, percentile
from bench.pg import Server
from bench.report import Bar, Section, Table
from bench.settings import Settings
from bench.steps import cpu, failure, rate, ratio

FLOOR = "bare commit of one row, asyncpg"
APPEND = "Roost's store, one fenced append"
SQLITE, ONE, TWO, THREE = "Roost on SQLite", "Roost, 1 node", "Roost, 2 nodes", "Roost, 3 nodes"
DBOS, LANGGRAPH = "DBOS Transact, a step each", "LangGraph, AsyncPostgresSaver"

ABOUT = """\
The same turns as under "Durable steps", kept by one PostgreSQL server on the same machine, on a loopback socket, with \
`fsync` and `synchronous_commit` on; each round in a fresh database. The floor is a single connection that commits one \
row after the other, without a fence or an event; the append is what Roost's store adds to that, the node what the \
whole kernel adds. Roost's nodes are processes that share the sessions evenly. DBOS runs a turn as a workflow and \
every model or tool call as one of its steps; LangGraph saves a node a step with `durability="sync"`. CPU is that of \
the contestant's processes and, apart, of the server's, with the making of its tables. All of them share the \
machine's cores with the server: more nodes here show what they cost each other, not what more machines would give."""


def run(settings: Settings) -> Section:
    section = Section("Durable steps on PostgreSQL", ABOUT)
    with Server() as server:
        around = server.fresh()
        section.notes.append(f"PostgreSQL {server.version}")
        contestants = [
            Contestant(FLOOR, "bench.workers.pg_floor", around=around),
            Contestant(APPEND, "bench.workers.pg_append", around=around),
            Contestant(SQLITE, "bench.workers.roost_steps"),
            Contestant(ONE, "bench.workers.roost_steps", around=around),
        ]
        if settings.peers:
            contestants += [
                Contestant(DBOS, "bench.workers.peer_dbos", peer="dbos", around=around),
                Contestant(LANGGRAPH, "bench.workers.peer_langgraph", peer="langgraph", around=around),
            ]
        nodes = [
            Contestant(name, "bench.workers.roost_nodes", around=around, nodes=count)
            for name, count in ((TWO, 2), (THREE, 3))
        ]
        with contest(contestants) as (ready, absent):
            section.notes += [f"{name}: {why}" for name, why in absent.items()]
            one = rounds(ready, settings.pick(5, 1), sessions=1, steps=settings.pick(101, 9))
        with contest([*contestants[1:], *nodes]) as (ready, _):
            hundred = rounds(ready, settings.pick(3, 1), sessions=settings.pick(100, 3), steps=settings.pick(25, 5))
        own = [one for one in contestants if one.name in (SQLITE, ONE)]
        with contest([*own, *nodes]) as (ready, _):
            long = rounds(ready, settings.pick(5, 1), sessions=settings.pick(99, 3), steps=settings.pick(99, 5))
        past = _grow(server, settings)
    section.tables += [_latency(one), _rates("100 sessions, turns of 25 steps", hundred)]
    section.tables += [_rates("99 sessions, turns of 99 steps", long), _growth(past)]
    section.bars = _bars(one, hundred, past)
    section.data = {"one": one, "hundred": hundred, "long": long, "past": past}
    return section


def _grow(server: Server, settings: Settings) -> Played:
    """The cost of a step in an empty store, and in one with a long past of other sessions, in turns."""
    sessions, events = settings.pick(100_000, 100), settings.pick(1_000_000, 1_000)
    stores = {"an empty store": server.database(), f"{sessions:,} sessions, {events:,} events": server.database()}
    contestants: list[Contestant] = []
    for place, (name, url) in enumerate(stores.items()):
        past = (sessions, events) if place else (0, 0)
        contestants.append(Contestant(name, "bench.workers.pg_growth", store=url, past=past))
    with contest(contestants) as (ready, _):
        return rounds(ready, settings.pick(7, 1), sessions=20, steps=settings.pick(99, 5))


def _latency(played: Played) -> Table:
    table = Table(
        ["one session, 101 steps", "p50 ms a step", "of the bare commit", "p99 ms", "CPU µs a step", "server's"]
    )
    floor = _p50(played, FLOOR)
    for name, answers in played.items():
        good = [answer for answer in answers if "error" not in answer]
        pooled = [value for answer in good for value in answer["ms"]]
        middle = median(pooled)
        cells = [middle, middle / floor, percentile(pooled, 99), cpu(good), _server(good)]
        table.rows.append([name, *map(figure, cells), *failure(answers)])
    return table


def _rates(head: str, played: Played) -> Table:
    table = Table([head, "steps/s", "CPU µs a step", "server's", "appends a step"])
    for name, answers in played.items():
        good = [answer for answer in answers if "error" not in answer]
        appends = median([answer["appends"] / answer["steps"] for answer in good if "appends" in answer])
        cells = [rate(good), cpu(good), _server(good), appends]
        table.rows.append([name, *map(figure, cells), *failure(answers)])
    return table


def _growth(played: Played) -> Table:
    table = Table(["20 sessions, turns of 99 steps, in", "steps/s", "CPU µs a step"])
    for name, answers in played.items():
        good = [answer for answer in answers if "error" not in answer]
        table.rows.append([name, figure(rate(good)), figure(cpu(good)), *failure(answers)])
    return table


def _bars(one: Played, hundred: Played, past: Played) -> list[Bar]:
    text = (
        "p50 of a durable step (one event, fenced) against a bare one-row commit on the same server: at most 1.5 times"
    )
    bars = [Bar(text, _p50(one, APPEND) / _p50(one, FLOOR), 1.5, unit=" ×")]
    for peer in (DBOS, LANGGRAPH):
        if any("error" not in answer for answer in hundred.get(peer, [])):
            text = f"steps a second on PostgreSQL against {peer} at 100 sessions: at least 20 times"
            bars.append(Bar(text, ratio(hundred, ONE, peer), 20, at_least=True, unit=" ×"))
    empty, full = list(past)
    text = "steps a second with 1,000,000 events and 100,000 sessions in the store against none: at least 0.9"
    bars.append(Bar(text, ratio(past, full, empty), 0.9, at_least=True))
    return bars


def _p50(played: Played, name: str) -> float:
    return median([value for answer in played.get(name, []) if "error" not in answer for value in answer["ms"]])


def _server(answers: list[dict[str, Any]]) -> float:
    return median([answer["server"] / answer["steps"] * 1e6 for answer in answers if "server" in answer])

"""`python -m bench.scale` simulates clusters and writes the tables of docs/operate/scale.md; `--quick`: limits only."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from bench.scale import scenarios
from bench.scale.costs import costs
from bench.scale.limits import AS_BUILT, DESIGNS, SIZES, most, use
from bench.scale.scenarios import Outcome

PAGE = Path(__file__).parents[2] / "docs" / "operate" / "scale.md"
LIVE = 100
"""Sessions at work on each node, of its 10,000."""


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def spent() -> str:
    """Where the cores of the database go, as it is built."""
    uses = [use(nodes) for nodes in SIZES]
    names = list(uses[0].cores)
    rows = [[name, *(f"{one.cores[name]:,.2f}" for one in uses)] for name in names]
    rows.append(["**together**", *(f"**{sum(one.cores.values()):,.1f}**" for one in uses)])
    return table(["cores for", *(f"{nodes:,} nodes" for nodes in SIZES)], rows)


def resources() -> str:
    uses = [use(nodes) for nodes in SIZES]
    rows = [
        ["sessions", *(f"{one.nodes * costs()['workload']['sessions_per_node']:,}" for one in uses)],
        ["commits a second", *(f"{one.commits:,.0f}" for one in uses)],
        ["WAL, MB a second", *(f"{one.wal / 1e6:.1f}" for one in uses)],
        ["connections", *(f"{one.connections:,.0f}" for one in uses)],
        ["NOTIFY's lock held", *(f"{one.notify:.0%}" for one in uses)],
        ["ends first", *(f"{one.first[0]}, {one.first[1]:.0%}" for one in uses)],
    ]
    return table(["", *(f"{nodes:,} nodes" for nodes in SIZES)], rows)


def designs() -> str:
    rows: list[list[str]] = []
    for design in DESIGNS:
        shares = [use(nodes, design).first for nodes in SIZES]
        rows.append([design.name, *(f"{share:.0%} {name}" for name, share in shares), f"{most(design):,}"])
    return table(["", *(f"{nodes:,} nodes" for nodes in SIZES), "nodes at most"], rows)


def faults() -> str:
    rows: list[list[str]] = []
    for nodes in SIZES:
        seeds = range({300: 5, 1000: 2}.get(nodes, 20))
        rows += [
            _row("kill -9 of a node", nodes, [_play(scenarios.kill, nodes, seed) for seed in seeds]),
            _row("kill -9 of a third", nodes, [_play(scenarios.kill, nodes, seed, share=1 / 3) for seed in seeds[:5]]),
            _row("a node cut off", nodes, [_play(scenarios.partition, nodes, seed) for seed in seeds[:5]]),
            _row(
                "a node stopped, later continued", nodes, [_play(scenarios.zombie, nodes, seed) for seed in seeds[:5]]
            ),
            _row("10,000 wake at once", nodes, [_play(scenarios.storm, nodes, 1, waking=10_000)]),
        ]
    head = [
        "",
        "nodes",
        "sessions hit",
        "p50 s",
        "p95 s",
        "longest s",
        "two ran it, s",
        "most a node took, of its share",
    ]
    return table(head, rows)


def restarts() -> str:
    rows: list[list[str]] = []
    for nodes in SIZES:
        row = [f"{nodes:,}"]
        played = [_play(scenarios.cuts, nodes, 1)]
        played += [_play(scenarios.restart, nodes, 1, outage=outage) for outage in (0.5, 2.0, 20.0)]
        row += [f"{one.fenced / (nodes * LIVE):.0%}" for one in played]
        rows.append(row)
    return table(["nodes", "all connections cut", "gone for 0.5 s", "for 2 s", "for 20 s"], rows)


def _play(scenario: Callable[..., Outcome], nodes: int, seed: int, **more: object) -> Outcome:
    print(f"  {scenario.__name__}, {nodes} nodes, seed {seed}", flush=True)
    return scenario(nodes, sessions=nodes * 10_000, live_each=LIVE, seed=seed, **more)


def _row(name: str, nodes: int, played: list[Outcome]) -> list[str]:
    whole = Outcome(nodes, 0, [time for one in played for time in one.times])
    hit = sum(one.hit for one in played)
    assert len(whole.times) == hit, f"{hit - len(whole.times)} sessions of {name} never went on"
    assert not any(one.stale for one in played)
    return [
        name,
        f"{nodes:,}",
        f"{hit // len(played):,}",
        *(f"{whole.at(percent):.2f}" for percent in (50, 95, 100)),
        f"{max(one.together for one in played):.2f}",
        f"{max(one.uneven for one in played):.1f}",
    ]


TABLES: dict[str, Callable[[], str]] = {
    "spent": spent,
    "resources": resources,
    "designs": designs,
    "faults": faults,
    "restarts": restarts,
}


def put(page: str, name: str, text: str) -> str:
    """The page with this table in its place."""
    place = re.compile(rf"(<!-- {name} -->).*?(<!-- end -->)", re.DOTALL)
    assert place.search(page), f"no place for {name}"
    return place.sub(lambda found: f"{found[1]}\n{text}\n{found[2]}", page)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale")
    parser.add_argument("--quick", action="store_true", help="only what needs no simulation")
    options = parser.parse_args()
    page = PAGE.read_text()
    for name in ("spent", "resources", "designs") if options.quick else TABLES:
        print(name, flush=True)
        page = put(page, name, TABLES[name]())
    PAGE.write_text(page)
    print(f"{PAGE}; as built, {most(AS_BUILT)} nodes at most")


if __name__ == "__main__":
    main()

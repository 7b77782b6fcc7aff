"""Run the bench: `python -m bench [--quick] [--only NAME]`. Each section goes to bench/RESULTS.md and RESULTS.json when
it is done."""

from __future__ import annotations

import argparse
import datetime
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import machine, peers
from bench.report import Page, Section
from bench.scenarios import (
    children,
    cluster,
    compaction,
    dispatch,
    gate,
    growth,
    memory,
    models,
    sandboxes,
    snapshots,
    sse,
    start,
    steps,
    travel,
    turns,
    wake,
)
from bench.settings import Settings

SCENARIOS: dict[str, Callable[[Settings], Section]] = {
    "steps": steps.run,
    "turns": turns.run,
    "start": start.run,
    "wake": wake.run,
    "sse": sse.run,
    "models": models.run,
    "sandboxes": sandboxes.run,
    "snapshots": snapshots.run,
    "gate": gate.run,
    "growth": growth.run,
    "compaction": compaction.run,
    "children": children.run,
    "memory": memory.run,
    "travel": travel.run,
    "cluster": cluster.run,
    "dispatch": dispatch.run,
}
RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Roost beside what else one could use.")
    parser.add_argument("--quick", action="store_true", help="tiny numbers: only to see that everything runs")
    parser.add_argument("--only", action="append", choices=sorted(SCENARIOS), help="may be given several times")
    parser.add_argument("--no-peers", action="store_true", help="Roost alone")
    parser.add_argument(
        "--out", type=Path, help="where the results go; bench/RESULTS.md, but for a run that is not full"
    )
    options = parser.parse_args()
    chosen = [name for name in SCENARIOS if not options.only or name in options.only]
    settings = Settings(quick=options.quick, peers=not options.no_peers)
    full = not settings.quick and settings.peers
    target = options.out or (RESULTS if full else Path.cwd() / "bench-results.md")
    began, facts, page = time.monotonic(), machine.facts(settings.quick), Page(target)
    rows: list[str] = []
    failed: list[str] = []
    for number, name in enumerate(chosen, 1):
        print(f"bench: {name} ({number} of {len(chosen)}, after {time.monotonic() - began:.0f} s)", flush=True)
        section = _play(name, settings)
        if section is None:
            failed.append(name)
            continue
        page.put(section, _intro(facts, settings), facts)
        rows += [" | ".join(bar.row()) for bar in section.bars]
        print(f"bench: {name} {section.notes[-1]}", flush=True)
    print("\n".join(rows))
    print(f"bench: {target}, {(time.monotonic() - began) / 60:.1f} minutes")
    if failed:
        sys.exit(f"bench: failed, and what was known of them stays: {', '.join(failed)}")


def _play(name: str, settings: Settings) -> Section | None:
    """None when it failed."""
    load = machine.Load()
    try:
        section = SCENARIOS[name](settings)
    except Exception:  # one scenario that fails must not cost the results of the others
        traceback.print_exc()
        return None
    section.notes.append(f"{datetime.date.today().isoformat()}, {load.told()}")
    return section


def _intro(facts: dict[str, Any], settings: Settings) -> list[str]:
    pins = ", ".join(f"{name} {version}" for name, version in peers.versions().items())
    intro = [
        "`make bench`, each section by itself. Contestants take turns round by round on one machine; figures are"
        " medians of the rounds, ratios are medians of the ratios within a round, CPU is that of the contestant's"
        " process. Compare ratios and CPU: walls depend on what else the machine did.",
        "",
        *machine.lines(facts),
    ]
    if settings.peers:
        intro.append(f"- peers: {pins}")
    if settings.quick:
        intro.insert(0, "**A quick run: the numbers mean little.**\n")
    return intro


if __name__ == "__main__":
    main()

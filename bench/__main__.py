"""Run the bench: `python -m bench [--quick] [--only NAME]`. Results go to bench/RESULTS.md and bench/RESULTS.json."""

from __future__ import annotations

import argparse
import datetime
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import machine, peers
from bench.report import Section, write
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
    parser.add_argument("--out", type=Path, help="where the results go; bench/RESULTS.md for a full run")
    options = parser.parse_args()
    chosen = [name for name in SCENARIOS if not options.only or name in options.only]
    settings = Settings(quick=options.quick, peers=not options.no_peers)
    began, facts, load = time.monotonic(), machine.facts(settings.quick), machine.Load()
    sections = [section for name in chosen if (section := _play(name, settings)) is not None]
    facts |= {"load_after": os.getloadavg(), "busy_percent": load.shares()}
    whole = not settings.quick and settings.peers and chosen == list(SCENARIOS)
    target = options.out or (RESULTS if whole else Path.cwd() / "bench-results.md")
    write(target, _intro(facts, settings, time.monotonic() - began), sections, facts)
    for section in sections:
        for bar in section.bars:
            print(" | ".join(bar.row()))
    print(f"bench: {target}")


def _play(name: str, settings: Settings) -> Section | None:
    print(f"bench: {name}", flush=True)
    load, began = os.getloadavg()[0], time.monotonic()
    try:
        section = SCENARIOS[name](settings)
    except Exception:  # one scenario that fails must not cost the results of the others
        traceback.print_exc()
        return Section(name.capitalize(), "This scenario failed: " + traceback.format_exc(limit=1).splitlines()[-1])
    took, after = time.monotonic() - began, os.getloadavg()[0]
    section.notes.append(f"took {took:.0f} s; load average {load:.1f} before, {after:.1f} after")
    return section


def _intro(facts: dict[str, Any], settings: Settings, seconds: float) -> list[str]:
    pins = ", ".join(f"{name} {version}" for name, version in peers.versions().items())
    day = datetime.date.today().isoformat()
    intro = [
        f"`make bench` on {day}, {seconds / 60:.0f} minutes. Contestants take turns round by round on one machine;"
        " figures are medians of the rounds, ratios are medians of the ratios within a round, CPU is that of the"
        " contestant's process. Compare ratios and CPU: walls depend on what else the machine did.",
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

"""Snapshots: what it costs to keep a workspace, to fork it and to go back."""

from __future__ import annotations

from typing import Any

from bench import disk
from bench.contest import Contestant, Played, contest, rounds
from bench.numbers import figure, median
from bench.report import Bar, Section, Table
from bench.settings import Settings
from bench.trees import CHANGED
from roost.workspace.cow.probe import Means

ABOUT = """\
Trees of files that cannot be compressed, made anew each round: kept, kept again after {changed} files were \
rewritten, forked twice, and put back after {changed} others were rewritten. Each contestant works on a file system \
of its own, made for the round; what was written before is on the disk when a step begins, but for the rewritten \
files. Wall in ms, in brackets CPU, with that of the processes started. The portable store syncs what it keeps; `cp` \
and git leave that to the kernel. git does not compress here, and a fork of it is a worktree."""

STEPS = {
    "first": "first snapshot",
    "again": f"after {CHANGED} files",
    "fork": "fork",
    "fork again": "a second",
    "back": "rollback",
}
_PORTABLE, _BTRFS = "Roost, portable, on ext4", "Roost, btrfs"
_OWN: dict[str, tuple[str, disk.Kind]] = {_PORTABLE: ("portable", "ext4"), _BTRFS: ("subvolumes", "btrfs")}
_PEERS: dict[str, tuple[str, disk.Kind]] = {
    "cp -a --reflink=auto, ext4": ("cp", "ext4"),
    "cp -a --reflink=auto, btrfs": ("cp", "btrfs"),
    "git, ext4": ("git", "ext4"),
}
_BARS = {_PORTABLE: 1500.0, _BTRFS: 50.0}


def run(settings: Settings) -> Section:
    section = Section("Snapshots", ABOUT.format(changed=CHANGED))
    many, size = settings.pick(10_000, 200), settings.pick(500_000_000, 2_000_000)
    with contest(_contestants(section, settings)) as (ready, absent):
        section.notes += [f"{name}: {why}" for name, why in absent.items()]
        few = rounds(ready, settings.pick(5, 1), files=10, bytes=500_000)
        _report(section, "10 files, 0.5 MB", few)
        lots = rounds(ready, settings.pick(3, 1), files=many, bytes=size)
        _report(section, f"{many:,} files, {size / 1e6:,.0f} MB", lots)
    for name, bound in _BARS.items():
        for step in ("again", "fork") if _good(lots, name) else ():
            what = "snapshot" if step == "again" else "fork"
            text = f"{what} of {many:,} files, {CHANGED} of them changed, {name}: at most {bound:,.0f} ms"
            section.bars.append(Bar(text, _step(lots, name, step, "wall"), bound, unit=" ms"))
    section.notes.append(f"overlay layers are none of Roost's means: {Means(None, None).overlay}")
    return section


def _contestants(section: Section, settings: Settings) -> list[Contestant]:
    """On a disk of their own where that can be had; else where temporary files are, if that is enough."""
    made: list[Contestant] = []
    for name, (means, kind) in (_OWN | (_PEERS if settings.peers else {})).items():
        why = disk.lacking(kind)
        if why is not None:
            section.notes.append(f"{name}: {why}" + ("; it is where temporary files are" if kind == "ext4" else ""))
        if why is None or kind == "ext4":
            made.append(Contestant(name, "bench.workers.snapshots", means=means, disk=None if why else kind))
    return made


def _report(section: Section, what: str, played: Played) -> None:
    table = Table([what, *STEPS.values(), "MB kept first", "then"])
    for name in played:
        section.notes += [f"{name}: failed: {one['error']}" for one in played[name] if "error" in one]
        good = _good(played, name)
        cells = [
            f"{figure(_step(played, name, step, 'wall'))} ({figure(_step(played, name, step, 'cpu'))})"
            for step in STEPS
        ]
        kept = [f"{max(0.0, median([one['mb'][at] for one in good])):.2f}" for at in (0, 1)] if good else ["–", "–"]
        table.rows.append([name, *cells, *kept])
    section.tables.append(table)
    section.data[what] = played


def _good(played: Played, name: str) -> list[dict[str, Any]]:
    return [one for one in played.get(name, []) if "error" not in one]


def _step(played: Played, name: str, step: str, what: str) -> float:
    return median([one["steps_ms"][step][what] for one in played[name] if "error" not in one])

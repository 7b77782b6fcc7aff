"""Time travel: what it costs to keep a long session with many files, to fork it and to go back."""

from __future__ import annotations

from bench import disk
from bench.contest import Contestant, Played, contest, rounds
from bench.numbers import figure, median
from bench.report import Bar, Section, Table
from bench.settings import Settings

ABOUT = """\
A session of {events:,} events and {files:,} files, through `Sessions` in one process, wall in ms: from the call to \
its answer, files included. `fork` is of a checkpoint, `fork now` of the end of the log, with the files as they were \
last kept; `back` goes to a checkpoint that differs in 20 files, and keeps before that what there is. The floor does \
the same with `cp -a --reflink=auto` of the folder and of the database on the same kind of disk, without a sync and \
without an event. The ratios are medians of those within a round."""

STEPS = {
    "first": "first checkpoint",
    "again": "after 10 files",
    "fork": "fork",
    "fork now": "fork now",
    "back": "rollback",
    "undo": "undo",
}
_BTRFS, _PLAIN = "btrfs (copy on write)", "portable"
_COPIES = ", copied"
_BOUND = 100.0


def run(settings: Settings) -> Section:
    events, files = settings.pick(10_000, 200), settings.pick(10_000, 100)
    section = Section("Time travel", ABOUT.format(events=events, files=files))
    kinds: dict[str, disk.Kind | None] = {_BTRFS: "btrfs", _PLAIN: None}
    if (why := disk.lacking("btrfs")) is not None:
        section.notes.append(f"{_BTRFS}: {why}")
        del kinds[_BTRFS]
    workers = {"": "bench.workers.roost_travel", _COPIES: "bench.workers.bare_travel"}
    contestants = [
        Contestant(kind + by, worker, disk=where) for kind, where in kinds.items() for by, worker in workers.items()
    ]
    with contest(contestants) as (ready, _):
        played = rounds(ready, settings.pick(3, 1), events=events, files=files, bytes=files * 1000)
    table = Table(["files on", *STEPS.values()])
    for name, answers in played.items():
        section.notes += [f"{name}: failed: {one['error']}" for one in answers if "error" in one]
        good = [one["steps_ms"] for one in answers if "error" not in one]
        table.rows.append([name, *(figure(median([one[step] for one in good])) if good else "–" for step in STEPS)])
        if name == _BTRFS and good:
            text = f"fork of {events:,} events and {files:,} files on copy-on-write storage: at most {_BOUND:g} ms"
            section.bars.append(Bar(text, median([one["fork"] for one in good]), _BOUND, unit=" ms"))
    table.rows += [[f"{kind}, of a copy's", *_ratios(played, kind)] for kind in kinds]
    section.tables.append(table)
    section.data = dict(played)
    return section


def _ratios(played: Played, kind: str) -> list[str]:
    pairs = zip(played[kind], played[kind + _COPIES], strict=False)
    good = [(one["steps_ms"], bare["steps_ms"]) for one, bare in pairs if "error" not in one and "error" not in bare]
    return [f"{figure(median([one[step] / bare[step] for one, bare in good]))} ×" for step in STEPS]

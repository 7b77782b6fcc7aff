"""Sandboxes: what it costs to start one, to run a command in it, to put it to sleep; beside the programs themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from bench.contest import Contestant, Played, contest, rounds
from bench.numbers import figure, median
from bench.report import Bar, Section, Table
from bench.settings import Settings
from roost.sandbox.choose import default_backends
from roost.sandbox.sandbox_host import plain_egress

ABOUT = """\
Each backend that runs here, and beside it the program that it uses, with the same view of files and the same filter \
of system calls, but without limits. Start: until the first `true` has run and is heard of. Warm: the same when the \
sandbox was started while the model thought. Exec: `true` in a sandbox that runs; of bwrap alone, which cannot go \
into one that runs, a new one each time. Suspend and resume: a shell in a terminal, until it answers again with a \
variable that it was told before (of `runsc` alone a `sleep`, until `runsc exec` of `true` has run). Wall in ms, \
in brackets the best; CPU is that of the caller and of all that belongs to the sandbox."""

BARE = {"process": "subprocess", "bwrap": "bwrap", "oci": "crun", "gvisor": "runsc"}
"""The program that a backend is compared with."""
_NAMES = {
    "subprocess": "plain subprocess",
    "bwrap": "bwrap … true",
    "crun": "crun run, crun exec",
    "runsc": "runsc do, runsc exec",
}
_COLUMNS = {
    "start": "start", "warm": "warm", "exec": "exec", "exec_cpu": "CPU of it", "suspend": "suspend", "resume": "resume",
}  # fmt: skip
_KERNEL, _ENGINE = "ROOST_TEST_KERNEL", "ROOST_TEST_ENGINE"
_OVERHEAD, _WARM, _RESUME = 5.0, 30.0, 500.0


def run(settings: Settings) -> Section:
    section = Section("Sandboxes", ABOUT)
    backends = ["process", *(backend.name for backend in default_backends(plain_egress))]
    with contest(_contestants(backends, settings)) as (ready, absent):
        section.notes += [f"{name}: {why}" for name, why in absent.items()]
        slow = [one for one in ready if one.name == _roost("qemu") and _KERNEL in os.environ]
        quick = [one for one in ready if one not in slow]
        execs = settings.pick(25, 3)
        played = rounds(quick, settings.pick(5, 1), starts=settings.pick(4, 1), execs=execs, sleeps=settings.pick(2, 1))
        played |= rounds(slow, 1, starts=1, execs=execs, sleeps=1)
    if _KERNEL in os.environ:
        section.notes.append("qemu runs in software, one round, and has no bar")
    table = Table(["ms", *_COLUMNS.values()])
    for name, answers in played.items():
        section.notes += [f"{name}: {one['error']}" for one in answers[-1:] if "error" in one]
        if any("error" not in one for one in answers):
            table.rows.append([name, *(_cell(played, name, what) for what in _COLUMNS)])
    section.tables.append(table)
    section.bars += _bars(played, backends)
    section.data = dict(played)
    return section


def _contestants(backends: Sequence[str], settings: Settings) -> list[Contestant]:
    """A kernel for QEMU, which then runs in software, and an engine's socket are named as for the tests. Machines in
    software have no bar for their first command."""
    given: dict[str, Any] = {"kernel": os.environ.get(_KERNEL), "engine": os.environ.get(_ENGINE)}
    made: list[Contestant] = []
    for name in backends:
        made.append(Contestant(_roost(name), "bench.workers.roost_sandboxes", backend=name, **given))
        if settings.peers and (bare := BARE.get(name)) is not None:
            made.append(Contestant(_NAMES[bare], "bench.workers.bare_sandboxes", bare=bare))
    return made


def _bars(played: Played, backends: Sequence[str]) -> list[Bar]:
    bars: list[Bar] = []
    for name in backends:
        bare = _NAMES.get(BARE.get(name, ""), "")
        more = [a - b for a, b in zip(_each(played, _roost(name), "exec"), _each(played, bare, "exec"), strict=False)]
        if more:
            text = f"exec of `true`, {_roost(name)} over {bare}: at most {_OVERHEAD:.0f} ms"
            bars.append(Bar(text, median(more), _OVERHEAD, unit=" ms"))
    for name in backends:
        if (warm := _each(played, _roost(name), "warm")) and (name, _KERNEL in os.environ) != ("qemu", True):
            text = f"first command from the warm pool, {_roost(name)}: at most {_WARM:.0f} ms"
            bars.append(Bar(text, median(warm), _WARM, unit=" ms"))
    if resume := _each(played, _roost("gvisor"), "resume"):
        text = f"resume of a suspended gVisor shell: at most {_RESUME:.0f} ms"
        bars.append(Bar(text, median(resume), _RESUME, unit=" ms"))
    return bars


def _cell(played: Played, name: str, what: str) -> str:
    """The median, and in brackets the best of all rounds."""
    found = [one["ms"][what] for one in played[name] if one.get("ms", {}).get(what)]
    best = [min(one) for one in found if isinstance(one, list)]
    return figure(median(_each(played, name, what))) + (f" ({figure(min(best))})" if best else "")


def _each(played: Played, name: str, what: str) -> list[float]:
    """A round's median, for each round in which it was measured."""
    found = [one["ms"][what] for one in played.get(name, []) if one.get("ms", {}).get(what)]
    return [median(one) if isinstance(one, list) else one for one in found]


def _roost(backend: str) -> str:
    return f"Roost, {backend}"

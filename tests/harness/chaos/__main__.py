"""`python -m tests.harness.chaos`: make sandboxes, cut them off at random moments, and see whether anything is left."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.harness.chaos.rounds import KINDS, Ground, Round, one_round, own

from roost.sandbox.backend import Backend
from roost.sandbox.containers.bwrap import BwrapBackend
from roost.sandbox.containers.gvisor import GvisorBackend
from roost.sandbox.containers.oci import OciBackend

_ALL = {"bwrap": BwrapBackend, "oci": OciBackend, "gvisor": GvisorBackend}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harness.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="default 100")
    parser.add_argument(
        "--backends", default=",".join(_ALL), help=f"default {','.join(_ALL)}; what cannot run is left out"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random choices")
    parser.add_argument("--own", help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--marker", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.own:
        _say("ready")
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(own(_ALL[options.own](), options.base, options.marker, options.seed))
        return 0
    _say(f"seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="roost-chaos-") as folder:
        base = Path(folder)
        (base / "tmp").mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(base / "tmp")
        return asyncio.run(_run(options.rounds, options.backends.split(","), base, random.Random(options.seed)))


async def _run(rounds: int, names: Sequence[str], base: Path, dice: random.Random) -> int:
    able: list[tuple[Backend, float]] = []
    for name in names:
        probe = await (backend := _ALL[name]()).probe()
        if probe.able:
            able.append((backend, max(0.05, probe.seconds / 2)))
        else:
            _say(f"{name} cannot run here: {probe.why}")
    if not able:
        return 2
    kinds, weights = zip(*KINDS, strict=True)
    began, open_before, done = time.monotonic(), _open_files(), list[Round]()
    for number in range(rounds):
        backend, slow = dice.choice(able)
        kind = dice.choices(kinds, weights)[0]
        done.append(await one_round(number, kind, Ground(backend, base, dice, slow)))
        if not done[-1].sound:
            _say(f"round {number} ({backend.name}, {kind.__name__}): {done[-1].fault or ''} {done[-1].left}")
    open_now = _open_files()
    _report(done, time.monotonic() - began)
    _say(f"open files of this process: {open_before} before, {open_now} after")
    return 0 if all(each.sound for each in done) and open_now <= open_before + 4 else 1


def _report(done: Sequence[Round], seconds: float) -> None:
    rounds: dict[tuple[str, str], list[Round]] = {}
    for each in done:
        rounds.setdefault((each.backend, each.kind), []).append(each)
    for (backend, kind), some in sorted(rounds.items()):
        middle = sorted(each.seconds for each in some)[len(some) // 2]
        bad = sum(not each.sound for each in some)
        _say(f"{backend:8} {kind:18} {len(some):5} rounds, {bad} unsound, median {middle:.2f} s")
    reaped, bad = sum(each.reaped for each in done), sum(not each.sound for each in done)
    _say(f"{len(done)} rounds in {seconds:.0f} s, {bad} unsound; {reaped} things of killed owners were reaped")


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

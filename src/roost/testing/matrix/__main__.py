"""Prints the matrix.

    python -m roost.testing.matrix                                  every wire at the stub provider
    python -m roost.testing.matrix --wire anthropic --url http://127.0.0.1:8080 --model qwen

At a real server the behaviours that need a script are skipped. Exit code 1 when a cell fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys

import msgspec

from roost.models.profile import Profile
from roost.testing.matrix import Cell, Real, Subject, behaviours, subject, subjects, tried

_MARK = {"ok": "ok", "fail": "FAIL", "skip": "-"}


async def cells(chosen: list[Subject], others: list[Subject], real: Real | None, only: list[str]) -> list[Cell]:
    found: list[Cell] = []
    for one in behaviours():
        if not only or one.name in only:
            found += [await tried(one, wire, others, real) for wire in chosen]
    return found


def show(found: list[Cell]) -> str:
    wires = list(dict.fromkeys(cell.wire for cell in found))
    by_place = {(cell.behaviour, cell.wire): cell for cell in found}
    rows = [["behaviour", *wires]]
    names = dict.fromkeys(cell.behaviour for cell in found)
    rows += [[name, *(_MARK[by_place[name, wire].verdict] for wire in wires)] for name in names]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    reasons = [f"{cell.verdict} {cell.behaviour} × {cell.wire}: {cell.why}" for cell in found if cell.why]
    seconds = sum(cell.seconds for cell in found)
    return "\n".join([*lines, *reasons, f"{len(found)} cells in {seconds:.1f} s"])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m roost.testing.matrix", description=__doc__)
    parser.add_argument("--wire", action="append", default=[], help="this wire alone (repeatable)")
    parser.add_argument("--options", type=json.loads, help='the wire\'s options, as JSON: {"interface": "text"}')
    parser.add_argument("--behaviour", action="append", default=[], help="this behaviour alone (repeatable)")
    parser.add_argument("--url", help="the base URL of a real server; needs one --wire and --model")
    parser.add_argument("--model", help="the model's name there")
    parser.add_argument("--key", default=os.environ.get("ROOST_API_KEY"), help="its key. [env: ROOST_API_KEY]")
    parser.add_argument("--images", action="store_true", help="the model sees")
    parser.add_argument("--json", action="store_true", help="print the cells as JSON")
    options = parser.parse_args(arguments)
    if options.url and (len(options.wire) != 1 or not options.model):
        parser.error("--url needs one --wire and --model")
    known = [one.name for one in behaviours()]
    if unknown := set(options.behaviour) - set(known):
        parser.error(f"no behaviour {sorted(unknown)}: use {', '.join(known)}")
    profile = Profile(images=options.images)
    real = Real(url=options.url, model=options.model, key=options.key, profile=profile) if options.url else None
    chosen = [subject(name, options.options) for name in options.wire] or subjects()
    found = asyncio.run(cells(chosen, subjects(), real, options.behaviour))
    sys.stdout.write((msgspec.json.encode(found).decode() if options.json else show(found)) + "\n")
    return 1 if any(cell.verdict == "fail" for cell in found) else 0


if __name__ == "__main__":
    sys.exit(main())

"""The parameters of the simulation, read from costs.toml."""

from __future__ import annotations

import bisect
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("costs.toml")


@cache
def costs() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text())


def of_nodes(figure: str, nodes: float) -> float:
    """What depends on the number of nodes, µs: along straight lines between the sizes that were measured, and on along
    the last one."""
    found = costs()["nodes"]
    sizes = sorted(int(name.removeprefix("count_")) for name in found)
    values = [float(found[f"count_{size}"][figure]) for size in sizes]
    return _along(sizes, values, nodes)


def step_us(batch: float) -> float:
    """Of one step in a group of `batch`."""
    found = costs()["step"]
    sizes = sorted(int(name.removeprefix("batch_")) for name in found)
    per_group = [float(found[f"batch_{size}"]["cpu_us"]) * size for size in sizes]
    batch = max(1.0, batch)
    return _along(sizes, per_group, batch) / batch


def _along(places: list[int], values: list[float], at: float) -> float:
    if at <= places[0]:
        return values[0]
    right = min(max(1, bisect.bisect_left(places, at)), len(places) - 1)
    (x0, x1), (y0, y1) = places[right - 1 : right + 1], values[right - 1 : right + 1]
    return y0 + (y1 - y0) * (at - x0) / (x1 - x0)

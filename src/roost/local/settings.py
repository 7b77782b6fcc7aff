"""Settings of the embedded model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from roost.errors import ConfigError

_CGROUPS = Path("/sys/fs/cgroup")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`deadline`: seconds that one call may generate, without waiting and loading. `idle`: seconds without a call after
    which the worker ends. `queue`: calls that may wait. `batch`: tokens of a prompt that are read at once; a cancel
    waits for them. `repack`: rearrange the weights for this processor while loading. `chosen`: the fields that a user
    has set; tuning leaves them unchanged."""

    threads: int
    context: int = 8192
    deadline: float = 300.0
    idle: float = 600.0
    queue: int = 64
    batch: int = 128
    repack: bool = False
    chosen: frozenset[str] = frozenset()


def from_environment(**overrides: float | None) -> Settings:
    """Read `ROOST_MODEL_THREADS`, `ROOST_MODEL_CONTEXT`, `ROOST_MODEL_BATCH`, `ROOST_MODEL_DEADLINE` and
    `ROOST_MODEL_IDLE` (seconds), which `overrides` replace, and `ROOST_MODEL_REPACK` (1 or 0). Raises `ConfigError`."""
    values: dict[str, float] = {}
    for field in ("threads", "context", "batch", "deadline", "idle"):
        variable = f"ROOST_MODEL_{field.upper()}"
        if text := os.environ.get(variable):
            try:
                values[field] = float(text)
            except ValueError:
                raise ConfigError(f"{variable}={text!r} is not a number") from None
    values |= {field: value for field, value in overrides.items() if value is not None}
    if min(values.values(), default=1) <= 0:
        raise ConfigError("the settings of the local model must be above zero")
    repack = os.environ.get("ROOST_MODEL_REPACK")
    chosen = [*values, *(["repack"] if repack else [])]
    more: dict[str, object] = {"threads": cores(), "repack": repack not in (None, "", "0"), "chosen": chosen}
    return msgspec.convert(more | values, Settings, strict=False)


def cores() -> int:
    """Return the number of processors that this process may use: those of its affinity, or the share of its control
    groups."""
    try:
        mine = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        mine = os.cpu_count() or 1
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return mine
    shares = [share for group in groups for share in _shares(*group.split(":", 2)[1:])]
    return max(1, min([mine, *map(int, shares)]))


def _shares(controllers: str, path: str) -> Iterator[float]:
    """Yield the processors that a control group and its ancestors allow. Inside a container the path may be the host's,
    and only the top exists."""
    if controllers and "cpu" not in controllers.split(","):
        return
    top = _CGROUPS / "cpu" if controllers else _CGROUPS
    group = top / path.lstrip("/")
    for folder in dict.fromkeys((group, *(above for above in group.parents if above.is_relative_to(top)), top)):
        try:
            if controllers:
                quota = (folder / "cpu.cfs_quota_us").read_text()
                period = (folder / "cpu.cfs_period_us").read_text()
            else:
                quota, period = (folder / "cpu.max").read_text().split()
            if int(quota) > 0:
                yield int(quota) / int(period)
        except (OSError, ValueError):
            continue

"""Is there room in memory for a model? Asked before loading, because the kernel's answer is a kill."""

from __future__ import annotations

from pathlib import Path

from roost.errors import RoostError
from roost.local.cache import gigabytes

_FIXED = 200 * 1024 * 1024
_PER_TOKEN = 32 * 1024


class OutOfMemory(RoostError):
    code, status = "out_of_memory", 503


def available() -> int | None:
    """Bytes that this process may still take: the machine's, or its control group's when that is less. None when the
    system does not say."""
    machine = _machine()
    group = _group()
    known = [value for value in (machine, group) if value is not None]
    return min(known) if known else None


def need_memory(weights: Path, context: int) -> None:
    """Raises `OutOfMemory` when the weights and a context of so many tokens do not fit."""
    needed = weights.stat().st_size + context * _PER_TOKEN + _FIXED
    free = available()
    if free is not None and free < needed:
        raise OutOfMemory(
            f"the local model needs about {gigabytes(needed)} of memory and {gigabytes(free)} are free: close other "
            "programs, use the smaller 'local/qwen2.5-coder-0.5b', or lower ROOST_MODEL_CONTEXT"
        )


def give_back() -> None:
    """Return freed memory to the system, which glibc would rather keep. Elsewhere nothing needs to be done."""
    import ctypes

    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return


def _machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _group() -> int | None:
    """Control groups version 2, then 1. Page cache of the group counts as free."""
    base = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most, now = int((base / limit).read_text()), int((base / used).read_text())
            return max(0, most - now + _cached(base / limit))
        except (OSError, ValueError):
            continue
    return None


def _cached(limit: Path) -> int:
    try:
        lines = (limit.parent / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "active_file ")))

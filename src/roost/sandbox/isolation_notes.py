"""Texts for the model about weaker isolation than its agent asks for, and about full workspaces."""

from __future__ import annotations

from roost.sandbox.backend import Bounds, Capabilities
from roost.sandbox.choose import LEVELS, Choice, Isolation

_LIMITS = (
    ("memory_bytes", "memory", "memory"),
    ("cpus", "cpus", "processors"),
    ("pids", "pids", "the number of processes"),
    ("disk_bytes", "disk", "disk space"),
)
"""Field of `Bounds`, field of `Capabilities`, words for the model."""


def remark(choice: Choice, isolation: Isolation, able: Capabilities) -> str | None:
    """Return one or two sentences; None when all is as the agent asks. `able`: capabilities of the sandbox made."""
    said: list[str] = []
    if choice.level < isolation.wanted:
        said.append(
            f"Commands run at isolation level {choice.level} ({LEVELS[choice.level]}), not at level"
            f" {isolation.wanted} as this agent prefers."
        )
    if choice.level == 0:
        said += ["Nothing keeps them from this machine's files, programs and network."] * bool(said)
    else:
        said += _limits(isolation.bounds, able)
    return f"[{' '.join(said)}]" if said else None


def _limits(bounds: Bounds, able: Capabilities) -> list[str]:
    wanted = [(getattr(able, holder), words) for bound, holder, words in _LIMITS if getattr(bounds, bound) is not None]
    watched = [words for holder, words in wanted if holder == "watched"]
    loose = [words for holder, words in wanted if holder == "none"]
    said: list[str] = []
    if watched:
        said.append(f"The limit of {_and(watched)} is only watched: what passes it is killed a moment later.")
    if loose:
        said.append(f"Nothing limits {_and(loose)} here.")
    return said


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1])] * (len(names) > 1) + names[-1:])


def full(limit: str, bounds: tuple[int | None, int | None], *, writes: bool = False) -> str | None:
    """Return advice about a limit of `roost.sandbox.workspace_quota`; None for any other limit. `bounds`: bytes and
    files of the workspace. `writes`: the reader is a tool that writes a file."""
    size, files = bounds
    match limit:
        case "workspace_bytes":
            said = f"The workspace takes more disk than it may ({_amount(size)}), or would"
        case "workspace_files":
            said = f"The workspace has more files and folders than it may ({files:,}), or would" if files else _MANY
        case "free_bytes":
            said = "This machine's disk is nearly full"
        case _:
            return None
    if writes:
        return f"{said}: nothing was written. Remove files that are not needed."
    return f"[{said}. Remove files that are not needed. Until then, commands cannot write large files.]"


_MANY = "The workspace has more files and folders than can be counted"


def _amount(size: int | None) -> str:
    for unit, name in ((1024**3, "GB"), (1024**2, "MB")):
        if size is not None and size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"

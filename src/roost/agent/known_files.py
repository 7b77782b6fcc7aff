"""Which files the model has read or written, and as what. Tools refuse to change a file that it does not know as it is.

This is part of the fold, so it outlives sleep, a crash and a move to another node; a fork inherits it and a rollback
takes it back. Paths are kept relative to the workspace, whose folder is another one on each node.
"""

from __future__ import annotations

from pathlib import Path

from roost.agent.state import State

FILES = 256
CHARACTERS = 32 * 1024
"""Of their paths together. What was read longest ago is forgotten first."""


def known_files(state: State, workspace: Path) -> dict[str, str]:
    """Digests by real path, for `ToolContext.seen`. A new dict: the call may change it. `workspace` is a real path."""
    if not state.seen:
        return {}
    base = _base(workspace)
    return {base + path: digest for path, digest in state.seen.items()}


def learned(workspace: Path, before: dict[str, str], after: dict[str, str]) -> dict[str, str | None]:
    """What a call made of `known_files`, for `ToolCompleted.seen`; None: the file is no more."""
    if before == after:
        return {}
    found: dict[str, str | None] = {path: digest for path, digest in after.items() if before.get(path) != digest}
    found.update((path, None) for path in before if path not in after)
    base = _base(workspace)
    kept = [(path[len(base) :], digest) for path, digest in found.items() if path.startswith(base) and _is_text(path)]
    return dict(kept[-FILES:])


def take_seen(state: State, seen: dict[str, str | None]) -> None:
    """Fold `ToolCompleted.seen`."""
    known = state.seen
    for path, digest in seen.items():
        known.pop(path, None)
        if digest is not None:
            known[path] = digest
    size = sum(map(len, known))
    while len(known) > FILES or size > CHARACTERS:
        oldest = next(iter(known))
        size -= len(oldest)
        del known[oldest]


def _base(workspace: Path) -> str:
    return str(workspace).rstrip("/") + "/"


def _is_text(path: str) -> bool:
    """A name may have bytes that are no UTF-8, which no event can hold."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True

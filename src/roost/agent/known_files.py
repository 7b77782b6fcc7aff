"""Remember which files the model has read or written, and their content's digest. Tools refuse to change a file whose
present content the model does not know.

This is part of the fold, so it survives sleep, a crash and a move to another node. A fork inherits it and a rollback
restores it. Paths are relative to the workspace, whose folder differs between nodes.
"""

from __future__ import annotations

from pathlib import Path

from roost.agent.state import State

FILES = 256
CHARACTERS = 32 * 1024
"""Of all paths together. The least recently known file is forgotten first."""


def known_files(state: State, workspace: Path) -> dict[str, str]:
    """Return digests by real path, for `ToolContext.seen`, in a new dict that the call may change. workspace: a real
    path."""
    if not state.seen:
        return {}
    base = _base(workspace)
    return {base + path: digest for path, digest in state.seen.items()}


def learned(workspace: Path, before: dict[str, str], after: dict[str, str]) -> dict[str, str | None]:
    """Return the changes that a call made to `known_files`, for `ToolCompleted.seen`; None = the file is gone."""
    if before == after:
        return {}
    found: dict[str, str | None] = {path: digest for path, digest in after.items() if before.get(path) != digest}
    found.update((path, None) for path in before if path not in after)
    base = _base(workspace)
    kept = [(path[len(base) :], digest) for path, digest in found.items() if path.startswith(base) and _is_text(path)]
    return dict(kept[-FILES:])


def take_seen(state: State, seen: dict[str, str | None]) -> None:
    """Fold `ToolCompleted.seen` into the state."""
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
    """Whether a path is valid UTF-8: events cannot hold other names."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True

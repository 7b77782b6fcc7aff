"""What has changed in a folder since its last commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

from roost.errors import Invalid
from roost.terminal_text import clean

_SECONDS = 30.0
_NEW = 100
"""Most new files that are named."""


def changes(folder: Path) -> str:
    """Return the difference to the last commit, and the names of files that git does not know yet. Blocks. Raises
    `Invalid`."""
    base = "HEAD" if _git(folder, "rev-parse", "-q", "--verify", "HEAD", fails=True) else ""
    base = base or _git(folder, "hash-object", "-t", "tree", "--stdin").strip()  # nothing was committed: an empty tree
    text = _git(folder, "diff", "--no-ext-diff", "--no-textconv", base)
    new = [name for name in _git(folder, "ls-files", "-o", "--exclude-standard", "-z").split("\0") if name]
    rows = [f"new file: {name}" for name in new[:_NEW]]
    if len(new) > _NEW:
        rows.append(f"and {len(new) - _NEW} more new files")
    return "\n".join([*([text.rstrip("\n")] if text else []), *rows])


def _git(folder: Path, *words: str, fails: bool = False) -> str:
    """Run git without programs of the repository's configuration. `fails`: a failure is an empty answer."""
    command = ["git", "-c", "core.fsmonitor=false", "--no-pager", *words]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=_SECONDS, stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError:
        raise Invalid("git is not installed, so that changes of this folder are not known") from None
    except subprocess.TimeoutExpired:
        raise Invalid(f"git took longer than {_SECONDS:.0f} s to find what has changed") from None
    if done.returncode != 0 and not fails:
        why = clean(done.stderr.decode("utf-8", "replace")).strip()
        raise Invalid(f"what has changed is known only in a git repository: {why}")
    return done.stdout.decode("utf-8", "replace")

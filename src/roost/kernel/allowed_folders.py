"""Which folders of a user a session may work in."""

from __future__ import annotations

import os
from pathlib import Path

from roost.errors import Invalid


def check_folder(folder: str, home: Path) -> None:
    """Refuse a path that is no existing folder, the root of the file system, or in Roost's home: the token, the logs
    and the private files of other sessions. A folder that holds the home may be a workspace; the home is hidden there.
    Blocks. Raises `Invalid` (`workspace_refused` for the root and the home's own)."""
    missing = Invalid(f"the workspace {folder!r} is not a folder: give an absolute path that exists")
    if not Path(folder).is_absolute() or "\0" in folder:
        raise missing
    real = Path(os.path.realpath(folder))
    if real == Path(real.anchor):
        raise Invalid(
            f"the workspace {folder!r} is the whole machine: give a folder of the task", code="workspace_refused"
        )
    if any(_is_same(each, home) for each in (real, *real.parents)):
        raise Invalid(
            f"the workspace {folder!r} belongs to Roost's home {str(home)!r}: give a folder of the task, or leave it"
            " out to get a private one",
            code="workspace_refused",
        )
    if not real.is_dir():  # asked last: what exists in the home is nobody's business
        raise missing


def _is_same(one: Path, other: Path) -> bool:
    """Compare by identity in the file system: names may differ by case or by mount."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False

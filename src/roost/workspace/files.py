"""A session's files: one folder that no path can leave."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

from roost.errors import Invalid, SandboxError
from roost.sandbox.base import User

Held: TypeAlias = Literal["ask", "deny"]
"""The policy's decision about a file that it restricts."""
_LONGEST = 4000


class PathOutside(Invalid):
    code = "path_outside_workspace"


class Workspace:
    """The folder of a session.

    `private`: the folder belongs to the session alone, so writing in it harms no other files. `hidden`: a folder that
    counts as outside, wherever it lies. `notes`: a folder out of the agent's reach for notes that must outlive a crash
    during a change (`atomic_edits.py`); without it, no change of several files is possible. `real`: the resolved
    path of `root`, if known. `owner`: returns the user that files must belong to; it may block and raise `OSError` and
    `SandboxError`."""

    def __init__(
        self,
        root: Path,
        *,
        private: bool,
        hidden: Path | None = None,
        notes: Path | None = None,
        real: Path | None = None,
        owner: Callable[[], User | None] = lambda: None,
    ) -> None:
        self.private = private
        self.notes = notes
        self.settled = False
        """True once an interrupted change was recovered since the session woke."""
        self.unseen: Callable[[str, Path], Callable[[str], Held | None] | None] = lambda tool, searched: None
        """Given a tool and a real path that it searches: a function that tells how the policy restricts a real path."""
        self.room: Callable[[int, int], str | None] = lambda size, files: None
        """Called before a file tool adds so many bytes and files: returns why it may not. Blocks."""
        self._given, self._real, self._owner = root, real, owner
        self._hidden = os.path.realpath(hidden).casefold() if hidden is not None else None

    @cached_property
    def place(self) -> Path:
        """The real folder; it may not exist yet."""
        if self._real is not None and not self._real.is_symlink():
            return self._real
        return Path(os.path.realpath(self._given))

    @cached_property
    def root(self) -> Path:
        """The real folder. A private one is made at first use: most sessions touch no file."""
        if self.private:
            os.makedirs(self._given, mode=0o700, exist_ok=True)
        return Path(os.path.realpath(self._given))

    @cached_property
    def user(self) -> User | None:
        """The owner of the files, also of those that the daemon makes; None: the daemon's own user. Blocks, for long
        when many files must first be given to that user. Raises `Invalid` when no user is free."""
        try:
            return self._owner()
        except (OSError, SandboxError) as error:
            raise Invalid(f"the session's folder cannot be given to a user of its own: {error}") from error

    def give(self, fd: int) -> None:
        """Give a file or folder that the daemon has just made to the user."""
        if self.user is not None:
            os.fchown(fd, *self.user)

    def resolve(self, path: str) -> Path:
        """Return the real path of `path` (relative to the root, or absolute inside it). Symbolic links are followed
        before the check. Raises `PathOutside` when it leads out of the workspace or is no valid path, and `Invalid`
        when there is no workspace: a private one cannot be made on a full disk."""
        if len(path) > _LONGEST:
            raise PathOutside(f"a path of {len(path)} characters is too long; the limit is {_LONGEST}")
        try:
            root = self.root
        except OSError as error:
            raise Invalid(f"the session's folder cannot be made: {error.strerror}") from error
        try:
            real = Path(os.path.realpath(root / path))
        except (ValueError, OSError) as error:
            raise PathOutside(f"{path!r} is not a path") from error
        if real != root and root not in real.parents:
            raise PathOutside(f"{path!r} is outside the workspace; use a path inside it, such as 'notes.txt'")
        if self.hides(real):
            raise PathOutside(f"{path!r} belongs to Roost itself; leave it alone")
        return real

    def hides(self, real: Path) -> bool:
        """True when the path is in the hidden folder. Ignores case, as some file systems do."""
        if self._hidden is None:
            return False
        path = str(real).casefold()
        return path == self._hidden or path.startswith(self._hidden.rstrip("/") + "/")

    def relative(self, path: Path) -> str:
        """Return `path` as the model names it."""
        return path.relative_to(self.root).as_posix() or "."

"""A session's files: one folder, and no way out of it by path."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

from roost.errors import Invalid, SandboxError
from roost.sandbox.base import User

Held: TypeAlias = Literal["ask", "deny"]
"""What the policy says of a file that it holds back."""
_LONGEST = 4000


class PathOutside(Invalid):
    code = "path_outside_workspace"


class Workspace:
    """`private`: the folder belongs to the session alone, so writing in it harms nobody else's files. `hidden`: a
    folder that is as good as outside, wherever it lies. `notes`: a folder out of the agent's reach for what must
    outlive a crash in the midst of a change (`workspace.writes`); without it no change is of several files. `real`:
    `root` without the links on the way to it, where that is known already. `owner` gives the user that
    the files are to belong to; it may block and raise `OSError` and `SandboxError`."""

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
        """Whether what a crash left of a change was looked for since the session woke."""
        self.unseen: Callable[[str, Path], Callable[[str], Held | None] | None] = lambda tool, searched: None
        """For a tool that searches below a real path: which real paths the policy holds back from it, and how."""
        self.room: Callable[[int, int], str | None] = lambda size, files: None
        """Before a file tool makes it larger by so many bytes and files: why it may not. Blocks."""
        self._given, self._real, self._owner = root, real, owner
        self._hidden = os.path.realpath(hidden).casefold() if hidden is not None else None

    @cached_property
    def place(self) -> Path:
        """The real folder, which may not be there yet."""
        if self._real is not None and not self._real.is_symlink():
            return self._real
        return Path(os.path.realpath(self._given))

    @cached_property
    def root(self) -> Path:
        """The real folder. A private one is made here, when something first needs it: most sessions touch no file."""
        if self.private:
            os.makedirs(self._given, mode=0o700, exist_ok=True)
        return Path(os.path.realpath(self._given))

    @cached_property
    def user(self) -> User | None:
        """Whom the files belong to, also those that the daemon makes; None: the daemon's own user. Blocks, as long as
        the files are many when they have to be given to that user first. Raises `Invalid` when no user is left."""
        try:
            return self._owner()
        except (OSError, SandboxError) as error:
            raise Invalid(f"the session's folder cannot be given to a user of its own: {error}") from error

    def give(self, fd: int) -> None:
        """Let a file or folder that the daemon has just made there belong to the user."""
        if self.user is not None:
            os.fchown(fd, *self.user)

    def resolve(self, path: str) -> Path:
        """The real path of `path` (relative to the root, or absolute inside it). Symbolic links are followed before the
        check. Raises `PathOutside` when it leads out of the workspace or is no path that the system can take, and
        `Invalid` when there is no workspace: a private one cannot be made on a full disk."""
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
        """On some file systems letters of both sizes are one: another spelling is as good as the name."""
        if self._hidden is None:
            return False
        path = str(real).casefold()
        return path == self._hidden or path.startswith(self._hidden.rstrip("/") + "/")

    def relative(self, path: Path) -> str:
        """`path` as the model names it."""
        return path.relative_to(self.root).as_posix() or "."

"""What a check needs of the node."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from roost.models.request import Model
from roost.sandbox.base import Sandbox


class Copy(NamedTuple):
    """A copy of a session's files, which a check may change. folder: the real one."""

    folder: Path
    sandbox: Sandbox


class CheckRoom(Protocol):
    """Copies of the files of one session, and graders."""

    def copy(self, folder: Path) -> AbstractAsyncContextManager[Copy]:
        """Copy a folder, with a sandbox around the copy; both are gone at the end. Raises `SandboxError`, `OSError`,
        `TooLarge`."""
        ...

    def grader(self, name: str) -> Model:
        """Return a model by name. Raises `Invalid`."""
        ...

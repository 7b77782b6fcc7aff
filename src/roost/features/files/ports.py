"""What a session needs of the node to search its files and to read versions of them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from roost.agent.state import State
from roost.features.files.protocols import FoundFiles, How
from roost.workspace.files import Workspace


class Version(NamedTuple):
    """A version of a file. at: the position of the checkpoint; None for now. change: added, removed or changed."""

    at: int | None
    label: str | None
    change: str
    size: int | None
    made_at: float | None


class SharedFile(NamedTuple):
    """A link to a copy of a file. path: of the link, on this daemon. expires: seconds since 1970."""

    id: str
    path: str
    expires: float


class SessionFiles(Protocol):
    """The files of sessions, on the node that runs them."""

    async def search(self, workspace: Workspace, query: str, *, how: How, under: str, limit: int) -> FoundFiles:
        """Search a workspace, after the index has taken in its latest changes, for as long as that takes seconds.
        Raises `RoostError`."""
        ...

    async def versions(self, session: str, now: State, path: str, limit: int) -> list[Version]:
        """Return the versions of a private file, the newest first. Raises `Conflict`, `ObjectsFailed`, `TooLarge`."""
        ...

    def position(self, now: State, at: str | int) -> int:
        """Return a position of the log, or that of a checkpoint's label. Raises `NotFound` (`no_checkpoint`)."""
        ...

    async def version(self, session: str, now: State, path: str, at: int) -> bytes | None:
        """Return a private file as it was; None when it did not exist. Raises as `versions`."""
        ...

    async def share(
        self, session: str, account: str | None, path: str, data: bytes, *, seconds: float, key: str
    ) -> SharedFile:
        """Make a link to a copy of a file, once for a `key`. Raises `RoostError`."""
        ...

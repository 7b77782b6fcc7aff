"""Events of this feature."""

from __future__ import annotations

from typing import ClassVar, Literal

from roost.log.events import Event


class WorkspaceSaved(Event, frozen=True, tag="workspace.saved"):
    """The snapshot holds the session's private files as they are now. files, bytes: count and size of regular files.
    skipped: entries that cannot be saved: pipes, sockets, unreadable files. None and 0 when the files were not counted.

    point: an undo point, kept in the `home` where the session runs and nowhere else, or in the `store` that all nodes
    read.
    """

    snapshot: str
    files: int | None = None
    bytes: int | None = None
    skipped: int = 0
    point: Literal["home", "store"] | None = None


class WorkspaceRestored(Event, frozen=True, tag="workspace.restored"):
    """The private files are again as in the snapshot, None means no files. call: the tool call whose effect was undone.
    error: why they were not restored, and will not be."""

    snapshot: str | None
    call: str | None = None
    error: str | None = None

    @property
    def line(self) -> str:
        return f"files not put back: {self.error}" if self.error else "files put back"


class WorkspaceUnsaved(Event, frozen=True, tag="workspace.unsaved"):
    """The private files differ from the last snapshot and could not be saved. They exist on one machine only, until the
    next `workspace.saved`. lost: the session continued on another node, from the last snapshot."""

    margin: ClassVar[str] = ""
    reason: str
    lost: bool = False

    @property
    def line(self) -> str:
        return f"files {'lost' if self.lost else 'not saved'}: {self.reason}"


EVENTS = (
    WorkspaceSaved,
    WorkspaceRestored,
    WorkspaceUnsaved,
)
